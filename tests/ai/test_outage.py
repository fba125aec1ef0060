"""A vendor that is down for an hour, by the clock: back-off, circuit breaker, everybody else goes on, and the end comes by itself."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from ai import breaker, dispatch, jobs
from ai.models import Connection, Exchange, Job, Report, Result
from imaging.models import Study
from tests import house
from tests.ai.lines import CHAT, DICOMWEB, due_now, job_for, nothing_came_of_it, run_until, sent_to
from tests.ai.test_dispatch import ENDED, chest_store, connect, run

pytestmark = [pytest.mark.database, pytest.mark.faults, pytest.mark.xdist_group("faults-3")]
DOWN = {"kind": "status", "status": 500, "path": "/performer/.*", "times": 1_000_000}
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _production_units(settings: Any) -> None:
    settings.MEDHUB_BACKOFF_UNIT_SECONDS = 1


def next_due(hospital: Any) -> Job | None:
    with hospital.scope():
        found: Job | None = Job.objects.filter(due_at__isnull=False).order_by("due_at").first()
    return found


def lived(hospital: Any, clock: time_machine.Traveller, until: datetime) -> Iterator[Job]:
    """Every step of the hospital's jobs at the moment when it is due, up to a time; each job after its step."""
    while (job := next_due(hospital)) is not None and job.due_at is not None and job.due_at < until:
        clock.move_to(max(job.due_at, timezone.now()))
        dispatch.job_run(tenant_id=hospital.tenant.id, job_id=job.id)
        with hospital.scope():
            yield Job.objects.get(id=job.id)


def link_of(hospital: Any, slug: str = "sharedmind") -> Connection:
    with hospital.scope():
        found: Connection = Connection.objects.get(platform=slug)
    return found


def test_an_hour_of_500_and_the_job_comes_to_its_end_by_itself(mercy, olaf, vendors, thorax, tmp_path) -> None:
    """"answers 500 for an hour": the waits grow, half of each by chance; the circuit breaker opens; another platform of this hospital
    and the same platform of another hospital go on; when the hour is over one report comes of each job, and nobody pressed a button."""
    connect(mercy, "sharedmind", vendors, "by-contract")
    connect(mercy, "nvidia-clara", vendors, "monai-app")
    elsewhere = {"dicomweb_url": f"{vendors.url}/monai/dicomweb/w1", "answer_url": f"{vendors.url}/monai/dicomweb"}
    connect(olaf, "sharedmind", vendors, "by-contract", **elsewhere)
    vendors.fault(**DOWN)
    chest_store(mercy, thorax, tmp_path)
    house.deliver(mercy)
    with time_machine.travel(began := timezone.now(), tick=False) as clock:
        waits, is_open = _hour(mercy, clock, began)
        assert [wait for attempt, wait in waits if not 0.5 <= wait / min(2**attempt, jobs.LONGEST_WAIT) <= 1] == []
        assert [attempt for attempt, _ in waits] == list(range(1, len(waits) + 1))
        assert len({wait / min(2**attempt, jobs.LONGEST_WAIT) for attempt, wait in waits}) > len(waits) / 2, "by chance"
        assert max(wait for _, wait in waits) > 100 > min(wait for _, wait in waits)
        assert is_open == [attempt >= breaker.FAILURES for attempt, _ in waits]
        with mercy.scope():
            assert set(Job.objects.values_list("connection__platform", "state")) == {("sharedmind", "queued"), ("nvidia-clara", "done")}
            assert set(Report.objects.values_list("connection__platform", flat=True)) <= {"nvidia-clara"}
    theirs = chest_store(olaf, thorax, tmp_path)
    assert run_until(olaf, theirs, ENDED).state == "done"
    vendors.control("DELETE", "faults")
    with time_machine.travel(began + HOUR, tick=True) as clock:
        due = next_due(mercy)
        assert due is not None
        assert due.due_at is not None
        clock.move_to(due.due_at + timedelta(seconds=1))
        work_until_done(mercy, 2)
    assert link_of(mercy).failures == 0
    assert link_of(olaf).failures == 0


def _hour(hospital: Any, clock: time_machine.Traveller, began: datetime) -> tuple[list[tuple[int, float]], list[bool]]:
    """(attempt, wait) of each failed try at the vendor that is down, and whether the circuit was open behind it."""
    waits, is_open = [], []
    with hospital.scope():
        down = Job.objects.get(connection__platform="sharedmind")
    for job in lived(hospital, clock, began + HOUR):
        if job.id == down.id and job.reason == "the platform answered 500" and job.due_at is not None:
            waits.append((job.attempts, (job.due_at - timezone.now()).total_seconds()))
            until = link_of(hospital).broken_until
            is_open.append(until is not None and until > timezone.now())
    return waits, is_open


def work_until_done(hospital: Any, count: int) -> None:
    """The rest by itself: every job is done, and each has one result and one report."""
    assert run(hospital, ENDED, slug="sharedmind").state == "done"
    with hospital.scope():
        assert list(Job.objects.values_list("state", flat=True)) == ["done"] * count
        assert Result.objects.count() == Report.objects.values("result").distinct().count() == Report.objects.count() == count


def test_while_the_circuit_is_open_one_job_tries_for_all(mercy, vendors, thorax, tmp_path) -> None:
    """"circuit breaker": with three jobs waiting, the vendor that is down hears from one of them now and then, at most once a minute in
    the end; those that only wait lose no attempt by it."""
    connect(mercy, "sharedmind", vendors, "by-contract")
    vendors.fault(**DOWN)
    for number in range(3):
        chest_store(mercy, thorax, tmp_path, patient=f"MRN-{number}")
    house.deliver(mercy)
    with time_machine.travel(began := timezone.now(), tick=False) as clock:
        steps = sum(1 for _ in lived(mercy, clock, began + timedelta(minutes=20)))
        with mercy.scope():
            tries = list(Exchange.objects.order_by("at").values_list("at", flat=True))
            attempts = sum(Job.objects.values_list("attempts", flat=True))
        assert steps > len(tries) == attempts
        late = [(after - before).total_seconds() for before, after in zip(tries[12:], tries[13:], strict=False)]
        assert min(late) >= breaker.LONGEST / 2
        with mercy.scope():
            assert set(Job.objects.values_list("state", flat=True)) == {"queued"}


def test_a_vendor_that_stays_down_ends_in_a_dead_letter(mercy, vendors, thorax, tmp_path) -> None:
    """"answers 500 for an hour" and longer: no sooner than after an hour, no later than after two, the job is given up with the reason;
    sent again when the vendor is back it gives one report."""
    sent_to(mercy, DICOMWEB, vendors, thorax, tmp_path)
    vendors.fault(**DOWN)
    with time_machine.travel(began := timezone.now(), tick=False) as clock:
        *_, last = lived(mercy, clock, began + 3 * HOUR)
        assert (last.state, last.reason) == ("failed", "the platform answered 500")
        assert HOUR < timezone.now() - began < 2.2 * HOUR
        nothing_came_of_it(mercy, last, len(thorax))
        with mercy.scope():
            assert Exchange.objects.filter(is_good=False).count() == jobs.MAX_ATTEMPTS
    vendors.control("DELETE", "faults")
    with mercy.scope():
        Connection.objects.update(broken_until=None)
        assert jobs.job_resend(job_id=last.id)
        study = Study.objects.get()
    assert run_until(mercy, study, ENDED).state == "done"
    with mercy.scope():
        assert Report.objects.count() == 1


def test_a_question_that_is_answered_500_ends_at_its_deadline(mercy, vendors, thorax, tmp_path) -> None:
    """"answers 500 for an hour" after it has taken the images: asked until the hour of the answer is over, then a dead letter."""
    sent_to(mercy, DICOMWEB, vendors, thorax, tmp_path)
    vendors.fault(**{**DOWN, "path": "/performer/dicomweb/studies/.*"})
    with time_machine.travel(began := timezone.now(), tick=False) as clock:
        states = [job.state for job in lived(mercy, clock, began + 2 * HOUR)]
        assert (states[0], states[-1], set(states)) == ("sent", "failed", {"sent", "failed"})
        assert HOUR <= timezone.now() - began < HOUR + timedelta(seconds=jobs.LONGEST_WAIT + breaker.LONGEST)
    with mercy.scope():
        job = Job.objects.get()
    assert job.reason == "no answer within an hour"
    nothing_came_of_it(mercy, job, len(thorax))


def test_jobs_that_wait_for_an_answer_do_not_close_the_circuit(mercy, vendors, thorax, tmp_path) -> None:
    """"circuit breaker": that nothing has come by itself yet says nothing about a vendor that takes no images, and what has come is
    taken while the circuit is open."""
    connect(mercy, "sharedmind", vendors, "by-contract", answer="pushed")
    first = run_until(mercy, chest_store(mercy, thorax, tmp_path), {"sent"})
    vendors.fault(**DOWN)
    second = job_for(mercy, _routed(mercy, thorax, tmp_path))
    for _ in range(breaker.FAILURES):
        due_now(mercy, first)
        due_now(mercy, second)
    link = link_of(mercy)
    assert link.failures == breaker.FAILURES
    assert link.broken_until is not None
    due_now(mercy, first)
    with mercy.scope():
        assert Job.objects.get(id=first.id).reason == "", "it waits for the answer, not for the circuit"
    assert link_of(mercy).broken_until == link.broken_until


def _routed(hospital: Any, thorax: Any, folder: Any) -> Study:
    study = chest_store(hospital, thorax, folder, patient="MRN-2")
    house.deliver(hospital)
    return study


def test_a_draft_that_is_not_asked_for_yet_does_not_close_the_circuit(mercy, vendors, thorax, tmp_path) -> None:
    """"circuit breaker" of a language model, which is called by the question alone."""
    sent_to(mercy, CHAT, vendors, thorax, tmp_path)
    assert run(mercy, ENDED, slug=CHAT.slug).state == "done"
    link = link_of(mercy, CHAT.slug)
    with mercy.scope():
        Connection.objects.filter(id=link.id).update(failures=3)
        draft = Job.objects.get(connection=link)
        Job.objects.filter(id=draft.id).update(state="queued", attempts=0, due_at=timezone.now())
    dispatch.job_run(tenant_id=mercy.tenant.id, job_id=draft.id)
    with mercy.scope():
        assert Job.objects.get(id=draft.id).state == "sent"
    assert link_of(mercy, CHAT.slug).failures == 3
