"""A vendor answers for another hospital's job, by every door that takes answers: nothing of either hospital's moves."""

from collections.abc import Iterator
from typing import Any

import pytest

from ai import jobs
from ai.models import Connection, Exchange, Job, Report, ReturnedObject, Workitem
from journal.audit import Actor
from tenants.services import performer_token_create
from tests import house
from tests.ai.lines import DICOMWEB, DIMSE, HOOK, Line, job_for, returning, run_until, work_on
from tests.ai.performing import Requester, state
from tests.ai.test_answer_faults import done_with_one_report, waited_in_vain
from tests.ai.test_dispatch import chest_store, connect
from tests.ai.test_line import listening, result, send
from tests.dicom_files import part10
from tests.web import Web, web_run

__all__ = ["listening"]
pytestmark = [pytest.mark.database, pytest.mark.faults, pytest.mark.peers, pytest.mark.xdist_group("faults-3")]


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """The real web door, for vendors that fetch from us and call our hook."""
    with web_run(tmp_path_factory.mktemp("web")) as running:
        yield running


def asked_of(hospital: Any, vendors: Any, files: Any, folder: Any, line: Line = DICOMWEB, **more: str) -> Job:
    """A job of this hospital at the same vendor, routed and not sent yet."""
    connect(hospital, line.slug, vendors, line.algorithm, **{**line.more, **more})
    study = chest_store(hospital, files, folder)
    house.deliver(hospital)
    return job_for(hospital, study)


def again(hospital: Any, job: Job) -> Job:
    with hospital.scope():
        found: Job = Job.objects.select_related("study").get(id=job.id)
    return found


def vendor_of(hospital: Any, job: Job, base: str, *, is_of_job: bool) -> Requester:
    """The vendor with the key that this hospital gave it, for one job or for its worklist, at whatever address it likes."""
    token = performer_token_create(
        tenant=hospital.tenant, name="vendor", connection_id=job.connection_id, job=job.uuid if is_of_job else None,
    )  # fmt: skip
    return Requester(base, {"authorization": f"Bearer {token}"})


def test_by_hook(mercy, olaf, vendors, thorax, tmp_path, settings, web) -> None:
    """"answers for another hospital's job", signed, at the hook of its own connection: 404. That job is answered by its own vendor, once;
    the one that was meant waits, ends at its deadline, and is answered when it is asked anew."""
    settings.MEDHUB_PUBLIC_URL = web.address
    theirs = asked_of(olaf, vendors, thorax, tmp_path, HOOK)
    vendors.fault("misjob", uid=str(theirs.uuid))
    mine = asked_of(mercy, vendors, thorax, tmp_path, HOOK)
    study = again(mercy, mine).study
    run_until(mercy, study, {"sent"})
    work_on(mercy, 4)
    assert (again(mercy, mine).state, again(olaf, theirs).state) == ("sent", "queued")
    for hospital in (mercy, olaf):
        with hospital.scope():
            assert (Report.objects.count(), Exchange.objects.filter(kind="hook").count()) == (0, 0)
    done_with_one_report(olaf, run_until(olaf, again(olaf, theirs).study, {"done"}))
    waited_in_vain(mercy, mine)
    with mercy.scope():
        jobs.job_requeue(job_id=mine.id, series_id=mine.series, algorithm=mine.algorithm, actor=Actor(name="user:test"))
    done_with_one_report(mercy, run_until(mercy, study, {"done"}))


def test_by_stow(mercy, olaf, vendors, thorax, tmp_path) -> None:
    """"answers for another hospital's job", by STOW-RS: neither at that hospital's address nor, by that job's name, at its own."""
    mine, theirs = (asked_of(one, vendors, thorax, tmp_path, DICOMWEB, answer="pushed") for one in (mercy, olaf))
    for hospital, job in ((mercy, mine), (olaf, theirs)):
        run_until(hospital, again(hospital, job).study, {"sent"})
    content = part10(result(study_uid=again(olaf, theirs).surrogate_uid))
    body = b"--B\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--B--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=B'
    for base in (f"/t/{olaf.slug}/performer/{theirs.uuid}/dicomweb", f"/t/{mercy.slug}/performer/{theirs.uuid}/dicomweb"):
        vendor = vendor_of(mercy, mine, base, is_of_job=True)
        assert vendor.call("POST", "/studies", body, content_type=kind).status_code in {401, 404}
    for hospital, job in ((mercy, mine), (olaf, theirs)):
        with hospital.scope():
            assert ReturnedObject.objects.count() == Report.objects.count() == 0
        assert again(hospital, job).state == "sent"


def test_by_workitem(mercy, olaf, vendors, thorax, tmp_path) -> None:
    """"answers for another hospital's job", by its workitem: it cannot be seen, claimed or completed with another hospital's key."""
    mine, theirs = (asked_of(one, vendors, thorax, tmp_path, DICOMWEB, way="ups", answer="pushed") for one in (mercy, olaf))
    for hospital, job in ((mercy, mine), (olaf, theirs)):
        run_until(hospital, again(hospital, job).study, {"sent"})
    uid = again(olaf, theirs).remote_id
    for slug in (olaf.slug, mercy.slug):
        vendor = vendor_of(mercy, mine, f"/t/{slug}/dicomweb", is_of_job=False)
        assert vendor.call("GET", f"/workitems/{uid}").status_code in {401, 404}
        for wanted in ("IN PROGRESS", "COMPLETED"):
            assert vendor.call("PUT", f"/workitems/{uid}/state", state(wanted, "2.25.7")).status_code in {401, 404}
    with olaf.scope():
        assert Workitem.objects.get().state == Workitem.State.SCHEDULED
    assert (again(mercy, mine).state, again(olaf, theirs).state) == ("sent", "sent")


def test_by_c_store(mercy, olaf, vendors, thorax, tmp_path, listening, settings) -> None:
    """"answers for another hospital's job", by C-STORE to the return AE of the wrong one: kept there, of no job, seen by nobody else;
    both jobs wait, and each is answered by what comes to its own."""
    vendors.fault("silent", times=2)
    both = ((mercy, _connected(mercy, vendors)), (olaf, _connected(olaf, vendors)))
    waiting = {}
    for hospital, _ in both:
        with returning(hospital, vendors, listening, settings) as called:
            study = chest_store(hospital, thorax, tmp_path)
            waiting[hospital.slug] = (run_until(hospital, study, {"sent"}), called)
            work_on(hospital, 2)
    mine, _ = waiting[mercy.slug]
    theirs, at_olaf = waiting[olaf.slug]
    assert send(listening.port, at_olaf, [result(study_uid=mine.surrogate_uid)]) == [0]
    for hospital in (mercy, olaf):
        work_on(hospital, 3)
    with olaf.scope():
        assert (ReturnedObject.objects.get().job_id, Report.objects.count()) == (None, 0)
    with mercy.scope():
        assert ReturnedObject.objects.count() == Report.objects.count() == 0
    assert (again(mercy, mine).state, again(olaf, theirs).state) == ("sent", "sent")


def _connected(hospital: Any, vendors: Any) -> Connection:
    connect(hospital, DIMSE.slug, vendors, DIMSE.algorithm, **DIMSE.more)
    with hospital.scope():
        found: Connection = Connection.objects.get()
    return found
