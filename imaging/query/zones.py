"""Dates and times of keys in a zone that the client names (PS3.18 10.6.1.2, TimezoneOffsetFromUTC): rows are moved into it."""

import re
from collections.abc import Callable, Sequence

from imaging.query import moments
from imaging.query.attributes import Attribute, Level
from imaging.query.keys import QueryError
from imaging.query.match import Match, Value

# When a study began and in which zone: compared in Python, behind a first cut in SQL.
STARTED = Attribute(0, "LO", Level.STUDY, "s.started_key || '|' || s.utc_offset")
_ZONE = re.compile(r"[+-](?:0\d|1[0-4])[0-5]\d", re.ASCII)
_APART = 26 * 60  # minutes between the two zones that are farthest apart
_DAY = 24 * 60


def zone_read(values: Sequence[str]) -> str:
    """The one offset given, or nothing. A + that came as a blank is one. Raises QueryError."""
    texts = {f"+{value[1:]}" if value[:1] == " " else value.strip() for value in values if value not in {"", "*"}}
    if not texts:
        return ""
    if len(texts) > 1 or not _ZONE.fullmatch(text := texts.pop()):
        raise QueryError("TimezoneOffsetFromUTC is not one offset of the form +HHMM or -HHMM")
    return text


def zoned_match(*, date: str, time: str, zone: str) -> Match:
    """A row without an offset is taken as of the zone of the keys; one without a time is a day of its own. Raises QueryError."""
    day = _span(moments.date_span, date) if date not in {"", "*"} else moments.Span("", "", True)
    clock = _span(moments.time_span, time) if time not in {"", "*"} else None
    to = _minutes(zone)

    def test(stored: Value) -> bool:
        moment, _, own = str(stored).partition("|")
        if own != zone and _ZONE.fullmatch(own):
            moment = moments.started_shift(moment, minutes=to - _minutes(own))
        if not moment or not moments.span_holds(day, moment[:8]):
            return False
        return clock is None or (len(moment) == 20 and moments.span_holds(clock, moment[8:]))

    sql, params = ["s.started_key > ''"], []
    if day.low:
        sql.append("s.started_key >= %s")
        params.append(moments.started_shift(day.low + "0" * 12, minutes=-_APART)[:8])
    if day.high:
        sql.append("s.started_key <= %s")
        params.append(moments.started_shift(day.high + "0" * 12, minutes=_DAY + _APART)[:8] + "~")
    return Match(" AND ".join(sql), tuple(params), test)


def _span(read: Callable[[str], moments.Span], value: str) -> moments.Span:
    try:
        return read(value)
    except moments.MomentError as error:
        raise QueryError(str(error)) from None


def _minutes(offset: str) -> int:
    return (-1 if offset[0] == "-" else 1) * (int(offset[1:3]) * 60 + int(offset[3:]))
