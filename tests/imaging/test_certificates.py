"""Certificates of a hospital: requests signed, keys made once, revocation list, warnings, secrets sealed. openssl looks at them."""

import io
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID
from django.core.management import call_command
from django.utils import timezone

from imaging.certificates import authority as ca
from imaging.certificates import contexts
from imaging.certificates.authority import CertificateError
from imaging.certificates.services import (
    authority_ensure,
    certificate_make,
    certificate_revoke,
    certificate_sign,
    certificate_warn,
    revocations,
)
from imaging.models import AuthorityKey, Certificate, WorkItem
from imaging.nodes import node_add
from imaging.tasks import certificates_sweep
from journal.models import AuditEvent
from tenants.crypto import SecretLostError, secret_open, secret_rotate, secret_seal
from tenants.models import Authority, DeviceCertificate
from tests.conftest import PASSWORD
from tests.imaging.tls_peers import ACTOR, request_make


def key() -> Any:
    return ec.generate_private_key(ec.SECP256R1())


def sign(hospital: Any, csr: str, **facts: Any) -> Certificate:
    with hospital.scope():
        return certificate_sign(actor=ACTOR, csr=csr, **facts)


def verified(folder: Path, certificate: str, trust: str, *options: str) -> str:
    """What `openssl verify` says."""
    (folder / "c.pem").write_text(certificate)
    (folder / "t.pem").write_text(trust)
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", "t.pem", *options, "c.pem"], cwd=folder, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_a_request_is_signed_and_only_name_hosts_and_key_are_taken(mercy, tmp_path: Path) -> None:
    """"sign a CSR (only SAN/CN/public key are taken, extensions ours: clientAuth+serverAuth, 1 year)"."""
    own = key()
    row = sign(mercy, request_make(own, name="CT 2", hosts=("ct2.radiology.example", "CT2")))
    found = x509.load_pem_x509_certificate(row.pem.encode())
    assert found.public_key() == own.public_key()
    assert (row.name, row.hosts, row.key_words, row.kind) == ("CT 2", ["ct2.radiology.example", "ct2"], "P-256", "request")
    extensions = found.extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False  # the request wanted a CA
    assert set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH,
    }  # fmt: skip
    assert timedelta(days=364) < found.not_valid_after_utc - timezone.now() <= timedelta(days=365)
    with mercy.scope():
        trust = contexts.trust_bundle()
        event = AuditEvent.objects.get(action="certificate.request")
    assert event.object_id == str(row.id)
    for purpose in ("sslclient", "sslserver"):
        assert "c.pem: OK" in verified(tmp_path, row.pem, trust, "-purpose", purpose)
    assert DeviceCertificate.objects.get(fingerprint=row.fingerprint).tenant_id == mercy.tenant.id


def test_hospitals_vouch_for_their_own_only(mercy, olaf, tmp_path: Path) -> None:
    """A CA per hospital: what one has signed the other's authority does not know."""
    row = sign(mercy, request_make(key()))
    with olaf.scope():
        trust = contexts.trust_bundle()
        assert not Certificate.objects.filter(kind="request").exists()
    assert "OK" not in verified(tmp_path, row.pem, trust)
    assert Authority.objects.filter(tenant__in=[mercy.tenant, olaf.tenant]).count() == 2


@pytest.mark.parametrize(
    ("csr", "words"),
    [
        (lambda: request_make(rsa.generate_private_key(65537, 1024)), "2048 to 8192 bits"),  # noqa: S505
        (lambda: request_make(ec.generate_private_key(ec.SECP224R1())), "P-256, P-384 or P-521"),
        (lambda: request_make(key(), hosts=("*.example",)), "without wildcards"),
        (lambda: request_make(key(), hosts=("a b",)), "without wildcards"),
        (lambda: request_make(key(), hosts=tuple(f"h{n}" for n in range(40))), "at most 32"),
        (lambda: "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----", "no signing request"),
        (lambda: "x" * 20_000, "at most 16 KiB"),
    ],
)  # fmt: skip
def test_what_is_not_signed(mercy, csr, words) -> None:
    """"weak keys refused: RSA < 2048"; malformed, too much, or not what it says."""
    with pytest.raises(CertificateError, match=words):
        sign(mercy, csr())
    with mercy.scope():
        assert not Certificate.objects.exclude(kind="own").exists()


def test_sha1_and_a_foreign_signature_are_refused(mercy, tmp_path: Path) -> None:
    """"SHA-1" refused, as openssl still makes it; a request that somebody else's key has signed; Ed25519, which scanners lack."""
    subprocess.run(
        ["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-sha1", "-subj", "/CN=OLD", "-keyout", "k.pem", "-out", "r.pem"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    with pytest.raises(CertificateError, match="SHA-1"):
        sign(mercy, (tmp_path / "r.pem").read_text())
    request = x509.load_pem_x509_csr(request_make(key(), name="AAAA").encode())
    forged = request.public_bytes(serialization.Encoding.DER).replace(b"AAAA", b"BBBB")
    pem = x509.load_der_x509_csr(forged).public_bytes(serialization.Encoding.PEM).decode()
    with pytest.raises(CertificateError, match="not signed by its own key"):
        sign(mercy, pem)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    edwards = builder.sign(ed25519.Ed25519PrivateKey.generate(), None).public_bytes(serialization.Encoding.PEM).decode()
    with pytest.raises(CertificateError, match="RSA"):
        sign(mercy, edwards)
    with pytest.raises(CertificateError, match="a name has"):
        sign(mercy, request_make(key(), name=" "))
    assert sign(mercy, request_make(key(), name=" "), name="CT 9").name == "CT 9"


def test_a_made_key_is_shown_once_and_kept_nowhere(mercy, settings) -> None:
    """"make a key shown once (PEM bundle/PKCS#12 with password, never stored)"."""
    ca.RSA_BITS, short = 3072, ca.RSA_BITS
    try:
        with mercy.scope():
            made = certificate_make(actor=ACTOR, name="CT 3", hosts=["10.1.2.3"])
    finally:
        ca.RSA_BITS = short
    assert made.certificate.key_words == "RSA 3072"
    secret = ca.key_pem(made.key).decode()
    assert made.pem.startswith(secret)
    assert made.pem.count("BEGIN CERTIFICATE") == 2
    packed = pkcs12.load_pkcs12(made.pkcs12(password=PASSWORD), PASSWORD.encode())
    assert packed.key is not None
    assert packed.key.private_numbers() == made.key.private_numbers()
    assert len(packed.additional_certs) == 1
    with pytest.raises(CertificateError, match="12 characters"):
        made.pkcs12(password="short")  # noqa: S106
    body = secret.split("\n")[3]
    with mercy.scope():
        for row in Certificate.objects.values():
            assert body not in str(row)
        assert Certificate.objects.get(id=made.certificate.id).sealed_key == ""


def test_the_authority_is_made_once_and_its_key_is_sealed(mercy, olaf) -> None:
    """"A CA per hospital made at first need; private keys encrypted at rest"."""
    with mercy.scope():
        assert not AuthorityKey.objects.exists()
        first, second = authority_ensure(), authority_ensure()
        assert first.certificate == second.certificate
        row = AuthorityKey.objects.get()
        own = Certificate.objects.get(kind="own")
    for sealed in (row.sealed_key, own.sealed_key):
        assert "PRIVATE" not in sealed
        assert b"BEGIN PRIVATE KEY" in secret_open(sealed, tenant_id=mercy.tenant.id)
        with pytest.raises(SecretLostError):
            secret_open(sealed, tenant_id=olaf.tenant.id)
    assert first.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_vault_keys_are_changed_without_a_break(mercy, settings) -> None:
    """"with rotation by MultiFernet": new key in front, vault_rotate, old key away."""
    with mercy.scope():
        before = authority_ensure().certificate
    old = settings.MEDHUB_VAULT_KEYS[0]
    settings.MEDHUB_VAULT_KEYS = ["a new key of many random letters", old]
    with mercy.scope():
        assert authority_ensure().certificate == before
    told = io.StringIO()
    call_command("vault_rotate", "--hospital", mercy.slug, stdout=told)
    assert "sealed with the first vault key" in told.getvalue()
    settings.MEDHUB_VAULT_KEYS = ["a new key of many random letters"]
    try:
        with mercy.scope():
            assert authority_ensure().certificate == before
        settings.MEDHUB_VAULT_KEYS = ["nobody knows this one"]
        with pytest.raises(SecretLostError), mercy.scope():
            authority_ensure()
        with pytest.raises(SecretLostError):
            secret_rotate("nonsense", tenant_id=1)
    finally:
        settings.MEDHUB_VAULT_KEYS = [old, "a new key of many random letters"]
        call_command("vault_rotate", "--hospital", mercy.slug, stdout=told)
    sealed = secret_seal(b"x", tenant_id=1)
    assert secret_open(secret_rotate(sealed, tenant_id=1), tenant_id=1) == b"x"


def test_the_revocation_list(mercy, tmp_path: Path) -> None:
    """"CRL download too": openssl takes it, and refuses what is on it."""
    gone, kept = sign(mercy, request_make(key(), name="GONE")), sign(mercy, request_make(key(), name="KEPT"))
    with mercy.scope():
        certificate_revoke(actor=ACTOR, certificate=gone, reason="key_compromise")
        certificate_revoke(actor=ACTOR, certificate=gone, reason="superseded")  # idempotent: the first word stays
        (tmp_path / "crl.pem").write_bytes(revocations())
        trust = contexts.trust_bundle()
        assert Certificate.objects.get(id=gone.id).reason == "key_compromise"
        assert AuditEvent.objects.filter(action="certificate.revoke").count() == 1
    assert "certificate revoked" in verified(tmp_path, gone.pem, trust, "-crl_check", "-CRLfile", "crl.pem")
    assert "c.pem: OK" in verified(tmp_path, kept.pem, trust, "-crl_check", "-CRLfile", "crl.pem")
    with mercy.scope(), pytest.raises(CertificateError, match="a reason is one of"):
        certificate_revoke(actor=ACTOR, certificate=kept, reason="boredom")


def test_a_key_that_others_know_is_not_signed_again(mercy) -> None:
    """Revoked for key compromise: the same key in a new request is refused."""
    own = key()
    row = sign(mercy, request_make(own))
    with mercy.scope():
        certificate_revoke(actor=ACTOR, certificate=row, reason="key_compromise")
    with pytest.raises(CertificateError, match="known to others"):
        sign(mercy, request_make(own, name="AGAIN"))


def warnings(hospital: Any) -> list[str]:
    with hospital.scope():
        return list(WorkItem.objects.filter(resolved_at=None).order_by("id").values_list("reason", flat=True))


def warn(hospital: Any, row: Certificate) -> None:
    with hospital.scope():
        certificate_warn(certificate_id=row.id, now=timezone.now())


def test_warnings_at_60_and_14_days(mercy) -> None:
    """"warnings at 60 and 14 days": one open item at a time, resolved when the certificate is replaced or revoked."""
    row, other = sign(mercy, request_make(key(), name="CT 4")), sign(mercy, request_make(key(), name="CT 5"))
    warn(mercy, row)
    assert warnings(mercy) == []
    for days, words in (
        (61, ""), (59, "ends in less than 60 days"), (30, "ends in less than 60 days"), (13, "ends in less than 14 days"),
        (-1, "has ended"), (-30, "has ended"),
    ):  # fmt: skip
        with time_machine.travel(row.not_after - timedelta(days=days), tick=False):
            warn(mercy, row)
            warn(mercy, row)  # a task that is delivered twice
            assert warnings(mercy) == ([f"the client certificate CT 4 {words}"] if words else []), days
    with time_machine.travel(row.not_after - timedelta(days=1), tick=False):
        sign(mercy, request_make(key(), name="CT 4"))
        assert warnings(mercy) == []
        warn(mercy, other)
        assert warnings(mercy) == ["the client certificate CT 5 ends in less than 14 days"]
        with mercy.scope():
            certificate_revoke(actor=ACTOR, certificate=other)
        assert warnings(mercy) == []
        warn(mercy, other)
        assert warnings(mercy) == []


def test_the_warning_is_an_item_that_can_be_closed(mercy, client) -> None:
    """"beat task -> attention item in the portal": listed, opened, closed, and not made again for the same span."""
    row = sign(mercy, request_make(key(), name="CT 7"))
    with mercy.scope():
        Certificate.objects.filter(id=row.id).update(not_after=timezone.now() + timedelta(days=10), due_at=timezone.now())
    warn(mercy, row)
    mercy.member("admin")
    client.post("/accounts/login/", {"login": f"admin@{mercy.slug}.example", "password": PASSWORD})
    assert "the client certificate CT 7 ends in less than 14 days" in client.get(f"/t/{mercy.slug}/attention").content.decode()
    with mercy.scope():
        item = WorkItem.objects.get()
    page = client.get(f"/t/{mercy.slug}/attention/items/{item.id}")
    assert "Certificate ends" in page.content.decode()
    assert client.post(f"/t/{mercy.slug}/attention/items/{item.id}/decide", {"action": "dismiss"}).status_code == 302
    with mercy.scope():
        Certificate.objects.filter(id=row.id).update(due_at=timezone.now())
    warn(mercy, row)
    assert warnings(mercy) == []


def test_a_newer_certificate_of_the_node_ends_the_warning(mercy) -> None:
    """Names may change: what counts is the node that it is bound to."""
    with mercy.scope():
        node = node_add(ae_title="CT_SIX")
    row = sign(mercy, request_make(key(), name="OLD NAME"), node=node)
    with time_machine.travel(row.not_after - timedelta(days=10), tick=False):
        warn(mercy, row)
        assert len(warnings(mercy)) == 1
        sign(mercy, request_make(key(), name="NEW NAME"), node=node)
        assert warnings(mercy) == []


def test_our_own_certificate_is_renewed_by_itself(mercy) -> None:
    """Nobody is warned of what nobody has to do."""
    with mercy.scope():
        authority_ensure()
        own = Certificate.objects.get(kind="own")
    with time_machine.travel(own.not_after - timedelta(days=59), tick=False):
        warn(mercy, own)
        warn(mercy, own)
        with mercy.scope():
            newer = Certificate.objects.filter(kind="own").order_by("-id").first()
            assert Certificate.objects.filter(kind="own").count() == 2
            assert newer.not_after > own.not_after
        assert warnings(mercy) == []


def test_the_sweep_finds_what_ends(mercy, monkeypatch) -> None:
    """The beat task sends one message for each certificate whose time has come."""
    row = sign(mercy, request_make(key()))
    sent: list[int] = []
    monkeypatch.setattr("imaging.tasks.task_send", lambda _task, **kwargs: sent.append(kwargs["certificate_id"]))
    certificates_sweep.run()
    assert row.id not in sent
    with mercy.scope():
        Certificate.objects.filter(id=row.id).update(due_at=timezone.now())
    certificates_sweep.run()
    assert row.id in sent


def test_the_listeners_own_end_is_told(mercy, client, settings, monkeypatch, tmp_path: Path, caplog) -> None:
    """Warnings for our side too: in the log whenever the listener takes its certificate, in /healthz, on the page."""
    settings.MEDHUB_HOME = tmp_path
    monkeypatch.setattr(contexts, "MADE_DAYS", 30)
    contexts.server_check()
    assert "the listener's certificate ends on" in caplog.text
    assert client.get("/healthz").json()["listener_certificate_days"] == 29
    ends = contexts.listener_ends()
    assert ends is not None
    mercy.member("admin")
    client.post("/accounts/login/", {"login": f"admin@{mercy.slug}.example", "password": PASSWORD})
    page = client.get(f"/t/{mercy.slug}/certificates").content.decode()
    assert "Ours ends on" in page
    assert ends.strftime("%Y-%m-%dT%H:%M:%SZ") in page
