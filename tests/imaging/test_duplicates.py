"""Other content under a SOP Instance UID that is taken: by each policy, over real C-STORE and over STOW-RS."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage

from imaging import duplicates
from imaging.ingest import quota_forget
from imaging.models import Instance, StorageUse, Study, WorkItem
from imaging.storage import object_path
from journal.models import OutboxEvent
from tests import house
from tests.dicom_files import ct_slice, part10
from tests.imaging.test_door import associate, database_away, listener, prepared  # noqa: F401 the fixture
from tests.imaging.test_ingest import encoded
from tests.imaging.test_stow import body, post, reasons

pytestmark = pytest.mark.database
Door = Callable[..., int]


def policy_set(hospital: Any, policy: str) -> None:
    hospital.tenant.duplicate_policy = policy
    hospital.tenant.save()
    quota_forget()


def other_of(ds: Any, **changes: Any) -> Any:
    """The same UIDs, other content."""
    common = {name: getattr(ds, name) for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")}
    return ct_slice(**{**common, "StudyDescription": "other", **changes})


@pytest.fixture(params=["C-STORE", "STOW-RS"])
def door(request: Any, client: Any) -> Iterator[Door]:
    """Send one object through a real door; the status it was answered with."""
    if request.param == "STOW-RS":

        def stow(hospital: Any, ds: Any, calling: str = "") -> int:
            answer = post(client, hospital, body(part10(ds)))
            return 0 if answer.status_code == 200 else reasons(answer)[0]

        yield stow
        return
    found = request.getfixturevalue("listener")

    def store(hospital: Any, ds: Any, calling: str = "") -> int:
        association = associate(found, hospital.called_ae, calling or hospital.calling_ae)
        status = association.send_c_store(prepared(ds)).Status
        association.release()
        return status

    yield store


@pytest.mark.parametrize("policy", ["aside", "refuse", "replace"])
def test_the_same_object_again_is_success_whatever_the_policy(door, mercy, policy) -> None:
    """"identical content is idempotent success"; also from another sender, whose AE title our group 2 names."""
    from imaging.models import Node

    policy_set(mercy, policy)
    with mercy.scope():
        Node.objects.create(ae_title="ANOTHER")
    ds = ct_slice()
    assert door(mercy, ds) == 0
    house.index(mercy)
    assert door(mercy, ds, calling="ANOTHER") == 0
    house.index(mercy)
    with mercy.scope():
        assert Instance.objects.count() == 1
        assert WorkItem.objects.count() == 0
        assert StorageUse.objects.get().objects_kept == 1


def test_the_same_data_set_through_both_doors_is_the_same(client, listener, mercy) -> None:  # noqa: F811
    """By STOW-RS the file has its own group 2, by C-STORE ours: the data set decides."""
    ds = ct_slice()
    ae = AE(ae_title=mercy.calling_ae)
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", listener.port, ae_title=mercy.called_ae)
    assert association.send_c_store(prepared(ds)).Status == 0
    association.release()
    house.index(mercy)
    with mercy.scope():
        assert object_path(Instance.objects.get().key).read_bytes() != part10(ds)
    assert post(client, mercy, body(part10(ds))).status_code == 200
    house.index(mercy)
    with mercy.scope():
        assert (Instance.objects.count(), WorkItem.objects.count()) == (1, 0)


def test_the_same_from_two_senders_in_one_batch(mercy) -> None:
    """Neither has a row when the other is looked at: the data sets are compared where they lie."""
    from dataclasses import replace

    from imaging.ingest import instance_receive

    ds = ct_slice()
    for title in ("CT1", "CT2"):
        admission = replace(house.admission(mercy), calling_ae=title)
        answer = instance_receive(
            admission=admission, sop_class_uid=ds.SOPClassUID, sop_instance_uid=ds.SOPInstanceUID,
            transfer_syntax_uid=ExplicitVRLittleEndian, dataset=encoded(ds),
        )  # fmt: skip
        assert answer.status == 0
    assert house.index(mercy) == 2
    with mercy.scope():
        assert (Instance.objects.count(), WorkItem.objects.count()) == (1, 0)


def test_aside_keeps_both(door, mercy) -> None:
    """"kept aside, so no look-up stands before the response": success, the stored one stays, one item however often it is sent."""
    ds = ct_slice()
    assert door(mercy, ds) == 0
    house.index(mercy)
    for _ in range(3):
        assert door(mercy, other_of(ds)) == 0
        house.index(mercy)
    with mercy.scope():
        row, item = Instance.objects.get(), WorkItem.objects.get()
        assert (item.kind, item.instance_id, item.study_id) == ("duplicate", row.id, row.study_id)
        assert item.key != row.key
        assert object_path(item.key).exists()
        assert StorageUse.objects.get().bytes_kept == row.size + item.size


def test_refuse_answers_0110_and_leaves_a_work_item(door, mercy) -> None:
    """"other content refused ... as the tenant chose, with a visible work item", before the acknowledgement, nothing kept."""
    policy_set(mercy, "refuse")
    ds = ct_slice()
    assert door(mercy, ds) == 0
    house.index(mercy)
    for _ in range(2):
        assert door(mercy, other_of(ds)) == 0x0110
    assert house.index(mercy) == 0
    with mercy.scope():
        item = WorkItem.objects.get()
        assert (item.kind, item.key, item.instance_id) == ("duplicate-refused", "", Instance.objects.get().id)


def test_replace_makes_a_new_version_and_keeps_the_old_bytes(door, mercy) -> None:
    """"replaced ... with a visible work item": the row points at the new bytes, the study is completed anew, the old ones stay."""
    policy_set(mercy, "replace")
    ds = ct_slice()
    assert door(mercy, ds) == 0
    house.index(mercy)
    house.complete(mercy)
    house.force_due(mercy)
    house.complete(mercy)
    with mercy.scope():
        before, old = Instance.objects.get(), object_path(Instance.objects.get().key).read_bytes()
        assert Study.objects.get().version == 1
    assert door(mercy, other_of(ds, InstanceNumber=77)) == 0
    house.index(mercy)
    house.force_due(mercy)
    house.complete(mercy)
    with mercy.scope():
        row, item, study = Instance.objects.get(), WorkItem.objects.get(), Study.objects.get()
        assert (row.id, row.number) == (before.id, 77)
        assert (item.kind, item.key) == ("duplicate-replaced", before.key)
        assert object_path(item.key).read_bytes() == old
        assert object_path(row.key).read_bytes() != old
        assert (study.version, study.number_of_instances) == (2, 1)
        assert OutboxEvent.objects.filter(name="study.changed").count() >= 2
        assert StorageUse.objects.get().bytes_kept == row.size + item.size


def test_replace_never_moves_an_object_to_another_study_series_or_patient(mercy) -> None:
    """Only the same place is replaced: anything else is kept aside."""
    policy_set(mercy, "replace")
    ds = ct_slice()
    house.store(mercy, [ds])
    house.index(mercy)
    for changes in ({"StudyInstanceUID": "1.2.3"}, {"SeriesInstanceUID": "1.2.4"}, {"PatientID": "P2", "PatientName": "ROE^RICHARD"}):
        house.store(mercy, [other_of(ds, **changes)])
        house.index(mercy)
    with mercy.scope():
        assert [item.kind for item in WorkItem.objects.all()] == ["duplicate"] * 3
        assert object_path(Instance.objects.get().key).read_bytes() == part10(ds)


def test_a_crash_after_the_commit_replays_nothing(mercy) -> None:
    """A replay of a batch in which one object replaced another leaves rows, items and counts as they are."""
    from imaging.inbox import inbox_objects

    policy_set(mercy, "replace")
    ds = ct_slice()
    house.store(mercy, [ds, other_of(ds), ct_slice(PatientID="X")])
    inbox = next(found for found in inbox_objects(limit=9) if found[0].tenant_id == mercy.tenant.id)
    copies = {item.path: item.path.read_bytes() for item in inbox}

    def facts() -> tuple[Any, ...]:
        with mercy.scope():
            use = StorageUse.objects.get()
            rows = sorted(Instance.objects.values_list("id", "key", "sha256"))
            return rows, sorted(WorkItem.objects.values_list("key", "sha256")), use.bytes_kept, use.objects_kept

    house.index(mercy)
    before = facts()
    for path, content in copies.items():  # as if the process had died between commit and clean-up
        path.write_bytes(content)
    house.index(mercy)
    assert facts() == before
    assert before[3] == 3


def test_two_at_once_under_refuse_end_as_one_row_and_one_item(listener, mercy) -> None:  # noqa: F811
    """Two associations send two objects with one UID at the same time: one is stored, the other is an item, none is lost."""
    policy_set(mercy, "refuse")
    ds = ct_slice()
    both = [prepared(ds), prepared(other_of(ds))]

    def send(one: Any) -> int:
        association = associate(listener, mercy.called_ae, mercy.calling_ae)
        status = association.send_c_store(one).Status
        association.release()
        return status

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(send, both)) == [0, 0]  # neither had a row yet
    house.index(mercy)
    with mercy.scope():
        row, item = Instance.objects.get(), WorkItem.objects.get()
        assert item.kind == "duplicate"
        assert sorted(b"other" in object_path(key).read_bytes() for key in (row.key, item.key)) == [False, True]


def test_a_new_series_is_looked_up_once_an_association(mercy, django_assert_max_num_queries) -> None:
    """"cache 'series unknown' per association so new studies skip the look-up"."""
    policy_set(mercy, "refuse")
    facts = {"tenant_id": mercy.tenant.id, "transfer_syntax_uid": "1.2", "digest": lambda: "x", "series_uid": "1.2.3.4"}
    assert not duplicates.is_taken(sop_instance_uid="1.1", association_id=4711, **facts)
    with django_assert_max_num_queries(0):
        assert not any(duplicates.is_taken(sop_instance_uid=f"1.{n}", association_id=4711, **facts) for n in range(50))


def test_refuse_takes_images_while_the_database_is_away(mercy) -> None:
    """"images fail open": what cannot be looked up is acknowledged, and sorted later."""
    from tests.imaging.test_ingest import send

    policy_set(mercy, "refuse")
    ds = ct_slice()
    assert send(mercy, ds).status == 0
    house.index(mercy)
    with database_away():
        assert send(mercy, other_of(ds)).status == 0
    house.index(mercy)
    with mercy.scope():
        assert WorkItem.objects.get().kind == "duplicate"


def test_the_quota_counts_everything_and_answers_a700(door, mercy) -> None:
    """"quota per tenant answered with 0xA700": exact over both doors, with what lies aside and in the inbox."""
    first, second = ct_slice(), ct_slice()
    size = len(part10(first)) + 40  # our own group 2 is a little longer than pydicom's
    mercy.tenant.quota_bytes = 3 * size
    mercy.tenant.save()
    quota_forget()
    assert door(mercy, first) == 0
    assert door(mercy, second) == 0
    assert door(mercy, other_of(first)) == 0  # aside counts; nothing is indexed yet, so the inbox counts
    assert door(mercy, ct_slice()) == 0xA700
    house.index(mercy)
    assert door(mercy, ct_slice()) == 0xA700
    with mercy.scope():
        kept = sum(Instance.objects.values_list("size", flat=True)) + sum(WorkItem.objects.values_list("size", flat=True))
        assert StorageUse.objects.get().bytes_kept == kept
    mercy.tenant.quota_bytes = 5 * size
    mercy.tenant.save()
    quota_forget()
    assert door(mercy, ct_slice()) == 0


def test_several_receivers_share_one_quota(mercy) -> None:
    """Each receiver process caches its own figure; near the limit every object looks for itself, so they cannot all take the rest."""
    from imaging.inbox import object_write
    from imaging.ingest import Refused, _Allowances

    content = part10(ct_slice())
    mercy.tenant.quota_bytes = 10 * len(content)
    mercy.tenant.save()
    receivers = [_Allowances() for _ in range(4)]
    taken = 0
    for at in range(40):
        try:
            receivers[at % 4].take(tenant_id=mercy.tenant.id, size=len(content))
        except Refused:
            continue
        object_write(tenant_id=mercy.tenant.id, source=0, trace_id="0" * 32, parts=[content])
        taken += 1
    assert taken == 10
