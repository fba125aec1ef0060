"""The outbox: written with the facts, relayed at least once, effects exactly once, leases in rows, dead letters with resend."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import time_machine
from django.db import IntegrityError, connections, transaction
from django.utils import timezone

from imaging.models import WorkItem
from journal import outbox
from journal.models import Delivery, OutboxEvent
from journal.tasks import deliveries_run_task
from journal.wall.scope import ScopeError
from journal.wall.tasks import rows_due

pytestmark = pytest.mark.database

CALLS: list[int] = []


def subscriber_works(*, event) -> None:
    CALLS.append(event.ids["study_id"])
    WorkItem.objects.create(kind="seen", reason="x", unique_on=str(event.id), created_at=timezone.now())


def subscriber_fails(*, event) -> None:
    WorkItem.objects.create(kind="seen", reason="x", unique_on=str(event.id), created_at=timezone.now())
    raise ValueError("DOE^JANE")  # an exception's words may hold a patient


def subscriber_gives_up(*, event) -> None:
    raise outbox.PermanentError


def flow_of(name: str) -> dict[str, tuple[str, ...]]:
    return {event: (f"{__name__}.{name}",) if event == "study.changed" else () for event in outbox.EVENTS}


FLOW_WORKS, FLOW_FAILS, FLOW_GIVES_UP = (flow_of(f"subscriber_{name}") for name in ("works", "fails", "gives_up"))


@pytest.fixture
def published(mercy, settings, request):
    """One event, its one delivery, and the nudge switched off: the test is the relay."""
    settings.MEDHUB_FLOW = f"{__name__}.{request.param}"
    settings.MEDHUB_NUDGE = f"{__name__}.no_nudge"
    CALLS.clear()
    with mercy.scope():
        outbox.event_publish(name="study.changed", ids={"study_id": 7})
        return mercy, Delivery.objects.get().id


def no_nudge(**_: int) -> None:
    """A broker that is down."""


def run(hospital, delivery_id: int) -> Delivery:
    deliveries_run_task.run(tenant_id=hospital.tenant.id, delivery_ids=[delivery_id])
    with hospital.scope():
        return Delivery.objects.get(id=delivery_id)


@pytest.mark.parametrize("published", ["FLOW_WORKS"], indirect=True)
def test_delivered_twice_acts_once(published) -> None:
    """"relayed at least once; subscribers are idempotent by event id": effects and the mark share a transaction."""
    hospital, delivery_id = published
    assert run(hospital, delivery_id).state == "done"
    assert run(hospital, delivery_id).state == "done"
    assert CALLS == [7]


@pytest.mark.parametrize("published", ["FLOW_WORKS"], indirect=True)
def test_two_relays_race_for_one_lease(published) -> None:
    """"Recovery rests on leases in PostgreSQL rows": eight at once, one runs."""
    hospital, delivery_id = published

    def relay(_: int) -> None:
        deliveries_run_task.run(tenant_id=hospital.tenant.id, delivery_ids=[delivery_id])
        connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(relay, range(8)))
    assert CALLS == [7]


@pytest.mark.parametrize("published", ["FLOW_WORKS"], indirect=True)
def test_a_lease_that_ran_out_is_taken_over(published) -> None:
    """A relay that died after its claim: nobody gets the row before the lease ends, somebody does afterwards."""
    hospital, delivery_id = published
    with hospital.scope():
        assert outbox.delivery_claim(delivery_id=delivery_id)
    assert run(hospital, delivery_id).state == "pending"
    with time_machine.travel(timezone.now() + timezone.timedelta(seconds=3)):
        assert run(hospital, delivery_id).state == "done"


@pytest.mark.parametrize("published", ["FLOW_FAILS"], indirect=True)
def test_failures_back_off_and_end_as_a_dead_letter_with_resend(published, settings) -> None:
    """"retry and dead letter": effects rolled back each time, attempts counted, no words of the exception kept."""
    hospital, delivery_id = published
    now = timezone.now()
    waits = []
    for attempt in range(1, outbox.MAX_ATTEMPTS + 1):
        now += timezone.timedelta(seconds=1000)
        with time_machine.travel(now, tick=False):
            row = run(hospital, delivery_id)
            assert row.attempts == attempt
            if row.due_at:
                waits.append((row.due_at - now).total_seconds())
    assert row.state == "dead"
    assert row.last_error == "ValueError"
    assert waits == sorted(waits)
    assert waits[-1] > waits[0]
    with hospital.scope():
        assert not WorkItem.objects.filter(kind="seen").exists()
        assert [letter.id for letter in outbox.dead_letters()] == [delivery_id]
        outbox.delivery_resend(delivery_id=delivery_id)
        settings.MEDHUB_FLOW = f"{__name__}.FLOW_WORKS"
        Delivery.objects.update(subscriber=f"{__name__}.subscriber_works")
    assert run(hospital, delivery_id).state == "done"
    assert CALLS == [7]


@pytest.mark.parametrize("published", ["FLOW_GIVES_UP"], indirect=True)
def test_a_permanent_failure_is_dead_at_once(published) -> None:
    """Trying again what cannot succeed only hides it."""
    hospital, delivery_id = published
    assert run(hospital, delivery_id).state == "dead"


def test_an_event_stands_or_falls_with_its_facts(mercy) -> None:
    """"Outbox rows are written in the business transaction"."""
    with mercy.scope():
        outbox.event_publish(name="study.changed", ids={"study_id": 1})
        transaction.set_rollback(True)
    with mercy.scope():
        assert OutboxEvent.objects.count() == 0
    with pytest.raises(ScopeError):
        outbox.event_publish(name="study.changed", ids={"study_id": 1})


def test_unknown_names_are_refused(mercy) -> None:
    """"All the events of DESIGN.md exist by name", with the two of decision 0008 and that of a recall, and no others."""
    from medhub.flow import FLOW

    assert set(FLOW) == set(outbox.EVENTS) == {
        "study.completed", "study.changed", "derived.received", "result.received", "report.issued", "order.changed",
        "patient.merged", "job.changed", "audit.sealed", "report.flagged",
    }  # fmt: skip
    with pytest.raises(ValueError, match="unknown event"), mercy.scope():
        outbox.event_publish(name="study.finished", ids={})


def test_every_subscriber_of_the_map_is_there() -> None:
    """The map names functions by path; each must exist and take an event."""
    from django.utils.module_loading import import_string

    from medhub.flow import FLOW

    for paths in FLOW.values():
        for path in paths:
            assert callable(import_string(path)), path


MANY: list[list[int]] = []
FLOW_MANY = f"{__name__}.GATHERED"
GATHERED = {f"{__name__}.subscriber_works": f"{__name__}.subscriber_works_for_many"}


def subscriber_works_for_many(*, events) -> None:
    MANY.append([event.ids["study_id"] for event in events])
    if any(event.ids["study_id"] == 13 for event in events):
        raise ValueError("one of them")


def many_published(hospital, settings, study_ids) -> list[int]:
    settings.MEDHUB_FLOW, settings.MEDHUB_FLOW_GATHERED = f"{__name__}.FLOW_WORKS", FLOW_MANY
    settings.MEDHUB_NUDGE = f"{__name__}.no_nudge"
    CALLS.clear()
    MANY.clear()
    events = [outbox.NewEvent(name="study.changed", ids={"study_id": n}, trace_id=str(n)) for n in study_ids]
    with hospital.scope():
        outbox.events_publish(events=events)
        return list(Delivery.objects.order_by("id").values_list("id", flat=True))


def test_many_events_for_one_subscriber_run_together_once(mercy, settings) -> None:
    """A subscriber that takes many gets them in one call; delivered twice they still act once."""
    ids = many_published(mercy, settings, [1, 2, 3])
    for _ in range(2):
        deliveries_run_task.run(tenant_id=mercy.tenant.id, delivery_ids=ids)
    with mercy.scope():
        assert {row.state for row in Delivery.objects.all()} == {"done"}
    assert (MANY, CALLS) == ([[1, 2, 3]], [])


def test_what_is_done_never_hides_what_waits(mercy, settings) -> None:
    """"silent stuck work": a sweep reads the oldest rows only, and finished ones, however many, are not among them."""
    ids = many_published(mercy, settings, range(20, 620))
    *done, waits = ids
    with mercy.scope():
        Delivery.objects.filter(id=waits).update(due_at=timezone.now() + timezone.timedelta(hours=1))
    for at in range(0, len(done), 20):
        deliveries_run_task.run(tenant_id=mercy.tenant.id, delivery_ids=done[at : at + 20])
    with time_machine.travel(timezone.now() + timezone.timedelta(hours=2), tick=False):
        due = rows_due("journal_delivery", limit=1_000_000)  # other tests leave some too
    found = [delivery_id for tenant_id, delivery_id in due if tenant_id == mercy.tenant.id]
    assert found == [waits]
    with mercy.scope(), pytest.raises(IntegrityError), transaction.atomic():
        Delivery.objects.filter(id=done[0]).update(due_at=timezone.now())


def test_one_bad_event_among_many_harms_no_other(mercy, settings) -> None:
    """When the gathered call fails each event runs alone, and only what fails alone is tried again."""
    ids = many_published(mercy, settings, [12, 13, 14])
    deliveries_run_task.run(tenant_id=mercy.tenant.id, delivery_ids=ids)
    with mercy.scope():
        assert {row.state for row in Delivery.objects.all()} == {"done"}
    assert (MANY, CALLS) == ([[12, 13, 14]], [12, 13, 14])
