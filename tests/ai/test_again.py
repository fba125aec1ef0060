"""A job whose first answer was kept back, sent again: the second answer takes the first one's place."""

import pytest

from ai import jobs
from ai.models import Job, Report, Result
from journal.audit import Actor
from tests import house
from tests.ai.test_dispatch import hook_post, job_of, pushed, run, said

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("doubles")]


def test_a_good_answer_after_a_quarantined_one(client, mercy, vendors, thorax, tmp_path) -> None:
    """"quarantine and dead letters with resend": the job ends done, with one result and one report."""
    job, secret = pushed(mercy, vendors, thorax, tmp_path)
    hook_post(client, mercy, said(job, findings="<b>none</b>"), secret)
    assert job_of(mercy).state == "quarantined"
    with mercy.scope():
        assert jobs.job_resend(job_id=job.id)
    run(mercy, {"sent"})
    assert hook_post(client, mercy, said(job), secret).json() == {"status": "taken"}
    house.deliver(mercy)
    with mercy.scope():
        assert (Job.objects.get().state, Result.objects.count(), Report.objects.count()) == ("done", 1, 1)
        assert Result.objects.get().is_analysable


def test_a_late_answer_to_the_old_question_finds_nobody(client, mercy, vendors, thorax, tmp_path) -> None:
    """"dead letter with edit-and-requeue": what was asked before and what is asked now are two questions."""
    job, secret = pushed(mercy, vendors, thorax, tmp_path)
    hook_post(client, mercy, said(job, findings="<b>none</b>"), secret)
    with mercy.scope():
        again = jobs.job_requeue(job_id=job.id, series_id=job.series, algorithm=job.algorithm, actor=Actor(name="user:test"))
    now = run(mercy, {"sent"})
    assert again.id == now.id == job.id
    assert hook_post(client, mercy, said(job), secret).status_code == 404
    assert job_of(mercy).state == "sent"
    assert now.surrogate_uid not in {"", job.surrogate_uid}
    assert hook_post(client, mercy, said(now), secret).json() == {"status": "taken"}
    assert job_of(mercy).state == "done"
