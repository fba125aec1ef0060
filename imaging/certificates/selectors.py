"""Reading certificates: the list, one of them, and why an association with one is refused. In a scope."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from imaging.certificates.services import WARN_DAYS
from imaging.models import Certificate, Node


@dataclass(frozen=True)
class CertificatePage:
    """Newest first, and the id where the next page begins; 0 on the last one."""

    certificates: list[Certificate]
    older: int


def certificates_page(*, before: int = 0, size: int = 50) -> CertificatePage:
    rows = Certificate.objects.select_related("node")
    if before:
        rows = rows.filter(id__lt=before)
    found = list(rows.order_by("-id")[: size + 1])
    return CertificatePage(found[:size], found[size - 1].id if len(found) > size else 0)


def certificate_get(*, certificate_id: int) -> Certificate | None:
    return Certificate.objects.select_related("node").filter(id=certificate_id).first()


def certificate_state(certificate: Certificate, *, now: datetime) -> str:
    """revoked, ended, ending (less than 60 days) or valid."""
    if certificate.revoked_at:
        return "revoked"
    if certificate.not_after <= now:
        return "ended"
    return "ending" if certificate.not_after - now <= timedelta(days=WARN_DAYS[0]) else "valid"


def certificate_of(*, fingerprint: str) -> Certificate | None:
    """One that a device may show."""
    return Certificate.objects.exclude(kind=Certificate.Kind.OWN).filter(fingerprint=fingerprint).first()


def certificate_refusal(certificate: Certificate | None, *, node: Node | None, now: datetime) -> str:
    """Why this hospital does not take it, from this node; empty when it does."""
    if certificate is None:
        return "the client certificate is not of this hospital"
    if certificate.revoked_at:
        return "the client certificate was revoked"
    if not certificate.not_before <= now < certificate.not_after:
        return "the client certificate has expired" if now >= certificate.not_after else "the client certificate is not valid yet"
    if certificate.node_id and (node is None or certificate.node_id != node.id):
        return "the client certificate is another node's"
    return ""


def own_certificate(*, now: datetime) -> Certificate | None:
    """What we show to nodes, or None while the hospital has no authority."""
    own = Certificate.objects.filter(kind=Certificate.Kind.OWN, not_after__gt=now, revoked_at=None)
    return own.order_by("-id").first()
