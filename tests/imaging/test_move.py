"""C-MOVE (PS3.4 C.4.2): to the nodes of the hospital and nobody else, over as many associations as it takes."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage

from imaging.dimse.contract import StoredObject
from imaging.dimse.retrieve import associations_plan, failed_uids_encode
from imaging.inbox import object_write
from imaging.models import Node
from imaging.nodes import node_add
from journal.models import AuditEvent
from tests import house
from tests.dicom_files import ct_slice, series_of
from tests.imaging.test_dimse_peers import peer, real_file
from tests.imaging.test_get import counts, kept
from tests.imaging.test_query_peers import (
    STUDY_MOVE,
    allow,
    asking,
    fill,
    identifier,
    received,
    serving,
    storescp,
)

pytestmark = [pytest.mark.database, pytest.mark.peers]


@pytest.fixture
def listener() -> Iterator[Any]:
    with serving() as found:
        yield found


@pytest.fixture
def to(settings) -> Callable[..., None]:
    """Makes a port of this machine a node of a hospital, and an address that may be connected to."""

    def make(hospital: Any, port: int, title: str = "RECV") -> None:
        settings.EGRESS_ALLOW = [*settings.EGRESS_ALLOW, f"127.0.0.1:{port}"]
        with hospital.scope():
            node_add(ae_title=title, host="127.0.0.1", port=port, services=[])

    return make


class Receiver:
    """A pynetdicom SCP that keeps what it gets."""

    def __init__(self) -> None:
        self.objects: list[Dataset] = []
        self.requests: list[Any] = []
        self.associations = 0
        self.titles: set[tuple[str, str]] = set()
        self.on_store: Callable[[evt.Event], int] = lambda _: 0

    def requested(self, event: evt.Event) -> None:
        self.associations += 1
        request = event.assoc.requestor.primitive
        self.titles.add((request.calling_ae_title, request.called_ae_title))

    def store(self, event: evt.Event) -> int:
        self.requests.append(event.request)
        self.objects.append(event.dataset)
        return self.on_store(event)

    @contextmanager
    def open(self, *classes: str, syntaxes: Any = None) -> Iterator[int]:
        ae = AE(ae_title="RECV")
        for sop_class in classes or (CTImageStorage,):
            ae.add_supported_context(sop_class, *([syntaxes] if syntaxes else []))
        handlers = [(evt.EVT_C_STORE, self.store), (evt.EVT_REQUESTED, self.requested)]
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()


def move(association: Any, uid: str, destination: str = "RECV", **options: Any) -> list[tuple[Dataset, Dataset | None]]:
    return list(association.send_c_move(identifier("STUDY", StudyInstanceUID=uid), destination, STUDY_MOVE, **options))


def test_a_study_of_150_slices_arrives_byte_for_byte(listener, mercy, to, tmp_path) -> None:
    """"a study of 150 slices by ... C-MOVE equals the stored bytes": dcmtk asks and dcmtk receives.

    Both as they come, without TCP_NODELAY: 40 ms of delayed ACK at each response would make it 7 s.
    """
    slices = series_of(150)
    fill(mercy, [*slices, ct_slice()])
    allow(mercy)
    with storescp(tmp_path / "got") as port:
        to(mercy, port)
        before = time.monotonic()
        output = peer(
            "movescu", listener.port, "-S", "-aem", "RECV", "-k", "0008,0052=STUDY",
            "-k", f"0020,000d={slices[0].StudyInstanceUID}", called=mercy.called_ae, calling=mercy.calling_ae,
        )  # fmt: skip
        assert time.monotonic() - before < 4
    assert "exit 0" in output
    assert output.count("Received Move Response") == 149
    assert "Received Final Move Response (Success)" in output
    found, stored = received(tmp_path / "got"), kept(mercy)
    assert set(found) == {ds.SOPInstanceUID for ds in slices}
    assert all(found[uid] == stored[uid] for uid in found)


def test_counts_originator_and_record(listener, mercy, to) -> None:
    """Counts as in C-GET; each C-STORE names the AE and message that asked (PS3.7 9.3.1.1); the retrieval is audited by ids."""
    slices = series_of(3)
    fill(mercy, slices)
    allow(mercy)
    receiver = Receiver()
    receiver.on_store = lambda event: 0xB007 if len(receiver.objects) == 2 else 0
    with receiver.open() as port, asking(listener, mercy, STUDY_MOVE) as a:
        to(mercy, port)
        answers = move(a, slices[0].StudyInstanceUID, msg_id=11)
    assert [status.Status for status, _ in answers] == [0xFF00, 0xFF00, 0xB000]
    assert counts(answers[-1][0]) == (2, 0, 1)
    assert {(r.MoveOriginatorApplicationEntityTitle, r.MoveOriginatorMessageID) for r in receiver.requests} == {(mercy.calling_ae, 11)}
    assert receiver.titles == {(mercy.called_ae, "RECV")}
    with mercy.scope():
        event = AuditEvent.objects.get(action="dicom.move")
        node = Node.objects.get(ae_title="RECV")
    assert (event.object_type, event.actor, event.detail) == ("Study", f"ae:{mercy.calling_ae}", {"node": str(node.id)})


def test_unknown_destinations_are_a801(listener, mercy, olaf, to) -> None:
    """"unknown -> 0xA801": no node, a node that has no address, and a node of another hospital."""
    ds = ct_slice()
    fill(mercy, [ds])
    allow(mercy)
    to(olaf, 11112, "OLAFS")
    with asking(listener, mercy, STUDY_MOVE) as a:
        for title in ("NOSUCH", mercy.calling_ae, "OLAFS"):
            [(status, _)] = move(a, ds.StudyInstanceUID, title)
            assert status.Status == 0xA801
            assert "destination" in status.ErrorComment


def test_destinations_that_cannot_be_reached(listener, mercy, to) -> None:
    """Private addresses only when EGRESS_ALLOW lists them; nobody listening, or a refusal: A702 with the reason and all UIDs."""
    slices = series_of(2)
    fill(mercy, slices)
    allow(mercy)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    with mercy.scope():
        node_add(ae_title="INSIDE", host="127.0.0.1", port=9)
    to(mercy, closed, "DOWN")
    receiver = Receiver()
    with receiver.open("1.2.840.10008.5.1.4.1.1.4") as port, asking(listener, mercy, STUDY_MOVE) as a:
        to(mercy, port, "MRONLY")
        [(status, _)] = move(a, slices[0].StudyInstanceUID, "INSIDE")
        assert (status.Status, status.ErrorComment) == (0xA702, "destination: private or not allowed (EGRESS_ALLOW)")
        for title, reason in (("DOWN", "no connection"), ("MRONLY", "no presentation context")):
            status, failed = move(a, slices[0].StudyInstanceUID, title)[-1]
            assert (status.Status, counts(status)) == (0xA702, (0, 2, 0))
            assert reason in status.ErrorComment
            assert failed is not None
            assert list(failed.FailedSOPInstanceUIDList) == [ds.SOPInstanceUID for ds in slices]


def test_several_associations_when_contexts_run_out(listener, mercy, to) -> None:
    """"several associations when contexts run out (>128)": 70 classes, each as stored and uncompressed, need 140 contexts."""
    classes = [f"1.2.276.0.19.55.{n}" for n in range(70)]
    objects = [ct_slice(SOPClassUID=sop_class, StudyInstanceUID="1.2.9.9", InstanceNumber=n) for n, sop_class in enumerate(classes)]
    fill(mercy, objects)
    allow(mercy)
    receiver = Receiver()
    from pynetdicom import _config

    _config.UNRESTRICTED_STORAGE_SERVICE = True  # the receiver's: ours takes private classes without it
    try:
        with receiver.open(*classes) as port, asking(listener, mercy, STUDY_MOVE) as a:
            to(mercy, port)
            status, _ = move(a, "1.2.9.9")[-1]
    finally:
        _config.UNRESTRICTED_STORAGE_SERVICE = False
    assert (status.Status, counts(status)) == (0, (70, 0, 0))
    assert receiver.associations == 2
    assert {ds.SOPClassUID for ds in receiver.objects} == set(classes)


def test_the_plan_of_associations() -> None:
    """Never more than 128 contexts, every object exactly once, each class with its stored syntaxes and an uncompressed way."""
    objects = [
        StoredObject(f"1.2.{n % 50}", f"1.3.{n}", f"1.2.840.10008.1.2.4.{50 + n % 7}", None)  # type: ignore[arg-type]
        for n in range(1000)
    ]  # fmt: skip
    shares = list(associations_plan(objects))
    assert len(shares) > 1
    assert sorted(o.sop_instance_uid for _, share in shares for o in share) == sorted(o.sop_instance_uid for o in objects)
    for proposals, share in shares:
        assert len(proposals) <= 128
        offered = {(p.sop_class_uid, syntax) for p in proposals for syntax in p.transfer_syntaxes}
        for stored in share:
            assert (stored.sop_class_uid, stored.transfer_syntax_uid) in offered
            assert (stored.sop_class_uid, str(ImplicitVRLittleEndian)) in offered


def test_a_destination_that_takes_only_implicit_gets_implicit(listener, mercy, to, tmp_path) -> None:
    """"transcoding when the peer takes only uncompressed": JPEG-LS in the archive, dcmtk's storescp +xi at the other end."""
    path = real_file("syntax/ct-jpegls.dcm")
    object_write(tenant_id=mercy.tenant.id, source=0, trace_id="0" * 32, parts=[path.read_bytes()])
    house.index(mercy)
    allow(mercy)
    with storescp(tmp_path / "got", "+xi") as port, asking(listener, mercy, STUDY_MOVE) as a:
        to(mercy, port)
        status, _ = move(a, dcmread(path, stop_before_pixels=True).StudyInstanceUID)[-1]
    assert (status.Status, counts(status)) == (0, (1, 0, 0))
    [got] = (tmp_path / "got").iterdir()
    ds, sent = dcmread(got), dcmread(path)
    assert ds.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert (ds.pixel_array == sent.pixel_array).all()


def test_a_lost_association_costs_its_object_only(listener, mercy, to) -> None:
    """The destination aborts at the third object: that one failed, the others go over a new association."""
    slices = series_of(6)
    fill(mercy, slices)
    allow(mercy)
    receiver = Receiver()

    def store(event: evt.Event) -> int:
        if len(receiver.objects) == 3:
            event.assoc.abort()
        return 0

    receiver.on_store = store
    with receiver.open() as port, asking(listener, mercy, STUDY_MOVE) as a:
        to(mercy, port)
        status, failed = move(a, slices[0].StudyInstanceUID)[-1]
    assert (status.Status, counts(status)) == (0xB000, (5, 1, 0))
    assert failed is not None
    assert failed.FailedSOPInstanceUIDList == slices[2].SOPInstanceUID
    assert receiver.associations == 2


def test_cancel_within_one_object(listener, mercy, to) -> None:
    """"C-CANCEL": 0xFE00 with what remains, the destination is released, and the requestor can go on."""
    slices = series_of(40)
    fill(mercy, slices)
    allow(mercy)
    receiver = Receiver()
    with receiver.open() as port, asking(listener, mercy, STUDY_MOVE) as a:
        to(mercy, port)

        def store(_: evt.Event) -> int:
            if len(receiver.objects) == 3:
                a.send_c_cancel(21, query_model=STUDY_MOVE)
            return 0

        receiver.on_store = store
        status, _ = move(a, slices[0].StudyInstanceUID, msg_id=21)[-1]
        assert status.Status == 0xFE00
        assert 3 <= len(receiver.objects) <= 6
        assert status.NumberOfRemainingSuboperations == 40 - len(receiver.objects)
        receiver.on_store = lambda _: 0
        assert move(a, slices[0].StudyInstanceUID)[-1][0].Status == 0


def test_a_list_too_long_for_its_vr_is_cut_at_a_uid() -> None:
    """An explicit UI element holds 65534 bytes; implicit ones hold all of it."""
    uids = [f"1.2.840.{n:055}" for n in range(2000)]
    short, long = failed_uids_encode(uids, is_implicit=False), failed_uids_encode(uids, is_implicit=True)
    assert short[:6] == b"\x08\0\x58\0UI"
    value = short[8:].rstrip(b"\0").decode().split("\\")
    assert value == uids[: len(value)]
    assert 900 < len(value) < 1050
    assert long[8:].rstrip(b"\0").decode().split("\\") == uids


