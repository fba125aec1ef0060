"""What people decided about reports: a row a decision, never changed. Part of `ai.models`, which imports it."""

import uuid

from django.db import models

from journal.wall.models import TenantForeignKey, TenantModel


class Verdict(TenantModel):
    """One decision of one person about one report version. Taking it back is a row of its own (`undo`, `undoes`)."""

    class Action(models.TextChoices):
        ACCEPT = "accept"
        CORRECT = "correct"
        REJECT = "reject"
        UNDO = "undo"

    uuid = models.UUIDField(default=uuid.uuid4, editable=False)
    report = TenantForeignKey("ai.Report", models.CASCADE)  # the version that was judged
    made_version = models.PositiveIntegerField()  # of the same report: what came of it
    action = models.CharField(max_length=8, choices=Action.choices)
    reason = models.CharField(max_length=24, default="", blank=True)  # a code of ai.review.reasons
    words = models.CharField(max_length=1000, default="", blank=True)
    items = models.JSONField(default=list)  # [{"item", "value", "words"}]: ai.findings.Correction
    undoes = models.BigIntegerField(null=True)  # Verdict.id
    by_id = models.CharField(max_length=64)  # tenants.User
    by_name = models.CharField(max_length=120)  # as the person was called then
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "report"], name="verdict_once")]
        indexes = [models.Index(fields=["tenant_id", "at"], name="verdict_by_time")]
