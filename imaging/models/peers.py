"""Who calls and who is called: nodes, associations, the certificates that they show."""

from django.db import models

from journal.wall.models import TenantForeignKey, TenantModel


class Node(TenantModel):
    """A DICOM peer of the hospital. Deny by default: only a listed calling AE may call, and only for what is allowed to it."""

    class RetrieveBy(models.TextChoices):
        MOVE = "move"
        GET = "get"

    class ResultsAs(models.TextChoices):
        NONE = ""
        SR = "sr"
        PDF = "pdf"
        SC = "sc"
        SR_PDF = "sr+pdf"

    class ResultsBy(models.TextChoices):
        DIMSE = "dimse"
        STOW = "stow"

    class WebAuth(models.TextChoices):
        NONE = "none"
        BEARER = "bearer"
        BASIC = "basic"

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
    results_as = models.CharField(max_length=8, choices=ResultsAs.choices, default=ResultsAs.NONE, blank=True)  # AI reports go there
    results_by = models.CharField(max_length=5, choices=ResultsBy.choices, default=ResultsBy.DIMSE)  # C-STORE or STOW-RS
    is_commitment_asked = models.BooleanField(default=False)  # after a C-STORE of results: does it answer for them?
    web_url = models.CharField(max_length=500, default="", blank=True)  # root of its DICOMweb
    web_auth = models.CharField(max_length=6, choices=WebAuth.choices, default=WebAuth.NONE)
    web_user = models.CharField(max_length=120, default="", blank=True)
    web_secret = models.TextField(default="", blank=True)  # token or password, sealed (tenants.crypto)
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
