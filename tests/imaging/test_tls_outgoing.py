"""TLS when we call a node: whom we trust, and what we show. Real storescp and a bare TLS server."""

import ssl
from pathlib import Path

import pytest

from imaging.certificates import contexts
from imaging.certificates.selectors import certificate_of, own_certificate
from imaging.certificates.services import certificate_revoke
from imaging.dimse.contract import StoredObject
from imaging.models import Certificate, Instance
from imaging.nodes import NodeError, node_add, node_update
from imaging.scu.association import peer_of
from imaging.scu.pull import Counts
from imaging.scu.send import study_send
from imaging.storage import object_path
from tests.dicom_files import series_of
from tests.imaging.test_query_peers import fill
from tests.imaging.test_scu_check import hops, tls_server
from tests.imaging.tls_peers import ACTOR, device, secure_storescp

pytestmark = [pytest.mark.database, pytest.mark.peers]


def test_a_node_with_a_certificate_of_the_hospitals_authority(mercy, node_at, tmp_path: Path) -> None:
    """"verifies the peer against the system trust + the hospital's CA ... and presents our hospital's client certificate"."""
    there = device(mercy, tmp_path / "recv", name="RECV", hosts=["localhost"])
    with secure_storescp(there, tmp_path / "got") as port:
        found = hops(mercy, node_at(mercy, port, "RECV", host="localhost", uses_tls=True))
    assert [(hop, is_ok) for hop, is_ok, _ in found] == [(hop, True) for hop in ("dns", "tcp", "tls", "association", "echo")]


def test_the_name_must_be_the_nodes(mercy, node_at, tmp_path: Path) -> None:
    """A certificate of our authority for another host: any device of the hospital could else pass for the archive."""
    there = device(mercy, tmp_path / "recv", name="RECV", hosts=["archive.example"])
    with secure_storescp(there, tmp_path / "got") as port:
        found = hops(mercy, node_at(mercy, port, "RECV", host="localhost", uses_tls=True))
    assert found[-1][:2] == ("tls", False)
    assert "Hostname mismatch" in found[-1][2]


def test_another_hospitals_authority_is_not_trusted(mercy, olaf, node_at, tmp_path: Path) -> None:
    """Two walls here too: what olaf's authority has signed says nothing to mercy."""
    there = device(olaf, tmp_path / "recv", name="RECV", hosts=["localhost"])
    device(mercy, tmp_path / "own")
    with secure_storescp(there, tmp_path / "got") as port:
        found = hops(mercy, node_at(mercy, port, "RECV", host="localhost", uses_tls=True))
    assert found[-1][:2] == ("tls", False)


def test_a_node_that_is_known_by_one_certificate_only(mercy, node_at, tmp_path: Path) -> None:
    """"optionally the pinned peer certificate on the node": self-signed, of another name, and then no other one will do."""
    with tls_server(tmp_path) as (port, certificate):
        node = node_at(mercy, port, "PINNED", host="127.0.0.1", uses_tls=True, tls_certificate=certificate.read_text())
        assert hops(mercy, node)[2][:2] == ("tls", True)
    other = tmp_path / "other"
    other.mkdir()
    with tls_server(other) as (port, _):
        node = node_at(mercy, port, "PINNED", host="127.0.0.1", uses_tls=True)
        assert node.tls_certificate
        assert hops(mercy, node)[2][:2] == ("tls", False)
    with mercy.scope(), pytest.raises(NodeError, match="no certificate"):
        node_update(actor=ACTOR, node=node, tls_certificate="nonsense")


def test_a_study_is_sent_over_tls(mercy, node_at, tmp_path: Path) -> None:
    """The sending lane, encrypted: storescp counts what it got."""
    there = device(mercy, tmp_path / "recv", name="RECV", hosts=["localhost"])
    fill(mercy, series_of(4))
    with mercy.scope():
        rows = Instance.objects.order_by("id").values_list("id", "sop_class_uid", "sop_instance_uid", "transfer_syntax_uid", "key")
        objects = [(i, StoredObject(c, uid, syntax, object_path(key))) for i, c, uid, syntax, key in rows]
    with secure_storescp(there, tmp_path / "got") as port:
        node = node_at(mercy, port, "RECV", host="localhost", uses_tls=True)
        with mercy.scope():
            peer = peer_of(node)
        counts = Counts()
        study_send(peer, objects=objects, counts=counts, go=lambda: True, pace=lambda: None)
    assert (counts.completed, counts.failed) == (4, 0)
    assert len(list((tmp_path / "got").iterdir())) == 4


def test_a_hospital_without_an_authority_shows_nothing(mercy) -> None:
    """Nobody could know it: none is made just because a node is called."""
    with mercy.scope():
        node = node_add(ae_title="NODE", host="localhost", port=1, uses_tls=True)
    context = contexts.client_context(tenant_id=mercy.tenant.id, node=node)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    with mercy.scope():
        assert not Certificate.objects.exists()


def test_our_own_certificate_does_not_open_our_own_door(mercy, tmp_path: Path) -> None:
    """What we show to nodes is no device's; revoked, it is replaced at once."""
    device(mercy, tmp_path)
    with mercy.scope():
        own = own_certificate(now=contexts.timezone.now())
        assert own is not None
        assert certificate_of(fingerprint=own.fingerprint) is None
        certificate_revoke(actor=ACTOR, certificate=own)
        newer = own_certificate(now=contexts.timezone.now())
        assert newer is not None
        assert newer.id != own.id


def test_the_listeners_own_certificate(settings, tmp_path: Path) -> None:
    """Made once for the demo; named in production, where a missing or broken one ends the worker with the setting's name."""
    settings.MEDHUB_HOME, settings.MEDHUB_DIMSE_TLS_MADE = tmp_path, True
    certificate, key = contexts.server_files()
    assert (certificate, key) == contexts.server_files()
    assert key.stat().st_mode & 0o077 == 0
    assert len(contexts.listener_trust()) == 1
    contexts.server_check()
    settings.MEDHUB_DIMSE_TLS_MADE = False
    with pytest.raises(contexts.TlsNotSetUpError, match="MEDHUB_DIMSE_TLS_CERT"):
        contexts.server_check()
    settings.MEDHUB_DIMSE_TLS_CERT, settings.MEDHUB_DIMSE_TLS_KEY = str(key), str(certificate)
    with pytest.raises(contexts.TlsNotSetUpError, match="MEDHUB_DIMSE_TLS_KEY"):
        contexts.server_check()
    settings.MEDHUB_DIMSE_TLS_CERT = str(tmp_path / "none.pem")
    with pytest.raises(contexts.TlsNotSetUpError, match="cannot be used"):
        contexts.server_check()
