"""A scanner over TLS in the running house: its key from the API, images over the encrypted port, revoked while the house runs."""

from pathlib import Path

import httpx
import pytest

from imaging.models import Association
from tenants.services import token_create
from tests.imaging.test_dimse_peers import peer

pytestmark = [pytest.mark.stack, pytest.mark.database, pytest.mark.peers, pytest.mark.xdist_group("stack")]


def test_a_scanner_gets_its_key_sends_and_is_revoked(house, joined, tmp_path: Path) -> None:
    """"TLS 1.2+ listener ... Per hospital: download our CA, ... make a key shown once, ... revocation refused at the next
    association": no process is restarted for the new authority, nor for the revocation."""
    auth = {"authorization": f"Bearer {token_create(tenant=joined.tenant, name='admin', role='admin')}"}
    base = f"http://127.0.0.1:{house.stack.ports.http}/t/{joined.slug}/api/v1/certificates"
    made = httpx.post(f"{base}/keys", json={"name": "CT 1"}, headers=auth, timeout=30).json()
    (tmp_path / "device.pem").write_text(made["pem"])
    (tmp_path / "trust.pem").write_bytes(httpx.get(f"{base}/trust", headers=auth, timeout=30).content)
    options = ["+tls", str(tmp_path / "device.pem"), str(tmp_path / "device.pem"), "+cf", str(tmp_path / "trust.pem")]

    def call(program: str, *more: str, **files: object) -> str:
        return peer(program, house.stack.ports.dimse_tls, *options, *more, called=joined.called_ae, calling=joined.calling_ae, **files)

    house.wait(lambda: "exit 0" in call("echoscu"), "the authority was trusted", 10)
    files = sorted(house.phantom.glob("*.dcm"))
    assert "exit 0" in call("storescu", files=files)
    house.wait(lambda: [study.number_of_instances for study in house.studies(joined)] == [len(files)], "the rows")
    assert httpx.post(f"{base}/{made['id']}/revoke", json={}, headers=auth, timeout=30).json()["state"] == "revoked"
    assert "exit 0" not in call("echoscu")
    with joined.scope():
        last = Association.objects.order_by("-id").first()
        assert last is not None
        assert (last.outcome, last.reason, last.is_secure) == ("refused", "the client certificate was revoked", True)
