"""The TLS port: mutual authentication, whose certificate it is, what is refused and where the reason stands. Real peers."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, _config, build_role, evt
from pynetdicom.sop_class import CTImageStorage, StorageCommitmentPushModel, Verification

from imaging.certificates import authority as ca
from imaging.certificates import contexts
from imaging.certificates.services import certificate_revoke
from imaging.dimse.contract import DoorLimits
from imaging.dimse.listener import PLAIN_ON_PUBLIC, Listener, is_public
from imaging.models import Association, Certificate, Instance, Node
from imaging.nodes import node_add, node_delete
from tenants.services import certificate_place
from tests import house
from tests.dicom_files import ct_slice, part10, series_of
from tests.imaging.test_dimse_peers import ECHO, associate_request, eventually, is_closed, next_pdu, peer, status
from tests.imaging.test_door import database_away
from tests.imaging.test_query_peers import STUDY_GET, STUDY_MOVE, allow, fill, identifier
from tests.imaging.tls_peers import ACTOR, Device, device, openssl, secure_peer, secure_serving, secure_storescp, trust_fresh

pytestmark = [pytest.mark.peers]
_config.LOG_HANDLER_LEVEL = "none"


@pytest.fixture(scope="module")
def listener(_database: None) -> Iterator[Listener]:
    with secure_serving() as found:
        yield found


def refusals(hospital: Any) -> list[str]:
    with hospital.scope():
        return list(Association.objects.filter(outcome="refused").order_by("id").values_list("reason", flat=True))


def test_dcmtk_over_tls_with_both_certificates(listener: Listener, mercy, tmp_path: Path) -> None:
    """"TLS 1.2+ listener with mutual authentication beside the plain one": echo, store and find; plain goes on."""
    who = device(mercy, tmp_path / "ct")
    allow(mercy)
    slices = series_of(3)
    files = []
    for n, ds in enumerate(slices):
        path = tmp_path / f"{n}.dcm"
        path.write_bytes(part10(ds))
        files.append(path)
    assert "exit 0" in secure_peer("echoscu", listener.secure_port, who, hospital=mercy)
    assert "exit 0" in secure_peer("storescu", listener.secure_port, who, hospital=mercy, files=files)
    house.index(mercy)
    with mercy.scope():
        assert Instance.objects.count() == 3
    # dcmtk's getscu and movescu know no TLS: pynetdicom asks for those, below
    keys = ["-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={slices[0].StudyInstanceUID}"]
    found = secure_peer("findscu", listener.secure_port, who, *keys, "-k", "PatientID", hospital=mercy)
    assert slices[0].PatientID in found
    assert "exit 0" in peer("echoscu", listener.port, called=mercy.called_ae, calling=mercy.calling_ae)
    with mercy.scope():
        assert list(Association.objects.order_by("id").values_list("is_secure", flat=True)) == [True] * 3 + [False]
        assert Certificate.objects.get(id=who.row.id).seen_at is not None


def test_pynetdicom_over_tls(listener: Listener, mercy, tmp_path: Path) -> None:
    """pynetdicom as client, over TLS 1.2 and 1.3; the late hand-over to pynetdicom on our side is the same."""
    who = device(mercy, tmp_path)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        ae = AE(ae_title=mercy.calling_ae)
        ae.add_requested_context(CTImageStorage)
        ae.add_requested_context(Verification)
        context = who.context(minimum_version=version, maximum_version=version)
        assoc = ae.associate("127.0.0.1", listener.secure_port, ae_title=mercy.called_ae, tls_args=(context, "localhost"))
        assert assoc.is_established
        ds = ct_slice()
        part10(ds)
        assert assoc.send_c_store(ds).Status == 0
        assert assoc.send_c_echo().Status == 0
        assoc.release()
    house.index(mercy)
    with mercy.scope():
        assert Instance.objects.count() == 2
        assert eventually(lambda: set(Association.objects.values_list("outcome", flat=True)) == {"released"})


def test_c_get_over_tls(listener: Listener, mercy, tmp_path: Path) -> None:
    """C-GET: objects come back over the peer's own encrypted association, more of them than one record holds."""
    who = device(mercy, tmp_path)
    allow(mercy)
    slices = series_of(3)
    fill(mercy, slices)
    came: list[str] = []

    def store(event: evt.Event) -> int:
        came.append(event.request.AffectedSOPInstanceUID)
        return 0

    ae = AE(ae_title=mercy.calling_ae)
    ae.add_requested_context(STUDY_GET)
    ae.add_requested_context(CTImageStorage)
    assoc = ae.associate(
        "127.0.0.1", listener.secure_port, ae_title=mercy.called_ae, ext_neg=[build_role(CTImageStorage, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, store)], tls_args=(who.context(), "localhost"),
    )  # fmt: skip
    answers = list(assoc.send_c_get(identifier("STUDY", StudyInstanceUID=slices[0].StudyInstanceUID), STUDY_GET))
    assoc.release()
    assert answers[-1][0].Status == 0
    assert sorted(came) == sorted(ds.SOPInstanceUID for ds in slices)


def test_c_move_over_tls_to_a_destination_over_tls(listener: Listener, mercy, tmp_path: Path, node_at) -> None:
    """C-MOVE asked over TLS; dcmtk's storescp wants our hospital's client certificate and shows one of the same authority."""
    who = device(mercy, tmp_path / "ct")
    there = device(mercy, tmp_path / "recv", name="RECV", hosts=["localhost"])
    allow(mercy)
    slices = series_of(3)
    fill(mercy, slices)
    ae = AE(ae_title=mercy.calling_ae)
    ae.add_requested_context(STUDY_MOVE)
    with secure_storescp(there, tmp_path / "moved") as port:
        node_at(mercy, port, "RECV", host="localhost", uses_tls=True)
        assoc = ae.associate("127.0.0.1", listener.secure_port, ae_title=mercy.called_ae, tls_args=(who.context(), "localhost"))
        wanted = identifier("STUDY", StudyInstanceUID=slices[0].StudyInstanceUID)
        answers = list(assoc.send_c_move(wanted, "RECV", STUDY_MOVE))
        assoc.release()
    assert answers[-1][0].Status == 0
    assert len(list((tmp_path / "moved").iterdir())) == 3


def test_a_service_of_pynetdicoms_over_tls(mercy, tmp_path: Path) -> None:
    """The late hand-over, encrypted: a service that is not in the lane goes on under pynetdicom, stores beside it."""
    who = device(mercy, tmp_path)
    asked = []

    def action(event: evt.Event) -> tuple[int, None]:
        asked.append(event.request.ActionTypeID)
        return 0, None

    with secure_serving(others=frozenset({StorageCommitmentPushModel}), handlers=lambda _: [(evt.EVT_N_ACTION, action)]) as listener:
        ae = AE(ae_title=mercy.calling_ae)
        for sop_class in (StorageCommitmentPushModel, CTImageStorage, Verification):
            ae.add_requested_context(sop_class)
        assoc = ae.associate("127.0.0.1", listener.secure_port, ae_title=mercy.called_ae, tls_args=(who.context(), "localhost"))
        ds = ct_slice()
        part10(ds)
        for number in (1, 2):
            given = Dataset()
            given.TransactionUID = "1.2.3"
            status, _ = assoc.send_n_action(given, number, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")
            assert status.Status == 0
            assert assoc.send_c_store(ds).Status == 0
            assert assoc.send_c_echo().Status == 0
        assoc.release()
        assert asked == [1, 2]
        with mercy.scope():
            assert eventually(lambda: Association.objects.get().outcome == "released")


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(listener: Listener, version: str) -> None:
    """"TLS 1.2+": 1.0 and 1.1 get no handshake, even from a client that lowers its own security level."""
    said = openssl(listener.secure_port, version, "-cipher", "ALL:@SECLEVEL=0")
    assert "Cipher is (NONE)" in said
    assert "protocol version" in said


def test_weak_ciphers_are_refused(listener: Listener) -> None:
    """BCP 195: without forward secrecy or authenticated encryption there is no common cipher."""
    for cipher in ("AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "DHE-RSA-AES256-SHA256"):
        assert "Cipher is (NONE)" in openssl(listener.secure_port, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0"), cipher


def test_without_a_client_certificate(listener: Listener, mercy, tmp_path: Path, caplog) -> None:
    """"mutual authentication": a client without a certificate is refused in the handshake, and the log says why."""
    who = device(mercy, tmp_path)
    caplog.set_level("WARNING", logger="imaging.dimse")
    said = peer("echoscu", listener.secure_port, "+tla", "+cf", str(who.trust), called=mercy.called_ae, calling=mercy.calling_ae)
    assert "exit 0" not in said
    assert eventually(lambda: "peer did not return a certificate" in caplog.text)
    with mercy.scope():
        assert not Association.objects.exists()


def test_a_certificate_of_nobodys_authority(listener: Listener, mercy, tmp_path: Path, caplog) -> None:
    """An unknown authority is refused in the handshake: that a name looks right counts for nothing."""
    who = device(mercy, tmp_path)
    with mercy.scope():
        real = contexts.authority_ensure().certificate
    names = {str(a.oid.dotted_string): str(a.value) for a in real.subject}
    forged = ca.authority_make(name=names["2.5.4.3"], organization=names["2.5.4.10"], now=contexts.timezone.now())
    assert forged.certificate.subject == real.subject
    key = ca.key_make()
    issued = ca.certificate_issue(forged, ca.Wish("CT 1", (), key.public_key()), now=contexts.timezone.now())
    who.key.write_bytes(ca.key_pem(key))
    who.certificate.write_text(ca.certificate_pem(issued))
    caplog.set_level("WARNING", logger="imaging.dimse")
    assert "exit 0" not in secure_peer("echoscu", listener.secure_port, who, hospital=mercy)
    assert eventually(lambda: "the client certificate was not accepted" in caplog.text)


def test_another_hospitals_certificate(listener: Listener, mercy, olaf, tmp_path: Path) -> None:
    """"the called AE must belong to the same tenant": both hospitals see the refusal, each with its own words."""
    who = device(olaf, tmp_path)
    assert "exit 0" not in secure_peer("echoscu", listener.secure_port, who, hospital=mercy)
    assert refusals(mercy) == ["the client certificate is not of this hospital"]
    assert refusals(olaf) == ["called AE title not recognized: not this hospital's"]
    with mercy.scope():  # the same calling AE title changes nothing
        node_add(ae_title=olaf.calling_ae)
    assert "exit 0" not in secure_peer("echoscu", listener.secure_port, who, hospital=mercy, calling=olaf.calling_ae)
    assert "exit 0" not in secure_peer("echoscu", listener.secure_port, who, hospital=olaf, called="NOBODY")
    assert "exit 0" in secure_peer("echoscu", listener.secure_port, who, hospital=olaf)


def test_a_revoked_certificate_is_refused_at_the_next_association(listener: Listener, mercy, tmp_path: Path) -> None:
    """"revocation refused at the next association": without a restart, with the reason in the portal's list."""
    who = device(mercy, tmp_path)
    assert "exit 0" in secure_peer("echoscu", listener.secure_port, who, hospital=mercy)
    with mercy.scope():
        certificate_revoke(actor=ACTOR, certificate=who.row, reason="key_compromise")
    said = secure_peer("echoscu", listener.secure_port, who, hospital=mercy)
    assert "exit 0" not in said
    assert "Association Rejected" in said
    assert refusals(mercy) == ["the client certificate was revoked"]


def test_an_expired_certificate_is_refused_with_its_reason(listener: Listener, mercy, tmp_path: Path) -> None:
    """Its time is looked at after the handshake, so that the hospital reads why."""
    who = device(mercy, tmp_path)
    with mercy.scope():
        signer = contexts.authority_ensure()
        key, then = ca.key_make(), contexts.timezone.now() - timedelta(days=400)
        old = ca.certificate_issue(signer, ca.Wish("CT 1", (), key.public_key()), now=then)
        Certificate.objects.filter(id=who.row.id).update(fingerprint=ca.fingerprint_of(old), not_after=old.not_valid_after_utc)
        certificate_place(tenant_id=mercy.tenant.id, fingerprint=ca.fingerprint_of(old))
    who.key.write_bytes(ca.key_pem(key))
    who.certificate.write_text(ca.certificate_pem(old))
    assert "exit 0" not in secure_peer("echoscu", listener.secure_port, who, hospital=mercy)
    assert refusals(mercy) == ["the client certificate has expired"]


def test_a_certificate_bound_to_a_node(listener: Listener, mercy, tmp_path: Path) -> None:
    """"Called AE, calling AE, address or client certificate decide": one node's certificate opens for that node only."""
    with mercy.scope():
        node = node_add(ae_title="CT_BOUND")
    who = device(mercy, tmp_path, node=node)
    assert "exit 0" in secure_peer("echoscu", listener.secure_port, who, hospital=mercy, calling="CT_BOUND")
    assert "exit 0" not in secure_peer("echoscu", listener.secure_port, who, hospital=mercy)
    assert refusals(mercy) == ["the client certificate is another node's"]
    with mercy.scope():
        node_add(ae_title="CT_BOUND", address="192.0.2.1")
    assert "exit 0" not in secure_peer("echoscu", listener.secure_port, who, hospital=mercy, calling="CT_BOUND")
    assert refusals(mercy)[1:] == ["calling AE title not recognized"]


def test_a_new_hospital_is_trusted_without_a_restart(listener: Listener, olaf, tmp_path: Path) -> None:
    """"loaded fresh when a CA is added": the listener looks at most a second late."""
    assert contexts.LOOK_SECONDS <= 2
    before = contexts.server_context()
    who = device(olaf, tmp_path)
    assert "exit 0" in secure_peer("echoscu", listener.secure_port, who, hospital=olaf)
    assert contexts.server_context() is not before
    made = contexts.server_context()
    assert contexts.server_context() is made
    trust_fresh()
    with contexts._lock:  # somebody looks, and waits for a database
        assert contexts.server_context() is made


def test_a_known_device_is_taken_while_the_database_is_away(listener: Listener, mercy, tmp_path: Path) -> None:
    """"images ... fail open to their own hospital" over TLS too: authorities and admission are remembered, a stranger is not."""
    who = device(mercy, tmp_path)
    assert "exit 0" in secure_peer("echoscu", listener.secure_port, who, hospital=mercy)
    with database_away():
        trust_fresh()
        assert "exit 0" in secure_peer("echoscu", listener.secure_port, who, hospital=mercy)
        assert "exit 0" not in secure_peer("echoscu", listener.secure_port, who, hospital=mercy, calling="STRANGER")


def test_the_listeners_certificate_changes_without_a_restart(listener: Listener, mercy, tmp_path: Path, settings) -> None:
    """A new file is taken; one in the middle of a change is not, and the old one goes on."""
    who = device(mercy, tmp_path / "ct")
    made = contexts.server_context()
    settings.MEDHUB_HOME = tmp_path
    settings.MEDHUB_DIMSE_TLS_CERT, settings.MEDHUB_DIMSE_TLS_KEY = str(tmp_path / "half.pem"), str(tmp_path / "half.key")
    trust_fresh()
    assert contexts.server_context() is made
    (tmp_path / "half.pem").write_text("half")
    (tmp_path / "half.key").write_text("half")
    trust_fresh()
    assert contexts.server_context() is made
    settings.MEDHUB_DIMSE_TLS_CERT = settings.MEDHUB_DIMSE_TLS_KEY = ""
    trust_fresh()
    assert contexts.server_context() is not made  # of the other folder
    assert "exit 0" not in secure_peer("echoscu", listener.secure_port, who, hospital=mercy)
    with mercy.scope():
        who.trust.write_text(contexts.trust_bundle())
    assert "exit 0" in secure_peer("echoscu", listener.secure_port, who, hospital=mercy)


def test_silent_peers_hold_up_nobody(listener: Listener, mercy, tmp_path: Path) -> None:
    """"half-open handshakes (20 silent) leave an honest TLS echo under 1 s": silent, dripping, and hello without more."""
    who = device(mercy, tmp_path)
    hello = hello_of(who)
    socks = [socket.create_connection(("127.0.0.1", listener.secure_port)) for _ in range(45)]
    for n, sock in enumerate(socks):
        sock.sendall((b"", hello[:3], hello)[n % 3])
    taken = []
    for _ in range(3):  # a machine that is busy with something else is not what is measured
        before = time.monotonic()
        if "exit 0" in secure_peer("echoscu", listener.secure_port, who, hospital=mercy):
            taken.append(time.monotonic() - before)
    assert min(taken) < 1
    assert all(is_closed(sock, 3) for sock in socks[2::3])  # their handshakes: 1 s here, 5 s by default
    for sock in socks:
        sock.close()


@contextmanager
def shaken(listener: Listener, who: Device) -> Iterator[ssl.SSLSocket]:
    """A bare socket with hands shaken."""
    plain = socket.create_connection(("127.0.0.1", listener.secure_port), timeout=5)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with plain, who.context().wrap_socket(plain, server_hostname="localhost") as sock:
        yield sock


def hello_of(who: Any) -> bytes:
    """A ClientHello, as bytes."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = who.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def test_more_handshakes_than_an_address_may_have(mercy, tmp_path: Path) -> None:
    """Each costs a thread: those above the cap are closed at once, and there is room again when the others have ended."""
    who = device(mercy, tmp_path)
    hello = hello_of(who)
    with secure_serving(door_limits=DoorLimits(handshakes_per_address=4)) as listener:
        socks = [socket.create_connection(("127.0.0.1", listener.secure_port)) for _ in range(6)]
        for sock in socks:
            sock.sendall(hello)
            time.sleep(0.02)
        assert all(is_closed(sock, 0.5) for sock in socks[4:])
        assert eventually(lambda: listener._knocking.total() == 0, 4)
        assert "exit 0" in secure_peer("echoscu", listener.secure_port, who, hospital=mercy)
        assert eventually(lambda: listener._knocking.total() == 0 and listener._taken == 0)


def test_what_is_no_tls_is_closed_at_once(listener: Listener, mercy) -> None:
    """A plain association request at the TLS port; and hands shaken, but then no request, or half of one."""
    with socket.create_connection(("127.0.0.1", listener.secure_port)) as sock:
        sock.sendall(associate_request(called=mercy.called_ae, calling=mercy.calling_ae))
        assert is_closed(sock, 1)


@pytest.mark.parametrize("sent", [b"", b"\1\0\0\0\1\0half", b"GET / HTTP/1.1\r\n\r\n", b"\1\0\x7f\xff\xff\xff" + b"x" * 1000])
def test_hands_shaken_and_then_no_request(listener: Listener, mercy, tmp_path: Path, sent: bytes) -> None:
    """"reads the A-ASSOCIATE-RQ under the same deadline and cap"."""
    who = device(mercy, tmp_path)
    with shaken(listener, who) as sock:
        sock.sendall(sent)
        assert is_closed(sock, 3)


def test_an_association_by_hand_in_single_bytes(listener: Listener, mercy, tmp_path: Path) -> None:
    """Records of one byte, two messages in one record: TLS cuts where it likes."""
    who = device(mercy, tmp_path)
    request = associate_request(called=mercy.called_ae, calling=mercy.calling_ae)
    with shaken(listener, who) as sock:
        for at in range(len(request)):
            sock.send(request[at : at + 1])
        assert next_pdu(sock)[0] == 2
        sock.sendall(ECHO + ECHO)
        assert [status(sock), status(sock)] == [0, 0]


def test_plain_is_refused_on_a_public_address(mercy) -> None:
    """"plain refused on a public address unless switched on": the hospital reads why, TLS is not touched."""
    assert [is_public(a) for a in ("8.8.8.8", "2a00:1450::1", "::ffff:8.8.8.8")] == [True] * 3
    assert not any(is_public(a) for a in ("127.0.0.1", "10.1.2.3", "192.168.1.1", "::1", "fe80::1%eth0", "::ffff:10.0.0.1", "100.64.0.1"))
    with secure_serving(is_refused=lambda address: address == "127.0.0.1") as listener:
        said = peer("echoscu", listener.port, called=mercy.called_ae, calling=mercy.calling_ae)
        assert "exit 0" not in said
        assert "Rejected" in said
    assert refusals(mercy) == [PLAIN_ON_PUBLIC]
    with secure_serving(is_refused=is_public) as listener:
        assert "exit 0" in peer("echoscu", listener.port, called=mercy.called_ae, calling=mercy.calling_ae)


def test_a_deleted_node_takes_its_certificate_along(listener: Listener, mercy, tmp_path: Path) -> None:
    """Unbound it would open the door for any other node."""
    with mercy.scope():
        node = node_add(ae_title="CT_GONE")
    who = device(mercy, tmp_path, node=node)
    with mercy.scope():
        node_delete(actor=ACTOR, node=Node.objects.get(id=node.id))
    assert "exit 0" not in secure_peer("echoscu", listener.secure_port, who, hospital=mercy)
    assert refusals(mercy) == ["the client certificate was revoked"]
