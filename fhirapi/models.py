"""Rows of the FHIR server that are no resources: exports in bulk and their files. The resource store is plain SQL (migration 0001)."""

import uuid

from django.db import models

from journal.wall.models import TenantForeignKey, TenantModel


class BulkExport(TenantModel):
    """One export (HL7 Bulk Data Access STU2): what was asked for, how far it is, and until when its files stay.

    `due_at` is the lease while it runs and the end of its files afterwards; `claim` says whose lease it is. The place is
    (`place`, `after`): the number of the part, which is a type's resources or deletions, and the id that was written last.
    """

    class State(models.TextChoices):
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    class Level(models.TextChoices):
        SYSTEM = "system"
        PATIENT = "patient"
        GROUP = "group"

    uuid = models.UUIDField(default=uuid.uuid4, editable=False)
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    level = models.CharField(max_length=10, choices=Level.choices)
    group_id = models.CharField(max_length=64, default="", blank=True)
    request = models.TextField()  # the address of the kick-off, which the manifest repeats
    base = models.TextField()
    at = models.DateTimeField()  # the manifest's transactionTime
    since = models.DateTimeField(null=True)
    rtypes = models.JSONField()
    filters = models.JSONField(default=list)  # (type, search)
    patients = models.JSONField(default=list)  # ids; none: nobody was named
    hidden = models.JSONField(default=list)  # types that whoever asked may not see, nor ask about
    place = models.IntegerField(default=0)
    after = models.CharField(max_length=64, default="", blank=True)
    step = models.IntegerField(default=500)  # how many ids the next chunk looks at
    count = models.BigIntegerField(default=0)  # resources written
    attempts = models.SmallIntegerField(default=0)  # since the last chunk that was written
    errors = models.JSONField(default=list)  # (type, issue code, our words)
    claim = models.BigIntegerField(default=0)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "uuid"], name="bulk_export_uuid_once")]
        indexes = [models.Index(fields=["due_at"], name="bulk_export_due", condition=models.Q(due_at__isnull=False))]


class BulkFile(TenantModel):
    """A file of an export: the first `stored` bytes of what lies under its key, and an end that is made of `crc` and `size`."""

    class Kind(models.TextChoices):
        OUTPUT = "output"
        DELETED = "deleted"
        ERROR = "error"

    export = TenantForeignKey(BulkExport, models.CASCADE)
    name = models.CharField(max_length=80)  # as it is asked for: Patient-1
    kind = models.CharField(max_length=8, choices=Kind.choices)
    rtype = models.CharField(max_length=40)  # of its lines
    count = models.BigIntegerField(default=0)  # lines
    size = models.BigIntegerField(default=0)  # bytes as they are read
    stored = models.BigIntegerField(default=0)  # bytes as they lie here
    crc = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "export", "name"], name="bulk_file_once")]
