"""Answers that are not what was asked for, through whole jobs: kept apart with the reason, no report, and a good one afterwards."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from ai import jobs
from ai.deident.mapping import Mapping
from ai.models import Exchange, Job, JobMapping, Report, Result, ReturnedObject
from imaging.models import Instance
from journal.audit import Actor
from tests.ai.lines import (
    DICOMWEB,
    DIMSE,
    HOOK,
    INFERENCE,
    MONAI,
    due_now,
    job_for,
    nothing_came_of_it,
    returning,
    run_until,
    said_nothing,
    sent_to,
    work_on,
)
from tests.ai.test_dispatch import ENDED, chest_store, connect, job_of, run
from tests.ai.test_line import listening, result, send
from tests.web import Web, web_run

__all__ = ["listening"]
pytestmark = [pytest.mark.database, pytest.mark.faults, pytest.mark.peers, pytest.mark.xdist_group("faults-1")]
ACTOR = Actor(name="user:test")


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """The real web door, for vendors that fetch from us, store to us and call our hook."""
    with web_run(tmp_path_factory.mktemp("web")) as running:
        yield running


@pytest.fixture
def reached(web: Web, settings: Any) -> Web:
    settings.MEDHUB_PUBLIC_URL = web.address
    return web


def done_with_one_report(hospital: Any, job: Job) -> None:
    assert (job.state, job.reason) == ("done", "")
    with hospital.scope():
        assert Report.objects.filter(result__job=job).count() == Result.objects.filter(job=job).count() == 1
        assert Result.objects.get(job=job).is_analysable


def waited_in_vain(hospital: Any, job: Job) -> Job:
    """The hour in which an answer may come is over."""
    with hospital.scope():
        Job.objects.filter(id=job.id).update(sent_at=timezone.now() - jobs.ANSWER_WITHIN - timezone.timedelta(seconds=1))
    due_now(hospital, job)
    with hospital.scope():
        ended: Job = Job.objects.get(id=job.id)
    assert (ended.state, ended.reason) == ("failed", "no answer within an hour")
    return ended


# --- a truncated SR -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "share"), [(DICOMWEB, 0.01), (DICOMWEB, 0.04), (DICOMWEB, 0.4), (DICOMWEB, 0.999), (MONAI, 0.8)], ids=str
)
def test_a_truncated_sr_from_a_store(mercy, vendors, thorax, tmp_path, caplog, line, share) -> None:
    """"sends a truncated SR", cut in the preamble, the file's meta information, the content, or one byte before the end: refused as
    a whole, and the good one that the vendor has afterwards is taken when the job is sent again."""
    vendors.fault("truncated", share=share)
    sent_to(mercy, line, vendors, thorax, tmp_path)
    job = run(mercy, ENDED)
    assert job.state == "quarantined"
    assert job.reason
    nothing_came_of_it(mercy, job, len(thorax))
    with mercy.scope():
        kept = Result.objects.get(job=job)
        assert (len(kept.files), kept.is_analysable) == (1, False)
        assert jobs.job_resend(job_id=job.id)
    done_with_one_report(mercy, run(mercy, {"done"}))
    said_nothing(caplog.text)


def test_a_truncated_sr_by_stow(reached, mercy, vendors, thorax, tmp_path) -> None:
    """"sends a truncated SR", stored to us: refused at the door, so the vendor knows; nothing is kept, nobody waits for ever."""
    vendors.fault("truncated", share=0.6)
    connect(mercy, INFERENCE.slug, vendors, INFERENCE.algorithm, way="pull", results_url="")
    study = chest_store(mercy, thorax, tmp_path)
    job = run_until(mercy, study, {"sent"})
    work_on(mercy, 4)
    assert job_for(mercy, study).state == "sent"
    with mercy.scope():
        assert ReturnedObject.objects.count() == 0
    ended = waited_in_vain(mercy, job)
    nothing_came_of_it(mercy, ended, len(thorax))
    with mercy.scope():  # the vendor remembers the transaction as failed: another question
        again = jobs.job_requeue(job_id=job.id, series_id=job.series, algorithm=job.algorithm, actor=ACTOR)
    done_with_one_report(mercy, run_until(mercy, study, {"done"}))
    assert again.uuid != job.uuid


@pytest.mark.parametrize("share", [0.4, 0.999])
def test_a_truncated_sr_by_c_store(mercy, vendors, thorax, tmp_path, listening, settings, share) -> None:
    """"sends a truncated SR", by C-STORE to the return AE: its bytes are kept as they came, the gate refuses them, and the whole one
    that comes when the job is sent again is the answer."""
    connect(mercy, DIMSE.slug, vendors, DIMSE.algorithm, **DIMSE.more)
    vendors.fault("truncated", share=share)
    with returning(mercy, vendors, listening, settings):
        study = chest_store(mercy, thorax, tmp_path)
        job = run_until(mercy, study, ENDED)
        assert job.state == "quarantined"
        assert job.reason
        nothing_came_of_it(mercy, job, len(thorax))
        with mercy.scope():
            assert (len(Result.objects.get(job=job).files), ReturnedObject.objects.count()) == (1, 0)
            assert jobs.job_resend(job_id=job.id)
        done_with_one_report(mercy, run_until(mercy, study, {"done"}))
    with mercy.scope():
        assert ReturnedObject.objects.count() == 0, "taken over, and forgotten where it lay"


# --- another patient's UIDs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "named"), [(DICOMWEB, "surrogate"), (DICOMWEB, "real"), (DICOMWEB, "nobody"), (MONAI, "surrogate")], ids=str
)
def test_another_patients_uids_from_a_store(mercy, vendors, thorax, tmp_path, caplog, line, named) -> None:
    """"answers with another patient's UIDs": those the vendor knows of another patient, the hospital's own, or nobody's. Kept apart,
    the other patient's report stays as it is, and the right answer is taken afterwards."""
    connect(mercy, line.slug, vendors, line.algorithm, **line.more)
    other = chest_store(mercy, thorax, tmp_path, patient="MRN-1")
    theirs = run_until(mercy, other, {"done"})
    with mercy.scope():
        before = Report.objects.get()
    uid = {"surrogate": theirs.surrogate_uid, "real": other.study_uid, "nobody": ""}[named]
    vendors.fault("foreign", uid=uid)
    study = chest_store(mercy, thorax, tmp_path, patient="MRN-2")
    job = run_until(mercy, study, ENDED)
    assert job.state == "quarantined"
    assert job.reason
    assert theirs.surrogate_uid not in job.reason
    assert other.study_uid not in job.reason
    with mercy.scope():
        assert list(Report.objects.values_list("id", "version")) == [(before.id, 1)]
        assert Instance.objects.filter(study=study).count() == len(thorax)
        assert Instance.objects.filter(study=other).count() == len(thorax) + 1
        kept = Result.objects.get(job=job)
        assert (len(kept.files), kept.is_analysable) == (1, False)
        assert jobs.job_resend(job_id=job.id)
    done_with_one_report(mercy, run_until(mercy, study, {"done"}))
    said_nothing(caplog.text)


def test_another_patients_images_by_hook(reached, mercy, vendors, thorax, tmp_path) -> None:
    """"answers with another patient's UIDs", by signed hook: the images of another job of the same vendor."""
    connect(mercy, HOOK.slug, vendors, HOOK.algorithm, **HOOK.more)
    other = chest_store(mercy, thorax, tmp_path, patient="MRN-1")
    theirs = run_until(mercy, other, {"done"})
    with mercy.scope():
        image = next(iter(surrogates_of(theirs)))
    vendors.fault("foreign", uid=image)
    study = chest_store(mercy, thorax, tmp_path, patient="MRN-2")
    job = run_until(mercy, study, ENDED)
    assert (job.state, image in job.reason) == ("quarantined", False)
    with mercy.scope():
        assert Report.objects.get().study_id == other.id
        assert Result.objects.get(job=job).payload["job_id"] == str(job.uuid), "what came is there to be looked at"
        jobs.job_requeue(job_id=job.id, series_id=job.series, algorithm=job.algorithm, actor=ACTOR)
    done_with_one_report(mercy, run_until(mercy, study, {"done"}))


def surrogates_of(job: Job) -> list[str]:
    """The images of a job as its vendor knows them. In a scope."""
    return sorted(Mapping.from_json(JobMapping.objects.get(job=job).content).sources)


def test_another_patients_study_by_c_store(mercy, vendors, thorax, tmp_path, listening, settings) -> None:
    """"answers with another patient's UIDs", by C-STORE, where the UIDs alone say whose answer it is: the patient who is named, and
    whose answer is still waited for, gets nothing of it, nor does the one it was made for."""
    connect(mercy, DIMSE.slug, vendors, DIMSE.algorithm, **DIMSE.more)
    vendors.fault("silent")
    with returning(mercy, vendors, listening, settings):
        named = chest_store(mercy, thorax, tmp_path, patient="MRN-1")
        first = run_until(mercy, named, {"sent"})
        work_on(mercy, 2)
        vendors.fault("foreign", uid=first.surrogate_uid)
        meant = chest_store(mercy, thorax, tmp_path, patient="MRN-2")
        run_until(mercy, meant, {"sent"})
        wrong = run_until(mercy, named, ENDED)
        assert wrong.state == "quarantined"
        nothing_came_of_it(mercy, wrong, 2 * len(thorax))
        assert job_for(mercy, meant).state == "sent"
        with mercy.scope():
            assert Report.objects.count() == 0
            assert jobs.job_resend(job_id=wrong.id)
        done_with_one_report(mercy, run_until(mercy, named, {"done"}))
        assert waited_in_vain(mercy, job_for(mercy, meant)).state == "failed"
        with mercy.scope():
            assert jobs.job_resend(job_id=job_for(mercy, meant).id)
        done_with_one_report(mercy, run_until(mercy, meant, {"done"}))
    with mercy.scope():
        assert sorted(Report.objects.values_list("study_id", flat=True)) == sorted((named.id, meant.id))


def numbers_of(report: Report) -> dict[str, float]:
    return {one["code"]["code"]: one["value"] for one in report.content["measurements"]}


# --- answers twice --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mishap", ["twice", "changed"])
def test_a_second_answer_by_hook(reached, mercy, vendors, thorax, tmp_path, mishap) -> None:
    """"answers twice": the same again, or with other numbers. The first one counts, the second is known and changes nothing."""
    vendors.fault(mishap)
    sent_to(mercy, HOOK, vendors, thorax, tmp_path)
    job = run(mercy, ENDED)
    work_on(mercy, 1)
    done_with_one_report(mercy, job_of(mercy))
    with mercy.scope():
        assert Exchange.objects.filter(job=job, kind="hook").count() == 2
        first = numbers_of(Report.objects.get())
    right = run_until(mercy, chest_store(mercy, thorax, tmp_path, patient="MRN-2"), {"done"})
    with mercy.scope():
        assert first == numbers_of(Report.objects.get(result__job=right)), "as of the same pixels, answered once"
    assert reached.faults() == []


@pytest.mark.parametrize("mishap", ["twice", "changed"])
def test_a_second_answer_by_c_store(mercy, vendors, thorax, tmp_path, listening, settings, mishap) -> None:
    """"answers twice": the same object twice is one answer; a differing one that comes after the report changes nothing."""
    connect(mercy, DIMSE.slug, vendors, DIMSE.algorithm, **DIMSE.more)
    if mishap == "twice":
        vendors.fault(mishap)
    with returning(mercy, vendors, listening, settings) as called:
        study = chest_store(mercy, thorax, tmp_path)
        job = run_until(mercy, study, ENDED)
        done_with_one_report(mercy, job)
        with mercy.scope():
            before = (Report.objects.get().content, Instance.objects.count())
            assert not jobs.job_resend(job_id=job.id), "what is done is not asked again"
        if mishap == "changed":
            assert send(listening.port, called, [result(study_uid=job.surrogate_uid)]) == [0], "the vendor thinks of something else"
        work_on(mercy, 3)
    with mercy.scope():
        assert (Report.objects.get().content, Instance.objects.count()) == before
