"""Where the bytes lie, whether they are still what came, and what a person must decide."""

from django.db import models

from imaging.models.patients import Patient
from imaging.models.studies import Instance, Study
from journal.wall.models import TenantForeignKey, TenantModel


class StorageUse(TenantModel):
    """Bytes kept for a hospital; one row, kept by the index worker, read by the quota check."""

    bytes_kept = models.BigIntegerField(default=0)
    objects_kept = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id"], name="storage_use_once")]


class Upload(TenantModel):
    """An object on its way to the S3 store. The row goes when the copy there is verified and the local one is dropped."""

    key = models.CharField(max_length=160)
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.CharField(max_length=120, default="", blank=True)
    created_at = models.DateTimeField()
    verified_at = models.DateTimeField(null=True)  # the local copy lingers a little after it
    due_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "key"], name="upload_once")]
        indexes = [
            models.Index(fields=["due_at"], name="upload_due"),
            models.Index(fields=["tenant_id", "due_at"], name="upload_by_due"),
        ]


class Scrub(TenantModel):
    """Where the walk over a hospital's objects is; one row. `due_at` is when the next step may read."""

    after_id = models.BigIntegerField(default=0)  # objects up to this id were read in this round
    rounds = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    objects_read = models.BigIntegerField(default=0)  # of this round
    bytes_read = models.BigIntegerField(default=0)
    objects_bad = models.BigIntegerField(default=0)
    due_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id"], name="scrub_once")]
        indexes = [models.Index(fields=["due_at"], name="scrub_due", condition=models.Q(due_at__isnull=False))]


class WorkItem(TenantModel):
    """Something a person must decide: a duplicate that differs, a patient conflict, an object that cannot be read.

    `key`, `size`, `sha256` are of the bytes that it holds aside, if any. `due_at` is when bytes that nobody wants may go.
    """

    kind = models.CharField(max_length=32)
    reason = models.CharField(max_length=200)  # our words, never a value from the object
    study = TenantForeignKey(Study, models.SET_NULL, null=True)
    instance = TenantForeignKey(Instance, models.SET_NULL, null=True)  # the stored one that it is about
    patient = TenantForeignKey(Patient, models.SET_NULL, null=True)  # the person that somebody came under
    key = models.CharField(max_length=160, default="", blank=True)
    size = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, default="", blank=True)
    dataset_sha256 = models.CharField(max_length=64, default="", blank=True)
    unique_on = models.CharField(max_length=64)  # a replay must not make a second one
    created_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True)
    resolution = models.CharField(max_length=16, default="", blank=True)
    resolved_by = models.CharField(max_length=128, default="", blank=True)
    note = models.CharField(max_length=200, default="", blank=True)
    due_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "kind", "unique_on"], name="work_item_once")]
        indexes = [
            models.Index(fields=["tenant_id", "resolved_at", "-id"], name="work_item_open"),
            models.Index(fields=["tenant_id", "instance"], name="work_item_by_instance"),
            models.Index(fields=["due_at"], name="work_item_due", condition=models.Q(due_at__isnull=False)),
        ]
