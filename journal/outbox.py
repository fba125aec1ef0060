"""The outbox: events written with the facts, relayed at least once, each subscriber with its own lease, back-off and dead letter.

Services call `event_publish`; the relay (journal/tasks.py and the sweep) calls `delivery_run`.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from journal.faults import fault
from journal.models import Delivery, OutboxEvent
from journal.trace import trace, trace_id_current
from journal.types import EVENTS, Event
from journal.wall.arrays import rows_insert
from journal.wall.scope import tenant_id_current

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 8
Subscriber = Callable[..., None]


class PermanentError(Exception):
    """A subscriber's word that trying again changes nothing. The delivery goes to the dead letters at once."""


def flow() -> Mapping[str, Sequence[str]]:
    """The map event -> subscribers. It lives in the composition root, so it is reached by its setting."""
    found: Mapping[str, Sequence[str]] = import_string(settings.MEDHUB_FLOW)
    return found


def gathered() -> Mapping[str, str]:
    """Subscribers that have a form for many events at once: dotted path -> that form's."""
    found: Mapping[str, str] = import_string(settings.MEDHUB_FLOW_GATHERED)
    return found


def lease_end(now: datetime) -> datetime:
    return now + timedelta(seconds=settings.MEDHUB_LEASE_SECONDS)


@dataclass(frozen=True, kw_only=True)
class NewEvent:
    """An event to publish; `ids` holds ids and versions only."""

    name: str
    ids: dict[str, int]
    trace_id: str
    delay_seconds: float = 0  # before its subscribers are called: for what is soon overtaken, or may wait while images arrive


def event_publish(*, name: str, ids: dict[str, int]) -> int:
    """Write an event and a delivery per subscriber in the caller's transaction. Returns the event's id.

    Raises ScopeError outside a scope, ValueError for a name that DESIGN.md does not know.
    """
    return events_publish(events=[NewEvent(name=name, ids=ids, trace_id=trace_id_current())])[0]


def events_publish(*, events: Sequence[NewEvent]) -> list[int]:
    """`event_publish` for many, with two statements and one nudge."""
    if not events:
        return []
    unknown = {event.name for event in events}.difference(EVENTS)
    if unknown:
        raise ValueError(f"unknown event {', '.join(sorted(unknown))}")
    now, subscribers = timezone.now(), flow()
    rows = [OutboxEvent(name=e.name, ids=e.ids, trace_id=e.trace_id, created_at=now) for e in events]
    rows_insert(rows)
    deliveries = [
        Delivery(event=row, subscriber=path, due_at=now + timedelta(seconds=event.delay_seconds))
        for row, event in zip(rows, events, strict=True)
        for path in subscribers[row.name]
    ]
    rows_insert(deliveries)
    at_once = [row.id for row in deliveries if row.due_at == now]
    if at_once:
        transaction.on_commit(_nudge(tenant_id_current(), at_once), robust=True)
    return [row.id for row in rows]


def _nudge(tenant_id: int, delivery_ids: list[int]) -> Callable[[], None]:
    def send() -> None:
        # Only a hint: with the broker down the rows stay due and the sweep finds them.
        import_string(settings.MEDHUB_NUDGE)(tenant_id=tenant_id, delivery_ids=delivery_ids)

    return send


def delivery_claim(*, delivery_id: int) -> bool:
    """Take the lease of a due delivery: one conditional UPDATE, so two relays never both get it."""
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE journal_delivery SET due_at = %s, attempts = attempts + 1 "
            "WHERE tenant_id = %s AND id = %s AND state = 'pending' AND due_at <= %s",
            [lease_end(now), tenant_id_current(), delivery_id, now],
        )
        return bool(cursor.rowcount == 1)


def delivery_run(*, delivery_id: int) -> None:
    """Call the subscriber and mark the delivery done in one transaction: its rows and the mark stand or fall together."""
    delivery = Delivery.objects.select_related("event").select_for_update(of=("self",)).get(id=delivery_id)
    if delivery.state != Delivery.State.PENDING:
        return
    event = _event(delivery.event)
    with trace(event.trace_id):
        subscriber: Subscriber = import_string(delivery.subscriber)
        fault("outbox.before_subscriber")
        subscriber(event=event)
    Delivery.objects.filter(id=delivery_id).update(**_done())
    fault("outbox.before_done")


def deliveries_gather(*, delivery_ids: Sequence[int]) -> list[list[int]]:
    """Which of these deliveries go to a subscriber that takes many events at once, a list for each such subscriber."""
    groups: dict[str, list[int]] = {}
    rows = Delivery.objects.filter(id__in=delivery_ids, state=Delivery.State.PENDING)
    for delivery_id, subscriber in rows.order_by("id").values_list("id", "subscriber"):
        if subscriber in gathered():
            groups.setdefault(subscriber, []).append(delivery_id)
    return [group for group in groups.values() if len(group) > 1]


def deliveries_claim(*, delivery_ids: Sequence[int]) -> list[int]:
    """`delivery_claim` for many: those of them whose lease is ours now."""
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE journal_delivery SET due_at = %s, attempts = attempts + 1 "
            "WHERE tenant_id = %s AND id = ANY(%s) AND state = 'pending' AND due_at <= %s RETURNING id",
            [lease_end(now), tenant_id_current(), list(delivery_ids), now],
        )
        return sorted(row[0] for row in cursor.fetchall())


def deliveries_run(*, delivery_ids: Sequence[int]) -> None:
    """`delivery_run` for claimed deliveries of one gathering subscriber: all of them, in one transaction, or none."""
    rows = Delivery.objects.select_related("event").select_for_update(of=("self",)).filter(
        id__in=delivery_ids, state=Delivery.State.PENDING
    )  # fmt: skip
    deliveries = list(rows.order_by("id"))
    if not deliveries:
        return
    subscriber: Subscriber = import_string(gathered()[deliveries[0].subscriber])
    fault("outbox.before_subscriber")
    subscriber(events=[_event(delivery.event) for delivery in deliveries])
    done = Delivery.objects.filter(id__in=[delivery.id for delivery in deliveries])
    done.update(**_done())
    fault("outbox.before_done")


def _done() -> dict[str, Any]:
    return {"state": Delivery.State.DONE, "done_at": timezone.now(), "due_at": None, "last_error": ""}


def _event(row: OutboxEvent) -> Event:
    return Event(id=row.id, tenant_id=row.tenant_id, name=row.name, ids=row.ids, trace_id=row.trace_id)


def delivery_fail(*, delivery_id: int, error: Exception) -> None:
    """Back off, or give up: after MAX_ATTEMPTS, or at once for a PermanentError. The text keeps the class, never a value."""
    delivery = Delivery.objects.get(id=delivery_id)
    is_dead = isinstance(error, PermanentError) or delivery.attempts >= MAX_ATTEMPTS
    wait = min(2**delivery.attempts, 600) * settings.MEDHUB_BACKOFF_UNIT_SECONDS
    Delivery.objects.filter(id=delivery_id, state=Delivery.State.PENDING).update(
        state=Delivery.State.DEAD if is_dead else Delivery.State.PENDING,
        due_at=None if is_dead else timezone.now() + timedelta(seconds=wait),
        last_error=error_text(error),
    )


def delivery_resend(*, delivery_id: int) -> None:
    """Put a dead letter back on its way, with its attempts at zero."""
    Delivery.objects.filter(id=delivery_id, state=Delivery.State.DEAD).update(
        state=Delivery.State.PENDING, attempts=0, due_at=timezone.now()
    )
    transaction.on_commit(_nudge(tenant_id_current(), [delivery_id]), robust=True)


def error_text(error: Exception) -> str:
    """What may be kept of an exception: its class, and its words only where the class promises words without PHI."""
    words = getattr(error, "user_message", "")
    return f"{type(error).__name__}: {words}"[:500] if words else type(error).__name__


def dead_letters() -> list[Delivery]:
    return list(Delivery.objects.filter(state=Delivery.State.DEAD).select_related("event").order_by("-id")[:200])


