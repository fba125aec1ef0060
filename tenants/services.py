"""Making hospitals, people, keys and AE titles. Called by commands and, later, by the sign-up pages."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from journal.audit import Actor, audit_record
from journal.wall.scope import tenant_id_current
from tenants.models import (
    ApiToken,
    Authority,
    CalledAE,
    DeviceCertificate,
    DuplicatePolicy,
    Hook,
    Membership,
    Role,
    Tenant,
    User,
)

STALE_AFTER = timedelta(days=1)


def tenant_create(*, slug: str, name: str, time_zone: str, quiet_seconds: int = 60) -> Tenant:
    """Make a hospital, or bring the one with this slug up to date (idempotent)."""
    tenant, _ = Tenant.objects.update_or_create(
        slug=slug, defaults={"name": name, "time_zone": time_zone, "quiet_seconds": quiet_seconds}
    )
    return tenant


@transaction.atomic
def member_create(*, tenant: Tenant, email: str, password: str, role: str, name: str = "") -> User:
    """Give a person a role; the person is made if new, and the password set only then."""
    user = User.objects.filter(email=email.lower()).first()
    if user is None:
        user = User.objects.create_user(email=email, password=password, name=name)
    Membership.objects.update_or_create(tenant=tenant, user=user, defaults={"role": role})
    return user


def token_create(*, tenant: Tenant, name: str, role: str = "integrator") -> str:
    """A new key; its text is returned this once and never kept."""
    text = f"mh_{secrets.token_urlsafe(32)}"
    ApiToken.objects.create(tenant=tenant, name=name, role=role, prefix=text[:10], digest=token_digest(text))
    return text


def performer_token_create(
    *, tenant: Tenant, name: str, connection_id: int, job: UUID | None = None, lives: timedelta | None = None
) -> str:
    """A key for an AI performer: of one connection, or for as long as `lives` of one job of it. Returned this once, as above."""
    now = timezone.now()
    text = f"mh_{secrets.token_urlsafe(32)}"
    ApiToken.objects.create(
        tenant=tenant, name=name, role=Role.PERFORMER, prefix=text[:10], digest=token_digest(text), connection_id=connection_id,
        job=job, expires_at=now + lives if lives is not None else None,
    )  # fmt: skip
    stale = ApiToken.objects.filter(tenant=tenant, expires_at__lt=now - STALE_AFTER)
    if stale.exists():  # a delete makes every process forget the tokens that it knows: not once a job
        stale.delete()
    return text


def job_tokens_revoke(*, tenant_id: int, job: UUID) -> None:
    """The job is over: its keys open nothing any more."""
    ApiToken.objects.filter(tenant_id=tenant_id, job=job, revoked_at=None).update(revoked_at=timezone.now())


def token_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def called_ae_set(*, tenant: Tenant, ae_title: str) -> None:
    """Give a hospital one of our AE titles. Raises AETitleTakenError if another hospital holds it."""
    holder = CalledAE.objects.filter(ae_title=ae_title).first()
    if holder is None:
        CalledAE.objects.create(ae_title=ae_title, tenant=tenant)
    elif holder.tenant_id != tenant.id or holder.connection_id is not None:
        raise AETitleTakenError(ae_title)


def return_ae_set(
    *, tenant: Tenant, ae_title: str, connection_id: int, calling_ae: str, addresses: Sequence[str] = (), needs_tls: bool = False
) -> None:
    """Let the results of an AI connection come back to this AE title, from this calling one at these addresses (or networks), over

    TLS alone where it is said. A title that images are sent to cannot become one: images would be refused from then on.
    Raises AETitleTakenError, and OpenReturnError when there are neither addresses nor TLS: an AE title is no secret.
    """
    if not addresses and not needs_tls:
        raise OpenReturnError(ae_title)
    holder = CalledAE.objects.filter(ae_title=ae_title).first()
    if holder is not None and (holder.tenant_id, holder.connection_id) != (tenant.id, connection_id):
        raise AETitleTakenError(ae_title)
    with transaction.atomic():
        CalledAE.objects.filter(tenant=tenant, connection_id=connection_id).exclude(ae_title=ae_title).delete()
        CalledAE.objects.update_or_create(
            ae_title=ae_title, defaults={
                "tenant": tenant, "connection_id": connection_id, "calling_ae": calling_ae, "addresses": list(addresses),
                "needs_tls": needs_tls,
            },
        )  # fmt: skip


def return_ae_clear(*, tenant: Tenant, connection_id: int) -> None:
    """Results of this connection come back by C-STORE no more."""
    CalledAE.objects.filter(tenant=tenant, connection_id=connection_id).delete()


class OpenReturnError(Exception):
    """Anybody who knows two AE titles could bring results."""


class AETitleTakenError(Exception):
    """The AE title belongs to another hospital, or serves something else in this one."""


def duplicate_policy_set(*, policy: str, actor: Actor) -> None:
    """Choose what becomes of duplicates at the hospital in scope. Raises ValueError for a policy that there is not."""
    if policy not in DuplicatePolicy.values:
        raise ValueError("there is no such policy")
    tenant_id = tenant_id_current()
    if Tenant.objects.filter(id=tenant_id).exclude(duplicate_policy=policy).update(duplicate_policy=policy):
        audit_record(
            actor=actor, action="hospital.duplicate_policy", object_type="Hospital", object_id=str(tenant_id), detail={"policy": policy},
        )  # fmt: skip


def us_core_set(*, is_on: bool, actor: Actor) -> None:
    """Say whether the FHIR resources of the hospital in scope name US Core's profiles."""
    tenant_id = tenant_id_current()
    if Tenant.objects.filter(id=tenant_id).exclude(has_us_core=is_on).update(has_us_core=is_on):
        audit_record(
            actor=actor, action="hospital.us_core", object_type="Hospital", object_id=str(tenant_id), detail={"is_on": int(is_on)},
        )  # fmt: skip


def authority_trust(*, tenant_id: int, fingerprint: str, certificate: str) -> None:
    """Let the TLS listener trust this authority of a hospital. `certificate` is PEM."""
    Authority.objects.create(tenant_id=tenant_id, fingerprint=fingerprint, certificate=certificate)


def certificate_place(*, tenant_id: int, fingerprint: str) -> None:
    """Enter an issued certificate into the directory."""
    DeviceCertificate.objects.create(tenant_id=tenant_id, fingerprint=fingerprint)


def hook_set(*, tenant_id: int, hook_id: UUID) -> None:
    """An address that answers may be posted to names this hospital from now on (idempotent)."""
    Hook.objects.get_or_create(id=hook_id, defaults={"tenant_id": tenant_id})
