"""The days that figures are asked for, in the hospital's own time."""

from datetime import date, datetime, time, timedelta

from django.utils import timezone

from ai.insights.figures import MAX_SPAN, RECENT
from ai.insights.queries import Span


class SpanError(ValueError):
    """The days cannot be taken; the text says why."""


def span_of(*, since: str, until: str) -> Span:
    """From the first moment of `since` to the last of `until` (YYYY-MM-DD) in the current time zone; without them the last 30 days.

    Raises SpanError.
    """
    last = _day(until) if until else timezone.localdate()
    first = _day(since) if since else last - RECENT + timedelta(days=1)
    if first > last:
        raise SpanError("the first day is after the last")
    if last - first > MAX_SPAN:
        raise SpanError(f"at most {MAX_SPAN.days} days")
    zone = timezone.get_current_timezone()
    return Span(
        since=datetime.combine(first, time(), zone), until=datetime.combine(last + timedelta(days=1), time(), zone)
    )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise SpanError("a day, as in 2026-11-30") from None
