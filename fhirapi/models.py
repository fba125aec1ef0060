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


class Subscriber(TenantModel):
    """What the hub keeps of a Subscription: whom to tell, about what, and how far it was told.

    `due_at` is the lease while a notification is on its way, else when the next is due; `claim` says whose lease it is.
    Events up to `last_number` are numbered, those up to `sent_number` were taken.
    """

    class State(models.TextChoices):
        REQUESTED = "requested"
        ACTIVE = "active"
        ERROR = "error"
        OFF = "off"

    class Content(models.TextChoices):
        EMPTY = "empty"
        ID_ONLY = "id-only"
        FULL = "full-resource"

    fhir_id = models.CharField(max_length=64)
    state = models.CharField(max_length=10, choices=State.choices, default=State.REQUESTED)
    topic = models.CharField(max_length=40, default="", blank=True)  # none: R4 criteria
    rtype = models.CharField(max_length=40)
    filters = models.JSONField(default=list)  # searches without their type; all must be met
    endpoint = models.TextField()
    headers = models.TextField(default="", blank=True)  # sealed JSON: they hold the receiver's secret
    content = models.CharField(max_length=14, choices=Content.choices)
    heartbeat_seconds = models.IntegerField(default=0)  # none
    timeout_seconds = models.IntegerField(default=10)
    max_count = models.IntegerField(default=1)
    until = models.DateTimeField(null=True)
    creator = models.CharField(max_length=80)
    role = models.CharField(max_length=20)
    last_number = models.BigIntegerField(default=0)
    sent_number = models.BigIntegerField(default=0)
    attempts = models.SmallIntegerField(default=0)  # since the last answer of 2xx
    words = models.CharField(max_length=300, default="", blank=True)
    success_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)
    beat_at = models.DateTimeField(null=True)  # when it was last told anything
    claim = models.BigIntegerField(default=0)
    created_at = models.DateTimeField()
    due_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "fhir_id"], name="subscriber_once")]
        indexes = [models.Index(fields=["due_at"], name="subscriber_due", condition=models.Q(due_at__isnull=False))]


class SubscriptionEvent(TenantModel):
    """A version that a subscriber is told about. It has no number, and is due, until a worker has seen it committed."""

    subscriber = TenantForeignKey(Subscriber, models.CASCADE)
    number = models.BigIntegerField(null=True)
    rtype = models.CharField(max_length=40)
    fhir_id = models.CharField(max_length=64)
    version = models.IntegerField()
    at = models.DateTimeField()
    due_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "subscriber", "number"], name="subscription_event_number_once")]
        indexes = [models.Index(fields=["due_at"], name="subscription_event_due", condition=models.Q(due_at__isnull=False))]


class EhrServer(TenantModel):
    """A FHIR server of the hospital's own that gets each issued report, and how we sign in there."""

    class Auth(models.TextChoices):
        NONE = "none"
        BASIC = "basic"
        BEARER = "bearer"
        SMART = "smart"

    uuid = models.UUIDField(default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=80)
    base_url = models.TextField()
    auth = models.CharField(max_length=8, choices=Auth.choices, default=Auth.NONE)
    user = models.CharField(max_length=200, default="", blank=True)
    secret = models.TextField(default="", blank=True)  # sealed: password or token
    client_id = models.CharField(max_length=200, default="", blank=True)
    token_url = models.TextField(default="", blank=True)  # else as its .well-known says
    scope = models.CharField(max_length=400, default="", blank=True)
    algorithm = models.CharField(max_length=5, default="RS384")
    private_key = models.TextField(default="", blank=True)  # sealed PEM, made here
    public_jwk = models.JSONField(default=dict, blank=True)
    has_studies = models.BooleanField(default=True)  # takes ImagingStudies from outside
    is_enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "uuid"], name="ehr_server_uuid_once")]


class EhrPush(TenantModel):
    """One version of a DiagnosticReport on its way to one server. `due_at` is the lease while it is sent, else when it is due."""

    class State(models.TextChoices):
        QUEUED = "queued"
        SENDING = "sending"
        DELIVERED = "delivered"
        FAILED = "failed"  # and will be tried again
        DEAD = "dead"  # until somebody asks for it again
        SUPERSEDED = "superseded"

    server = TenantForeignKey(EhrServer, models.CASCADE)
    report = models.CharField(max_length=64)  # the DiagnosticReport's id
    version = models.IntegerField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    attempts = models.SmallIntegerField(default=0)
    words = models.CharField(max_length=300, default="", blank=True)
    trace_id = models.CharField(max_length=32, default="", blank=True)
    claim = models.BigIntegerField(default=0)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "server", "report", "version"], name="ehr_push_once")]
        indexes = [models.Index(fields=["due_at"], name="ehr_push_due", condition=models.Q(due_at__isnull=False))]


class EhrAttempt(TenantModel):
    """What came of one try: the HTTP status and the codes of the OperationOutcome, never its words."""

    push = TenantForeignKey(EhrPush, models.CASCADE)
    is_good = models.BooleanField()
    status = models.IntegerField(default=0)  # 0: no answer
    words = models.CharField(max_length=300)
    milliseconds = models.IntegerField()
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["tenant_id", "push", "id"], name="ehr_attempt_push")]
