"""Sends, migrations and priors: the other kinds of transfers, at real archives."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import evt

from ai.models import Decision, Job
from imaging.inbox import object_write
from imaging.models import Instance, Node, Patient, Study, Transfer, TransferStudy
from imaging.nodes import node_add
from imaging.scu.association import STUDY_FIND, STUDY_GET
from imaging.scu.query import Match
from imaging.transfers.listing import is_patient
from imaging.transfers.rows import Pace, window_wait
from journal.models import AuditEvent
from tests import house
from tests.dicom_files import ct_slice, series_of
from tests.imaging.scu_peers import answering, begin, finish, items, row, scp, step, with_meta
from tests.imaging.test_dimse_peers import real_file
from tests.imaging.test_get import kept
from tests.imaging.test_query_peers import fill, received, serving, storescp
from tests.orthanc import dcmqrscp_run, store

pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("orthanc")]
CT = "1.2.840.10008.5.1.4.1.1.2"


# --- send ----------------------------------------------------------------------------------------------------------------


def test_a_study_is_sent_byte_for_byte(mercy, node_at, tmp_path) -> None:
    """"Send a study to a node": dcmtk's storescp has our bytes; the sending is audited by ids."""
    slices = series_of(20)
    fill(mercy, [*slices, ct_slice()])
    with storescp(tmp_path / "got") as port:
        node = node_at(mercy, port, "RECV")
        done = finish(mercy, begin(mercy, node, "send", slices[0].StudyInstanceUID))
    assert (done.state, done.completed, done.failed, done.studies_done) == ("done", 20, 0, 1)
    found, ours = received(tmp_path / "got"), kept(mercy)
    assert set(found) == {ds.SOPInstanceUID for ds in slices}
    assert all(found[uid] == ours[uid] for uid in found)
    with mercy.scope():
        event = AuditEvent.objects.get(action="dicom.send")
        assert (event.object_id, event.detail["node"]) == (str(Study.objects.get(study_uid=slices[0].StudyInstanceUID).uuid), str(node.id))


def test_a_send_to_orthanc(mercy, node_at, orthanc) -> None:
    """The other real archive: it has what we have, and keeps it once when sent twice."""
    slices = series_of(4)
    fill(mercy, slices)
    node = node_at(mercy, orthanc.port, "ORTHANC")
    for _ in range(2):
        assert finish(mercy, begin(mercy, node, "send", slices[0].StudyInstanceUID)).state == "done"
    assert len(orthanc.instances()) == 4


def test_a_send_transcodes_for_a_peer_that_takes_only_implicit(mercy, node_at, tmp_path) -> None:
    """"transcoding when the peer takes only uncompressed": JPEG-LS in the archive, storescp +xi at the other end."""
    path = real_file("syntax/ct-jpegls.dcm")
    object_write(tenant_id=mercy.tenant.id, source=0, trace_id="0" * 32, parts=[path.read_bytes()])
    house.index(mercy)
    sent = dcmread(path)
    with storescp(tmp_path / "got", "+xi") as port:
        done = finish(mercy, begin(mercy, node_at(mercy, port, "RECV"), "send", sent.StudyInstanceUID))
    assert (done.state, done.completed) == ("done", 1)
    [got] = (tmp_path / "got").iterdir()
    ds = dcmread(got)
    assert ds.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert (ds.pixel_array == sent.pixel_array).all()


def test_a_send_goes_on_where_the_peer_broke(mercy, node_at) -> None:
    """"resume": the peer aborts after five; the second time only the others come."""
    slices = series_of(12)
    fill(mercy, slices)
    got: list[str] = []

    def take(event: evt.Event) -> int:
        if len(got) == 5 and "broke" not in got:
            got.append("broke")
            event.assoc.abort()
            return 0xA700
        got.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    with scp("RECV", [CT], [(evt.EVT_C_STORE, take)]) as port:
        transfer = begin(mercy, node_at(mercy, port, "RECV"), "send", slices[0].StudyInstanceUID)
        step(mercy, transfer)
        broken = row(mercy, transfer)
        assert (broken.completed, broken.state, broken.attempts) == (5, "running", 1)
        assert broken.last_error
        done = finish(mercy, transfer)
    assert (done.state, done.completed, done.failed) == ("done", 12, 0)
    got.remove("broke")
    assert len(got) == len(set(got)) == 12


def test_what_the_peer_refuses_is_named(mercy, node_at, tmp_path) -> None:
    """One object of three is refused: the others went, its UID and the status are kept."""
    slices = series_of(3)
    fill(mercy, slices)
    handlers = [(evt.EVT_C_STORE, lambda event: 0xA900 if event.request.AffectedSOPInstanceUID == slices[1].SOPInstanceUID else 0)]
    with scp("RECV", [CT], handlers) as port:
        done = finish(mercy, begin(mercy, node_at(mercy, port, "RECV"), "send", slices[0].StudyInstanceUID))
    assert (done.state, done.completed, done.failed) == ("failed", 2, 1)
    assert done.failed_uids == [slices[1].SOPInstanceUID]
    assert done.last_error == "the node answered with status A900"


# --- migration -----------------------------------------------------------------------------------------------------------


def archive_of(days: list[str], **attributes: Any) -> list[list[Any]]:
    return [series_of(2, StudyDate=day, PatientID=f"M{n}", AccessionNumber=f"M{n}", **attributes) for n, day in enumerate(days)]


def test_a_migration_brings_an_archive_day_by_day(mercy, node_at, tmp_path) -> None:
    """"for migrating an archive": days and modality by C-FIND, one study after the other; outside the days nothing comes."""
    studies = archive_of(["20200101", "20200103", "20200103", "20200228", "20210101"])
    mr = series_of(1, StudyDate="20200103", Modality="MR", PatientID="MR")
    with serving() as listener, dcmqrscp_run(tmp_path / "a", movers={mercy.called_ae: listener.port}) as port:
        store(port, "ARCHIVE", [ds for study in studies for ds in study] + mr)
        node = node_at(mercy, port, "ARCHIVE")
        query = {"from": "2020-01-01", "to": "20200301", "modalities": []}
        transfer = begin(mercy, node, "migrate", query=query)
        step(mercy, transfer)
        listed = row(mercy, transfer)
        assert (listed.cursor, listed.studies) == ("20200201", 4), "some days at a time, and remembered"
        done = finish(mercy, transfer, seconds=30)
    assert (done.state, done.cursor, done.studies, done.studies_done, done.completed) == ("done", "listed", 5, 5, 9)
    with mercy.scope():
        assert set(Study.objects.values_list("study_date", flat=True)) == {"20200101", "20200103", "20200228"}
        assert Instance.objects.count() == 9


def test_a_migrated_study_is_not_sent_to_ai(mercy, node_at, orthanc) -> None:
    """Ten years of studies are no work of today: the reason is kept, and the modality of the query is held to."""
    [study] = archive_of(["20200101"])
    orthanc.put([*study, *series_of(1, StudyDate="20200101", Modality="MR")])
    node = node_at(mercy, orthanc.port, "ORTHANC", retrieve_by="get")
    done = finish(mercy, begin(mercy, node, "migrate", query={"from": "20200101", "to": "20200102", "modalities": ["CT"]}))
    assert (done.state, done.studies_done) == ("done", 1)
    house.settle(mercy)
    with mercy.scope():
        assert [d.summary for d in Decision.objects.all()] == ["migrated from another archive"]
        assert not Job.objects.exists()


def test_a_migration_goes_on_from_its_cursor(mercy, node_at, orthanc) -> None:
    """"remembering its cursor": the node goes away in the middle; it waits, and nothing is listed or pulled twice."""
    studies = archive_of(["20200101", "20200301", "20200415"])
    orthanc.put([ds for study in studies for ds in study])
    node = node_at(mercy, orthanc.port, "ORTHANC", retrieve_by="get")
    transfer = begin(mercy, node, "migrate", query={"from": "20200101", "to": "20200430", "modalities": []})
    step(mercy, transfer)
    step(mercy, transfer)
    with mercy.scope():
        node_add(ae_title="ORTHANC", port=9)
    for _ in range(3):
        with mercy.scope():
            TransferStudy.objects.update(asked_at="2026-01-01T00:00:00Z")
            Transfer.objects.filter(id=transfer.id).update(due_at="2026-01-01T00:00:00Z")
        step(mercy, transfer)
    away = row(mercy, transfer)
    assert (away.state, away.cursor, away.studies_failed) == ("running", "20200201", 0)
    assert away.attempts >= 2
    with mercy.scope():
        node_add(ae_title="ORTHANC", port=orthanc.port)
    done = finish(mercy, transfer)
    assert (done.state, done.studies, done.studies_done, done.attempts) == ("done", 3, 3, 0)
    assert len(items(mercy, transfer)) == 3


def test_a_busy_archive_is_listed_day_by_day_then_by_hours(mercy, node_at, orthanc, monkeypatch) -> None:
    """More studies than one answer may have: a day at a time, then an hour at a time, then the reason why not."""
    from imaging.transfers import listing

    monkeypatch.setattr(listing, "LIST_LIMIT", 2)
    times = ("0800", "0930", "1200", "1700")
    studies = [series_of(1, StudyDate="20200110", StudyTime=f"{time}00", PatientID=time) for time in times]
    orthanc.put([ds for study in studies for ds in study])
    node = node_at(mercy, orthanc.port, "ORTHANC", retrieve_by="get")
    query = {"from": "20200101", "to": "20200112", "modalities": []}
    transfer = begin(mercy, node, "migrate", query=query)
    for _ in range(2):
        step(mercy, transfer)
    listed = row(mercy, transfer)
    assert (listed.studies, listed.query["span"], listed.cursor) == (4, 1, "20200111")
    monkeypatch.setattr(listing, "LIST_LIMIT", 1)
    orthanc.put(series_of(1, StudyDate="20200110", StudyTime="080100", PatientID="X"))
    done = finish(mercy, begin(mercy, node, "migrate", query=query))
    assert (done.state, done.last_error) == ("failed", "more than 1 studies in one hour of 10 Jan 2020")


def test_an_empty_migration_says_so(mercy, node_at, orthanc) -> None:
    node = node_at(mercy, orthanc.port, "ORTHANC", retrieve_by="get")
    done = finish(mercy, begin(mercy, node, "migrate", query={"from": "19990101", "to": "19990620", "modalities": []}))
    assert (done.state, done.last_error) == ("done", "the node has nothing that matches")


@pytest.mark.parametrize(
    ("hours", "at", "seconds"),
    [((22, 6), "23:30", 0), ((22, 6), "05:59", 0), ((22, 6), "06:00", 16 * 3600), ((8, 12), "09:00", 0), ((8, 12), "12:30", 19.5 * 3600)],
)
def test_allowed_hours_are_the_hospitals(hours, at, seconds) -> None:
    """"allowed hours optional": of the hospital's day, also across midnight."""
    transfer = Transfer(hour_from=hours[0], hour_to=hours[1], tenant_id=1)
    hour, minute = map(int, at.split(":"))
    now = datetime(2026, 1, 15, hour, minute, tzinfo=UTC).replace(tzinfo=None)
    from zoneinfo import ZoneInfo

    assert window_wait(transfer, now=now.replace(tzinfo=ZoneInfo("America/Chicago")), zone="America/Chicago") == seconds


def test_a_transfer_waits_for_its_hours(mercy, node_at) -> None:
    """It says so, and costs nothing meanwhile: no message, the sweep finds it."""
    import datetime as dt
    from zoneinfo import ZoneInfo

    hour = (dt.datetime.now(ZoneInfo("America/Chicago")).hour + 2) % 24  # noqa: DTZ005, TID251
    transfer = begin(mercy, node_at(mercy, 9, "NODE"), "pull", "1.2.3", pace=Pace(hour_from=hour, hour_to=(hour + 1) % 24))
    assert step(mercy, transfer) is None
    waiting = row(mercy, transfer)
    assert waiting.last_error == "waits for its hours"
    assert (waiting.due_at - waiting.changed_at).total_seconds() > 3000


# --- priors --------------------------------------------------------------------------------------------------------------


def transfers_finish(hospital: Any) -> list[Transfer]:
    with hospital.scope():
        found = list(Transfer.objects.filter(due_at__isnull=False).order_by("id"))
    return [finish(hospital, transfer) for transfer in found]


def test_priors_come_when_a_study_is_complete(mercy, node_at, orthanc) -> None:
    """"used for priors": the newest N of the same patient within the years; they trigger neither priors nor AI again."""
    who = {"PatientID": "PRIOR1", "PatientName": "DOE^JANE"}
    dates = ["20250101", "20240101", "20230101", "20100101"]
    olds = [series_of(2, StudyDate=day, **who) for day in dates]
    namesake = series_of(1, StudyDate="20250601", PatientID="PRIOR1", PatientName="ROE^RICHARD", PatientBirthDate="19811231")
    later = series_of(1, StudyDate="20260401", **who)
    orthanc.put([ds for study in [*olds, later, namesake, series_of(1, PatientID="PRIOR10")] for ds in study])
    node_at(mercy, orthanc.port, "ORTHANC", retrieve_by="get", is_asked_for_priors=True, priors_count=2, priors_years=5)
    today = series_of(2, StudyDate="20260301", **who)
    orthanc.put(today)  # the archive has the study itself as well
    fill(mercy, today)
    house.complete(mercy)
    house.deliver(mercy)
    [done] = transfers_finish(mercy)
    assert (done.kind, done.state, done.studies, done.completed, done.last_error) == ("priors", "done", 2, 4, "")
    house.settle(mercy)
    with mercy.scope():
        studies = {s.study_date: s for s in Study.objects.all()}
        assert set(studies) == {"20260301", "20250101", "20240101"}
        assert {s.state for s in studies.values()} == {"complete"}
        assert Transfer.objects.count() == 1, "a prior asks for no priors"
        reasons = {d.study.study_date: d.summary for d in Decision.objects.select_related("study")}
        assert reasons["20250101"] == reasons["20240101"] == "a prior: pulled for comparison"
        assert reasons["20260301"] == "no rule is active"
        assert Patient.objects.filter(patient_id="PRIOR1").count() == 1


def test_a_replay_of_the_event_asks_once(mercy, node_at) -> None:
    """"subscribers are idempotent": the second completion of a study, and a replay, make no second transfer."""
    from imaging.transfers.priors import priors_pull
    from journal.types import Event

    node_at(mercy, 9, "PACS", is_asked_for_priors=True)
    fill(mercy, series_of(1))
    with mercy.scope():
        study = Study.objects.get()
        event = Event(id=1, tenant_id=mercy.tenant.id, name="study.completed", ids={"study_id": study.id, "version": 1}, trace_id="")
        priors_pull(event=event)
        priors_pull(event=event)
        assert Transfer.objects.count() == 1
        assert TransferStudy.objects.count() == 0
        Node.objects.update(is_asked_for_priors=False)


def test_a_number_that_two_people_share_brings_nothing() -> None:
    """The same PatientID with another issuer, birth date or sex is another person; what is not stated does not contradict."""
    patient = Patient(patient_id="7", issuer="A", birth_date="19600102", sex="F", tenant_id=1)
    same = {"PatientID": "7", "IssuerOfPatientID": "A", "PatientBirthDate": "19600102", "PatientSex": "F"}
    assert is_patient(Match(same), patient)
    assert is_patient(Match({"PatientID": "7"}), patient)
    for keyword, value in (("PatientID", "07"), ("IssuerOfPatientID", "B"), ("PatientBirthDate", "19600103"), ("PatientSex", "M")):
        assert not is_patient(Match(same | {keyword: value}), patient)


def test_a_prior_that_fails_does_not_stop_the_others(mercy, node_at) -> None:
    """One of two priors is not sent: it is failed with its reason, the other is here."""
    good, bad = with_meta(series_of(1, StudyDate="20250101")), with_meta(series_of(1, StudyDate="20240101"))

    def get(event: evt.Event):
        wanted = [ds for ds in good if ds.StudyInstanceUID == event.identifier.StudyInstanceUID]
        yield max(len(wanted), 1)
        for ds in wanted:
            yield 0xFF00, ds
        if not wanted:
            yield 0xA702, None

    with scp("PACS", [STUDY_FIND, STUDY_GET, CT], [(evt.EVT_C_FIND, answering([*good, *bad])), (evt.EVT_C_GET, get)]) as port:
        node_at(mercy, port, "PACS", retrieve_by="get", is_asked_for_priors=True)
        fill(mercy, series_of(1))
        house.complete(mercy)
        house.deliver(mercy)
        [done] = transfers_finish(mercy)
    assert (done.state, done.studies_done, done.studies_failed) == ("failed", 1, 1)
    assert done.last_error.startswith("the node could not send")
