"""Date search values as half-open ranges (FHIR R4 3.1.1.4.7), and the conditions that their prefixes make of them."""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django.utils import timezone

from fhirapi.index.hashes import branch_number
from fhirapi.index.periods import NO_DATE, NO_END, SHORT
from fhirapi.index.values import LOCAL
from fhirapi.outcomes import FhirError
from fhirapi.registry import PREFIXES
from fhirapi.search.terms import Between, Dates, Sql, Term

Zone = Callable[[], ZoneInfo]  # asked only when a value names no offset of its own
Condition = tuple[str, tuple[datetime, ...]]

DATE = re.compile(
    r"(?P<year>\d{4})(-(?P<month>\d{2})(-(?P<day>\d{2})(T(?P<hour>\d{2}):(?P<minute>\d{2})"
    r"(:(?P<second>\d{2})(\.(?P<fraction>\d{1,6})\d*)?)?(?P<offset>Z|[+-]\d{2}:\d{2})?)?)?)?",
    re.ASCII,
)
CONDITIONS = {
    "eq": "({r}.last_updated >= %s AND {r}.last_updated < %s)",
    "ne": "({r}.last_updated < %s OR {r}.last_updated >= %s)",
    "gt": "{r}.last_updated >= %s",
    "sa": "{r}.last_updated >= %s",
    "ge": "{r}.last_updated >= %s",
    "lt": "{r}.last_updated < %s",
    "eb": "{r}.last_updated < %s",
    "le": "{r}.last_updated < %s",
    "ap": "({r}.last_updated >= %s AND {r}.last_updated < %s)",
}
# The same over rows of fhir_date, which cover [lo, hi): alternatives, each one walk of an index. `eq` is containment; the others
# as 3.1.1.4.7 has them.
INSIDE = ("x.lo >= %s AND x.lo < %s AND x.hi <= %s", "abb")
ROW_CONDITIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "eq": (INSIDE,),
    "ne": (("x.lo < %s", "a"), ("x.lo >= %s AND x.hi > %s", "ab")),
    "gt": (("x.hi > %s", "b"),),
    "ge": (("x.hi > %s", "b"), INSIDE),
    "lt": (("x.lo < %s", "a"),),
    "le": (("x.lo < %s", "a"), INSIDE),
    "sa": (("x.lo >= %s", "b"),),
    "eb": (("x.hi <= %s", "a"),),
    "ap": (("x.lo < %s AND x.hi > %s", "ba"),),
}


def updated_condition(*, value: str, zone: Zone) -> Condition:
    """`_lastUpdated=<prefix><date>` as SQL over {r}.last_updated. Raises FhirError 400 for no date."""
    prefix, text = _prefix_split(value)
    low, high = date_range(text=text, zone=zone)
    if prefix == "ap":
        low, high = _widened(low, high)
    bounds = {"eq": (low, high), "ne": (low, high), "ap": (low, high), "gt": (high,), "sa": (high,), "le": (high,)}
    return CONDITIONS[prefix], bounds.get(prefix, (low,))


BOUNDED_BELOW, BOUNDED_ABOVE = {"eq", "ge", "gt", "sa", "ap"}, {"eq", "le", "lt", "eb", "ap"}
ZONES = timedelta(hours=26)  # between the two clocks that are farthest apart
MARGIN = SHORT + ZONES


def date_rows(*, keys: Sequence[str], values: Sequence[str], zone: Zone) -> Dates:
    """A date parameter over its branches, whether their values have an offset or are days of the hospital."""
    options: list[Sql] = []
    lows: list[datetime] = []
    highs: list[datetime] = []
    for value in values:
        prefix, text = _prefix_split(value)
        ends = date_range(text=text, zone=zone)
        there = tuple(_local(moment, zone()) for moment in ends)
        outer = _widened(*ends) if prefix == "ap" else ends
        lows += [outer[0]] if prefix in BOUNDED_BELOW else []
        highs += [outer[1]] if prefix in BOUNDED_ABOVE else []
        for end, (low, high) in (("", ends), (LOCAL, there)):
            named = dict(zip("ab", _widened(low, high) if prefix == "ap" else (low, high), strict=True))
            options += [
                Sql(f"x.param = %s AND {condition}", (branch_number(key + end), *(named[letter] for letter in letters)))
                for condition, letters in ROW_CONDITIONS[prefix]
                for key in keys
            ]
    return Dates(
        "fhir_date", tuple(options), keys=tuple(keys),
        low=min(lows) if len(lows) == len(values) else None, high=max(highs) if len(highs) == len(values) else None,
    )  # fmt: skip


def dates_between(terms: Sequence[Term]) -> Iterator[Between]:
    """For each parameter that several terms bound on both sides, where to start."""
    of_key: dict[str, list[Dates]] = {}
    for term in terms:
        if isinstance(term, Dates) and len(term.keys) == 1:
            of_key.setdefault(term.keys[0], []).append(term)
    for key, found in of_key.items():
        low, high = dates_bounds(found, key)
        if len(found) > 1 and low and high:
            yield Between(key, (branch_number(key), branch_number(key + LOCAL)), low, high)


def dates_bounds(terms: Sequence[Term], key: str) -> tuple[datetime | None, datetime | None]:
    """Between which moments what is found begins, by the terms on one branch: (low, high), None where nothing bounds it.

    `high` holds for all, `low` for what is not spread.
    """
    found = [term for term in terms if isinstance(term, Dates) and term.keys == (key,)]
    low = max((term.low for term in found if term.low), default=None)
    high = min((term.high for term in found if term.high), default=None)
    return low and _before(low), high and _behind(high)


def _before(low: datetime) -> datetime:
    return max(low, NO_DATE + MARGIN) - MARGIN


def _behind(high: datetime) -> datetime:
    return min(high, NO_END - MARGIN) + MARGIN


def _local(moment: datetime, zone: ZoneInfo) -> datetime:
    """What the hospital's clock showed, in UTC's place."""
    try:
        return moment.astimezone(zone).replace(tzinfo=UTC)
    except OverflowError:  # at the calendar's ends
        return NO_DATE if moment.year == 1 else NO_END


def _prefix_split(value: str) -> tuple[str, str]:
    prefix = value[:2] if value[:2] in PREFIXES else "eq"
    return prefix, value.removeprefix(prefix)


def _widened(low: datetime, high: datetime) -> tuple[datetime, datetime]:
    """`ap`: a tenth of the way between now and the value, on both sides (FHIR R4 3.1.1.4.6)."""
    width = abs(timezone.now() - low) / 10
    return max(low, NO_DATE + width) - width, min(high, NO_END - width) + width


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
