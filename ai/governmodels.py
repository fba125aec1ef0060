"""Rows of governance: whose terms were accepted, what was recalled, what left the house. `ai.models` makes Django know them."""

import uuid

from django.db import models

from imaging.models import Study
from journal.wall.models import TenantForeignKey, TenantModel


class TermsAcceptance(TenantModel):
    """Somebody accepted the terms of a platform: which version, who, when, and the words as they stood. Only ever added to."""

    platform = models.SlugField(max_length=40, db_index=False)
    version = models.CharField(max_length=16)
    text = models.TextField()
    by = models.CharField(max_length=64)
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["tenant_id", "platform", "-id"], name="terms_by_platform")]


class Recall(TenantModel):
    """The hospital's stop of an algorithm. While it stands nothing new is sent; reports of it are flagged until somebody clears them.

    `version` limits which reports are flagged, "" means all: which version would answer a new question nobody knows beforehand.
    """

    uuid = models.UUIDField(default=uuid.uuid4, editable=False)
    platform = models.SlugField(max_length=40, db_index=False)
    algorithm = models.CharField(max_length=64)
    version = models.CharField(max_length=64, default="", blank=True)
    reason = models.CharField(max_length=200)
    by = models.CharField(max_length=64)
    at = models.DateTimeField()
    lifted_by = models.CharField(max_length=64, default="", blank=True)
    lifted_at = models.DateTimeField(null=True)
    lifted_reason = models.CharField(max_length=200, default="", blank=True)
    is_cleared = models.BooleanField(default=False)  # when it was lifted: the reports were right after all

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "platform", "algorithm"], name="recall_standing_once", condition=models.Q(lifted_at__isnull=True)
            )
        ]


class Disclosure(TenantModel):
    """What was handed to a platform outside the house, under which profile. Written before the first byte; one row a question.

    A job that is edited and sent again is another question with another uuid, and so another row.
    """

    job_uuid = models.UUIDField(editable=False)
    study = TenantForeignKey(Study, models.CASCADE)
    platform = models.SlugField(max_length=40, db_index=False)
    algorithm = models.CharField(max_length=64)
    is_test = models.BooleanField()  # to a stand-in
    receiver = models.CharField(max_length=200)  # host names of the connection's settings
    what = models.CharField(max_length=64)
    instances = models.PositiveIntegerField()
    profile = models.CharField(max_length=24)  # ai.cards.Deidentification, "findings", or "" from before it was kept
    codes = models.JSONField(default=list)  # CID 7050: what was done
    input_sha256 = models.CharField(max_length=64, default="", blank=True)
    attempts = models.PositiveIntegerField(default=1)
    at = models.DateTimeField()  # begun, the first time
    taken_at = models.DateTimeField(null=True)  # the platform said that it has it

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "job_uuid"], name="disclosure_once")]
        indexes = [
            models.Index(fields=["tenant_id", "-at", "-id"], name="disclosure_by_time"),
            models.Index(fields=["tenant_id", "study"], name="disclosure_by_study"),
        ]
