"""Studies, series, instances."""

import uuid

from django.db import models

from imaging.models.fields import FoldedField
from imaging.models.orders import Order
from imaging.models.patients import Patient
from journal.wall.models import TenantForeignKey, TenantModel


class Priority(models.TextChoices):
    """What a person wants of a study: its order, or somebody here. Empty: nobody said."""

    ROUTINE = "routine"
    URGENT = "urgent"
    STAT = "stat"


class Study(TenantModel):
    """A study as its instances say. `due_at` is when the sweep should look whether it is complete."""

    class State(models.TextChoices):
        RECEIVING = "receiving"
        COMPLETE = "complete"

    uuid = models.UUIDField(default=uuid.uuid4, editable=False)
    study_uid = models.CharField(max_length=64)
    patient = TenantForeignKey(Patient, models.PROTECT)
    accession_number = models.CharField(max_length=64, default="", blank=True)
    accession_issuer = models.CharField(max_length=64, default="", blank=True)
    study_date = models.CharField(max_length=8, default="", blank=True)
    study_time = models.CharField(max_length=16, default="", blank=True)
    utc_offset = models.CharField(max_length=5, default="", blank=True)  # TimezoneOffsetFromUTC, as &ZZXX
    description = models.CharField(max_length=256, default="", blank=True)
    referrer = models.CharField(max_length=324, default="", blank=True)
    body_part = models.CharField(max_length=16, default="", blank=True)
    patient_age = models.CharField(max_length=4, default="", blank=True)
    study_identifier = models.CharField(max_length=16, default="", blank=True)  # Study ID (0020,0010)
    extra = models.TextField(default="", blank=True)  # optional attributes by tag, JSON
    started_key = FoldedField()  # date and time as YYYYMMDDHHMMSSFFFFFF; empty without a date that is one
    time_key = FoldedField()
    accession_key = FoldedField()
    identifier_key = FoldedField()
    description_key = FoldedField()
    referrer_key = FoldedField()  # =alphabetic=ideographic=phonetic=
    modalities = models.CharField(max_length=120, default="", blank=True)  # sorted, comma separated
    number_of_series = models.PositiveIntegerField(default=0)
    number_of_instances = models.PositiveIntegerField(default=0)
    expected_instances = models.PositiveIntegerField(null=True)  # (0020,1208), when the modality says it
    state = models.CharField(max_length=10, choices=State.choices, default=State.RECEIVING)
    version = models.PositiveIntegerField(default=0)  # 1 at the first completion, +1 for each later one
    order = TenantForeignKey(Order, models.SET_NULL, null=True)  # by accession number and issuer, never guessed
    is_order_chosen = models.BooleanField(default=False, db_default=False)  # by a person: matching leaves it alone
    priority = models.CharField(max_length=8, choices=Priority.choices, default="", db_default="", blank=True)
    # order, or who set it here: that outlasts the order's
    priority_by = models.CharField(max_length=64, default="", db_default="", blank=True)
    priority_at = models.DateTimeField(null=True)
    # AI asks for it to be read first, and no person has settled that yet
    is_flagged = models.BooleanField(default=False, db_default=False)
    # of the worklist: people's priority first, AI's flag second (imaging.priorities)
    rank = models.PositiveSmallIntegerField(default=0, db_default=0)
    raised_at = models.DateTimeField(null=True)  # when it last got its rank
    is_from_ai = models.BooleanField(default=False)  # only AI-made objects so far: never routed
    trace_id = models.CharField(max_length=32, default="", blank=True)
    first_received_at = models.DateTimeField()
    last_received_at = models.DateTimeField()
    stored_at = models.DateTimeField(null=True)  # rows of the first instance committed
    completed_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "study_uid"], name="study_uid_once"),
            models.UniqueConstraint(fields=["tenant_id", "uuid"], name="study_uuid_once"),
        ]
        indexes = [
            models.Index(fields=["tenant_id", "-first_received_at", "-id"], name="study_by_arrival"),
            models.Index(fields=["tenant_id", "patient"], name="study_by_patient"),
            models.Index(fields=["tenant_id", "order"], name="study_by_order", condition=models.Q(order__isnull=False)),
            models.Index(fields=["tenant_id", "accession_number"], name="study_by_number"),
            models.Index(  # the order of QIDO-RS: a page deep in the archive is read from the index alone
                fields=["tenant_id", "-started_key", "-id"], name="study_by_start", condition=models.Q(number_of_instances__gt=0)
            ),
            models.Index(fields=["tenant_id", "accession_key"], name="study_by_accession"),
            models.Index(fields=["tenant_id", "identifier_key"], name="study_by_identifier"),
            models.Index(fields=["due_at"], name="study_due", condition=models.Q(due_at__isnull=False)),
            models.Index(  # the few that stand above the others
                fields=["tenant_id", "-rank", "-first_received_at", "-id", "raised_at"], name="study_raised",
                condition=models.Q(rank__gt=0),
            ),
        ]  # fmt: skip


class StudySource(TenantModel):
    """Which associations brought images of a study, so that completion can wait for one that is still open."""

    study = TenantForeignKey(Study, models.CASCADE)
    association = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "study", "association"], name="study_source_once")]


class Series(TenantModel):
    series_uid = models.CharField(max_length=64)
    study = TenantForeignKey(Study, models.CASCADE)
    modality = models.CharField(max_length=16, default="", blank=True)
    number = models.IntegerField(null=True)
    description = models.CharField(max_length=256, default="", blank=True)
    body_part = models.CharField(max_length=16, default="", blank=True)
    laterality = models.CharField(max_length=2, default="", blank=True)
    manufacturer = models.CharField(max_length=64, default="", blank=True)
    extra = models.TextField(default="", blank=True)  # optional attributes by tag, JSON
    number_of_instances = models.PositiveIntegerField(default=0)
    first_received_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "series_uid"], name="series_uid_once")]
        indexes = [models.Index(fields=["tenant_id", "study"], name="series_by_study")]


class Instance(TenantModel):
    """One object: where its bytes lie and what they are. Written in bulk by the index worker, never one by one."""

    sop_instance_uid = models.CharField(max_length=64)
    sop_class_uid = models.CharField(max_length=64)
    transfer_syntax_uid = models.CharField(max_length=64)
    series = TenantForeignKey(Series, models.CASCADE)
    study = TenantForeignKey(Study, models.CASCADE)
    number = models.IntegerField(null=True)
    frames = models.PositiveIntegerField(default=1)
    rows = models.PositiveIntegerField(null=True)
    columns = models.PositiveIntegerField(null=True)
    position = models.FloatField(null=True)  # of the slice along its normal, mm
    extra = models.TextField(default="", blank=True)  # optional attributes by tag, JSON
    key = models.CharField(max_length=160)
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)  # of the file as kept
    dataset_sha256 = models.CharField(max_length=64, default="", blank=True)  # without group 2; made when its UID comes again
    scrubbed_at = models.DateTimeField(null=True)
    scrub_result = models.CharField(max_length=8, default="", blank=True)  # ok, damaged, missing
    source = models.BigIntegerField(default=0)  # association, or 0 for the web door
    received_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "sop_instance_uid"], name="instance_uid_once")]
        indexes = [
            models.Index(fields=["tenant_id", "series", "number"], name="instance_by_series"),
            models.Index(fields=["tenant_id", "study"], name="instance_by_study"),
        ]
