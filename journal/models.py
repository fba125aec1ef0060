"""Outbox, deliveries and audit: what happened. Other apps are known here by id only."""

from django.db import models

from journal.wall.models import TenantForeignKey, TenantModel


class OutboxEvent(TenantModel):
    """An event, written in the transaction that made it true."""

    name = models.CharField(max_length=64)
    ids = models.JSONField()
    trace_id = models.CharField(max_length=32)
    created_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["tenant_id", "created_at"], name="outbox_by_time")]


class Delivery(TenantModel):
    """One event on its way to one subscriber. `due_at` is the lease: who claims a row moves it into the future.

    It is NULL when nothing is left to do: the sweep reads the oldest, so a finished row with a time would stand before the waiting.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        DONE = "done"
        DEAD = "dead"

    event = TenantForeignKey(OutboxEvent, models.CASCADE)
    subscriber = models.CharField(max_length=128)
    state = models.CharField(max_length=8, choices=State.choices, default=State.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=500, default="", blank=True)
    done_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "event", "subscriber"], name="delivery_once_per_subscriber"),
            models.CheckConstraint(condition=models.Q(state="pending") | models.Q(due_at=None), name="delivery_due_is_pending"),
        ]
        indexes = [
            models.Index(fields=["due_at"], name="delivery_due", condition=models.Q(due_at__isnull=False)),
            models.Index(fields=["tenant_id", "state", "id"], name="delivery_by_state"),
        ]


class AuditEvent(TenantModel):
    """Who did or saw what: one row per actor, object, action and five minutes (DESIGN section 7). Append-only."""

    actor = models.CharField(max_length=128)  # user:<uuid>, token:<id>, ae:<title>, system:<name>
    action = models.CharField(max_length=64)
    object_type = models.CharField(max_length=32)
    object_id = models.CharField(max_length=64)
    bucket = models.BigIntegerField()  # recorded_at // 5 minutes
    recorded_at = models.DateTimeField()
    address = models.GenericIPAddressField(null=True)
    trace_id = models.CharField(max_length=32)
    detail = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "actor", "object_type", "object_id", "action", "bucket"], name="audit_once_per_bucket"
            )
        ]
        indexes = [models.Index(fields=["tenant_id", "recorded_at"], name="audit_by_time")]


class AuditSeal(TenantModel):
    """The hash chain over the audit events of one hospital, added within seconds by one task, never by the request."""

    position = models.BigIntegerField()
    event = TenantForeignKey(AuditEvent, models.PROTECT)
    digest = models.CharField(max_length=64)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "position"], name="seal_position_once"),
            models.UniqueConstraint(fields=["tenant_id", "event"], name="seal_event_once"),
        ]
