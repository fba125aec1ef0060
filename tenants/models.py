"""Whose it is: hospitals, people and the directory that the doors read before a scope exists. No clinical data here."""

import uuid
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from journal.wall.ids import id_new
from journal.wall.models import TenantForeignKey, TenantModel


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **extra: Any) -> "User":
        user = self.model(email=self.normalize_email(email).lower(), **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user


class User(AbstractBaseUser, PermissionsMixin):
    """A person, member of any number of hospitals. Signs in by e-mail."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(_("e-mail"), unique=True)
    name = models.CharField(_("name"), max_length=120, blank=True)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    date_joined = models.DateTimeField(default=timezone.now)

    objects = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    def __str__(self) -> str:
        return str(self.id)


class DuplicatePolicy(models.TextChoices):
    """What becomes of an object whose SOP Instance UID is taken by other content. Identical content is success in all three."""

    ASIDE = "aside", _("Keep it aside until somebody decides")
    REFUSE = "refuse", _("Refuse it")
    REPLACE = "replace", _("Let it replace the stored one")


class Tenant(models.Model):
    """A hospital: bigint inside, uuid and slug outside."""

    id = models.BigIntegerField(primary_key=True, default=id_new, editable=False)
    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    slug = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=120)
    time_zone = models.CharField(max_length=64, default="UTC")
    quiet_seconds = models.PositiveSmallIntegerField(default=60)
    quota_bytes = models.BigIntegerField(default=2 * 1024**4)
    duplicate_policy = models.CharField(max_length=8, choices=DuplicatePolicy.choices, default=DuplicatePolicy.ASIDE)
    has_us_core = models.BooleanField(default=False)  # our FHIR resources name US Core's profiles where they hold
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.slug


class Role(models.TextChoices):
    OWNER = "owner", _("Owner (CIO)")
    ADMIN = "admin", _("Administrator")
    RADIOLOGIST = "radiologist", _("Radiologist")
    INTEGRATOR = "integrator", _("Integrator")
    AUDITOR = "auditor", _("Auditor")
    BILLING = "billing", _("Billing")
    PERFORMER = "performer", _("AI performer (machines only)")


class Membership(models.Model):
    """A person's role in one hospital."""

    id = models.BigIntegerField(primary_key=True, default=id_new, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE)
    user = models.ForeignKey(User, models.CASCADE)
    role = models.CharField(max_length=16, choices=Role.choices)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "user"], name="membership_once")]

    def __str__(self) -> str:
        return str(self.id)


class OAuthClient(models.Model):
    """A program of a hospital: read before a scope exists, by its id, when it asks for a token. Public keys only."""

    id = models.BigIntegerField(primary_key=True, default=id_new, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE)
    client_id = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=80)
    kind = models.CharField(max_length=16)  # backend: signs in with a key pair; key: a plain key with scopes; app: acts for a person
    scopes = models.TextField()  # what it may be given at most, separated by spaces
    auth_method = models.CharField(max_length=32, default="", db_default="", blank=True)  # of an app, in RFC 7591's words
    secret_digest = models.CharField(max_length=64, default="", db_default="", blank=True)  # of client_secret_basic: its SHA-256
    redirect_uris = models.JSONField(default=list, db_default=[], blank=True)  # of an app: where codes may go, to the letter
    launch_url = models.CharField(max_length=500, default="", db_default="", blank=True)  # of an app that the study page may open
    jwks = models.JSONField(default=dict, blank=True)  # as registered, or as last fetched
    jwks_url = models.CharField(max_length=500, default="", blank=True)
    jwks_at = models.DateTimeField(null=True, blank=True)
    created_by = models.CharField(max_length=128, default="", blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.client_id


class OAuthAssertion(models.Model):
    """An assertion's jti that was used, by a digest with its client: it is not taken twice (RFC 7523 3)."""

    digest = models.CharField(max_length=64, primary_key=True)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.digest


class ApiToken(models.Model):
    """A machine's key. Only its SHA-256 is kept: 32 random bytes need no slow hash.

    A performer's key is bound to one AI connection, and a short-lived one to one job of it as well.
    """

    id = models.BigIntegerField(primary_key=True, default=id_new, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE)
    name = models.CharField(max_length=80)
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.INTEGRATOR)
    prefix = models.CharField(max_length=12)
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(default=timezone.now)
    revoked_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    connection_id = models.BigIntegerField(null=True, blank=True)  # ai.Connection: plain, the directory knows no walled table
    job = models.UUIDField(null=True, blank=True)
    scopes = models.TextField(default="", db_default="", blank=True)  # SMART scopes; empty: all that the role may
    client = models.ForeignKey(OAuthClient, models.CASCADE, null=True, blank=True)
    user = models.ForeignKey(User, models.CASCADE, null=True, blank=True)  # of an app: whom it acts for, with the role of the moment
    grant_id = models.BigIntegerField(null=True, blank=True)  # OAuthGrant: plain, the directory knows no walled table

    def __str__(self) -> str:
        return str(self.id)


class CalledAE(models.Model):
    """Our AE titles: the called title of an association names the hospital (PS3.8 9.3.2).

    One with a connection is where that AI platform's results come back: nothing else may be sent there, by nobody else.
    """

    ae_title = models.CharField(max_length=16, primary_key=True)
    tenant = models.ForeignKey(Tenant, models.CASCADE)
    connection_id = models.BigIntegerField(null=True, blank=True)
    calling_ae = models.CharField(max_length=16, default="", blank=True)  # of the platform, with a connection only
    addresses = models.JSONField(default=list, blank=True)  # that its results may come from; empty: from anywhere, over TLS alone
    needs_tls = models.BooleanField(default=False)  # with a client certificate that the hospital has issued

    def __str__(self) -> str:
        return self.ae_title


class Authority(models.Model):
    """A hospital's certificate authority, its public half: who may shake hands over TLS is known before whose it is."""

    fingerprint = models.CharField(max_length=64, primary_key=True)  # SHA-256 of the certificate, hex
    tenant = models.ForeignKey(Tenant, models.CASCADE)
    certificate = models.TextField()  # PEM
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.fingerprint


class DeviceCertificate(models.Model):
    """A client certificate that one of our authorities has issued: its fingerprint names the hospital. Never deleted."""

    fingerprint = models.CharField(max_length=64, primary_key=True)  # SHA-256, hex
    tenant = models.ForeignKey(Tenant, models.CASCADE)

    def __str__(self) -> str:
        return self.fingerprint


class Hl7Source(models.Model):
    """Who may send HL7 v2 messages: read before it is known whose they are. Without TLS the peer's address must be one of `addresses`."""

    id = models.BigIntegerField(primary_key=True, default=id_new, editable=False)
    tenant = models.ForeignKey(Tenant, models.CASCADE)
    name = models.CharField(max_length=80)
    addresses = models.JSONField(default=list, blank=True)  # addresses and networks; empty only with TLS
    needs_tls = models.BooleanField(default=False)  # with a client certificate that the hospital has issued
    sending_application = models.CharField(max_length=64, default="", blank=True)  # MSH-3 to MSH-6; empty: any
    sending_facility = models.CharField(max_length=64, default="", blank=True)
    receiving_application = models.CharField(max_length=64, default="", blank=True)
    receiving_facility = models.CharField(max_length=64, default="", blank=True)
    connection_id = models.BigIntegerField(null=True, blank=True)  # an AI platform whose results come so: then nothing else may
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return str(self.id)


class Hook(models.Model):
    """An address that a platform posts answers to: its id, which is the connection's, names the hospital."""

    id = models.UUIDField(primary_key=True)
    tenant = models.ForeignKey(Tenant, models.CASCADE)

    def __str__(self) -> str:
        return str(self.id)


class SavedFilter(TenantModel):
    """A filter of the worklist that somebody keeps under a name. Holds no text that was searched for: that names people."""

    owner = models.CharField(max_length=64)  # journal.audit.Actor.name: user:<id>, token:<id>
    name = models.CharField(max_length=60)
    wish = models.JSONField(default=dict)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant_id", "owner", "name"], name="saved_filter_once")]


class OAuthLaunch(TenantModel):
    """An app is being opened from a page: by whom, and on which patient and study (SMART App Launch 2.2, EHR launch). Good once."""

    client_id = models.BigIntegerField()
    user_id = models.UUIDField()
    digest = models.CharField(max_length=64)
    patient = models.CharField(max_length=64)  # ids of FHIR resources
    study = models.CharField(max_length=64, default="", blank=True)
    expires_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[Any]] = [models.UniqueConstraint(fields=["tenant_id", "digest"], name="oauthlaunch_once")]


class OAuthGrant(TenantModel):
    """A person has let an app in: with which scopes, and on which patient. Begins with a code that is good once; ends all its tokens."""

    client_id = models.BigIntegerField()
    user_id = models.UUIDField()
    scopes = models.TextField()
    patient = models.CharField(max_length=64, default="", blank=True)
    study = models.CharField(max_length=64, default="", blank=True)
    redirect_uri = models.CharField(max_length=500)
    code_challenge = models.CharField(max_length=128)
    code_digest = models.CharField(max_length=64)
    code_expires_at = models.DateTimeField()
    code_used_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()  # the last moment at which it is renewed
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [models.UniqueConstraint(fields=["tenant_id", "code_digest"], name="oauthgrant_code_once")]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["tenant_id", "client_id", "id"], name="oauthgrant_client"),
        ]


class OAuthRefresh(TenantModel):
    """A refresh token by its digest. Good once: whoever brings a used one ends the grant (RFC 9700 4.14.2)."""

    grant = TenantForeignKey(OAuthGrant, models.CASCADE)
    digest = models.CharField(max_length=64)
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [models.UniqueConstraint(fields=["tenant_id", "digest"], name="oauthrefresh_once")]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["tenant_id", "grant"], name="oauthrefresh_grant"),
        ]
