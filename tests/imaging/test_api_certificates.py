"""`/t/<slug>/api/v1/certificates`: a device's way to its certificate without a person at the portal."""

import base64
import json
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

from imaging.models import Certificate, Node
from journal.models import AuditEvent
from tenants.services import token_create
from tests.conftest import PASSWORD
from tests.imaging.tls_peers import request_make


@pytest.fixture
def call(client) -> Any:
    """One request of a hospital's administrator token."""
    tokens: dict[str, str] = {}

    def send(hospital: Any, method: str, path: str = "", body: Any = None, *, role: str = "admin") -> Any:
        key = f"{hospital.slug} {role}"
        if key not in tokens:
            tokens[key] = token_create(tenant=hospital.tenant, name=role, role=role)
        return client.generic(
            method, f"/t/{hospital.slug}/api/v1/certificates{path}", json.dumps(body or {}).encode(), content_type="application/json",
            headers={"authorization": f"Bearer {tokens[key]}"},
        )  # fmt: skip

    return send


def csr(**facts: Any) -> str:
    return request_make(ec.generate_private_key(ec.SECP256R1()), **facts)


def test_a_request_signed_read_listed_and_revoked(mercy, call) -> None:
    """"sign a CSR", the list with its state, "revocation", all audited with who did it."""
    with mercy.scope():
        node = str(Node.objects.get().id)
    made = call(mercy, "POST", "", {"csr": csr(name="CT 1", hosts=("ct1.example",)), "node": node})
    assert made.status_code == 201
    row = made.json()
    assert (row["name"], row["hosts"], row["node"], row["state"], row["key"]) == ("CT 1", ["ct1.example"], node, "valid", "P-256")
    assert made.headers["Location"].endswith(f"/api/v1/certificates/{row['id']}")
    assert x509.load_pem_x509_certificate(row["certificate"].encode()).serial_number == int(row["serial"], 16)
    assert call(mercy, "GET", f"/{row['id']}", role="integrator").json() == row
    assert {one["kind"] for one in call(mercy, "GET").json()["items"]} == {"request", "own"}
    gone = call(mercy, "POST", f"/{row['id']}/revoke", {"reason": "superseded"}).json()
    assert (gone["state"], gone["reason"]) == ("revoked", "superseded")
    assert call(mercy, "POST", f"/{row['id']}/revoke").json() == gone
    with mercy.scope():
        actions = list(AuditEvent.objects.filter(object_id=row["id"]).order_by("id").values_list("action", flat=True))
    assert actions == ["certificate.request", "certificate.revoke"]


def test_lists_by_keyset(mercy, call) -> None:
    names = [f"CT {n}" for n in range(5)]
    for name in names:
        call(mercy, "POST", "", {"csr": csr(name=name)})
    seen, path = [], "?limit=2"
    while path:
        page = call(mercy, "GET", path).json()
        seen += [one["name"] for one in page["items"] if one["kind"] != "own"]
        path = page["next"].split("/certificates")[1] if page["next"] else ""
    assert seen == names[::-1]


def test_a_key_is_answered_once(mercy, call) -> None:
    """"make a key shown once": as PEM or as PKCS #12; nowhere else is it to be had."""
    made = call(mercy, "POST", "/keys", {"name": "CT 2", "hosts": ["10.1.2.3"]})
    assert made.status_code == 201
    assert made.json()["pem"].startswith("-----BEGIN PRIVATE KEY-----")
    assert "no-store" in made.headers["Cache-Control"]
    read = call(mercy, "GET", f"/{made.json()['id']}")
    assert made.headers["Location"].endswith(f"/certificates/{made.json()['id']}")
    assert "PRIVATE" not in read.content.decode()
    packed = call(mercy, "POST", "/keys", {"name": "CT 3", "format": "pkcs12", "password": PASSWORD}).json()
    assert "pem" not in packed
    found = pkcs12.load_pkcs12(base64.b64decode(packed["pkcs12"]), PASSWORD.encode())
    assert found.cert is not None
    assert int(packed["serial"], 16) == found.cert.certificate.serial_number


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("", {"csr": "x"}, "csr"), ("", {}, "csr"), ("", {"csr": "x" * 20_000}, "csr"), ("", {"csr": "x", "days": 9999}, "days"),
        ("/keys", {"name": "x" * 65}, "name"), ("/keys", {"name": "\u0001"}, "name"), ("/keys", {"name": "x", "hosts": ["a/b"]}, "hosts"),
        ("/keys", {"name": "x", "format": "pkcs12", "password": "short"}, "password"), ("/keys", {"name": "x", "node": "77"}, "node"),
        ("/keys", {"name": "x", "format": "pkcs12"}, "password"),
    ],
)  # fmt: skip
def test_what_is_refused_leaves_nothing(mercy, call, path, body, field) -> None:
    """400 with the field's name, and no certificate that nobody has."""
    answer = call(mercy, "POST", path, body)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert field in answer.json()["errors"]
    with mercy.scope():
        assert not Certificate.objects.exclude(kind="own").exists()


def test_roles_and_walls(mercy, olaf, call) -> None:
    """"capability for owner/admin"; foreign certificates and nodes are not there."""
    row = call(olaf, "POST", "", {"csr": csr()}).json()
    with olaf.scope():
        foreign = str(Node.objects.get().id)
    for role, reads, writes in (("owner", 200, 201), ("integrator", 200, 403), ("radiologist", 403, 403), ("auditor", 403, 403)):
        assert call(mercy, "GET", role=role).status_code == reads
        assert call(mercy, "POST", "", {"csr": csr()}, role=role).status_code == writes
        assert call(mercy, "GET", "/trust", role=role).status_code == reads
    assert call(mercy, "GET", f"/{row['id']}").status_code == 404
    assert call(mercy, "POST", f"/{row['id']}/revoke").status_code == 404
    assert call(mercy, "POST", "", {"csr": csr(), "node": foreign}).json()["errors"]["node"] == ["there is no such node"]
    assert call(olaf, "GET", f"/{row['id']}").json()["state"] == "valid"


def test_the_files_that_devices_need(mercy, call) -> None:
    """"download our CA", "CRL download too": PEM, whatever the caller says it accepts."""
    trust = call(mercy, "GET", "/trust")
    assert trust.headers["Content-Type"].startswith("application/x-pem-file")
    found = x509.load_pem_x509_certificates(trust.content)
    assert [one.subject == one.issuer for one in found] == [True, True]
    assert any(mercy.slug in one.subject.rfc4514_string() for one in found)
    assert x509.load_pem_x509_crl(call(mercy, "GET", "/revocations").content).issuer == found[1].subject


def test_the_schema_has_them(mercy, client) -> None:
    schema = yaml.safe_load(client.get(f"/t/{mercy.slug}/api/v1/schema").content)
    paths = {path.split("/certificates")[1]: methods for path, methods in schema["paths"].items() if "/certificates" in path}
    found = {(path, method) for path, methods in paths.items() for method in methods}
    assert found == {
        ("", "get"), ("", "post"), ("/keys", "post"), ("/trust", "get"), ("/revocations", "get"), ("/{certificate_id}", "get"),
        ("/{certificate_id}/revoke", "post"),
    }  # fmt: skip
