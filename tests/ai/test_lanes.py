"""The shares of the dispatching worker: a platform that hangs is full, everybody else's way is free, and nothing is claimed in vain."""

import threading
from contextlib import ExitStack
from typing import Any

import pytest

from ai import dispatch, lanes
from ai.lanes import FIRST_SECONDS, LONGEST_SECONDS, PER_CONNECTION, PER_PLATFORM, STAT, THREADS, Lanes
from ai.models import Exchange, Job
from tests.ai.lines import DICOMWEB, run_until, sent_to
from tests.ai.test_dispatch import ENDED, job_of

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("doubles")]


def test_one_connection_has_its_share_and_no_more() -> None:
    """"a limit of concurrently running steps per connection": the next one is told to come later; another connection is let in."""
    found = Lanes()
    with ExitStack() as held:
        waits = [held.enter_context(found.lane(connection_id=1, platform="a")) for _ in range(PER_CONNECTION + 1)]
        assert waits[:-1] == [0] * PER_CONNECTION
        assert FIRST_SECONDS / 2 <= waits[-1] <= FIRST_SECONDS + 1
        assert held.enter_context(found.lane(connection_id=2, platform="b")) == 0
    with found.lane(connection_id=1, platform="a") as wait:
        assert wait == 0, "given back"


def test_a_vendor_of_many_hospitals_leaves_room_for_the_others() -> None:
    """What is down is the vendor: all hospitals together hold a part of the threads, and the rest is for other platforms."""
    found = Lanes()
    with ExitStack() as held:
        waits = [held.enter_context(found.lane(connection_id=number, platform="a")) for number in range(THREADS)]
        assert [wait == 0 for wait in waits] == [True] * PER_PLATFORM + [False] * (THREADS - PER_PLATFORM)
        assert held.enter_context(found.lane(connection_id=99, platform="b")) == 0
    assert PER_CONNECTION < PER_PLATFORM < THREADS


def test_what_is_urgent_has_lanes_and_threads_of_its_own() -> None:
    """"STAT lane": with all of a vendor's lanes taken, and all threads that others may take, an urgent step is let in at once."""
    found = Lanes()
    with ExitStack() as held:
        for number in range(THREADS):
            held.enter_context(found.lane(connection_id=number, platform=f"p{number % 4}"))
        assert held.enter_context(found.lane(connection_id=0, platform="p0")) > 0
        assert held.enter_context(found.lane(connection_id=0, platform="p0", is_stat=True)) == 0
        assert held.enter_context(found.lane(connection_id=77, platform="p9")) > 0, "what is left is for what is urgent"
    with ExitStack() as held:
        for _ in range(PER_CONNECTION):
            held.enter_context(found.lane(connection_id=1, platform="a"))
        urgent = [held.enter_context(found.lane(connection_id=1, platform="a", is_stat=True)) for _ in range(STAT + 1)]
        assert urgent == [0] * STAT + [FIRST_SECONDS], "not without end: a vendor that hangs holds no more of them than its share"


def test_who_is_turned_away_again_and_again_comes_less_often() -> None:
    """Ninety jobs that wait for a vendor that hangs must not keep the worker busy with asking."""
    found = Lanes()
    with ExitStack() as held:
        for _ in range(PER_CONNECTION):
            held.enter_context(found.lane(connection_id=1, platform="a"))
        waits = []
        for _ in range(300):
            with found.lane(connection_id=1, platform="a") as wait:
                waits.append(wait)
        assert max(waits[:4]) < 1
        assert LONGEST_SECONDS / 2 <= min(waits[-20:]) <= max(waits[-20:]) <= LONGEST_SECONDS
    for _ in range(PER_CONNECTION + 1):
        with found.lane(connection_id=1, platform="a") as wait:
            assert wait == 0


def test_threads_never_hold_more_than_there_are() -> None:
    """Counted under a lock: forty threads at once, and the most that were in is the share."""
    found, most, inside = Lanes(), [0], [0]
    lock, barrier = threading.Lock(), threading.Barrier(40)

    def enter() -> None:
        barrier.wait()
        for _ in range(200):
            with found.lane(connection_id=1, platform="a") as wait:
                if wait:
                    continue
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                with lock:
                    inside[0] -= 1

    threads = [threading.Thread(target=enter) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside[0], 0 < most[0] <= PER_CONNECTION) == (0, True)


def test_a_job_without_a_lane_is_untouched_and_goes_later(mercy, olaf, vendors, thorax, tmp_path) -> None:
    """No attempt, no word, no claim; and the same platform of another hospital goes on meanwhile."""
    sent_to(mercy, DICOMWEB, vendors, thorax, tmp_path)
    sent_to(olaf, DICOMWEB, vendors, thorax, tmp_path)
    before = job_of(mercy)
    with ExitStack() as held:
        for _ in range(PER_CONNECTION):
            held.enter_context(lanes.LANES.lane(connection_id=before.connection_id, platform="sharedmind"))
        wait = dispatch.job_run(tenant_id=mercy.tenant.id, job_id=before.id)
        assert wait is not None
        assert wait > 0
        now = job_of(mercy)
        assert (now.state, now.attempts, now.reason) == ("queued", 0, "")
        assert now.due_at is not None
        assert before.due_at is not None
        assert now.due_at > before.due_at
        assert dispatch.job_run(tenant_id=mercy.tenant.id, job_id=before.id) is None, "not due yet"
        with mercy.scope():
            assert Exchange.objects.count() == 0
        _done(olaf)
    _done(mercy)


def _done(hospital: Any) -> None:
    job = job_of(hospital)
    with hospital.scope():
        study = Job.objects.select_related("study").get(id=job.id).study
    assert run_until(hospital, study, ENDED).state == "done"
