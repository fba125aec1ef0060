"""JSON from outside, read once and safely: what two readers could understand differently is refused (RFC 8259 4; FHIR R4 2.6.2)."""

import json
from math import isfinite
from typing import Any

from fhirapi.validation.issues import InvalidResourceError, Issue

BODY_MAX = 32 * 1024 * 1024
DEPTH_MAX = 64


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
        text = data.decode()
        found = _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise _unreadable("The body is no JSON in UTF-8") from None
    # Most bodies have fewer brackets than may be nested.
    if text.count("{") + text.count("[") > DEPTH_MAX and _is_deeper(found, DEPTH_MAX):
        raise _unreadable("The body is nested too deep")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _unreadable("An object has two members of the same name")
    return found


def _decimal(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError
    return number


def _constant(text: str) -> Any:
    raise ValueError  # NaN and Infinity are Python's JSON only


def _is_deeper(node: Any, left: int) -> bool:
    if not isinstance(node, dict | list):
        return False
    return left == 0 or any(_is_deeper(item, left - 1) for item in (node.values() if isinstance(node, dict) else node))


# With a hook this is no slower than a faster parser and a second look for duplicates: 20 us an Observation.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_decimal, parse_constant=_constant)


def _unreadable(text: str, *, code: str = "structure") -> InvalidResourceError:
    return InvalidResourceError(text, issues=(Issue(severity="fatal", code=code, diagnostics=text),), is_unreadable=True)
