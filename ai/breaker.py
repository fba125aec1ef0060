"""The circuit breaker of a connection: a platform that fails again and again is left alone for a while, and then asked by one job."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from ai.models import Connection

FAILURES = 5  # in a row
LONGEST = 64  # units of MEDHUB_BACKOFF_UNIT_SECONDS


def wait_seconds(*, connection: Connection, now: datetime) -> float | None:
    """How long its jobs should wait, or None when it may be asked.

    When the time is over the next job tries: the row's time is moved on first, so that it is one job and not all of them.
    """
    if connection.broken_until is None:
        return None
    if connection.broken_until > now:
        return max((connection.broken_until - now).total_seconds(), 0.1)
    until = now + _pause(connection.failures)
    tried = Connection.objects.filter(id=connection.id, broken_until=connection.broken_until).update(broken_until=until)
    return None if tried else (until - now).total_seconds()


def failure_count(*, connection_id: int) -> None:
    Connection.objects.filter(id=connection_id).update(failures=F("failures") + 1)
    failures = Connection.objects.values_list("failures", flat=True).get(id=connection_id)
    if failures >= FAILURES:
        Connection.objects.filter(id=connection_id).update(broken_until=timezone.now() + _pause(failures))


def success_note(*, connection_id: int) -> None:
    Connection.objects.filter(id=connection_id, failures__gt=0).update(failures=0, broken_until=None)


def _pause(failures: int) -> timedelta:
    units = min(2 ** max(failures - FAILURES + 2, 0), LONGEST)
    return timedelta(seconds=units * settings.MEDHUB_BACKOFF_UNIT_SECONDS)
