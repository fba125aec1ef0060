"""Rows of our worklist (UPS, PS3.4 Annex CC) and of what AI platforms send back. Part of `ai.models`, which imports them."""

from django.db import models

from journal.wall.models import TenantForeignKey, TenantModel


class Workitem(TenantModel):
    """A Unified Procedure Step. `dataset` is what a client sees, in the DICOM JSON Model; the columns are what is searched by.

    One with a connection is for that platform's performer alone; one without belongs to the hospital's own systems.
    """

    class State(models.TextChoices):
        SCHEDULED = "SCHEDULED"
        IN_PROGRESS = "IN PROGRESS"
        COMPLETED = "COMPLETED"
        CANCELED = "CANCELED"

    workitem_uid = models.CharField(max_length=64)
    state = models.CharField(max_length=12, choices=State.choices, default=State.SCHEDULED)
    transaction_digest = models.CharField(max_length=64, default="", blank=True)  # SHA-256 of the UID: it is the performer's lock
    performer = models.CharField(max_length=128, default="", blank=True)  # who claimed it: an actor's name
    dataset = models.JSONField()
    job = TenantForeignKey("ai.Job", models.CASCADE, null=True)
    connection = TenantForeignKey("ai.Connection", models.PROTECT, null=True)
    label = models.CharField(max_length=64, default="", blank=True)
    worklist_label = models.CharField(max_length=64, default="", blank=True)
    priority = models.CharField(max_length=6, default="MEDIUM")
    readiness = models.CharField(max_length=12, default="READY")
    station = models.CharField(max_length=64, default="", blank=True)  # code value of the scheduled station name
    workitem_code = models.CharField(max_length=64, default="", blank=True)
    patient_id = models.CharField(max_length=64, default="", blank=True)
    study_uid = models.CharField(max_length=64, default="", blank=True)
    scheduled_at = models.DateTimeField()
    cancel_request = models.JSONField(null=True)  # what was asked of whoever performs it; event reports tell it
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "workitem_uid"], name="ups_uid_once")]
        indexes = [
            models.Index(fields=["tenant_id", "connection", "state", "scheduled_at"], name="ups_by_connection"),
            models.Index(fields=["tenant_id", "scheduled_at", "id"], name="ups_by_time"),
            models.Index(fields=["tenant_id", "job"], name="ups_by_job"),
        ]


class WorkitemSubscription(TenantModel):
    """Who wants to hear of what (PS3.4 CC.2.3). Without a workitem it is the global or a filtered subscription.

    `owner` keeps the AE titles of different performers apart: 0 is the hospital's own, else a connection's id.
    """

    ae_title = models.CharField(max_length=16)
    owner = models.BigIntegerField(default=0)
    workitem = TenantForeignKey(Workitem, models.CASCADE, null=True)
    keys = models.JSONField(null=True)  # of a filtered one: query parameters, [name, value] each
    has_lock = models.BooleanField(default=False)
    is_suspended = models.BooleanField(default=False)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "owner", "ae_title", "workitem"], name="ups_subscription_once", nulls_distinct=False
            )
        ]
        indexes = [models.Index(fields=["tenant_id", "workitem"], name="ups_subscription_by_item")]


class ReturnedObject(TenantModel):
    """An object that a platform sent back, by C-STORE to its return AE or by STOW to its performer base. Its file is durable.

    UIDs are the surrogates the platform knows: nothing of it is archived before the gate has looked at it.
    """

    connection = TenantForeignKey("ai.Connection", models.CASCADE)
    job = TenantForeignKey("ai.Job", models.CASCADE, null=True)  # known by the address of a STOW; of a C-STORE only the UIDs tell
    study_uid = models.CharField(max_length=64)
    sop_class_uid = models.CharField(max_length=64)
    sop_instance_uid = models.CharField(max_length=64)
    key = models.CharField(max_length=120)  # below the objects folder
    size = models.BigIntegerField()
    association_id = models.BigIntegerField(default=0)  # 0: by STOW
    received_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["tenant_id", "connection", "study_uid"], name="returned_by_study")]
