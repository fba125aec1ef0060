"""The DIMSE line: C-STORE out to real peers (dcmtk's storescp, Orthanc), and results C-STOREd back to a return AE."""

import socket
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import OperationalError
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage

from ai.connecting import connection_save
from ai.connections import ConnectionRefused
from ai.contract import Peer, PlatformError
from ai.models import Connection, ReturnedObject
from ai.returned import keeping
from ai.returned.incoming import incoming_open
from ai.returned.keeping import returned_drop, returned_objects, returned_sweep
from ai.ways import DimseLine
from imaging import associations
from imaging.certificates.services import certificate_sign
from imaging.dimse.contract import Admission, Refusal, Services
from imaging.dimse.listener import Listener
from imaging.inbox import inbox_objects
from imaging.models import Association
from journal.models import AuditEvent
from medhub.celery import app
from tenants.models import CalledAE
from tenants.selectors import called_aes
from tenants.services import AETitleTakenError, OpenReturnError, called_ae_set, return_ae_set
from tests.ai.performing import connection_make
from tests.dicom_files import ct_slice, part10, series_of
from tests.imaging.scu_peers import scp
from tests.imaging.test_dimse_peers import eventually, peer
from tests.imaging.test_query_peers import storescp
from tests.imaging.tls_peers import ACTOR, device, request_make, secure_storescp
from tests.orthanc import orthanc_run, port_free

pytestmark = [pytest.mark.database, pytest.mark.peers]
SR, SEG, SC = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.7"


@pytest.fixture
def files(tmp_path) -> list[Path]:
    folder = tmp_path / "out"
    folder.mkdir()
    made = []
    for number, ds in enumerate(series_of(5)):
        path = folder / f"{number}.dcm"
        path.write_bytes(part10(ds))
        made.append(path)
    return made


@pytest.fixture
def line(mercy, tmp_path, settings):
    """The way out of mercy, and a peer at a port that egress lets through."""
    way = DimseLine(mercy.tenant.id)

    def at(port: int, **facts: Any) -> tuple[Any, Peer]:
        settings.EGRESS_ALLOW = [f"127.0.0.1:{port}"]
        return way, Peer(**{"host": "127.0.0.1", "port": port, "called_ae": "VENDOR", "calling_ae": "MEDHUB", **facts})

    return at


def uids(paths: list[Path]) -> set[str]:
    return {str(dcmread(path).SOPInstanceUID) for path in paths}


# --- out ------------------------------------------------------------------------------------------------------------


def test_c_store_out_to_dcmtk(line, files, tmp_path) -> None:
    """"DIMSE (C-STORE out ...)": every object arrives as it was, at a real storescp; and C-ECHO says that it is there."""
    with storescp(tmp_path / "got") as port:
        way, vendor = line(port)
        way.echo(vendor)
        assert way.store(files, vendor) == len(files)
    got = [path for path in (tmp_path / "got").iterdir() if path.is_file() and path.suffix != ".log"]
    assert {str(dcmread(path, force=True).SOPInstanceUID) for path in got} == uids(files)


def test_c_store_out_to_orthanc(line, files, tmp_path) -> None:
    """The same to an archive."""
    (tmp_path / "orthanc").mkdir()
    with orthanc_run(tmp_path / "orthanc") as orthanc:
        way, vendor = line(orthanc.port, called_ae=orthanc.ae_title)
        way.echo(vendor)
        assert way.store(files, vendor) == len(files)
        assert eventually(lambda: len(orthanc.instances()) == len(files), 10)


def test_all_or_an_error(line, files) -> None:
    """"every object must be accepted (0x0000 or Bxxx warning counted), else PlatformError non-permanent"."""
    for status, is_taken in ((0xB000, True), (0x0107, True), (0xA700, False), (0x0110, False)):
        answers = iter([0, 0, status, 0, 0])
        with scp("VENDOR", [CTImageStorage], [(evt.EVT_C_STORE, lambda _, left=answers: next(left))]) as port:
            way, vendor = line(port)
            if is_taken:
                assert way.store(files, vendor) == len(files)
                continue
            with pytest.raises(PlatformError, match=r"1 of 5 objects were not taken: the node answered with status") as refused:
                way.store(files, vendor)
            assert not refused.value.is_permanent


def test_who_is_not_there_or_not_allowed(line, files, settings, tmp_path) -> None:
    """"address checked by tenants.egress": a private address that is not listed is not called; nobody there is worth another try."""
    free = port_free()
    way, vendor = line(free)
    with pytest.raises(PlatformError) as refused:
        way.store(files, vendor)
    assert not refused.value.is_permanent
    with pytest.raises(PlatformError):
        way.echo(vendor)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        way, vendor = line(listening.getsockname()[1])
        settings.EGRESS_ALLOW = []
        with pytest.raises(PlatformError, match="EGRESS_ALLOW"):
            way.store(files, vendor)
        listening.settimeout(0.2)
        with pytest.raises(TimeoutError):
            listening.accept()
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"no dicom")
    with scp("VENDOR", [CTImageStorage], []) as port:
        way, vendor = line(port)
        with pytest.raises(PlatformError) as unreadable:
            way.store([broken], vendor)
        assert unreadable.value.is_permanent


def test_over_tls(mercy, olaf, line, files, tmp_path, settings) -> None:
    """"TLS as the nodes do": the hospital's own authority is trusted and its certificate shown; another hospital's peer is not sent to."""
    for owner, is_trusted in ((mercy, True), (olaf, False)):
        there = device(owner, tmp_path / owner.slug, name="VENDOR", hosts=["localhost"])
        device(mercy, tmp_path / f"own-{owner.slug}")
        got = tmp_path / f"got-{owner.slug}"
        with secure_storescp(there, got) as port:
            way, vendor = line(port, host="localhost", has_tls=True)
            settings.EGRESS_ALLOW = [f"localhost:{port}"]
            if is_trusted:
                way.echo(vendor)
                assert way.store(files, vendor) == len(files)
                continue
            with pytest.raises(PlatformError, match="no TLS"):
                way.store(files, vendor)
        assert list(got.iterdir()) == []


# --- back -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def listening():
    """The listener with the callables that the worker gives it for admission and receiving."""
    paths = app.conf.medhub_dimse
    assert paths["receive"] == "ai.returned.incoming.incoming_open"
    found = Listener("127.0.0.1", 0, services=Services(
        admit=associations.association_admit, receive=incoming_open, alive=associations.associations_alive,
        ended=associations.association_end, thread_end=associations.thread_end,
    ))  # fmt: skip
    found.start()
    yield found
    found.stop(2)


@pytest.fixture
def returning(mercy):
    """mercy's connection with its return AE: (connection, called, calling)."""
    link = connection_make(mercy)
    called = f"R{mercy.called_ae}"[:16]
    return_ae_set(tenant=mercy.tenant, ae_title=called, connection_id=link.id, calling_ae="VENDOR", addresses=["127.0.0.1"])
    return link, called


def result(sop_class: str = SR, study_uid: str = "", **facts: Any) -> Dataset:
    ds = ct_slice(SOPClassUID=sop_class, Modality="SR", PatientName="SURROGATE", StudyInstanceUID=study_uid or generate_uid(), **facts)
    del ds.PixelData
    return ds


def stored(path: Path, ds: Dataset) -> Path:
    path.write_bytes(part10(ds))
    return path


def send(port: int, called: str, datasets: list[Dataset], *, calling: str = "VENDOR") -> list[int] | None:
    """C-STORE by pynetdicom; the statuses, or None when the association was refused."""
    ae = AE(ae_title=calling)
    for sop_class in {ds.SOPClassUID for ds in datasets}:
        ae.add_requested_context(sop_class)
    association = ae.associate("127.0.0.1", port, ae_title=called)
    if not association.is_established:
        return None
    for ds in datasets:
        part10(ds)
    statuses = [association.send_c_store(ds).Status for ds in datasets]
    association.release()
    return statuses


def test_results_come_back_to_the_return_ae(mercy, listening, returning, tmp_path, monkeypatch) -> None:
    """"results C-STOREd to a return AE per tenant and vendor": dcmtk sends; durable, not archived, gathered when quiet."""
    link, called = returning
    study = generate_uid()
    made = [result(SR, study), result(SEG, study), result(SC, study)]
    paths = [stored(tmp_path / f"{number}.dcm", ds) for number, ds in enumerate(made)]
    said = peer("storescu", listening.port, "-R", files=paths, called=called, calling="VENDOR")
    assert said.startswith("exit 0"), said
    with mercy.scope():
        rows = list(ReturnedObject.objects.order_by("id"))
        assert returned_objects(connection_id=link.id, study_uid=study) == [], "quiet for 2 s first"
    assert {row.sop_instance_uid for row in rows} == {ds.SOPInstanceUID for ds in made}
    assert not [one for found in inbox_objects(limit=100) for one in found if one.tenant_id == mercy.tenant.id], "no study of a patient"
    monkeypatch.setattr(keeping, "QUIET", keeping.QUIET * 0)

    def gathered() -> list[Any]:
        with mercy.scope():
            return returned_objects(connection_id=link.id, study_uid=study)

    assert eventually(gathered, 5)
    found = gathered()
    assert {str(dcmread(one.path).SOPInstanceUID) for one in found} == {ds.SOPInstanceUID for ds in made}
    with mercy.scope():
        assert AuditEvent.objects.filter(action="ai.return", actor="ae:VENDOR").count() == 1
        assert returned_objects(connection_id=link.id + 1, study_uid=study) == []
        assert returned_drop(connection_id=link.id, study_uid=study) == 3
    assert not any(one.path.exists() for one in found)


def test_quiet_time(mercy, listening, returning) -> None:
    """"to gather by quiet time (2 s after last association end)": not while one is open, not before the 2 s, then all."""
    link, called = returning
    study = generate_uid()
    ae = AE(ae_title="VENDOR")
    ae.add_requested_context(SR)

    def gathered() -> int:
        with mercy.scope():
            return len(returned_objects(connection_id=link.id, study_uid=study))

    association = ae.associate("127.0.0.1", listening.port, ae_title=called)
    first = result(SR, study)
    part10(first)
    assert association.send_c_store(first).Status == 0
    with mercy.scope():
        ReturnedObject.objects.update(received_at="2026-01-01T00:00:00Z")
        Association.objects.update(started_at="2026-01-01T00:00:00Z")
    assert gathered() == 0
    association.release()
    ended = time.monotonic()
    assert eventually(gathered, 6)
    assert time.monotonic() - ended > 1.8


def test_an_object_that_is_sent_again_counts_once(mercy, listening, returning, monkeypatch) -> None:
    link, called = returning
    monkeypatch.setattr(keeping, "QUIET", keeping.QUIET * 0)
    one = result()
    assert send(listening.port, called, [one, one]) == [0, 0]

    def gathered() -> int:
        with mercy.scope():
            return len(returned_objects(connection_id=link.id, study_uid=one.StudyInstanceUID))

    assert eventually(gathered, 5)
    assert gathered() == 1


def test_only_results_and_only_from_the_platform(mercy, listening, returning) -> None:
    """"from the connection's configured calling AE", "not images of patients": a stranger is refused, images are refused with a reason."""
    _, called = returning
    assert send(listening.port, called, [result()], calling="STRANGER") is None
    assert send(listening.port, called, [result()], calling=mercy.calling_ae) is None, "a modality of the hospital neither"
    assert send(listening.port, mercy.called_ae, [result()], calling="VENDOR") is None, "the platform stores nothing in the archive"
    assert send(listening.port, called, [ct_slice()]) == [0x0122]
    with mercy.scope():
        assert ReturnedObject.objects.count() == 0
        assert Association.objects.filter(called_ae=called, outcome="refused").count() == 2
    assert send(listening.port, mercy.called_ae, [ct_slice()], calling=mercy.calling_ae) == [0], "images go where they went"


def test_a_return_ae_is_nothing_else(mercy, olaf, listening, returning) -> None:
    """A title that images come to cannot become one; ours to call with is never one; another hospital cannot take it."""
    link, called = returning
    with pytest.raises(AETitleTakenError):
        return_ae_set(tenant=mercy.tenant, ae_title=mercy.called_ae, connection_id=link.id, calling_ae="VENDOR", addresses=["127.0.0.1"])
    with pytest.raises(AETitleTakenError):
        called_ae_set(tenant=mercy.tenant, ae_title=called)
    with pytest.raises(AETitleTakenError):
        return_ae_set(tenant=olaf.tenant, ae_title=called, connection_id=1, calling_ae="VENDOR", addresses=["127.0.0.1"])
    assert called_aes(tenant_id=mercy.tenant.id) == [mercy.called_ae]
    ae = AE(ae_title="VENDOR")
    ae.add_requested_context("1.2.840.10008.5.1.4.1.2.2.1")
    assert not ae.associate("127.0.0.1", listening.port, ae_title=called).is_established, "nothing can be asked for there"
    return_ae_set(tenant=mercy.tenant, ae_title=f"N{called}"[:16], connection_id=link.id, calling_ae="VENDOR", addresses=["127.0.0.1"])
    assert send(listening.port, called, [result()]) is None, "moved"


def test_anybody_who_knows_two_titles_brings_nothing(mercy, listening, returning) -> None:
    """"accepts results from any address when no TLS and no address list": never any more. From a listed address, from another one,

    over TLS where it must be, and a title of before that names neither.
    """
    link, called = returning

    def opened(**how: Any) -> list[int] | None:
        return_ae_set(tenant=mercy.tenant, ae_title=called, connection_id=link.id, calling_ae="VENDOR", **how)
        return send(listening.port, called, [result()])

    assert opened(addresses=["192.0.2.0/24", "127.0.0.0/8"]) == [0]
    assert opened(addresses=["192.0.2.0/24"]) is None
    assert opened(needs_tls=True) is None
    assert opened(addresses=["127.0.0.1"], needs_tls=True) is None
    with pytest.raises(OpenReturnError):
        opened()
    CalledAE.objects.filter(ae_title=called).update(addresses=[], needs_tls=False)
    assert send(listening.port, called, [result()]) is None
    admitted = associations.association_admit
    for certificate, kind in (("", Refusal), (certificate_of(mercy), Admission)):
        assert isinstance(admitted(called_ae=called, calling_ae="VENDOR", address="192.0.2.9", certificate=certificate), kind)


def certificate_of(hospital: Any) -> str:
    """Fingerprint of one that the hospital has issued."""
    with hospital.scope():
        return certificate_sign(actor=ACTOR, csr=request_make(ec.generate_private_key(ec.SECP256R1()))).fingerprint


def test_the_form_wants_to_know_where_results_come_from(mercy, olaf) -> None:
    """"the connection form/API must require an address list (or a TLS certificate) for a DIMSE return AE": opened, moved and closed by

    the form; what is refused leaves everything as it was.
    """
    title = f"B{mercy.called_ae}"[:16]
    base = {"contract": "x", "way": "ups", "answer": "pushed", "auth": "none"}

    def saved(hospital: Any = mercy, **values: str) -> None:
        with hospital.scope():
            connection_save(platform="sharedmind", values=base | values, actor=ACTOR)

    def held() -> list[tuple[str, str, list[str], bool]]:
        rows = CalledAE.objects.filter(tenant=mercy.tenant).exclude(connection_id=None)
        return list(rows.values_list("ae_title", "calling_ae", "addresses", "needs_tls"))

    for values, field in (
        ({"return_ae": title, "return_from_ae": "VENDOR"}, "return_addresses"), ({"return_ae": title}, "return_from_ae"),
        ({"return_ae": title, "return_from_ae": "VENDOR", "return_addresses": "vendor.example"}, "return_addresses"),
        ({"return_ae": mercy.called_ae, "return_from_ae": "VENDOR", "return_tls": "yes"}, "return_ae"),
    ):  # fmt: skip
        with pytest.raises(ConnectionRefused) as refused:
            saved(**values)
        assert set(refused.value.problems) == {field}
        with mercy.scope():
            assert (held(), Connection.objects.count()) == ([], 0)
    saved(return_ae=title, return_from_ae="VENDOR", return_addresses="192.0.2.7, 198.51.100.0/24")
    assert held() == [(title, "VENDOR", ["192.0.2.7", "198.51.100.0/24"], False)]
    with pytest.raises(ConnectionRefused):
        saved(olaf, return_ae=title, return_from_ae="VENDOR", return_tls="yes")
    saved(return_ae=f"C{title}"[:16], return_from_ae="VENDOR", return_tls="yes")
    assert held() == [(f"C{title}"[:16], "VENDOR", [], True)]
    saved()
    assert held() == []


def test_what_a_dead_writer_left_is_swept(mercy, listening, returning, settings) -> None:
    """A file without a row was never acknowledged: it goes, those with a row stay."""
    _, called = returning
    assert send(listening.port, called, [result()]) == [0]
    folder = settings.MEDHUB_OBJECTS / "returned" / str(mercy.tenant.id)
    (folder / "1.part").write_bytes(b"x")
    (folder / "2.dcm").write_bytes(b"x")
    assert returned_sweep(older_than=time.time() - 60) == 0
    assert returned_sweep(older_than=time.time() + 60) >= 2
    with mercy.scope():
        (kept,) = ReturnedObject.objects.all()
    assert [path.name for path in folder.iterdir()] == [kept.key.rsplit("/", 1)[1]]


def test_without_a_row_there_is_no_acknowledgement(mercy, listening, returning, monkeypatch, settings) -> None:
    """"acknowledged after durable": when the row cannot be written the sender is told to come back (A700), and no file is left."""
    _, called = returning

    def fail(**_: Any) -> None:
        raise OperationalError

    monkeypatch.setattr(ReturnedObject.objects, "create", fail)
    assert send(listening.port, called, [result()]) == [0xA700]
    folder = settings.MEDHUB_OBJECTS / "returned" / str(mercy.tenant.id)
    assert list(folder.iterdir()) == []
