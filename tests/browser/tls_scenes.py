"""Rows for the certificates page: one of every state. In a scope."""

from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric import ec
from django.utils import timezone

from imaging.certificates.services import certificate_make, certificate_revoke, certificate_sign, certificate_warn
from imaging.models import Certificate, Node
from tests.imaging.tls_peers import ACTOR, request_make


def certificates_make(node: Node) -> None:
    """Valid and bound, ending with its warning, ended, revoked, and our own."""
    now = timezone.now()

    def sign(name: str, *hosts: str, bound: Node | None = None) -> Certificate:
        csr = request_make(ec.generate_private_key(ec.SECP256R1()), name=name, hosts=hosts)
        return certificate_sign(actor=ACTOR, csr=csr, node=bound)

    used = sign("pacs.radiology.example", "pacs.radiology.example", "192.0.2.7", bound=node)
    Certificate.objects.filter(id=used.id).update(seen_at=now - timedelta(minutes=12))
    ending, ended = sign("MR 2, ground floor"), sign("US 1")
    for row, end in ((ending, now + timedelta(days=11, hours=2)), (ended, now - timedelta(days=3))):
        Certificate.objects.filter(id=row.id).update(not_after=end, due_at=now)
        certificate_warn(certificate_id=row.id, now=now)
    made = certificate_make(actor=ACTOR, name="CT 1 old console")
    certificate_revoke(actor=ACTOR, certificate=made.certificate, reason="key_compromise")
