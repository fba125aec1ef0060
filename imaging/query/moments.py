"""Dates, times and ranges of them (PS3.5 6.2 DA, TM, DT; PS3.4 C.2.2.2.5) as strings that sort: rows' keys and peers' ranges."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone

_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})", re.ASCII)  # with dots: the older standard, still to be understood
_TIME = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?)?", re.ASCII)
_DATETIME = re.compile(r"(\d{4,14})(?:\.(\d{1,6}))?([+-]\d{4})?", re.ASCII)
_MOMENT = r"\d{4,14}(?:\.\d{1,6})?(?:[+-]\d{4})?"
_DATETIME_RANGE = re.compile(rf"({_MOMENT})?-({_MOMENT})?", re.ASCII)
_LAST = "99991231235959999999"
_FIRST = "00010101000000000000"


class MomentError(ValueError):
    """No date, time or range; the text says which and never the value."""


@dataclass(frozen=True, slots=True)
class Span:
    """From `low` to `high`, both included; empty means open. `is_range` when the peer wrote a range."""

    low: str
    high: str
    is_range: bool


def date_read(text: str) -> str:
    """YYYYMMDD. Raises MomentError."""
    found = _DATE.fullmatch(text.strip())
    if found is None:
        raise MomentError("a date is not YYYYMMDD")
    digits = "".join(found.groups())
    try:
        date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        raise MomentError("a date is not in the calendar") from None
    return digits


def time_read(text: str) -> tuple[str, str]:
    """First and last microsecond that a time of this precision means, as HHMMSSFFFFFF. Raises MomentError."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise MomentError("a time is not HHMMSS.FFFFFF")
    hour, minute, second, fraction = found.groups()
    if int(hour) > 23 or int(minute or 0) > 59 or int(second or 0) > 60:
        raise MomentError("a time is not on the clock")
    given = (hour or "") + (minute or "") + (second or "") + (fraction or "")
    return given.ljust(12, "0"), given + "595959999999"[len(given) :] if len(given) <= 6 else given.ljust(12, "9")


def datetime_read(text: str) -> tuple[str, str]:
    """First and last microsecond as YYYYMMDDHHMMSSFFFFFF, in UTC when the value has an offset. Raises MomentError."""
    found = _DATETIME.fullmatch(text.strip())
    if found is None or len(found[1]) % 2:
        raise MomentError("a date-time is not YYYYMMDDHHMMSS.FFFFFF&ZZXX")
    digits, fraction, offset = found.groups()
    if fraction and len(digits) != 14:
        raise MomentError("a date-time has a fraction but no seconds")
    given = digits + (fraction or "")
    low, high = given + _FIRST[len(given) :], given + _LAST[len(given) :]
    if len(given) == 6:
        high = given + _month_end(given) + _LAST[8:]
    return _utc(low, offset), _utc(high, offset)


def _month_end(year_month: str) -> str:
    try:
        first = datetime.strptime(year_month, "%Y%m").replace(tzinfo=UTC)
    except ValueError:
        raise MomentError("a date-time is not in the calendar") from None
    return f"{((first + timedelta(days=31)).replace(day=1) - timedelta(days=1)).day:02}"


def _utc(digits: str, offset: str | None) -> str:
    try:
        moment = datetime.strptime(digits, "%Y%m%d%H%M%S%f").replace(tzinfo=UTC)
        if offset:
            minutes = (-1 if offset[0] == "-" else 1) * (int(offset[1:3]) * 60 + int(offset[3:]))
            moment = moment.replace(tzinfo=timezone(timedelta(minutes=minutes))).astimezone(UTC)
    except (ValueError, OverflowError):
        raise MomentError("a date-time is not in the calendar") from None
    return f"{moment:%Y%m%d%H%M%S%f}".rjust(20, "0")


def date_span(value: str) -> Span:
    return _span(value, lambda text: (date_read(text), date_read(text)))


def time_span(value: str) -> Span:
    return _span(value, time_read)


def datetime_span(value: str) -> Span:
    if _DATETIME.fullmatch(value.strip()):
        low, high = datetime_read(value)
        return Span(low, high, False)
    found = _DATETIME_RANGE.fullmatch(value.replace(" ", ""))
    if found is None:
        raise MomentError("a date-time range is not two date-times with a - between them")
    return _closed(*found.groups(""), datetime_read)


def _span(value: str, read: Callable[[str], tuple[str, str]]) -> Span:
    parts = value.split("-")
    if len(parts) == 1:
        low, high = read(value)
        return Span(low, high, False)
    if len(parts) != 2:
        raise MomentError("a range has more than one -")
    return _closed(parts[0].strip(), parts[1].strip(), read)


def _closed(first: str, last: str, read: Callable[[str], tuple[str, str]]) -> Span:
    if not first and not last:
        raise MomentError("a range has neither a beginning nor an end")
    low = read(first)[0] if first else ""
    high = read(last)[1] if last else ""
    if low and high and low > high:
        raise MomentError("a range ends before it begins")
    return Span(low, high, True)


def span_holds(span: Span, low: str) -> bool:
    return (not span.low or low >= span.low) and (not span.high or low <= span.high)


def date_key(text: str) -> str:
    """A row's date as it is compared; empty when it is none, and then no range finds it."""
    try:
        return date_read(text)
    except MomentError:
        return ""


def time_key(text: str) -> str:
    try:
        return time_read(text)[0]
    except MomentError:
        return ""


def started_key(date: str, time: str) -> str:
    """Date and time in one string that sorts (PS3.4 C.2.2.2.5, combined matching)."""
    day = date_key(date)
    return day + time_key(time) if day else ""
