"""The outbox: events written with the facts, relayed at least once, each subscriber with its own lease, back-off and dead letter.

Services call `event_publish`; the relay (journal/tasks.py and the sweep) calls `delivery_run`.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from journal.faults import fault
from journal.models import Delivery, OutboxEvent
from journal.trace import trace, trace_id_current
from journal.types import EVENTS, Event
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


def lease_end(now: datetime) -> datetime:
    return now + timedelta(seconds=settings.MEDHUB_LEASE_SECONDS)


def event_publish(*, name: str, ids: dict[str, int]) -> int:
    """Write an event and a delivery per subscriber in the caller's transaction. Returns the event's id.

    Raises ScopeError outside a scope, ValueError for a name that DESIGN.md does not know.
    """
    if name not in EVENTS:
        raise ValueError(f"unknown event {name}")
    now = timezone.now()
    event = OutboxEvent.objects.create(name=name, ids=ids, trace_id=trace_id_current(), created_at=now)
    rows = [Delivery(event=event, subscriber=path, due_at=now) for path in flow()[name]]
    Delivery.objects.bulk_create(rows)
    tenant_id = tenant_id_current()
    for row in rows:
        transaction.on_commit(_nudge(tenant_id, row.id), robust=True)
    return int(event.id)


def _nudge(tenant_id: int, delivery_id: int) -> Callable[[], None]:
    def send() -> None:
        # Only a hint: with the broker down the row stays due and the sweep finds it.
        import_string(settings.MEDHUB_NUDGE)(tenant_id=tenant_id, delivery_id=delivery_id)

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
    row = delivery.event
    event = Event(id=row.id, tenant_id=row.tenant_id, name=row.name, ids=row.ids, trace_id=row.trace_id)
    with trace(event.trace_id):
        subscriber: Subscriber = import_string(delivery.subscriber)
        fault("outbox.before_subscriber")
        subscriber(event=event)
    Delivery.objects.filter(id=delivery_id).update(state=Delivery.State.DONE, done_at=timezone.now(), last_error="")
    fault("outbox.before_done")


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
    transaction.on_commit(_nudge(tenant_id_current(), delivery_id), robust=True)


def error_text(error: Exception) -> str:
    """What may be kept of an exception: its class, and its words only where the class promises words without PHI."""
    words = getattr(error, "user_message", "")
    return f"{type(error).__name__}: {words}"[:500] if words else type(error).__name__


def dead_letters() -> list[Delivery]:
    return list(Delivery.objects.filter(state=Delivery.State.DEAD).select_related("event").order_by("-id")[:200])


