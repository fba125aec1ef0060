"""Studies fetched and sent on our initiative; responsibility that a node asked us for."""

from django.db import models

from imaging.models.peers import Node
from journal.wall.models import TenantForeignKey, TenantModel


class Transfer(TenantModel):
    """Studies between a node and us, on our initiative. `due_at` is the lease and the pace; `claim` says whose lease it is."""

    class Kind(models.TextChoices):
        PULL = "pull"
        SEND = "send"
        MIGRATE = "migrate"  # everything that a query by days finds
        PRIORS = "priors"

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    kind = models.CharField(max_length=8, choices=Kind.choices)
    node = TenantForeignKey(Node, models.SET_NULL, null=True)
    node_ae = models.CharField(max_length=16)  # what the node was called
    method = models.CharField(max_length=4, default="", blank=True)  # move or get; empty for a send
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    query = models.JSONField(default=dict)  # migrate: from, to, modalities; priors: study, years, count
    cursor = models.CharField(max_length=16, default="", blank=True)  # migrate: the next day to list; else empty, or "listed"
    studies = models.PositiveIntegerField(default=0)
    studies_done = models.PositiveIntegerField(default=0)  # with all that the node has of them
    studies_failed = models.PositiveIntegerField(default=0)
    remaining = models.PositiveIntegerField(default=0)  # objects of the study that is under way
    completed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    warned = models.PositiveIntegerField(default=0)
    failed_uids = models.JSONField(default=list)  # the first ones (`transfers.FAILED_KEPT`)
    last_error = models.CharField(max_length=200, default="", blank=True)  # our words
    objects_per_minute = models.PositiveIntegerField(null=True)
    studies_per_minute = models.PositiveIntegerField(null=True)
    hour_from = models.PositiveSmallIntegerField(null=True)  # only between these hours of the hospital's day
    hour_to = models.PositiveSmallIntegerField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)  # in a row without reaching the node
    claim = models.BigIntegerField(default=0)
    unique_on = models.CharField(max_length=64)  # a replay must not make a second one
    created_by = models.CharField(max_length=64, default="", blank=True)
    trace_id = models.CharField(max_length=32, default="", blank=True)
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "unique_on"], name="transfer_once")]
        indexes = [
            models.Index(fields=["tenant_id", "-id"], name="transfer_by_arrival"),
            models.Index(fields=["due_at"], name="transfer_due", condition=models.Q(due_at__isnull=False)),
        ]


class TransferStudy(TenantModel):
    """One study of a transfer, and how far it has come: what a restart goes on from."""

    class State(models.TextChoices):
        WAITING = "waiting"
        DONE = "done"
        FAILED = "failed"

    transfer = TenantForeignKey(Transfer, models.CASCADE)
    study_uid = models.CharField(max_length=64)
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    asked_at = models.DateTimeField(null=True)  # the node said that all objects have gone; the rows are still to be looked at
    position = models.BigIntegerField(default=0)  # send: the last instance that was answered
    expected = models.PositiveIntegerField(default=0)  # objects that the node has
    completed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    warned = models.PositiveIntegerField(default=0)
    reason = models.CharField(max_length=200, default="", blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "transfer", "study_uid"], name="transfer_study_once")]
        indexes = [
            models.Index(fields=["tenant_id", "transfer", "state", "id"], name="transfer_study_next"),
            models.Index(fields=["tenant_id", "study_uid"], name="transfer_study_by_uid"),
        ]


class CommitmentRequest(TenantModel):
    """A node asked us to take responsibility for objects (PS3.4 Annex J). `due_at` is the lease and the pace of our answer.

    The same transaction UID with the same references (`digest`) is the same request; with others it is `is_duplicate`.
    """

    class State(models.TextChoices):
        WAITING = "waiting"  # to be checked against the archive, or reported
        DONE = "done"  # the node has taken our report
        DEAD = "dead"  # given up: a person may send it again

    node = TenantForeignKey(Node, models.SET_NULL, null=True)
    node_ae = models.CharField(max_length=16)
    called_ae = models.CharField(max_length=16)  # what it called us: what we call ourselves when we report
    transaction_uid = models.CharField(max_length=64)
    digest = models.CharField(max_length=64)
    is_duplicate = models.BooleanField(default=False)
    references = models.JSONField(default=dict)  # SOP class -> SOP instances; empty once the node knows
    number_of_references = models.PositiveIntegerField(default=0)
    failures = models.JSONField(null=True)  # SOP instance -> reason of PS3.4 J.3.3; null until checked
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    last_error = models.CharField(max_length=200, default="", blank=True)  # our words
    claim = models.BigIntegerField(default=0)
    trace_id = models.CharField(max_length=32, default="", blank=True)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "node_ae", "transaction_uid", "digest"], name="commitment_once")
        ]
        indexes = [
            models.Index(fields=["tenant_id", "state", "-id"], name="commitment_by_state"),
            models.Index(fields=["due_at"], name="commitment_due", condition=models.Q(due_at__isnull=False)),
        ]
