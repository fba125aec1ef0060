"""What platforms say: connections, rules, decisions, jobs, results, reports."""

import uuid

from django.db import models

from imaging.models import Study
from journal.wall.models import TenantForeignKey, TenantModel


class Stage(models.TextChoices):
    """How far a platform is let into the house; each step is a person's."""

    TEST = "test"  # rules send nothing: a person does, study by study
    SHADOW = "shadow"  # rules send, results are measured and shown to nobody who reads
    PILOT = "pilot"  # results are shown to named readers, and go nowhere
    LIVE = "live"


class Connection(TenantModel):
    """A hospital's link to one platform. `platform` is a plain slug: a new platform needs no migration."""

    uuid = models.UUIDField(default=uuid.uuid4, editable=False)
    platform = models.SlugField(max_length=40, db_index=False)
    name = models.CharField(max_length=80)
    is_enabled = models.BooleanField(default=True)
    stage = models.CharField(max_length=8, choices=Stage.choices, default=Stage.LIVE)
    pilot_readers = models.JSONField(default=list)  # ids of the users who see its results in the pilot
    terms = models.CharField(max_length=16, default="", blank=True)  # version that was accepted; the words: TermsAcceptance
    is_test = models.BooleanField(default=False)  # a stand-in answers: its results never bear the vendor's name
    settings = models.JSONField(default=dict)  # what is no secret, by the names of Platform.settings
    secrets = models.TextField(default="", blank=True)  # the rest as a JSON object, sealed (tenants.crypto)
    pseudonyms = models.TextField(default="", blank=True)  # the sealed key that surrogates are made with; never changes
    checked_at = models.DateTimeField(null=True)
    is_check_good = models.BooleanField(null=True)
    check_words = models.CharField(max_length=300, default="", blank=True)
    failures = models.PositiveIntegerField(default=0)  # in a row; the circuit breaker's memory
    broken_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "platform"], name="connection_once")]


class RuleSet(TenantModel):
    """One version of a hospital's routing rules, in their order. A draft is edited; what was active is never changed any more.

    `rules` are data over a closed vocabulary (ai.routing): [{"id", "name", "platform", "algorithm", "conditions", "series", "is_stat"}].
    """

    class State(models.TextChoices):
        DRAFT = "draft"
        ACTIVE = "active"
        RETIRED = "retired"

    number = models.PositiveIntegerField()
    state = models.CharField(max_length=8, choices=State.choices, default=State.DRAFT)
    rules = models.JSONField(default=list)
    revision = models.PositiveIntegerField(default=1)  # of a draft: who edits an older one is told
    based_on = models.PositiveIntegerField(default=0)
    note = models.CharField(max_length=200, default="", blank=True)
    created_by = models.CharField(max_length=64)
    created_at = models.DateTimeField()
    changed_by = models.CharField(max_length=64)
    changed_at = models.DateTimeField()
    activated_by = models.CharField(max_length=64, default="", blank=True)
    activated_at = models.DateTimeField(null=True)
    retired_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "number"], name="ruleset_number_once"),
            models.UniqueConstraint(fields=["tenant_id", "state"], name="ruleset_active_once", condition=models.Q(state="active")),
            models.UniqueConstraint(fields=["tenant_id", "state"], name="ruleset_draft_once", condition=models.Q(state="draft")),
        ]


class Decision(TenantModel):
    """What the rules said of a version of a study: each rule's yes or no with its reason, and the facts that they saw."""

    study = TenantForeignKey(Study, models.CASCADE)
    study_version = models.PositiveIntegerField()
    ruleset = models.PositiveIntegerField(default=0)  # RuleSet.number; 0: no rule was active
    matched = models.PositiveSmallIntegerField(default=0)  # rules that sent it
    summary = models.CharField(max_length=300)  # for the worklist: why nothing was sent, or ""
    outcomes = models.JSONField(default=list)  # [{"rule", "name", "is_match", "reason", "series"?, "series_reasons"?}]
    facts = models.JSONField(null=True)  # ai.eligibility.StudyFacts as data: a dry run asks the same facts again
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "study", "study_version"], name="decision_once")]


class StageChange(TenantModel):
    """A step on the way to live, or back: who, when, from where to where."""

    connection = TenantForeignKey(Connection, models.CASCADE)
    before = models.CharField(max_length=8)  # off, or a Stage
    after = models.CharField(max_length=8)
    note = models.CharField(max_length=200, default="", blank=True)
    by = models.CharField(max_length=64)
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["tenant_id", "connection", "-id"], name="stagechange_by_connection")]


class Job(TenantModel):
    """One algorithm on one version of a study. `due_at` is lease and clock at once; NULL when nothing is left to do."""

    class State(models.TextChoices):
        QUEUED = "queued"
        SENT = "sent"
        DONE = "done"
        NOT_ANALYSABLE = "not_analysable"
        REFUSED = "refused"  # by us, before anything left: entitlement, eligibility
        FAILED = "failed"  # dead letter: shown with resend
        QUARANTINED = "quarantined"  # an answer came and the gate kept it
        CANCELLED = "cancelled"  # by a person

    uuid = models.UUIDField(default=uuid.uuid4, editable=False)
    study = TenantForeignKey(Study, models.CASCADE)
    study_version = models.PositiveIntegerField()
    connection = TenantForeignKey(Connection, models.PROTECT)
    algorithm = models.CharField(max_length=64)
    series = models.BigIntegerField(null=True)
    is_stat = models.BooleanField(default=False)  # before all others, here and there
    stage = models.CharField(max_length=8, choices=Stage.choices, default=Stage.LIVE)  # of its platform when it was made
    rule = models.CharField(max_length=36, default="", blank=True)  # RuleSet.rules[].id that made it; empty: a person
    state = models.CharField(max_length=16, choices=State.choices, default=State.QUEUED)
    attempts = models.PositiveSmallIntegerField(default=0)
    remote_id = models.CharField(max_length=128, default="", blank=True)
    reason = models.CharField(max_length=300, default="", blank=True)
    trace_id = models.CharField(max_length=32, default="", blank=True)
    input_sha256 = models.CharField(max_length=64, default="", blank=True)  # of the objects' own digests: what was asked about
    surrogate_uid = models.CharField(max_length=64, default="", blank=True)  # the study as the platform knows it
    version_said = models.CharField(max_length=64, default="", blank=True)  # of the algorithm, as its answer says
    answer_by = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "study", "study_version", "connection", "algorithm"], name="job_once"),
        ]
        indexes = [
            models.Index(fields=["due_at"], name="job_due", condition=models.Q(due_at__isnull=False)),
            models.Index(fields=["tenant_id", "study"], name="job_by_study"),
            models.Index(fields=["tenant_id", "created_at"], name="job_by_creation"),
            models.Index(fields=["tenant_id", "study"], name="job_of_later_version", condition=models.Q(study_version__gt=1)),
            models.Index(fields=["tenant_id", "surrogate_uid"], name="job_by_surrogate"),
        ]


class JobMapping(TenantModel):
    """What one job told its platform, the other way round (ai.deident.mapping). Identifiers, no names; apart from the job for its size."""

    job = TenantForeignKey(Job, models.CASCADE)
    content = models.TextField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "job"], name="jobmapping_once")]


class Exchange(TenantModel):
    """One conversation about a job: what was tried, what came of it, how long it took. No bodies, no identities."""

    job = TenantForeignKey(Job, models.CASCADE)
    kind = models.CharField(max_length=16)  # send, ask, hook, objects, cancel
    is_good = models.BooleanField()
    words = models.CharField(max_length=300)
    milliseconds = models.PositiveIntegerField()
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["tenant_id", "job"], name="exchange_by_job")]


class Result(TenantModel):
    """A platform's answer as it came, and as the gate read it."""

    job = TenantForeignKey(Job, models.CASCADE)
    payload = models.JSONField()  # ai.findings.Answer with our UIDs; of a quarantined one what came
    files = models.JSONField(default=list)  # DICOM objects that came: [{"name", "sha256", "size"}], files of ai.returned
    is_analysable = models.BooleanField()
    received_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "job"], name="result_once")]


class Report(TenantModel):
    """One version of what a job found, in words and numbers. Never `final` from a machine.

    Versions of one report share the uuid: a late image re-runs the algorithm and the EHR sees version 2 of the same report.
    """

    class Status(models.TextChoices):
        PRELIMINARY = "preliminary"
        FINAL = "final"
        AMENDED = "amended"
        CANCELLED = "cancelled"
        ENTERED_IN_ERROR = "entered-in-error"

    uuid = models.UUIDField(default=uuid.uuid4, editable=False)
    study = TenantForeignKey(Study, models.CASCADE)
    result = TenantForeignKey(Result, models.PROTECT)
    connection = TenantForeignKey(Connection, models.PROTECT)
    algorithm = models.CharField(max_length=64)
    version = models.PositiveIntegerField(default=1)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PRELIMINARY)
    stage = models.CharField(max_length=8, choices=Stage.choices, default=Stage.LIVE)  # of its job: who may see it
    is_by_person = models.BooleanField(default=False)  # a verdict made this version, no result
    conclusion = models.TextField()
    content = models.JSONField()  # ai.contract.ReportContent as data
    trace_id = models.CharField(max_length=32, default="", blank=True)
    issued_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "result"], name="report_once", condition=models.Q(is_by_person=False)),
            models.UniqueConstraint(fields=["tenant_id", "uuid", "version"], name="report_version_once"),
        ]
        indexes = [
            models.Index(fields=["tenant_id", "study"], name="report_by_study"),
            models.Index(fields=["tenant_id", "result"], name="report_by_result"),  # the constraint's own holds machines' versions only
        ]


REJECTED = frozenset({Report.Status.CANCELLED, Report.Status.ENTERED_IN_ERROR})  # by a person: nothing of it is to be used


class ReportDelivery(TenantModel):
    """One report version on its way to one receiver. `due_at` is lease and clock at once; NULL when nothing is left to do.

    `kind` is plain text: an EHR push or an ORU is one more kind on the same rows. `target` is the receiver's own id, "" for our archive.
    With storage commitment (PS3.4 Annex J) a row goes pending, stored, confirmed; `failures` is None until the receiver has answered
    the transaction.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        SENT = "sent"
        STORED = "stored"  # sent, and the receiver is asked whether it answers for it
        CONFIRMED = "confirmed"  # the receiver has taken responsibility, not only the bytes
        OVERDUE = "overdue"  # it was asked, and has not answered in time; it still may
        FAILED = "failed"  # dead letter: shown with resend
        SUPERSEDED = "superseded"  # a person decided before it was sent: what they decided goes in its place

    report = TenantForeignKey(Report, models.CASCADE)
    kind = models.CharField(max_length=16)  # ai.delivery.kinds
    target = models.CharField(max_length=64, default="", blank=True)
    target_name = models.CharField(max_length=64, default="", blank=True)  # what people call it; stays when the receiver is deleted
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)  # since it was last asked for
    words = models.CharField(max_length=300, default="", blank=True)  # of the last answer
    transaction_uid = models.CharField(max_length=64, default="", blank=True)  # written before it is sent
    references = models.JSONField(default=dict, blank=True)  # what commitment is asked for: SOP class -> SOP instances
    failures = models.JSONField(null=True, blank=True)  # SOP instance -> reason (0008,1197) of what is not committed
    asked_at = models.DateTimeField(null=True)  # the receiver has taken the question
    claim = models.BigIntegerField(default=0)
    trace_id = models.CharField(max_length=32, default="", blank=True)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "report", "kind", "target"], name="reportdelivery_once"),
            models.UniqueConstraint(
                fields=["tenant_id", "transaction_uid"], name="reportdelivery_transaction", condition=~models.Q(transaction_uid="")
            ),
        ]
        indexes = [
            models.Index(fields=["due_at"], name="reportdelivery_due", condition=models.Q(due_at__isnull=False)),
            models.Index(fields=["tenant_id", "state", "-id"], name="reportdelivery_by_state"),
        ]


class DeliveryAttempt(TenantModel):
    """One try of a delivery: when, what came of it, how long it took. Our words and status codes, never a value of an object."""

    delivery = TenantForeignKey(ReportDelivery, models.CASCADE)
    is_good = models.BooleanField()
    words = models.CharField(max_length=300)
    milliseconds = models.PositiveIntegerField()
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["tenant_id", "delivery"], name="deliveryattempt_by_delivery")]


# Django finds models in this module only; these know the ones above by name.
from ai.governmodels import Disclosure, Recall, TermsAcceptance  # noqa: E402
from ai.reviewmodels import Verdict  # noqa: E402
from ai.workmodels import ReturnedObject, Workitem, WorkitemSubscription  # noqa: E402

__all__ = [
    "Connection", "Decision", "DeliveryAttempt", "Disclosure", "Exchange", "Job", "JobMapping", "Recall", "Report", "ReportDelivery",
    "Result", "ReturnedObject", "RuleSet", "StageChange", "TermsAcceptance", "Verdict", "Workitem", "WorkitemSubscription",
]  # fmt: skip
