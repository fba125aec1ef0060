"""The dates of resources as half-open ranges, for the index.

A date without an offset is a day of the hospital, in a resource as in a search. Such dates are kept apart ("local"), in UTC's
place, so nothing stored depends on the zone that the hospital is in.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

NO_DATE = datetime(1, 1, 1, tzinfo=UTC)  # sorts before everything; Python cannot read PostgreSQL's -infinity
NO_END = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
SHORT = timedelta(days=2)  # a day, whatever the zone it is a day of
Range = tuple[datetime, datetime, bool]  # first moment, first moment after, whether it is local


def text_range(text: str) -> Range:
    """What a FHIR date, dateTime or instant covers. Raises ValueError for what is none."""
    if len(text) <= 10:
        low = datetime.fromisoformat(text + "-01-01"[(len(text) - 4) :]).replace(tzinfo=UTC)
        return low, _after(low, len(text)), True
    text = text.replace(":60", ":59", 1) if text[17:19] == "60" else text  # a leap second, which Python does not know
    moment = datetime.fromisoformat(text)
    digits = len(text[20:].split("Z")[0].split("+")[0].split("-")[0]) if text[19:20] == "." else 0
    width = timedelta(microseconds=10 ** (6 - min(digits, 6)))
    is_local = moment.tzinfo is None
    try:
        low = moment.replace(tzinfo=UTC) if is_local else moment.astimezone(UTC)
        return low, low + width, is_local
    except OverflowError:  # at the calendar's end
        return (NO_DATE, NO_DATE, is_local) if moment.year == 1 else (NO_END, NO_END, is_local)


def value_range(ftype: str, value: Any) -> Range | None:
    """The outer limits of a value of one of the date types."""
    if ftype == "Period":
        return _joined([text_range(value[name]) if value.get(name) else None for name in ("start", "end")])
    if ftype == "Timing":
        bounds = value.get("repeat", {}).get("boundsPeriod")
        ranges = [text_range(event) for event in value.get("event", ()) if event]
        ranges += [one for one in [value_range("Period", bounds)] if one] if bounds else []
        return (min(r[0] for r in ranges), max(r[1] for r in ranges), all(r[2] for r in ranges)) if ranges else None
    return text_range(value)


def _joined(ends: list[Range | None]) -> Range | None:
    start, end = ends
    if start is None and end is None:
        return None
    is_local = all(one[2] for one in ends if one)
    return (start[0] if start else NO_DATE), (end[1] if end else NO_END), is_local


def _after(low: datetime, length: int) -> datetime:
    if low.year == 9999 and (length == 4 or (low.month == 12 and (length == 7 or low.day == 31))):
        return NO_END
    if length == 4:
        return low.replace(year=low.year + 1)
    if length == 7:
        return (low + timedelta(days=31)).replace(day=1)
    return low + timedelta(days=1)
