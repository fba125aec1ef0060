"""JSON from outside, read once and safely: what two readers could understand differently is refused (RFC 8259 4; FHIR R4 2.6.2)."""

import json
import re
from typing import Any

import orjson

from fhirapi.validation.issues import InvalidResourceError, Issue

BODY_MAX = 32 * 1024 * 1024
DEPTH_MAX = 64

# Each member has one quote and colon outside strings. Inside a string a quote stands behind a backslash, so this counts every
# member unless its name ends in a backslash, and it may count a value that begins with a colon as well.
_MEMBER = re.compile(rb'(?<!\\)"[ \t\r\n]*:')
_BACKSLASH = b'\\\\"'


def json_read(data: bytes, *, limit: int = BODY_MAX) -> dict[str, Any]:
    """A resource as JSON. Raises InvalidResourceError (`is_unreadable`) for what is no JSON object of one resourceType."""
    found = json_parse(data, limit=limit)
    if not isinstance(found, dict) or not isinstance(found.get("resourceType"), str):
        raise _unreadable("The body is no FHIR resource: an object with a resourceType is needed")
    return found


def json_parse(data: bytes, *, limit: int = BODY_MAX) -> Any:
    """Any JSON, as a patch may be a list. Refuses duplicate members, NaN, deep nesting and large bodies."""
    if len(data) > limit:
        raise _unreadable("The body is too large", code="too-long")
    try:
        found = orjson.loads(data)
    except ValueError:
        raise _unreadable("The body is no JSON in UTF-8") from None
    members = _members(found, DEPTH_MAX - 1) if isinstance(found, dict | list) else 0
    if members < 0:
        raise _unreadable("The body is nested too deep")
    # The parser keeps the last of two equal names. Only where the counts differ is it worth to read twice.
    if _BACKSLASH in data or len(_MEMBER.findall(data)) != members:
        _duplicates_refuse(data)
    return found


def _members(node: Any, depth: int) -> int:
    """The number of object members in here, or below zero when it is nested deeper than allowed."""
    if depth < 0:
        return -1
    is_object = type(node) is dict
    count = len(node) if is_object else 0
    for item in node.values() if is_object else node:
        if type(item) is dict or type(item) is list:
            inner = _members(item, depth - 1)
            if inner < 0:
                return -1
            count += inner
    return count


def _duplicates_refuse(data: bytes) -> None:
    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise _unreadable("An object has two members of the same name")
        return found

    json.loads(data, object_pairs_hook=no_duplicates)


def _unreadable(text: str, *, code: str = "structure") -> InvalidResourceError:
    return InvalidResourceError(text, issues=(Issue(severity="fatal", code=code, diagnostics=text),), is_unreadable=True)
