"""The one door for bytes and the index worker behind it."""

import io
import random
from datetime import timedelta

import pytest
from django.utils import timezone
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from imaging.completion import BEHIND_WAIT_SECONDS, study_complete_or_wait
from imaging.inbox import inbox_objects, object_write
from imaging.ingest import instance_receive, quota_forget
from imaging.models import Instance, Patient, Study, WorkItem
from imaging.storage import object_path
from journal.models import OutboxEvent
from journal.wall import ids
from tests import house
from tests.dicom_files import ct_slice, part10, series_of

pytestmark = pytest.mark.database


def encoded(ds) -> bytes:
    whole = part10(ds)
    return whole[whole.index(b"DICM") + 4 :][_meta_length(whole) :]


def _meta_length(whole: bytes) -> int:
    return 12 + int.from_bytes(whole[140:144], "little")


def send(hospital, ds):
    return instance_receive(
        admission=house.admission(hospital), sop_class_uid=ds.SOPClassUID, sop_instance_uid=ds.SOPInstanceUID,
        transfer_syntax_uid=ExplicitVRLittleEndian, dataset=encoded(ds),
    )  # fmt: skip


def test_bytes_are_kept_unchanged(mercy) -> None:
    """"Received bytes are kept unchanged" (DESIGN section 7)."""
    ds = ct_slice(StudyInstanceUID=generate_uid())
    sent = encoded(ds)
    assert send(mercy, ds).status == 0
    house.index(mercy)
    with mercy.scope():
        row = Instance.objects.get()
    kept = object_path(row.key).read_bytes()
    assert kept.endswith(sent)
    assert dcmread(io.BytesIO(kept)).SOPInstanceUID == ds.SOPInstanceUID
    assert row.size == len(kept)


@pytest.mark.parametrize(
    ("attributes", "status"),
    [
        ({"StudyInstanceUID": None}, 0xA900),
        ({"SeriesInstanceUID": ""}, 0xA900),
        ({"StudyInstanceUID": "1.2/../../etc/passwd"}, 0x0117),
        ({"SOPInstanceUID": "../../../tmp/x"}, 0x0117),
    ],
)
def test_missing_and_hostile_uids_are_refused_before_the_acknowledgement(mercy, attributes, status) -> None:
    """"missing UIDs, a UID with `../`": refused with a reason, and nothing is left in the inbox."""
    answer = send(mercy, ct_slice(**attributes))
    assert answer.status == status
    assert "UID" in answer.comment
    assert not any(found[0].tenant_id == mercy.tenant.id for found in inbox_objects(limit=9))


def test_a_quota_answers_a700(mercy) -> None:
    """"ENOSPC ... otherwise a small quota": 0xA700, and the hospital's other images still go in once there is room."""
    mercy.tenant.quota_bytes = 100
    mercy.tenant.save()
    quota_forget()
    assert send(mercy, ct_slice()).status == 0xA700
    mercy.tenant.quota_bytes = 10**9
    mercy.tenant.save()
    quota_forget()
    assert send(mercy, ct_slice()).status == 0


def test_the_same_object_again_is_idempotent_and_another_one_is_kept_aside(mercy) -> None:
    """"identical content is idempotent success; other content kept aside ... with a visible work item"."""
    ds = ct_slice()
    house.store(mercy, [ds, ds])
    house.index(mercy)
    other = ct_slice(SOPInstanceUID=ds.SOPInstanceUID, StudyInstanceUID=ds.StudyInstanceUID, StudyDescription="other")
    house.store(mercy, [other])
    house.index(mercy)
    with mercy.scope():
        assert Instance.objects.count() == 1
        item = WorkItem.objects.get()
    assert item.kind == "duplicate"
    assert object_path(item.key).read_bytes() == part10(other)


def test_two_people_under_one_number_stay_two(mercy) -> None:
    """"patient conflicts quarantined, never merged silently": two rows and a work item."""
    house.store(mercy, [ct_slice(PatientID="COMMON", PatientName="HELLO"), ct_slice(PatientID="COMMON", PatientName="WORLD")])
    house.index(mercy)
    with mercy.scope():
        assert {p.name for p in Patient.objects.all()} == {"HELLO", "WORLD"}
        assert WorkItem.objects.get().kind == "patient-conflict"


def test_an_image_of_another_patient_never_joins_a_study(mercy) -> None:
    """An image whose patient differs from its study's is kept aside with a work item."""
    first = ct_slice()
    house.store(mercy, [first, ct_slice(StudyInstanceUID=first.StudyInstanceUID, PatientID="P2", PatientName="ROE^RICHARD")])
    house.index(mercy)
    with mercy.scope():
        assert Instance.objects.count() == 1
        assert WorkItem.objects.get().kind == "patient-conflict"


def test_people_without_a_number_are_never_merged(mercy) -> None:
    """An empty PatientID is legal (type 2); each such study is a person of its own."""
    house.store(mercy, [ct_slice(PatientID="", PatientName=""), ct_slice(PatientID="", PatientName="")])
    house.index(mercy)
    with mercy.scope():
        assert Patient.objects.count() == 2


def test_what_cannot_be_read_becomes_a_work_item(mercy) -> None:
    """"the rest becomes a work item after it": never a loop, never a loss."""
    object_write(tenant_id=mercy.tenant.id, source=0, trace_id="0" * 32, parts=[b"not dicom at all"])
    house.index(mercy)
    assert house.index(mercy) == 0
    with mercy.scope():
        item = WorkItem.objects.get()
    assert item.kind == "unreadable"
    assert object_path(item.key).read_bytes() == b"not dicom at all"


def test_a_series_never_straddles_two_studies(mercy) -> None:
    """A Series Instance UID that came under another study before is kept aside with a work item, not filed wrongly."""
    first = ct_slice()
    house.store(mercy, [first])
    house.index(mercy)
    house.store(mercy, [ct_slice(SeriesInstanceUID=first.SeriesInstanceUID)])
    house.index(mercy)
    with mercy.scope():
        assert Instance.objects.count() == 1
        assert WorkItem.objects.get().kind == "series-conflict"


def test_mangled_headers_end_as_rows_or_work_items(mercy) -> None:
    """A fuzz of 300 headers with a fixed seed: none stops the worker, none is lost, the healthy one among them is indexed."""
    draw = random.Random(20261125)
    whole = part10(ct_slice())
    for _ in range(300):
        mangled = bytearray(whole)
        for _ in range(draw.randint(1, 6)):
            mangled[draw.randrange(140, len(whole) - 512)] = draw.randrange(256)
        object_write(tenant_id=mercy.tenant.id, source=0, trace_id="0" * 32, parts=[bytes(mangled)])
    healthy = ct_slice(PatientID="HEALTHY", PatientName="OK")
    house.store(mercy, [healthy])
    assert house.index(mercy) == 301
    assert house.index(mercy) == 0
    with mercy.scope():
        assert Instance.objects.filter(sop_instance_uid=healthy.SOPInstanceUID).exists()
        kept = {path for path in Instance.objects.values_list("key", flat=True)} | set(WorkItem.objects.values_list("key", flat=True))
        # Mangled pixels aside, an identical object may have come twice: it is the only thing that adds no row.
        assert all(object_path(key).exists() for key in kept if key)
        assert len(kept) > 250


def test_a_restart_rescans_the_inbox_and_a_replay_adds_nothing(mercy) -> None:
    """"the inbox is the journal ... a restart rescans the inbox": what a crash left is indexed, once."""
    ds = ct_slice()
    house.store(mercy, [ds])
    kept = next(found for found in inbox_objects(limit=9) if found[0].tenant_id == mercy.tenant.id)[0]
    copy = kept.path.read_bytes()
    house.index(mercy)
    kept.path.write_bytes(copy)  # as if the process had died between commit and clean-up
    house.index(mercy)
    with mercy.scope():
        assert Instance.objects.count() == 1
        assert WorkItem.objects.count() == 0
        assert Study.objects.get().number_of_instances == 1


def test_a_study_waits_for_an_index_worker_that_is_behind(mercy) -> None:
    """Acknowledged images that have no rows yet hold up completion, so a busy machine makes no half study."""
    mercy.tenant.quiet_seconds = 5
    mercy.tenant.save()
    slices = series_of(4)
    house.store(mercy, slices[:2])
    house.index(mercy)
    house.store(mercy, slices[2:])  # acknowledged, waiting in the inbox
    house.force_due(mercy)
    with mercy.scope():
        study = Study.objects.get()
        assert study_complete_or_wait(study_id=study.id) == BEHIND_WAIT_SECONDS
        assert study_complete_or_wait(study_id=study.id) is None, "one asks again, whoever else came does not"
    house.force_due(mercy)
    house.complete(mercy)
    with mercy.scope():
        study = Study.objects.get()
        assert study.version == 0
        Study.objects.update(last_received_at=study.last_received_at - timedelta(seconds=60))  # what waits came long after
    house.force_due(mercy)
    house.complete(mercy)
    with mercy.scope():
        assert Study.objects.get().version == 1


def test_a_clock_that_was_set_back_makes_no_study_wait(mercy, monkeypatch) -> None:
    """Ids, and with them the times of arrival, go on from the latest one; the quiet time does not."""
    monkeypatch.setattr(ids._maker, "_last", ids._maker.make() // 2**22 + 60_000)
    house.store(mercy, [ct_slice()])
    house.index(mercy)
    with mercy.scope():
        study = Study.objects.get()
    assert study.last_received_at > timezone.now() + timedelta(seconds=50)
    assert study.due_at <= timezone.now()


def test_completion_and_late_images_make_versions(mercy) -> None:
    """"A late image makes a new version of the study": completed twice, versions 1 and 2."""
    slices = series_of(3)
    house.store(mercy, slices[:2])
    house.index(mercy)
    house.complete(mercy)
    house.store(mercy, slices[2:])
    house.index(mercy)
    with mercy.scope():
        assert Study.objects.get().state == Study.State.RECEIVING
    house.complete(mercy)
    with mercy.scope():
        study = Study.objects.get()
        assert (study.version, study.number_of_instances, study.state) == (2, 3, "complete")
        versions = [e.ids["version"] for e in OutboxEvent.objects.filter(name="study.completed").order_by("id")]
    assert versions == [1, 2]
