"""The worklist as a platform uses it: one workitem a job, surrogates only, canceled when nobody waits."""

import pytest

from ai import jobs
from ai.contract import PlatformError
from ai.models import Workitem
from ai.workitems.worklist import OwnWorklist
from tests.ai.performing import connection_make, handle_of, job_make, performer, uid, workitem_make
from tests.dicom_files import ct_slice, part10

pytestmark = pytest.mark.database


def test_the_same_handle_gives_the_same_workitem(mercy, tmp_path) -> None:
    """"A workitem for this job; returns its UID. The same handle gives the same workitem" — also after a crash between the two."""
    job = job_make(mercy, connection_make(mercy))
    worklist = OwnWorklist(mercy.tenant.id)
    first = worklist.create(handle_of(job), label="Detect")
    assert worklist.create(handle_of(job), label="Detect") == first
    assert first.startswith("2.25.")
    assert len(first) <= 64
    with mercy.scope():
        assert Workitem.objects.get().job_id == job.id
    worklist.cancel(first)
    second = worklist.create(handle_of(job), label="Detect")
    assert second != first, "a job that is sent again after its workitem was canceled"
    assert worklist.create(handle_of(job), label="Detect") == second


def test_what_it_tells(mercy, tmp_path) -> None:
    """What it is made of: the handle's surrogates, where the pixels are, each object; nothing of the patient or the study."""
    link = connection_make(mercy)
    job = job_make(mercy, link)
    ds = ct_slice(PatientName="SURROGATE")
    path = tmp_path / "1.dcm"
    path.write_bytes(part10(ds))
    mine = workitem_make(mercy, job, files=[path], is_stat=True)
    client = performer(mercy, link)
    found = client.get(mine)
    assert found["00741200"]["Value"] == ["HIGH"]
    (given,) = found["00404021"]["Value"]
    assert given["0020000D"]["Value"] == ["2.25.1"]
    assert given["00081199"]["Value"][0]["00081155"]["Value"] == [ds.SOPInstanceUID]
    (place,) = given["0040E025"]["Value"]
    assert place["00081190"]["Value"] == ["https://hub.example/t/x/performer/y/dicomweb/studies/2.25.1/series/2.25.2"]
    text = client.call("GET", f"/workitems/{mine}").content
    assert all(word not in text for word in (b"DOE", b"JANE", b"19600102", b"P1", b"A1"))


def test_of_nobodys_job_there_is_none(mercy, olaf) -> None:
    job = job_make(olaf, connection_make(olaf))
    for key in (str(job.uuid), "no uuid"):
        with pytest.raises(PlatformError) as refused:
            OwnWorklist(mercy.tenant.id).create(handle_of(job, idempotency_key=key), label="x")
        assert refused.value.is_permanent


def test_cancel_asks_whoever_has_claimed_it(mercy) -> None:
    """Nobody waits any more: a claimed one stays its performer's, who is asked; an unknown or ended one is no error."""
    link = connection_make(mercy)
    mine = workitem_make(mercy, job_make(mercy, link))
    client, lock = performer(mercy, link), uid()
    client.put(mine, "IN PROGRESS", lock)
    worklist = OwnWorklist(mercy.tenant.id)
    worklist.cancel(mine)
    assert client.state(mine) == "IN PROGRESS"
    with mercy.scope():
        assert Workitem.objects.get().cancel_request is not None
    client.put(mine, "CANCELED", lock)
    worklist.cancel(mine)
    worklist.cancel("1.2.3")


@pytest.mark.parametrize("end", ["done", "failed", "cancelled", "not_analysable", "quarantined"])
def test_a_job_that_ends_otherwise_takes_its_workitem_back(mercy, end) -> None:
    """The answer came by hook, or too late: nobody is left to work for nothing. Who has claimed it is asked, once."""
    link = connection_make(mercy)
    client = performer(mercy, link)
    free, taken = (job_make(mercy, link) for _ in range(2))
    mine, theirs = workitem_make(mercy, free), workitem_make(mercy, taken)
    client.put(theirs, "IN PROGRESS", uid())
    with mercy.scope():
        assert jobs.job_end(job_id=free.id, state=end)
        assert jobs.job_end(job_id=taken.id, state=end)
    assert client.state(mine) == "CANCELED"
    assert client.state(theirs) == "IN PROGRESS"
    with mercy.scope():
        asked = Workitem.objects.get(workitem_uid=theirs)
    assert asked.cancel_request == {}
    OwnWorklist(mercy.tenant.id).cancel(theirs)
    with mercy.scope():
        assert Workitem.objects.get(workitem_uid=theirs).version == asked.version
    again = OwnWorklist(mercy.tenant.id).create(handle_of(taken), label="Detect")
    assert again not in (mine, theirs), "a job that is sent again is not offered under a workitem that was taken back"
