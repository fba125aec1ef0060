"""Making hospitals, people, keys and AE titles. Called by commands and, later, by the sign-up pages."""

import hashlib
import secrets

from django.db import transaction

from journal.audit import Actor, audit_record
from journal.wall.scope import tenant_id_current
from tenants.models import (
    ApiToken,
    Authority,
    CalledAE,
    DeviceCertificate,
    DuplicatePolicy,
    Membership,
    Tenant,
    User,
)


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


def token_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def called_ae_set(*, tenant: Tenant, ae_title: str) -> None:
    """Give a hospital one of our AE titles. Raises AETitleTakenError if another hospital holds it."""
    holder = CalledAE.objects.filter(ae_title=ae_title).first()
    if holder is None:
        CalledAE.objects.create(ae_title=ae_title, tenant=tenant)
    elif holder.tenant_id != tenant.id:
        raise AETitleTakenError(ae_title)


class AETitleTakenError(Exception):
    """The AE title belongs to another hospital."""


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
