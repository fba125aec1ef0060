"""Date search values as half-open ranges (FHIR R4 3.1.1.4.7), over the instant that a resource was last updated."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from fhirapi.outcomes import FhirError
from fhirapi.registry import PREFIXES

Zone = Callable[[], ZoneInfo]  # asked only when a value names no offset of its own
Condition = tuple[str, tuple[datetime, ...]]

DATE = re.compile(
    r"(?P<year>\d{4})(-(?P<month>\d{2})(-(?P<day>\d{2})(T(?P<hour>\d{2}):(?P<minute>\d{2})"
    r"(:(?P<second>\d{2})(\.(?P<fraction>\d{1,6})\d*)?)?(?P<offset>Z|[+-]\d{2}:\d{2})?)?)?)?"
)
CONDITIONS = {
    "eq": "(r.last_updated >= %s AND r.last_updated < %s)",
    "ne": "(r.last_updated < %s OR r.last_updated >= %s)",
    "gt": "r.last_updated >= %s",
    "sa": "r.last_updated >= %s",
    "ge": "r.last_updated >= %s",
    "lt": "r.last_updated < %s",
    "eb": "r.last_updated < %s",
    "le": "r.last_updated < %s",
}


def updated_condition(*, value: str, zone: Zone) -> Condition:
    """`_lastUpdated=<prefix><date>` as SQL over r.last_updated. Raises FhirError 400 for no date."""
    prefix = value[:2] if value[:2] in PREFIXES else "eq"
    low, high = date_range(text=value.removeprefix(prefix), zone=zone)
    bounds = {"eq": (low, high), "ne": (low, high), "gt": (high,), "sa": (high,), "le": (high,)}
    return CONDITIONS[prefix], bounds.get(prefix, (low,))


def date_range(*, text: str, zone: Zone) -> tuple[datetime, datetime]:
    """[first moment, first moment after) of a date with the precision it was written in."""
    # A client that forgot to encode the plus of an offset sent a space.
    found = DATE.fullmatch(text.replace(" ", "+"))
    if not found:
        raise FhirError(400, "A date parameter is not a FHIR date.", code="value")
    try:
        return _range(found, zone)
    except (ValueError, OverflowError):
        raise FhirError(400, "A date parameter names no day of the calendar.", code="value") from None


def _range(found: re.Match[str], zone: Zone) -> tuple[datetime, datetime]:
    part = {name: int(text) for name, text in found.groupdict().items() if text and name not in {"fraction", "offset"}}
    fraction = found["fraction"] or ""
    offset = found["offset"]
    tzinfo = datetime.fromisoformat(f"2000-01-01T00:00:00{offset}").tzinfo if offset else zone()
    low = datetime(
        part["year"], part.get("month", 1), part.get("day", 1), part.get("hour", 0), part.get("minute", 0), part.get("second", 0),
        int(fraction.ljust(6, "0")) if fraction else 0, tzinfo=tzinfo,
    )  # fmt: skip
    if "hour" in part:
        width = timedelta(minutes=1) if "second" not in part else timedelta(microseconds=10 ** (6 - len(fraction)))
        return low.astimezone(UTC), low.astimezone(UTC) + width
    # In local time: a day of a hospital may have 23 or 25 hours.
    if "day" in part:
        high = low + timedelta(days=1)
    elif "month" in part:
        high = (low.replace(day=1) + timedelta(days=32)).replace(day=1)
    else:
        high = low.replace(year=low.year + 1)
    return low.astimezone(UTC), high.astimezone(UTC)
