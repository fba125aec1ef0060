"""What was ordered: what a modality worklist answers from."""

from django.db import models
from django.utils import timezone

from imaging.models.fields import FoldedField
from imaging.models.patients import Patient
from journal.wall.models import TenantForeignKey, TenantModel


class Order(TenantModel):
    """What a modality worklist answers from; a ServiceRequest, ORM or OMI writes it through `orders.order_upsert`.

    Attributes that nobody searches by index lie in `extra`, by tag (`imaging.worklist.attributes`).
    """

    class Status(models.TextChoices):
        ACTIVE = "active"
        ON_HOLD = "on-hold"
        COMPLETED = "completed"
        REVOKED = "revoked"
        ENTERED_IN_ERROR = "entered-in-error"

    accession_number = models.CharField(max_length=64)
    issuer = models.CharField(max_length=64, default="", blank=True)
    patient = TenantForeignKey(Patient, models.PROTECT, null=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.ACTIVE)
    procedure_id = models.CharField(max_length=16, default="", blank=True)  # Requested Procedure ID
    description = models.CharField(max_length=64, default="", blank=True)
    study_uid = models.CharField(max_length=64, default="", blank=True)  # what the modality shall call the study
    referrer = models.CharField(max_length=324, default="", blank=True)
    requester = models.CharField(max_length=324, default="", blank=True)
    extra = models.TextField(default="", blank=True)
    ehr_id = models.CharField(max_length=64, default="", db_default="", blank=True)  # of the EHR's ServiceRequest; empty: ours has our id
    accession_key = FoldedField()
    procedure_id_key = FoldedField()
    referrer_key = FoldedField()
    requester_key = FoldedField()
    created_at = models.DateTimeField(default=timezone.now)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "issuer", "accession_number"], name="order_once")]
        indexes = [
            models.Index(fields=["tenant_id", "accession_number"], name="order_by_number"),
            models.Index(fields=["tenant_id", "accession_key"], name="order_by_accession"),
            models.Index(fields=["tenant_id", "patient"], name="order_by_patient"),
            models.Index(fields=["tenant_id", "ehr_id"], name="order_by_ehr_id", condition=~models.Q(ehr_id="")),
        ]


class ScheduledStep(TenantModel):
    """A Scheduled Procedure Step of an order (PS3.3 C.4.10). `is_listed` says whether a worklist shows it."""

    class Status(models.TextChoices):
        SCHEDULED = "SCHEDULED"
        ARRIVED = "ARRIVED"
        READY = "READY"
        STARTED = "STARTED"
        DEPARTED = "DEPARTED"
        COMPLETED = "COMPLETED"
        CANCELLED = "CANCELLED"
        DISCONTINUED = "DISCONTINUED"

    order = TenantForeignKey(Order, models.CASCADE)
    step_id = models.CharField(max_length=16)
    modality = models.CharField(max_length=16)
    station = models.CharField(max_length=16, default="", blank=True)  # AE title
    start_date = models.CharField(max_length=8, default="", blank=True)  # the hospital's own time, as DA and TM
    start_time = models.CharField(max_length=16, default="", blank=True)
    performer = models.CharField(max_length=324, default="", blank=True)
    description = models.CharField(max_length=64, default="", blank=True)
    location = models.CharField(max_length=16, default="", blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.SCHEDULED)
    extra = models.TextField(default="", blank=True)
    station_key = FoldedField()
    started_key = FoldedField()  # date and time as YYYYMMDDHHMMSSFFFFFF
    time_key = FoldedField()
    performer_key = FoldedField()
    is_listed = models.BooleanField(default=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "order", "step_id"], name="scheduled_step_once")]
        indexes = [
            models.Index(
                fields=["tenant_id", "station_key", "started_key", "id"], name="scheduled_step_by_station",
                condition=models.Q(is_listed=True),
            ),
            models.Index(
                fields=["tenant_id", "started_key", "id"], name="scheduled_step_by_start", condition=models.Q(is_listed=True)
            ),
        ]  # fmt: skip
