"""Decisions about work items: what each does, that none loses bytes, that repeating one changes nothing."""

from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from imaging.models import Instance, Patient, StorageUse, Study, WorkItem
from imaging.storage import object_path
from imaging.storage.files import file_path
from imaging.tasks import item_purge_task
from imaging.workitems import DecisionRefused, item_resolve
from journal.audit import Actor
from journal.models import AuditEvent, OutboxEvent
from journal.wall.tasks import rows_due
from tenants.services import token_create
from tests import house
from tests.dicom_files import ct_slice, part10
from tests.imaging.test_duplicates import other_of, policy_set

pytestmark = pytest.mark.database
WHO = Actor(name="user:test")


def arrive(hospital: Any, *datasets: Any) -> None:
    for ds in datasets:
        house.store(hospital, [ds])
        house.index(hospital)


def complete(hospital: Any) -> int:
    """The next version of the one study."""
    house.force_due(hospital)
    house.complete(hospital)
    with hospital.scope():
        return Study.objects.order_by("id").first().version


def decide(hospital: Any, action: str, note: str = "", kind: str = "") -> WorkItem:
    with hospital.scope():
        rows = WorkItem.objects.filter(**{"kind": kind} if kind else {}).order_by("id")
        item = item_resolve(item_id=rows[0].id, action=action, actor=WHO, note=note)
        assert item is not None
        return item


def use_of(hospital: Any) -> tuple[int, int]:
    with hospital.scope():
        return StorageUse.objects.values_list("bytes_kept", "objects_kept")[0]


@pytest.fixture
def duplicate(mercy):
    ds = ct_slice()
    other = other_of(ds, InstanceNumber=9)
    arrive(mercy, ds, other)
    assert complete(mercy) == 1
    return ds, other


def test_keep_the_stored_one(mercy, duplicate) -> None:
    """Duplicate, kept aside: the stored one stays; the other's bytes stay for their time, then go, and the count with them."""
    item = decide(mercy, "keep")
    assert item.due_at > timezone.now() + timedelta(days=29)
    assert decide(mercy, "keep").resolved_at == item.resolved_at  # the same again
    with pytest.raises(DecisionRefused, match="decided"):
        decide(mercy, "use_other")
    before = use_of(mercy)
    item_purge_task.run(tenant_id=mercy.tenant.id, item_id=item.id)
    assert file_path(item.key).exists()  # not before its time
    with mercy.scope():
        WorkItem.objects.update(due_at=timezone.now())
    assert (mercy.tenant.id, item.id) in rows_due("imaging_workitem", limit=100_000)
    for _ in range(2):
        item_purge_task.run(tenant_id=mercy.tenant.id, item_id=item.id)
    assert not file_path(item.key).exists()
    assert use_of(mercy) == (before[0] - item.size, before[1] - 1)
    with mercy.scope():
        assert object_path(Instance.objects.get().key).read_bytes() == part10(duplicate[0])
        assert set(AuditEvent.objects.values_list("action", flat=True)) >= {"workitem.keep", "workitem.purge"}


def test_use_the_other_one(mercy, duplicate) -> None:
    """The other takes the place, the study gets a new version and says so; the old bytes lie under the item now."""
    before = use_of(mercy)
    item = decide(mercy, "use_other")
    with mercy.scope():
        row = Instance.objects.get()
        assert (object_path(row.key).read_bytes(), row.number) == (part10(duplicate[1]), 9)
        assert object_path(item.key).read_bytes() == part10(duplicate[0])
        assert OutboxEvent.objects.filter(name="study.changed").count() == 2
    assert use_of(mercy) == before
    assert complete(mercy) == 2
    arrive(mercy, duplicate[1])  # the same again is success
    with mercy.scope():
        assert WorkItem.objects.count() == 1


def test_back_to_the_old_one_after_a_replacement(mercy) -> None:
    """Policy "replace": a person may take it back, since the old bytes were kept."""
    policy_set(mercy, "replace")
    ds = ct_slice()
    arrive(mercy, ds, other_of(ds))
    item = decide(mercy, "use_other")
    with mercy.scope():
        assert object_path(Instance.objects.get().key).read_bytes() == part10(ds)
        assert object_path(item.key).exists()


def test_the_bytes_that_a_row_points_at_are_never_purged(mercy, duplicate) -> None:
    """Whatever an item says: what an instance points at stays."""
    decide(mercy, "keep")
    with mercy.scope():
        row = Instance.objects.get()
        WorkItem.objects.update(key=row.key, due_at=timezone.now())
        item_id = WorkItem.objects.get().id
    item_purge_task.run(tenant_id=mercy.tenant.id, item_id=item_id)
    assert file_path(row.key).exists()


@pytest.fixture
def two_people(mercy):
    """HELLO and WORLD under one number, and a second study of WORLD's."""
    arrive(
        mercy, ct_slice(PatientID="COMMON", PatientName="HELLO"), ct_slice(PatientID="COMMON", PatientName="WORLD"),
        ct_slice(PatientID="COMMON", PatientName="WORLD"),
    )  # fmt: skip


def test_keep_as_two_patients(mercy, two_people) -> None:
    item = decide(mercy, "keep_two")
    assert item.due_at is None
    with mercy.scope():
        assert {study.patient.name for study in Study.objects.select_related("patient")} == {"HELLO", "WORLD"}


def test_merge_moves_every_study_and_later_images_follow(mercy, two_people) -> None:
    """"merge ... publishes the right event": patient.merged once, study.changed for each; nothing is merged without it."""
    with mercy.scope():
        assert WorkItem.objects.filter(kind="patient-conflict").count() == 2
        events = OutboxEvent.objects.filter(name="study.changed").count()
    decide(mercy, "merge")
    with mercy.scope():
        first, second = Patient.objects.get(name="HELLO"), Patient.objects.get(name="WORLD")
        assert {study.patient_id for study in Study.objects.all()} == {first.id}
        assert second.merged_into_id == first.id
        assert OutboxEvent.objects.get(name="patient.merged").ids == {"patient_id": second.id, "into_id": first.id}
        assert OutboxEvent.objects.filter(name="study.changed").count() == events + 2
        assert not WorkItem.objects.filter(resolved_at=None).exists()
        study = Study.objects.order_by("-id").first()
    arrive(mercy, ct_slice(PatientID="COMMON", PatientName="WORLD", StudyInstanceUID=study.study_uid))
    with mercy.scope():
        assert not WorkItem.objects.filter(resolved_at=None).exists()
        assert Study.objects.get(id=study.id).number_of_instances == 2


@pytest.fixture
def stranger(mercy):
    """An image that names another patient than its study."""
    first = ct_slice()
    image = ct_slice(StudyInstanceUID=first.StudyInstanceUID, PatientID="P2", PatientName="ROE^RICHARD")
    arrive(mercy, first, image)
    assert complete(mercy) == 1
    return image


def test_accept_into_the_study(mercy, stranger) -> None:
    """"accept into the study": a row for the bytes that lay aside, counted once, the study's patient as before, a new version."""
    before = use_of(mercy)
    decide(mercy, "accept")
    assert complete(mercy) == 2
    with mercy.scope():
        row = Instance.objects.get(sop_instance_uid=stranger.SOPInstanceUID)
        assert object_path(row.key).read_bytes() == part10(stranger)
        study = Study.objects.get()
        assert (study.number_of_instances, study.patient.patient_id) == (2, "P1")
    assert use_of(mercy) == before


def test_discard_needs_a_reason_and_keeps_the_bytes_for_their_time(mercy, stranger, settings) -> None:
    """"discard with a reason ... nothing is ever deleted silently (discard keeps bytes for N days, setting)"."""
    with pytest.raises(DecisionRefused, match="why"):
        decide(mercy, "discard", note="  ")
    settings.MEDHUB_DISCARD_DAYS = 7
    item = decide(mercy, "discard", note="sent by mistake")
    assert timedelta(days=6) < item.due_at - timezone.now() < timedelta(days=7, seconds=1)
    assert file_path(item.key).exists()
    with mercy.scope():
        event = AuditEvent.objects.get(action="workitem.discard")
    assert "mistake" not in str(event.detail)  # words of a person stay in the item


def test_zero_days_keep_for_ever(mercy, stranger, settings) -> None:
    settings.MEDHUB_DISCARD_DAYS = 0
    assert decide(mercy, "discard", note="no").due_at is None


def test_damaged_is_closed_when_the_bytes_are_back(mercy) -> None:
    """Brought back from a backup: read again, and only then closed."""
    from imaging.scrub import scrub_restart, scrub_step

    arrive(mercy, ct_slice())
    with mercy.scope():
        path = file_path(Instance.objects.get().key)
        scrub_restart()
    whole = path.read_bytes()
    path.write_bytes(b"")
    scrub_step(tenant_id=mercy.tenant.id)
    with pytest.raises(DecisionRefused, match="still"):
        decide(mercy, "recheck")
    path.write_bytes(whole)
    assert decide(mercy, "recheck").resolved_at
    with mercy.scope():
        assert Instance.objects.get().scrub_result == "ok"


class TestTheApi:
    def test_lists_shows_and_decides(self, client, mercy, duplicate) -> None:
        """GET list, GET one, POST resolve; the same again 200, another decision 409, nonsense 400; never a value of an object."""
        auth = {"authorization": f"Bearer {token_create(tenant=mercy.tenant, name='x', role='admin')}"}
        found = client.get(reverse("api-workitems", args=[mercy.slug]), headers=auth).json()
        (item,) = found["items"]
        assert (item["kind"], item["actions"], found["next"]) == ("duplicate", ["keep", "use_other"], None)
        one = client.get(reverse("api-workitem", args=[mercy.slug, int(item["id"])]), headers=auth)
        assert one.json() == {**item, "orders": []}
        assert "DOE" not in one.content.decode()
        url = reverse("api-workitem-resolve", args=[mercy.slug, int(item["id"])])

        def resolve(**decision: str) -> Any:
            return client.post(url, decision, content_type="application/json", headers=auth)

        assert resolve(action="merge").status_code == 409
        assert resolve().status_code == 400
        assert [resolve(action="keep").status_code for _ in range(2)] == [200, 200]
        assert resolve(action="use_other").status_code == 409
        assert client.get(reverse("api-workitems", args=[mercy.slug]), headers=auth).json()["items"] == []
        decided = client.get(reverse("api-workitems", args=[mercy.slug]), {"state": "decided"}, headers=auth).json()["items"]
        assert decided[0]["resolution"] == "keep"

    def test_pages_and_refuses_what_it_cannot_read(self, client, mercy) -> None:
        for _ in range(3):
            arrive(mercy, ct_slice(PatientID="SAME", PatientName=f"N{_}"))
        url, seen = reverse("api-workitems", args=[mercy.slug]), []
        following = f"{url}?limit=1"
        while following:
            page = client.get(following, headers=mercy.auth).json()
            seen += [item["id"] for item in page["items"]]
            following = page["next"]
        assert len(seen) == len(set(seen)) == 2
        for query in ({"state": "all"}, {"limit": "x"}, {"cursor": "x"}):
            assert client.get(url, query, headers=mercy.auth).status_code == 400
        assert client.get(f"{url}/{2**63}", headers=mercy.auth).status_code == 404
