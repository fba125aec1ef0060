"""Storage commitment (PS3.4 Annex J): asked by pynetdicom, dcmtk's bytes and Orthanc, answered over an association of ours."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import evt
from pynetdicom.sop_class import CTImageStorage, MRImageStorage, StorageCommitmentPushModel

from imaging.commitment import run
from imaging.commitment.references import REFERENCES_CAP, references_read
from imaging.commitment.rows import CommitmentRefused, commitment_resend
from imaging.dimse.contexts import COMMITMENT, COMMITMENT_INSTANCE
from imaging.models import CommitmentRequest, Instance, Node, WorkItem
from imaging.nodes import node_add, node_delete
from imaging.storage import object_path
from imaging.tasks import commitments_sweep
from journal.audit import Actor
from journal.models import AuditEvent
from journal.wall.tasks import rows_due
from tests import house
from tests.dicom_files import part10, series_of
from tests.imaging.scu_peers import scp
from tests.imaging.test_query_peers import allow, asking, fill, serving
from tests.orthanc import port_free

pytestmark = [pytest.mark.database, pytest.mark.peers]
SERVICES = ("store", "commit")
EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture(scope="module")
def listener() -> Iterator[Any]:
    with serving() as found:
        yield found


class Modality:
    """A pynetdicom SCP that hears reports; `statuses` are its next answers."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, Dataset, str, str]] = []
        self.roles: list[Any] = []
        self.statuses: list[int] = []

    def hear(self, event: evt.Event) -> tuple[int, None]:
        status = self.statuses.pop(0) if self.statuses else 0
        if status == 0:
            asker = event.assoc.requestor.ae_title
            self.reports.append((event.event_type, event.event_information, asker, event.assoc.acceptor.ae_title))
            self.roles.append(event.assoc.requestor.role_selection)
        return status, None


@contextmanager
def hearing(settings: Any, hospital: Any, *services: str) -> Iterator[Modality]:
    """The hospital's CT as a node that listens, and may ask for commitment."""
    modality = Modality()
    with scp(hospital.calling_ae, [StorageCommitmentPushModel], [(evt.EVT_N_EVENT_REPORT, modality.hear)]) as port:
        settings.EGRESS_ALLOW = [*settings.EGRESS_ALLOW, f"127.0.0.1:{port}"]
        allow(hospital, *(services or SERVICES), host="127.0.0.1", port=port)
        yield modality


def references(datasets: Any, transaction: str = "") -> Dataset:
    ds = Dataset()
    ds.TransactionUID = transaction or generate_uid()
    ds.ReferencedSOPSequence = []
    for one in datasets:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
        ds.ReferencedSOPSequence.append(item)
    return ds


def action(listener: Any, hospital: Any, ds: Dataset | None, *, action_type: int = 1, instance: str = COMMITMENT_INSTANCE) -> Dataset:
    """One N-ACTION on an association of its own; the status of its response."""
    with asking(listener, hospital, COMMITMENT) as association:
        status, _ = association.send_n_action(ds, action_type, COMMITMENT, instance)
    return status


def work(hospital: Any) -> float | None:
    """What the task does, once for each request that is due."""
    with hospital.scope():
        due = list(CommitmentRequest.objects.filter(due_at__lte=timezone.now()).values_list("id", flat=True))
    waits = [run.commitment_run(tenant_id=hospital.tenant.id, request_id=request_id) for request_id in due]
    return waits[0] if waits else None


def row(hospital: Any) -> CommitmentRequest:
    with hospital.scope():
        return CommitmentRequest.objects.get()


def reasons(report: Dataset) -> dict[str, int]:
    return {str(i.ReferencedSOPInstanceUID): i.FailureReason for i in report.get("FailedSOPSequence", [])}


def kept(report: Dataset) -> set[str]:
    return {str(i.ReferencedSOPInstanceUID) for i in report.get("ReferencedSOPSequence", [])}


def test_a_commitment_is_given_on_a_new_association(listener, mercy, settings) -> None:
    """"N-ACTION-RSP at once; N-EVENT-REPORT on a new association to the configured AE", as SCP of the class, under the AE title
    that the modality called; "audited".
    """
    images = series_of(3)
    fill(mercy, images)
    with hearing(settings, mercy) as modality:
        asked = references(images)
        assert action(listener, mercy, asked).Status == 0x0000
        assert modality.reports == []  # nothing on the association that is over
        assert work(mercy) is None
        (event_type, report, asker, _), = modality.reports
    assert (event_type, asker) == (1, mercy.called_ae)
    assert report.TransactionUID == asked.TransactionUID
    assert kept(report) == {ds.SOPInstanceUID for ds in images}
    assert "FailedSOPSequence" not in report
    role = modality.roles[0][COMMITMENT]
    assert (role.scu_role, role.scp_role) == (False, True)
    found = row(mercy)
    assert (found.state, found.due_at, found.number_of_references, found.references) == ("done", None, 3, {})
    with mercy.scope():
        events = {event.action: event for event in AuditEvent.objects.filter(object_type="CommitmentRequest")}
    assert set(events) == {"dicom.commit", "commitment.report"}
    assert events["dicom.commit"].actor == f"ae:{mercy.calling_ae}"
    assert events["commitment.report"].detail == {"instances": 3, "failures": 0}


def test_failures_are_named_with_their_reasons(listener, mercy, settings) -> None:
    """"failure list with 0112/0119", 0110 for a file that is gone, cut or known to be damaged; event type 2, what is kept beside it."""
    images = series_of(5)
    fill(mercy, images)
    with mercy.scope():
        keys = dict(Instance.objects.values_list("sop_instance_uid", "key"))
    object_path(keys[images[1].SOPInstanceUID]).unlink()
    with object_path(keys[images[2].SOPInstanceUID]).open("r+b") as file:
        file.truncate(100)
    with mercy.scope():
        damaged = Instance.objects.get(sop_instance_uid=images[4].SOPInstanceUID)
        WorkItem.objects.create(kind="damaged", reason="x", instance=damaged, unique_on="x", created_at=timezone.now())
    unknown, other = series_of(1)[0], images[3].copy()
    other.SOPClassUID = MRImageStorage
    with hearing(settings, mercy) as modality:
        assert action(listener, mercy, references([*images[:3], unknown, other, images[4]])).Status == 0
        work(mercy)
        (event_type, report, *_), = modality.reports
    assert event_type == 2
    assert kept(report) == {images[0].SOPInstanceUID}
    assert reasons(report) == {
        images[1].SOPInstanceUID: 0x0110, images[2].SOPInstanceUID: 0x0110, unknown.SOPInstanceUID: 0x0112, other.SOPInstanceUID: 0x0119,
        images[4].SOPInstanceUID: 0x0110,
    }
    with mercy.scope():
        assert AuditEvent.objects.get(action="commitment.report").detail == {"instances": 1, "failures": 5}


def test_objects_in_the_inbox_are_waited_for(listener, mercy, settings) -> None:
    """"answered only from COMMITTED instance rows ... (objects still in the inbox: wait up to a bound, then report)"."""
    images = series_of(2)
    house.store(mercy, images)
    with hearing(settings, mercy) as modality:
        action(listener, mercy, references(images))
        assert work(mercy) == run.LOOK_SECONDS
        assert (modality.reports, row(mercy).state) == ([], "waiting")
        house.index(mercy)
        with mercy.scope():
            CommitmentRequest.objects.update(due_at=timezone.now())
        work(mercy)
        assert [report[0] for report in modality.reports] == [1]
        late = series_of(1)
        house.store(mercy, late)
        action(listener, mercy, references(late))
        with mercy.scope():  # as if the bound had passed
            CommitmentRequest.objects.filter(state="waiting").update(created_at=timezone.now() - run.timedelta(seconds=run.WAIT_SECONDS))
        work(mercy)
        assert reasons(modality.reports[1][1]) == {late[0].SOPInstanceUID: 0x0112}
    house.index(mercy)


def test_the_same_transaction_is_one_request(listener, mercy, settings) -> None:
    """"Idempotent by transaction UID": asked twice before the answer one row and one report, asked after it one more report;
    the same UID for other objects fails each of them with 0131.
    """
    images = series_of(2)
    fill(mercy, images)
    with hearing(settings, mercy) as modality:
        asked = references(images)
        for _ in range(2):
            assert action(listener, mercy, asked).Status == 0
        work(mercy)
        assert len(modality.reports) == 1
        assert action(listener, mercy, references(reversed(images), asked.TransactionUID)).Status == 0
        work(mercy)
        assert [report[0] for report in modality.reports] == [1, 1]
        row(mercy)
        assert action(listener, mercy, references(images[:1], asked.TransactionUID)).Status == 0
        work(mercy)
        event_type, report, *_ = modality.reports[2]
        assert (event_type, kept(report), reasons(report)) == (2, set(), {images[0].SOPInstanceUID: 0x0131})


def test_a_request_that_cannot_be_served_is_refused(listener, mercy, settings) -> None:
    """"missing references or transaction uid -> 0115; node not allowed `commit` -> 0124; node without host/port -> 0110 with
    comment"; no row is written for any of them.
    """
    images = series_of(1)
    good = references(images)
    assert action(listener, mercy, good).Status == 0x0124  # a new node may store
    allow(mercy, *SERVICES)
    status = action(listener, mercy, good)
    assert (status.Status, status.ErrorComment) == (0x0110, "this node has no host and port to report to")
    with hearing(settings, mercy):
        for keyword in ("TransactionUID", "ReferencedSOPSequence"):
            broken = references(images)
            delattr(broken, keyword)
            assert action(listener, mercy, broken).Status == 0x0115, keyword
        empty = references([])
        assert action(listener, mercy, empty).Status == 0x0115
        half = references(images)
        del half.ReferencedSOPSequence[0].ReferencedSOPClassUID
        assert action(listener, mercy, half).Status == 0x0115
        assert action(listener, mercy, None).Status == 0x0115
        assert action(listener, mercy, good, action_type=2).Status == 0x0123
        assert action(listener, mercy, good, instance="1.2.3").Status == 0x0112
    with mercy.scope():
        assert CommitmentRequest.objects.count() == 0


def test_without_a_database_nothing_is_promised(listener, mercy, settings, monkeypatch, tmp_path) -> None:
    """"no handling without a row written": threads of new associations find no database, so the modality is told to keep its images."""
    images = series_of(1)
    with hearing(settings, mercy):
        assert action(listener, mercy, references(images)).Status == 0  # admitted once: remembered
        with monkeypatch.context() as away:
            away.setitem(connections.settings["default"], "HOST", str(tmp_path))
            status = action(listener, mercy, references(images))
        assert (status.Status, status.ErrorComment) == (0x0110, "the archive cannot be asked just now")
    with mercy.scope():
        assert CommitmentRequest.objects.count() == 1


def test_a_request_has_limits() -> None:
    """"limits on number of references 100,000 and data set size -> refused"; the largest that is taken is read in about a second."""
    from pynetdicom.dsutils import encode

    one = encode(references(series_of(1)), False, True) or b""
    at = one.index(b"\x08\x00\x99\x11")
    item = one[at + 12 :]
    items = item * (REFERENCES_CAP + 1)
    whole = one[:at] + b"\x08\x00\x99\x11SQ\x00\x00" + len(items).to_bytes(4, "little") + items
    started = time.monotonic()
    with pytest.raises(CommitmentRefused, match="100000") as refused:
        references_read(whole, transfer_syntax_uid=EXPLICIT)
    assert refused.value.status == 0x0213
    assert time.monotonic() - started < 5
    for broken in (whole[:-40], b"\x08\x00", b"\xff" * 100):
        with pytest.raises(CommitmentRefused) as refused:
            references_read(broken, transfer_syntax_uid=EXPLICIT)
        assert refused.value.status in {0x0115, 0x0213}


def test_many_requests_wait_for_their_answer_or_are_refused(listener, mercy, settings, monkeypatch) -> None:
    """Everything from outside has a limit: a node's open requests too."""
    monkeypatch.setattr("imaging.commitment.rows.OPEN_CAP", 2)
    with hearing(settings, mercy):
        statuses = [action(listener, mercy, references(series_of(1))).Status for _ in range(3)]
        assert statuses == [0, 0, 0x0213]
        monkeypatch.setattr("imaging.commitment.rows.OPEN_CAP", 9)
        monkeypatch.setattr("imaging.commitment.rows.OPEN_REFERENCES_CAP", 2)
        assert action(listener, mercy, references(series_of(1))).Status == 0x0213


def test_a_report_that_is_not_taken_is_sent_again(listener, mercy, settings) -> None:
    """"retries with back-off": refused by status, then by silence; checked anew each time; one success ends it."""
    images = series_of(2)
    fill(mercy, images)
    with hearing(settings, mercy) as modality:
        modality.statuses = [0x0110, 0x0213]
        action(listener, mercy, references(images))
        waits = []
        for _ in range(3):
            waits.append(work(mercy))
            with mercy.scope():
                CommitmentRequest.objects.filter(state="waiting").update(due_at=timezone.now())
        assert waits == [0.1, 0.2, None]
        assert row(mercy).state == "done"
        assert len(modality.reports) == 1


def test_a_dead_letter_is_seen_and_sent_again(listener, mercy, settings) -> None:
    """"dead letter -> WorkItem/attention, resend; audited": a modality that stays away for half a day, then comes back."""
    images = series_of(1)
    fill(mercy, images)
    port = port_free()
    settings.EGRESS_ALLOW = [f"127.0.0.1:{port}"]
    allow(mercy, *SERVICES, host="127.0.0.1", port=port)
    action(listener, mercy, references(images))
    assert work(mercy) == 0.1
    with mercy.scope():
        assert CommitmentRequest.objects.get().last_error == "no connection"
        CommitmentRequest.objects.update(attempts=run.ATTEMPTS - 1, due_at=timezone.now())
    assert work(mercy) is None
    assert (row(mercy).state, row(mercy).due_at) == ("dead", None)
    with mercy.scope():
        item = WorkItem.objects.get(kind="commitment", resolved_at=None)
        assert item.reason == "a node could not be told that its objects are safe here: no connection"
        assert commitment_resend(actor=Actor(name="user:test"), row=CommitmentRequest.objects.get())
        assert not commitment_resend(actor=Actor(name="user:test"), row=CommitmentRequest.objects.get())
        assert not WorkItem.objects.filter(resolved_at=None).exists()
        assert AuditEvent.objects.filter(action="commitment.resend").count() == 1
    with hearing(settings, mercy) as modality:
        work(mercy)
        assert [report[0] for report in modality.reports] == [1]


def test_private_addresses_stay_closed(listener, mercy) -> None:
    """"Egress rules hold": a report goes nowhere that EGRESS_ALLOW does not list."""
    allow(mercy, *SERVICES, host="127.0.0.1", port=port_free())
    action(listener, mercy, references(series_of(1)))
    work(mercy)
    assert row(mercy).last_error == "the address is private or not allowed (EGRESS_ALLOW)"


def test_a_node_that_was_deleted_is_not_told(listener, mercy, settings) -> None:
    """The request stays in the record, its report has nowhere to go."""
    with hearing(settings, mercy) as modality:
        action(listener, mercy, references(series_of(1)))
        with mercy.scope():
            node_delete(actor=Actor(name="user:test"), node=Node.objects.get())
        work(mercy)
        assert (row(mercy).state, row(mercy).last_error, modality.reports) == ("dead", "the node was deleted", [])


def test_a_lease_lost_is_found_again(listener, mercy, settings) -> None:
    """"lease rows (2 s in tests)": two workers never both report; a worker that died leaves a row that the sweep finds."""
    images = series_of(1)
    fill(mercy, images)
    with hearing(settings, mercy) as modality:
        action(listener, mercy, references(images))
        found = row(mercy)
        with mercy.scope():
            assert run.commitment_claim(found.id) is not None
            assert run.commitment_claim(found.id) is None
        assert run.commitment_run(tenant_id=mercy.tenant.id, request_id=found.id) is None
        assert modality.reports == []
        with mercy.scope():  # as if two seconds had passed
            CommitmentRequest.objects.update(due_at=timezone.now() - run.timedelta(seconds=2))
        assert (mercy.tenant.id, found.id) in rows_due("imaging_commitmentrequest", grace_seconds=1, limit=100_000)
        with suppress(Exception):
            commitments_sweep.run()  # sends; there is no worker here
        work(mercy)
        assert len(modality.reports) == 1


def test_hospitals_answer_for_their_own_objects(listener, mercy, olaf, settings) -> None:
    """The wall: what the other hospital has is not here (0112)."""
    images = series_of(1)
    fill(olaf, images)
    with hearing(settings, mercy) as modality:
        action(listener, mercy, references(images))
        work(mercy)
        assert reasons(modality.reports[0][1]) == {images[0].SOPInstanceUID: 0x0112}
    with olaf.scope():
        assert CommitmentRequest.objects.count() == 0


def test_store_and_commitment_on_one_association(listener, mercy, settings) -> None:
    """A modality's own way: C-STORE, then N-ACTION on the same association (the late hand-over), and C-STORE behind it."""
    images = series_of(3)
    with hearing(settings, mercy) as modality:
        with asking(listener, mercy, CTImageStorage, COMMITMENT) as association:
            for ds in images:
                part10(ds)
            assert [association.send_c_store(ds).Status for ds in images[:2]] == [0, 0]
            status, _ = association.send_n_action(references(images[:2]), 1, COMMITMENT, COMMITMENT_INSTANCE)
            assert status.Status == 0
            assert association.send_c_store(images[2]).Status == 0
        house.index(mercy)
        work(mercy)
        assert kept(modality.reports[0][1]) == {ds.SOPInstanceUID for ds in images[:2]}


def test_orthanc_asks_and_believes_us(listener, mercy, settings, orthanc) -> None:
    """Peers: "Orthanc as requester": what it sent is committed, what it did not send is a failure with its reason."""
    images = series_of(3)
    settings.EGRESS_ALLOW = [f"127.0.0.1:{orthanc.port}"]
    with mercy.scope():
        node_add(ae_title="ORTHANC", host="127.0.0.1", port=orthanc.port, services=SERVICES)
    orthanc.modality(mercy.called_ae, listener.port)
    orthanc.put(images)
    ours = f"/modalities/{mercy.called_ae.lower()}"
    found = orthanc.instances()
    body = b'["' + b'","'.join(name.encode() for name in found) + b'"]'
    answer = orthanc.rest(f"{ours}/storage-commitment", b'{"Resources": ' + body + b"}", "POST")
    work(mercy)
    failed = orthanc.rest(f"/storage-commitment/{answer['ID']}")
    assert failed["Status"] == "Failure"
    assert [f["FailureReason"] for f in failed["Failures"]] == [0x0112] * 3
    orthanc.rest(f"{ours}/store", body, "POST")
    house.index(mercy)
    answer = orthanc.rest(f"{ours}/storage-commitment", b'{"Resources": ' + body + b"}", "POST")
    work(mercy)
    done = orthanc.rest(f"/storage-commitment/{answer['ID']}")
    assert (done["Status"], len(done["Success"])) == ("Success", 3)
    assert done["RemoteAET"] == mercy.called_ae
