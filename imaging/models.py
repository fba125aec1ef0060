"""Pixels and where they came from: peers, associations, patients, studies, series, instances, orders, work items."""

import uuid
from typing import Any

from django.db import models
from django.utils import timezone

from journal.wall.models import TenantForeignKey, TenantModel


class Node(TenantModel):
    """A DICOM peer of the hospital. Deny by default: only a listed calling AE may call, and only for what is allowed to it."""

    class RetrieveBy(models.TextChoices):
        MOVE = "move"
        GET = "get"

    ae_title = models.CharField(max_length=16)
    description = models.CharField(max_length=120, default="", blank=True)
    addresses = models.JSONField(default=list, blank=True)  # it may call from: addresses and CIDR networks; empty: any
    host = models.CharField(max_length=255, default="", blank=True)  # where it listens; empty: nothing can be sent there
    port = models.PositiveIntegerField(null=True, blank=True)
    uses_tls = models.BooleanField(default=False)  # when we call it
    is_store_allowed = models.BooleanField(default=True)
    is_find_allowed = models.BooleanField(default=False)
    is_move_allowed = models.BooleanField(default=False)
    is_get_allowed = models.BooleanField(default=False)
    is_commit_allowed = models.BooleanField(default=False)
    is_worklist_allowed = models.BooleanField(default=False)
    retrieve_by = models.CharField(max_length=4, choices=RetrieveBy.choices, default=RetrieveBy.MOVE)  # when we pull from it
    is_asked_for_priors = models.BooleanField(default=False)
    priors_count = models.PositiveSmallIntegerField(default=3)  # newest ones
    priors_years = models.PositiveSmallIntegerField(default=5)  # not older than
    tls_certificate = models.TextField(default="", blank=True)  # PEM: the only one it may show when we call it; empty: by trust
    last_check = models.JSONField(null=True, blank=True)  # hops of the last node_check, in words
    checked_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "ae_title"], name="node_ae_once")]


class Association(TenantModel):
    """Our side of one association. `seen_at` is a heartbeat: an open one that stops beating is no longer in flight."""

    calling_ae = models.CharField(max_length=16)
    called_ae = models.CharField(max_length=16)
    address = models.GenericIPAddressField()
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=16, default="open")  # open, released, aborted, lost, refused
    reason = models.CharField(max_length=120, default="", blank=True)
    stored = models.PositiveIntegerField(default=0)
    is_secure = models.BooleanField(default=False)  # over TLS, with a client certificate
    trace_id = models.CharField(max_length=32, default="", blank=True)

    class Meta:
        indexes = [models.Index(fields=["tenant_id", "-started_at"], name="association_by_time")]


class AuthorityKey(TenantModel):
    """The private half of the hospital's certificate authority, sealed; `tenants.Authority` is the public one."""

    generation = models.PositiveSmallIntegerField(default=1)
    fingerprint = models.CharField(max_length=64)
    sealed_key = models.TextField()  # tenants.crypto

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "generation"], name="authority_once")]


class Certificate(TenantModel):
    """One that the hospital's authority has issued. `due_at` is when somebody must be warned of its end, or ours renewed."""

    class Kind(models.TextChoices):
        REQUEST = "request"  # the key is the device's own
        MADE = "made"  # we made the key, showed it once and kept nothing
        OWN = "own"  # what we show when we call a node over TLS

    kind = models.CharField(max_length=8, choices=Kind.choices)
    name = models.CharField(max_length=64)
    hosts = models.JSONField(default=list)
    node = TenantForeignKey(Node, models.SET_NULL, null=True)  # the only one that may use it; null: any of the hospital
    serial = models.CharField(max_length=40)  # hex
    fingerprint = models.CharField(max_length=64)  # SHA-256, hex
    key_fingerprint = models.CharField(max_length=64)
    key_words = models.CharField(max_length=16)
    pem = models.TextField()
    sealed_key = models.TextField(default="", blank=True)  # of our own only
    not_before = models.DateTimeField()
    not_after = models.DateTimeField()
    created_at = models.DateTimeField()
    seen_at = models.DateTimeField(null=True)  # last association with it
    revoked_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=32, default="", blank=True)  # of the revocation, RFC 5280 5.3.1
    due_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "fingerprint"], name="certificate_once")]
        indexes = [
            models.Index(fields=["tenant_id", "-id"], name="certificate_by_arrival"),
            models.Index(fields=["due_at"], name="certificate_due", condition=models.Q(due_at__isnull=False)),
        ]


class FoldedField(models.TextField):  # type: ignore[type-arg]
    """Text as it is compared (`imaging.query.fold`): sorts by bytes, so a prefix is a range that an index serves."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"db_collation": "C", "default": "", "blank": True, "editable": False, **kwargs})


class Patient(TenantModel):
    """Keyed by (issuer, PatientID). Without a PatientID the study's UID stands in: unidentified people are never merged.

    `variant` is empty for the first person of a key and a hash of name and birth date for another one who came under the
    same key: two people, one work item, never one row.
    """

    uuid = models.UUIDField(default=uuid.uuid4, editable=False)
    issuer = models.CharField(max_length=64, default="", blank=True)
    patient_id = models.CharField(max_length=64, default="", blank=True)
    variant = models.CharField(max_length=64, default="", blank=True)
    name = models.CharField(max_length=324, default="", blank=True)  # as received, groups separated by =
    birth_date = models.CharField(max_length=8, default="", blank=True)  # DA as received: may be partial
    sex = models.CharField(max_length=16, default="", blank=True)
    merged_into = TenantForeignKey("self", models.PROTECT, null=True)  # somebody decided that the two are one
    extra = models.TextField(default="", blank=True)  # optional attributes by tag, JSON (`imaging.query.attributes`)
    name_key = FoldedField()  # one column a component group: any of the three is found
    name_ideographic_key = FoldedField()
    name_phonetic_key = FoldedField()
    patient_id_key = FoldedField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "issuer", "patient_id", "variant"], name="patient_once"),
            models.UniqueConstraint(fields=["tenant_id", "uuid"], name="patient_uuid_once"),
        ]
        indexes = [
            models.Index(fields=["tenant_id", "name_key"], name="patient_by_name"),
            models.Index(fields=["tenant_id", "name_ideographic_key"], name="patient_by_ideographic"),
            models.Index(fields=["tenant_id", "name_phonetic_key"], name="patient_by_phonetic"),
            models.Index(fields=["tenant_id", "patient_id_key"], name="patient_by_number"),
        ]


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
            models.Index(fields=["tenant_id", "started_key"], name="study_by_start"),
            models.Index(fields=["tenant_id", "accession_key"], name="study_by_accession"),
            models.Index(fields=["tenant_id", "identifier_key"], name="study_by_identifier"),
            models.Index(fields=["due_at"], name="study_due", condition=models.Q(due_at__isnull=False)),
        ]


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


class Transfer(TenantModel):
    """Studies between a node and us, on our initiative. `due_at` is the lease and the pace; `claim` says whose lease it is."""

    class Kind(models.TextChoices):
        PULL = "pull"
        SEND = "send"
        MIGRATE = "migrate"  # everything that a query by days finds
        PRIORS = "priors"

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    kind = models.CharField(max_length=8, choices=Kind.choices)
    node = TenantForeignKey(Node, models.SET_NULL, null=True)
    node_ae = models.CharField(max_length=16)  # what the node was called
    method = models.CharField(max_length=4, default="", blank=True)  # move or get; empty for a send
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    query = models.JSONField(default=dict)  # migrate: from, to, modalities; priors: study, years, count
    cursor = models.CharField(max_length=16, default="", blank=True)  # migrate: the next day to list; else empty, or "listed"
    studies = models.PositiveIntegerField(default=0)
    studies_done = models.PositiveIntegerField(default=0)  # with all that the node has of them
    studies_failed = models.PositiveIntegerField(default=0)
    remaining = models.PositiveIntegerField(default=0)  # objects of the study that is under way
    completed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    warned = models.PositiveIntegerField(default=0)
    failed_uids = models.JSONField(default=list)  # the first ones (`transfers.FAILED_KEPT`)
    last_error = models.CharField(max_length=200, default="", blank=True)  # our words
    objects_per_minute = models.PositiveIntegerField(null=True)
    studies_per_minute = models.PositiveIntegerField(null=True)
    hour_from = models.PositiveSmallIntegerField(null=True)  # only between these hours of the hospital's day
    hour_to = models.PositiveSmallIntegerField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)  # in a row without reaching the node
    claim = models.BigIntegerField(default=0)
    unique_on = models.CharField(max_length=64)  # a replay must not make a second one
    created_by = models.CharField(max_length=64, default="", blank=True)
    trace_id = models.CharField(max_length=32, default="", blank=True)
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "unique_on"], name="transfer_once")]
        indexes = [
            models.Index(fields=["tenant_id", "-id"], name="transfer_by_arrival"),
            models.Index(fields=["due_at"], name="transfer_due", condition=models.Q(due_at__isnull=False)),
        ]


class TransferStudy(TenantModel):
    """One study of a transfer, and how far it has come: what a restart goes on from."""

    class State(models.TextChoices):
        WAITING = "waiting"
        DONE = "done"
        FAILED = "failed"

    transfer = TenantForeignKey(Transfer, models.CASCADE)
    study_uid = models.CharField(max_length=64)
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    asked_at = models.DateTimeField(null=True)  # the node said that all objects have gone; the rows are still to be looked at
    position = models.BigIntegerField(default=0)  # send: the last instance that was answered
    expected = models.PositiveIntegerField(default=0)  # objects that the node has
    completed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    warned = models.PositiveIntegerField(default=0)
    reason = models.CharField(max_length=200, default="", blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "transfer", "study_uid"], name="transfer_study_once")]
        indexes = [
            models.Index(fields=["tenant_id", "transfer", "state", "id"], name="transfer_study_next"),
            models.Index(fields=["tenant_id", "study_uid"], name="transfer_study_by_uid"),
        ]


class CommitmentRequest(TenantModel):
    """A node asked us to take responsibility for objects (PS3.4 Annex J). `due_at` is the lease and the pace of our answer.

    The same transaction UID with the same references (`digest`) is the same request; with others it is `is_duplicate`.
    """

    class State(models.TextChoices):
        WAITING = "waiting"  # to be checked against the archive, or reported
        DONE = "done"  # the node has taken our report
        DEAD = "dead"  # given up: a person may send it again

    node = TenantForeignKey(Node, models.SET_NULL, null=True)
    node_ae = models.CharField(max_length=16)
    called_ae = models.CharField(max_length=16)  # what it called us: what we call ourselves when we report
    transaction_uid = models.CharField(max_length=64)
    digest = models.CharField(max_length=64)
    is_duplicate = models.BooleanField(default=False)
    references = models.JSONField(default=dict)  # SOP class -> SOP instances; empty once the node knows
    number_of_references = models.PositiveIntegerField(default=0)
    failures = models.JSONField(null=True)  # SOP instance -> reason of PS3.4 J.3.3; null until checked
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    last_error = models.CharField(max_length=200, default="", blank=True)  # our words
    claim = models.BigIntegerField(default=0)
    trace_id = models.CharField(max_length=32, default="", blank=True)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "node_ae", "transaction_uid", "digest"], name="commitment_once")
        ]
        indexes = [
            models.Index(fields=["tenant_id", "state", "-id"], name="commitment_by_state"),
            models.Index(fields=["due_at"], name="commitment_due", condition=models.Q(due_at__isnull=False)),
        ]
