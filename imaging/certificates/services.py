"""Making and revoking certificates of a hospital. Called by the portal, the API and the beat task; each call is in a scope."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from django.db import IntegrityError, transaction
from django.utils import timezone

from imaging.certificates import authority as ca
from imaging.certificates.authority import CertificateError, PrivateKey, Signer, Wish
from imaging.models import AuthorityKey, Certificate, Node, WorkItem
from journal.audit import Actor, audit_record
from journal.wall.scope import tenant_id_current
from tenants.crypto import secret_open, secret_rotate, secret_seal
from tenants.selectors import authority_of, tenant_get
from tenants.services import authority_trust, certificate_place

WARN_DAYS = (60, 14, 0)  # before the end; 0: it has come
MAX_CERTIFICATES = 2000  # alive, of one hospital
WARNING = "certificate-ends"  # kind of the work item
REASONS = ("unspecified", "key_compromise", "superseded", "cessation_of_operation")


@dataclass(frozen=True)
class Made:
    """A certificate and the key that we made for it: shown once, kept nowhere."""

    certificate: Certificate
    key: PrivateKey
    chain: tuple[x509.Certificate, ...]

    @property
    def pem(self) -> str:
        """Key, certificate, authority."""
        return ca.key_pem(self.key).decode() + self.certificate.pem + "".join(map(ca.certificate_pem, self.chain))

    def pkcs12(self, *, password: str) -> bytes:
        """Raises CertificateError."""
        own = ca.certificate_load(self.certificate.pem)
        return ca.pkcs12_pack(self.key, own, self.chain, name=self.certificate.name, password=password)


def authority_ensure() -> Signer:
    """The hospital's authority, made when it is first needed, and with it the certificate that we show to nodes."""
    tenant_id = tenant_id_current()
    found = _authority(tenant_id)
    if found is not None:
        return found
    tenant = tenant_get(tenant_id=tenant_id)
    made = ca.authority_make(name=f"MedHub DICOM CA {tenant.slug}", organization=tenant.name, now=timezone.now())
    fingerprint = ca.fingerprint_of(made.certificate)
    try:
        with transaction.atomic():
            AuthorityKey.objects.create(
                fingerprint=fingerprint, sealed_key=secret_seal(ca.key_pem(made.key), tenant_id=tenant_id)
            )
            authority_trust(tenant_id=tenant_id, fingerprint=fingerprint, certificate=ca.certificate_pem(made.certificate))
            own_issue(signer=made)
    except IntegrityError:  # somebody else was faster; what we have made was never shown to anybody
        found = _authority(tenant_id)
        if found is None:
            raise
        return found
    return made


def _authority(tenant_id: int) -> Signer | None:
    row, public = AuthorityKey.objects.order_by("-generation").first(), authority_of(tenant_id=tenant_id)
    if row is None or public is None:
        return None
    key = ca.key_load(secret_open(row.sealed_key, tenant_id=tenant_id))
    return Signer(ca.certificate_load(public.certificate), key)


def certificate_sign(*, actor: Actor, csr: str, name: str = "", node: Node | None = None) -> Certificate:
    """Sign a device's request; the name is the request's own unless given. Raises CertificateError."""
    wish = ca.request_read(csr)
    wish = Wish(ca.name_check(name or wish.name), wish.hosts, wish.key)
    if Certificate.objects.filter(key_fingerprint=ca.key_fingerprint(wish.key), reason="key_compromise").exists():
        raise CertificateError("csr", "this key was given up as known to others: make a new one")
    row = _issue(authority_ensure(), wish, kind=Certificate.Kind.REQUEST, node=node)
    _issued(actor, row)
    return row


def certificate_make(*, actor: Actor, name: str, hosts: Iterable[str] = (), node: Node | None = None) -> Made:
    """Make a key and its certificate for a device that cannot make requests. Raises CertificateError."""
    checked = ca.name_check(name), ca.hosts_check(hosts)
    key = ca.key_make()
    signer = authority_ensure()
    row = _issue(signer, Wish(*checked, key.public_key()), kind=Certificate.Kind.MADE, node=node)
    _issued(actor, row)
    return Made(row, key, (signer.certificate,))


def own_issue(*, signer: Signer | None = None) -> Certificate:
    """A new certificate of ours, to show to nodes that we call."""
    key = ca.key_make()
    tenant_id = tenant_id_current()
    name = f"MedHub {tenant_get(tenant_id=tenant_id).slug}"
    sealed = secret_seal(ca.key_pem(key), tenant_id=tenant_id)
    return _issue(signer or authority_ensure(), Wish(name, (), key.public_key()), kind=Certificate.Kind.OWN, sealed_key=sealed)


def _issue(signer: Signer, wish: Wish, *, kind: str, node: Node | None = None, **facts: Any) -> Certificate:
    now = timezone.now()
    if Certificate.objects.filter(revoked_at=None, not_after__gt=now).count() >= MAX_CERTIFICATES:
        raise CertificateError("name", f"at most {MAX_CERTIFICATES} certificates: revoke those that nobody uses")
    made = ca.certificate_issue(signer, wish, now=now)
    fingerprint = ca.fingerprint_of(made)
    row: Certificate = Certificate.objects.create(
        kind=kind, name=wish.name, hosts=list(wish.hosts), node=node, serial=f"{made.serial_number:x}", fingerprint=fingerprint,
        key_fingerprint=ca.key_fingerprint(wish.key), key_words=ca.key_words(wish.key), pem=ca.certificate_pem(made),
        not_before=made.not_valid_before_utc, not_after=made.not_valid_after_utc, created_at=now,
        due_at=made.not_valid_after_utc - timedelta(days=WARN_DAYS[0]), **facts,
    )  # fmt: skip
    certificate_place(tenant_id=tenant_id_current(), fingerprint=fingerprint)
    return row


def _issued(actor: Actor, row: Certificate) -> None:
    """What the new one replaces need not be warned of any more."""
    audit_record(
        actor=actor, action=f"certificate.{row.kind}", object_type="Certificate", object_id=str(row.id),
        detail={"fingerprint": row.fingerprint},
    )  # fmt: skip
    older = Certificate.objects.exclude(id=row.id).exclude(kind=Certificate.Kind.OWN)
    older = older.filter(node=row.node) if row.node_id else older.filter(node=None, name=row.name)
    _warnings_resolve(older.values_list("id", flat=True))
    older.update(due_at=None)


def certificate_revoke(*, actor: Actor, certificate: Certificate, reason: str = "unspecified") -> None:
    """From its next association on it is refused. Idempotent. Raises CertificateError."""
    if reason not in REASONS:
        raise CertificateError("reason", f"a reason is one of {', '.join(REASONS)}")
    changed = Certificate.objects.filter(id=certificate.id, revoked_at=None).update(
        revoked_at=timezone.now(), reason=reason, due_at=None
    )
    _warnings_resolve([certificate.id])
    if changed:
        audit_record(
            actor=actor, action="certificate.revoke", object_type="Certificate", object_id=str(certificate.id),
            detail={"reason": reason},
        )  # fmt: skip
        if certificate.kind == Certificate.Kind.OWN:
            own_issue()
    certificate.refresh_from_db()


def node_certificates_revoke(*, actor: Actor, node: Node) -> None:
    """A node that is deleted takes its certificates along: unbound they would open the door for any other."""
    for certificate in Certificate.objects.filter(node=node, revoked_at=None):
        certificate_revoke(actor=actor, certificate=certificate, reason="cessation_of_operation")


def revocations() -> bytes:
    """The hospital's revocation list, signed now, PEM."""
    rows = Certificate.objects.exclude(revoked_at=None).order_by("id").values_list("serial", "revoked_at", "reason")
    return ca.revocations_sign(
        authority_ensure(), [(int(serial, 16), at, reason) for serial, at, reason in rows], now=timezone.now()
    )


def certificate_warn(*, certificate_id: int, now: datetime) -> None:
    """60 and 14 days before its end, and at it: a work item that replaces the one before. Ours is renewed instead."""
    row = Certificate.objects.select_for_update().filter(id=certificate_id, revoked_at=None).first()
    if row is None or row.due_at is None or row.due_at > now:
        return
    if row.kind == Certificate.Kind.OWN:
        own_issue()
        row.due_at = None
        row.save(update_fields=["due_at"])
        return
    due = [days for days in WARN_DAYS if row.not_after - timedelta(days=days) <= now]
    _warnings_resolve([row.id])
    words = f"ends in less than {due[-1]} days" if due[-1] else "has ended"
    WorkItem.objects.get_or_create(
        kind=WARNING, unique_on=f"{row.id}-{due[-1]}",
        defaults={"reason": f"the client certificate {row.name} {words}", "created_at": now},
    )
    later = [days for days in WARN_DAYS if days < due[-1]]
    row.due_at = row.not_after - timedelta(days=later[0]) if later else None
    row.save(update_fields=["due_at"])


def _warnings_resolve(ids: Iterable[int]) -> None:
    about = [f"{found}-{days}" for found in ids for days in WARN_DAYS]
    WorkItem.objects.filter(kind=WARNING, unique_on__in=about, resolved_at=None).update(
        resolved_at=timezone.now(), resolution="obsolete", resolved_by="system:certificates"
    )


def secrets_rotate() -> int:
    """Seal every private key of the hospital and every secret of a node anew, with the first vault key. How many there were."""
    tenant_id, count = tenant_id_current(), 0
    held = (
        (AuthorityKey.objects.all(), "sealed_key"), (Certificate.objects.exclude(sealed_key=""), "sealed_key"),
        (Node.objects.exclude(web_secret=""), "web_secret"),
    )  # fmt: skip
    for rows, name in held:
        for row in rows.select_for_update():
            setattr(row, name, secret_rotate(getattr(row, name), tenant_id=tenant_id))
            row.save(update_fields=[name])
            count += 1
    return count
