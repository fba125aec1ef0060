"""Pulls by C-MOVE and C-GET from real archives: progress, resume, rate; done is what our own rows say."""

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom import evt

from imaging.models import Association, Instance, Study, Transfer
from imaging.scu.association import STUDY_FIND, STUDY_GET, STUDY_MOVE
from imaging.scu.pull import COMPRESSED, get_contexts
from imaging.storage import object_path
from imaging.transfers.rows import Pace, TransferError, transfer_cancel, transfer_retry
from imaging.transfers.run import transfer_run
from medhub.stack import ROOT
from tests import house
from tests.dicom_files import ct_slice, series_of
from tests.imaging.scu_peers import ACTOR, answering, begin, finish, items, row, scp, step, with_meta
from tests.imaging.test_dimse_peers import real_file
from tests.imaging.test_query_peers import data_set_bytes, serving
from tests.orthanc import dcmqrscp_run, store

pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("orthanc")]
CT = "1.2.840.10008.5.1.4.1.1.2"


def kept(hospital: Any, uid: str) -> int:
    with hospital.scope():
        return Instance.objects.filter(study__study_uid=uid).count()


def test_a_pull_by_move_from_dcmqrscp(mercy, node_at, tmp_path) -> None:
    """"pull a study by C-MOVE to our AE": dcmtk's archive sends to our listener; the counts are those of our rows."""
    slices = series_of(12)
    with serving() as listener, dcmqrscp_run(tmp_path / "a", movers={mercy.called_ae: listener.port}) as port:
        store(port, "ARCHIVE", slices)
        node = node_at(mercy, port, "ARCHIVE")
        done = finish(mercy, begin(mercy, node, "pull", slices[0].StudyInstanceUID))
    assert (done.state, done.completed, done.failed, done.remaining, done.last_error) == ("done", 12, 0, 0, "")
    assert (done.studies, done.studies_done, done.method) == (1, 1, "move")
    assert kept(mercy, slices[0].StudyInstanceUID) == 12


@pytest.mark.parametrize("method", ["move", "get"])
def test_a_pull_from_orthanc(mercy, node_at, orthanc, method) -> None:
    """"pull a study by C-MOVE to our AE or by C-GET": the same objects either way, and what is there is not asked for again."""
    slices = [*series_of(5), *series_of(4)]
    for ds in slices:
        ds.StudyInstanceUID = slices[0].StudyInstanceUID
    orthanc.put(slices)
    with serving() as listener:
        orthanc.modality(mercy.called_ae, listener.port)
        node = node_at(mercy, orthanc.port, "ORTHANC", retrieve_by=method)
        done = finish(mercy, begin(mercy, node, "pull", slices[0].StudyInstanceUID))
        assert (done.state, done.completed, done.method) == ("done", 9, method)
        again = begin(mercy, node, "pull", slices[0].StudyInstanceUID)
        step(mercy, again)  # one step: nothing is missing
        step(mercy, again)
        assert row(mercy, again).state == "done"
    assert kept(mercy, slices[0].StudyInstanceUID) == 9
    with mercy.scope():
        stored = list(Association.objects.filter(calling_ae="ORTHANC").values_list("outcome", "stored"))
    assert stored == [("released", 9)]


def test_a_get_keeps_the_bytes_and_the_syntax(mercy, node_at, tmp_path) -> None:
    """"objects received in a C-GET go through imaging.ingest.instance_receive, bytes unchanged": a real JPEG-LS CT."""
    path = real_file("syntax/ct-jpegls.dcm")
    ds = dcmread(path)

    def get(event: evt.Event):
        yield 1
        yield 0xFF00, dcmread(path)

    handlers = [(evt.EVT_C_FIND, answering([ds])), (evt.EVT_C_GET, get)]
    ae_classes = [STUDY_FIND, STUDY_GET]
    from pynetdicom import AE

    ae = AE(ae_title="JPEGLS")
    for sop_class in ae_classes:
        ae.add_supported_context(sop_class)
    ae.add_supported_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID, scu_role=True, scp_role=True)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        node = node_at(mercy, server.socket.getsockname()[1], "JPEGLS", retrieve_by="get")
        done = finish(mercy, begin(mercy, node, "pull", ds.StudyInstanceUID))
    finally:
        server.shutdown()
    assert done.state == "done", done.last_error
    with mercy.scope():
        [(key, syntax)] = Instance.objects.values_list("key", "transfer_syntax_uid")
    assert syntax == ds.file_meta.TransferSyntaxUID
    assert dcmread(object_path(key)).PixelData == ds.PixelData
    assert len(data_set_bytes(object_path(key))) > 0


def test_contexts_of_a_get_stay_below_128() -> None:
    """As many syntaxes for each class as there is room for; every class has an uncompressed way."""
    for count in (1, 10, 60, 126):
        contexts = get_contexts([f"1.2.3.{n}" for n in range(count)])
        assert len(contexts) <= 128
        assert sum("1.2.840.10008.1.2.1" in c.transfer_syntax and str(c.abstract_syntax) != STUDY_GET for c in contexts) == count
    assert len(get_contexts([CT])) == 2 + len(COMPRESSED)


def test_a_pull_goes_on_after_a_peer_that_breaks(mercy, node_at) -> None:
    """"with progress, resume": the node aborts after four objects of a C-GET; the second time only the others are asked for."""
    slices = with_meta(series_of(10))
    asked: list[Any] = []
    sent: list[str] = []

    def get(event: evt.Event):
        identifier = event.identifier
        asked.append(identifier)
        uids = identifier.get("SOPInstanceUID", None)
        wanted = slices if uids is None else [ds for ds in slices if ds.SOPInstanceUID in ([uids] if isinstance(uids, str) else uids)]
        yield len(wanted)
        for n, ds in enumerate(wanted):
            if len(asked) == 1 and n == 4:
                event.assoc.abort()
                return
            sent.append(ds.SOPInstanceUID)
            yield 0xFF00, ds

    handlers = [(evt.EVT_C_FIND, answering(slices)), (evt.EVT_C_GET, get)]
    with scp("BREAKS", [STUDY_FIND, STUDY_GET, CT], handlers) as port:
        node = node_at(mercy, port, "BREAKS", retrieve_by="get")
        transfer = begin(mercy, node, "pull", slices[0].StudyInstanceUID)
        step(mercy, transfer)
        broken = row(mercy, transfer)
        assert broken.state == "running"
        assert "association" in broken.last_error
        assert kept(mercy, slices[0].StudyInstanceUID) == 4
        done = finish(mercy, transfer)
    assert (done.state, done.completed, done.failed) == ("done", 10, 0)
    assert len(asked) == 2
    assert asked[1].QueryRetrieveLevel == "IMAGE"
    assert len(asked[1].SOPInstanceUID) == 6
    assert len(sent) == 10


def test_a_pull_goes_on_after_kill_9(mercy, node_at, settings, tmp_path) -> None:
    """"resume after kill -9": the worker is killed in the middle of a C-GET; the lease runs out and another goes on."""
    slices = with_meta(series_of(30))
    sent: list[str] = []
    asked: list[Any] = []

    def get(event: evt.Event):
        uids = event.identifier.get("SOPInstanceUID", None)
        asked.append(uids)
        wanted = slices if uids is None else [ds for ds in slices if ds.SOPInstanceUID in uids]
        yield len(wanted)
        for ds in wanted:
            if len(sent) < 8:
                time.sleep(0.03)
            elif not uids:
                time.sleep(0.5)
            sent.append(ds.SOPInstanceUID)
            yield 0xFF00, ds

    handlers = [(evt.EVT_C_FIND, answering(slices)), (evt.EVT_C_GET, get)]
    with scp("SLOW", [STUDY_FIND, STUDY_GET, CT], handlers) as port:
        node = node_at(mercy, port, "SLOW", retrieve_by="get")
        transfer = begin(mercy, node, "pull", slices[0].StudyInstanceUID)
        code = (
            "import django; django.setup()\n"
            "from django.conf import settings; from django.db import connections\n"
            f"settings.EGRESS_ALLOW = ['127.0.0.1:{port}']\n"
            f"connections['default'].settings_dict['NAME'] = {settings.DATABASES['default']['NAME']!r}\n"
            "from imaging.transfers.run import transfer_run\n"
            f"transfer_run(tenant_id={mercy.tenant.id}, transfer_id={transfer.id})\n"
        )
        worker = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "DJANGO_SETTINGS_MODULE": "medhub.settings"})
        end = time.monotonic() + 15
        while len(sent) < 8 and time.monotonic() < end and worker.poll() is None:
            time.sleep(0.01)
        assert worker.poll() is None
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        assert transfer_run(tenant_id=mercy.tenant.id, transfer_id=transfer.id) is None, "the lease still holds"
        house.index(mercy)
        there = kept(mercy, slices[0].StudyInstanceUID)
        assert 6 <= there <= 9
        done = finish(mercy, transfer)
    assert (done.state, done.completed) == ("done", 30)
    counts = [0 if uids is None else 1 if isinstance(uids, str) else len(uids) for uids in asked]
    assert (counts[0], sum(counts[1:])) == (0, 30 - there), "only what was missing was asked for again"


def test_a_node_that_is_away_costs_the_studies_nothing(mercy, node_at) -> None:
    """The transfer waits longer each time and says why; after eight times it is failed and can be begun again."""
    slices = with_meta(series_of(2))
    from tests.orthanc import port_free

    node = node_at(mercy, port_free(), "AWAY", retrieve_by="get")
    transfer = begin(mercy, node, "pull", slices[0].StudyInstanceUID)
    assert step(mercy, transfer) == pytest.approx(0.1)
    assert row(mercy, transfer).last_error == "no connection"
    with mercy.scope():
        Transfer.objects.filter(id=transfer.id).update(attempts=7)
    done = finish(mercy, transfer)
    assert (done.state, done.studies_failed, items(mercy, transfer)[0].attempts) == ("failed", 0, 0)

    def get(event: evt.Event):
        yield 2
        for ds in slices:
            yield 0xFF00, ds

    with scp("AWAY", [STUDY_FIND, STUDY_GET, CT], [(evt.EVT_C_FIND, answering(slices)), (evt.EVT_C_GET, get)]) as port:
        node_at(mercy, port, "AWAY")
        with mercy.scope():
            assert transfer_retry(actor=ACTOR, transfer=done)
        done = finish(mercy, transfer)
    assert (done.state, done.completed) == ("done", 2)


def test_what_the_node_does_not_send_is_named(mercy, node_at) -> None:
    """"counts (remaining, completed, failed, warning), failed UID list bounded, last error in words"."""
    slices = with_meta(series_of(3))

    def get(event: evt.Event):
        yield 3
        yield 0xFF00, slices[0]
        yield 0xA702, _failed(slices[1:])

    from pydicom.dataset import Dataset

    def _failed(missing: list[Any]) -> Dataset:
        ds = Dataset()
        ds.FailedSOPInstanceUIDList = [m.SOPInstanceUID for m in missing]
        return ds

    with scp("FAILS", [STUDY_FIND, STUDY_GET, CT], [(evt.EVT_C_FIND, answering(slices)), (evt.EVT_C_GET, get)]) as port:
        node = node_at(mercy, port, "FAILS", retrieve_by="get")
        done = finish(mercy, begin(mercy, node, "pull", slices[0].StudyInstanceUID))
    assert (done.state, done.studies_failed) == ("failed", 1)
    assert set(done.failed_uids) <= {ds.SOPInstanceUID for ds in slices[1:]}
    assert done.failed_uids
    assert done.last_error


def test_a_move_destination_that_the_node_does_not_know(mercy, node_at, tmp_path) -> None:
    """A801 in words that say what to do; asking again would change nothing."""
    slices = series_of(2)
    with dcmqrscp_run(tmp_path / "a") as port:
        store(port, "ARCHIVE", slices)
        done = finish(mercy, begin(mercy, node_at(mercy, port, "ARCHIVE"), "pull", slices[0].StudyInstanceUID))
        assert done.state == "failed"
        assert done.last_error.startswith("the node does not know our AE title")
        none = finish(mercy, begin(mercy, node_at(mercy, port, "ARCHIVE"), "pull", "1.2.3.4"))
    assert (none.state, none.last_error) == ("failed", "the node has no such study")


def test_the_rate_holds(mercy, node_at, orthanc) -> None:
    """"a rate limit": 600 objects a minute are ten a second, in a C-GET one by one; studies a minute pause between studies."""
    slices = series_of(12)
    other = ct_slice()
    orthanc.put([*slices, other])
    node = node_at(mercy, orthanc.port, "ORTHANC", retrieve_by="get")
    before = time.monotonic()
    done = finish(mercy, begin(mercy, node, "pull", slices[0].StudyInstanceUID, pace=Pace(objects_per_minute=600)))
    assert done.state == "done"
    assert time.monotonic() - before > 1.0
    transfer = begin(mercy, node, "pull", other.StudyInstanceUID, pace=Pace(studies_per_minute=30))
    assert step(mercy, transfer) == pytest.approx(2, abs=0.8)


def test_a_cancelled_pull_stops(mercy, node_at, orthanc) -> None:
    """A cancel is heard within a second, in the middle of a study; what came stays."""
    slices = series_of(40)
    orthanc.put(slices)
    node = node_at(mercy, orthanc.port, "ORTHANC", retrieve_by="get")
    transfer = begin(mercy, node, "pull", slices[0].StudyInstanceUID, pace=Pace(objects_per_minute=1200))
    import threading

    from django.db import connections

    def work() -> None:
        transfer_run(tenant_id=mercy.tenant.id, transfer_id=transfer.id)
        connections.close_all()

    worker = threading.Thread(target=work)
    worker.start()
    end = time.monotonic() + 10
    while not (live := row(mercy, transfer)).completed and time.monotonic() < end:
        time.sleep(0.05)
    assert 0 < live.completed < 40, "progress is written while it works"
    assert live.remaining == 40 - live.completed
    with mercy.scope():
        assert transfer_cancel(actor=ACTOR, transfer=live)
    worker.join(3)
    assert not worker.is_alive()
    house.index(mercy)
    assert 0 < kept(mercy, slices[0].StudyInstanceUID) < 40
    assert row(mercy, transfer).state == "cancelled"


def test_two_workers_never_have_one_transfer(mercy, node_at) -> None:
    """"lease in PostgreSQL": the second claim finds nothing; a claim that was taken over writes nothing."""
    from imaging.transfers.rows import transfer_claim, transfer_release

    transfer = begin(mercy, node_at(mercy, 11112, "NODE"), "pull", "1.2.3")
    with mercy.scope():
        first = transfer_claim(transfer.id)
        assert first is not None
        assert transfer_claim(transfer.id) is None
        Transfer.objects.update(due_at="2026-01-01T00:00:00Z")
        second = transfer_claim(transfer.id)
        assert second is not None
        assert not transfer_release(first, wait_seconds=0)
        assert transfer_release(second, wait_seconds=0)


def test_what_cannot_be_asked_for(mercy, node_at) -> None:
    """Limits on what comes from outside, in words that name the field."""
    node = node_at(mercy, 104, "NODE")
    for kind, uids, options, field in (
        ("pull", [], {}, "study_uids"), ("pull", ["../x"], {}, "study_uids"), ("send", ["1.2.3"], {}, "study_uids"),
        ("copy", ["1.2.3"], {}, "kind"), ("migrate", [], {"query": {"from": "2026"}}, "query"),
        ("migrate", [], {"query": {"from": "20260102", "to": "20260101"}}, "query"),
        ("pull", ["1.2.3"], {"pace": Pace(objects_per_minute=0)}, "objects_per_minute"),
        ("pull", ["1.2.3"], {"pace": Pace(hour_from=22)}, "hour_from"), ("pull", ["1.2.3"], {"method": "post"}, "method"),
    ):  # fmt: skip
        with pytest.raises(TransferError) as error:
            begin(mercy, node, kind, *uids, **options)
        assert error.value.field == field
    with mercy.scope():
        assert not Transfer.objects.exists()
        assert not Study.objects.exists()


def test_move_keeps_its_model_apart() -> None:
    """The three SOP classes of the study root that we use as SCU (PS3.4 C.6.2)."""
    assert {STUDY_FIND[-2:], STUDY_MOVE[-2:], STUDY_GET[-2:]} == {".1", ".2", ".3"}
