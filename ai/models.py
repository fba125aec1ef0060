"""What platforms say: connections, rules, decisions, jobs, results, reports."""

import uuid

from django.db import models

from imaging.models import Study
from journal.wall.models import TenantForeignKey, TenantModel


class Connection(TenantModel):
    """A hospital's link to one platform. `platform` is a plain slug: a new platform needs no migration."""

    uuid = models.UUIDField(default=uuid.uuid4, editable=False)
    platform = models.SlugField(max_length=40, db_index=False)
    name = models.CharField(max_length=80)
    is_enabled = models.BooleanField(default=True)
    is_test = models.BooleanField(default=False)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "platform"], name="connection_once")]


class Rule(TenantModel):
    """When a study matches all conditions, send it. Conditions are data over a closed vocabulary (ai/rules.py)."""

    name = models.CharField(max_length=80)
    position = models.PositiveSmallIntegerField(default=0)
    conditions = models.JSONField(default=list)  # [{"fact": "modality", "is": ["CT"]}, ...]
    connection = TenantForeignKey(Connection, models.PROTECT)
    algorithm = models.CharField(max_length=64)
    version = models.PositiveIntegerField(default=1)
    is_active = models.BooleanField(default=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "name"], name="rule_name_once")]


class Decision(TenantModel):
    """Why a version of a study was or wasn't sent: one row per rule, and the reason in words for each no."""

    study = TenantForeignKey(Study, models.CASCADE)
    study_version = models.PositiveIntegerField()
    rule = TenantForeignKey(Rule, models.PROTECT, null=True)
    rule_version = models.PositiveIntegerField(default=0)
    is_match = models.BooleanField()
    reason = models.CharField(max_length=300)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "study", "study_version", "rule"], name="decision_once", nulls_distinct=False
            )
        ]


class Job(TenantModel):
    """One algorithm on one version of a study. `due_at` is lease and clock at once; NULL when nothing is left to do."""

    class State(models.TextChoices):
        QUEUED = "queued"
        SENT = "sent"
        DONE = "done"
        NOT_ANALYSABLE = "not_analysable"
        REFUSED = "refused"  # by us, before anything left: entitlement, eligibility
        FAILED = "failed"  # dead letter: shown with resend
        QUARANTINED = "quarantined"  # an answer came and the gate kept it

    uuid = models.UUIDField(default=uuid.uuid4, editable=False)
    study = TenantForeignKey(Study, models.CASCADE)
    study_version = models.PositiveIntegerField()
    connection = TenantForeignKey(Connection, models.PROTECT)
    algorithm = models.CharField(max_length=64)
    series = models.BigIntegerField(null=True)
    state = models.CharField(max_length=16, choices=State.choices, default=State.QUEUED)
    attempts = models.PositiveSmallIntegerField(default=0)
    remote_id = models.CharField(max_length=128, default="", blank=True)
    reason = models.CharField(max_length=300, default="", blank=True)
    trace_id = models.CharField(max_length=32, default="", blank=True)
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "study", "study_version", "connection", "algorithm"], name="job_once"),
        ]
        indexes = [
            models.Index(fields=["due_at"], name="job_due", condition=models.Q(due_at__isnull=False)),
            models.Index(fields=["tenant_id", "study"], name="job_by_study"),
        ]


class Result(TenantModel):
    """A platform's answer as it came, and as the gate read it."""

    job = TenantForeignKey(Job, models.CASCADE)
    payload = models.JSONField()
    is_analysable = models.BooleanField()
    received_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "job"], name="result_once")]


class Report(TenantModel):
    """One version of what a job found, in words and numbers. Never `final` from a machine.

    Versions of one report share the uuid: a late image re-runs the algorithm and the EHR sees version 2 of the same report.
    """

    class Status(models.TextChoices):
        PRELIMINARY = "preliminary"
        FINAL = "final"
        AMENDED = "amended"
        CANCELLED = "cancelled"
        ENTERED_IN_ERROR = "entered-in-error"

    uuid = models.UUIDField(default=uuid.uuid4, editable=False)
    study = TenantForeignKey(Study, models.CASCADE)
    result = TenantForeignKey(Result, models.PROTECT)
    connection = TenantForeignKey(Connection, models.PROTECT)
    algorithm = models.CharField(max_length=64)
    version = models.PositiveIntegerField(default=1)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PRELIMINARY)
    conclusion = models.TextField()
    content = models.JSONField()  # ai.contract.ReportContent as data
    trace_id = models.CharField(max_length=32, default="", blank=True)
    issued_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "result"], name="report_once"),
            models.UniqueConstraint(fields=["tenant_id", "uuid", "version"], name="report_version_once"),
        ]
        indexes = [models.Index(fields=["tenant_id", "study"], name="report_by_study")]
