"""The primitive types of FHIR R4 2.24.0.1: for each a function that tells whether a parsed JSON value is one."""

import binascii
import re
from collections.abc import Callable
from datetime import date
from math import isfinite
from typing import Any

STRING_MAX = 1024 * 1024  # characters, as the type says
INT_MAX = 2**31 - 1

_ZONE = r"(?:Z|[+-](?:(?:0\d|1[0-3]):[0-5]\d|14:00))"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d{1,32})?"
_DAY = r"(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_PARTIAL = r"(?!0000)\d{4}(?:-(?:0[1-9]|1[0-2]))?"

ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_CODE = re.compile(r"[^\s]+(?:\s[^\s]+)*")
_URI = re.compile(r"\S+")
_OID = re.compile(r"urn:oid:[0-2](?:\.(?:0|[1-9]\d*))+", re.ASCII)
_URN_OID = re.compile(r"urn:oid:[0-2](?:\.\d+)+", re.ASCII)
_UUID = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_DATE = re.compile(rf"{_PARTIAL}|{_DAY}", re.ASCII)
_DATETIME = re.compile(rf"{_PARTIAL}|{_DAY}(?:T{_TIME}{_ZONE})?", re.ASCII)
_INSTANT = re.compile(rf"{_DAY}T{_TIME}{_ZONE}", re.ASCII)
_TIME_OF_DAY = re.compile(_TIME, re.ASCII)
_SPACE = re.compile(r"[ \t\r\n]+")

# Required value sets whose codes HL7 does not list: ISO 4217, and BCP 13 with the short names that formats have.
OPEN_CODES = {
    "currencies": re.compile(r"[A-Z]{3}"),
    "mimetypes": re.compile(r"[A-Za-z0-9!#$&^_.+\-]+/[A-Za-z0-9!#$&^_.+\-*]+(?:\s*;.*)?|xml|json|ttl|html"),
}


def is_primitive(kind: str, value: Any) -> bool:
    """Whether this parsed JSON value is one of the FHIR type."""
    types, check = CHECKS[kind]
    return type(value) in types and check(value)


def _is_string(value: str) -> bool:
    return 0 < len(value) <= STRING_MAX and not value.isspace() and not _FORBIDDEN.search(value)


def _is_uri(value: str) -> bool:
    if not _URI.fullmatch(value):
        return False
    if value.startswith("urn:uuid:"):
        return bool(_UUID.fullmatch(value.lower()))
    return not value.startswith("urn:oid:") or bool(_URN_OID.fullmatch(value))


def _is_base64(value: str) -> bool:
    # R4 allows white space in between; an empty value is none.
    packed = _SPACE.sub("", value)
    try:
        binascii.a2b_base64(packed, strict_mode=True)
    except ValueError:
        return False
    return bool(packed)


def _calendar(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    def is_moment(value: str) -> bool:
        if not (found := pattern.fullmatch(value)):
            return False
        year, month, day = found.groups()
        return year is None or _is_day(int(year), int(month), int(day))

    return is_moment


def _is_day(year: int, month: int, day: int) -> bool:
    if day <= 28 and year:
        return True
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _matches(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    def is_match(value: str) -> bool:
        return pattern.fullmatch(value) is not None

    return is_match


def _integer(low: int) -> Callable[[Any], bool]:
    def is_integer(value: Any) -> bool:
        return bool(low <= value <= INT_MAX)

    return is_integer


def _is_true(value: Any) -> bool:
    return True


# FHIR type -> (the JSON types it may have, what a value of these must satisfy). A bool is no int here: types are compared exactly.
CHECKS: dict[str, tuple[tuple[type, ...], Callable[[Any], bool]]] = {
    "string": ((str,), _is_string),
    "markdown": ((str,), _is_string),
    "code": ((str,), _matches(_CODE)),
    "id": ((str,), _matches(ID)),
    "uri": ((str,), _is_uri),
    "url": ((str,), _is_uri),
    "canonical": ((str,), _is_uri),
    "oid": ((str,), _matches(_OID)),
    "uuid": ((str,), _matches(_UUID)),
    "date": ((str,), _calendar(_DATE)),
    "dateTime": ((str,), _calendar(_DATETIME)),
    "instant": ((str,), _calendar(_INSTANT)),
    "time": ((str,), _matches(_TIME_OF_DAY)),
    "base64Binary": ((str,), _is_base64),
    "xhtml": ((str,), _is_true),  # narrative.py
    "boolean": ((bool,), _is_true),
    "decimal": ((int, float), isfinite),
    "integer": ((int,), _integer(-INT_MAX - 1)),
    "unsignedInt": ((int,), _integer(0)),
    "positiveInt": ((int,), _integer(1)),
}
