"""The form of a resource: its members in their order, with the JSON type of each value and what could matter of its text.

The models say the same of two resources of one form, once the walk has accepted the values of both. So a model is asked about a form
once, and not again for each of a million laboratory results.
"""

import re
from typing import Any

Form = tuple[Any, ...]

# Words, codes, relative references: accepted by every type of the models for which the walk accepts them (test_forms).
PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ./-]{0,98}[A-Za-z0-9])?", re.ASCII)
MOMENT = re.compile(r"\d{4}-\d\d(?:-\d\d(?:T\d\d:\d\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d))?)?", re.ASCII)
OTHER_MAX = 64  # characters of any other text, which is part of the form as it stands
PARTS_MAX = 500


class _TooLongError(Exception):
    pass


def form_of(resource: dict[str, Any]) -> Form | None:
    """None for what is too long, or has texts too long, to be kept."""
    parts: list[Any] = []
    try:
        _add(resource, parts)
    except (_TooLongError, RecursionError):
        return None
    return tuple(parts) if len(parts) <= PARTS_MAX else None


def _add(node: Any, parts: list[Any]) -> None:
    kind = type(node)
    if kind is str:
        parts.append(_text(node))
    elif kind is dict:
        parts.append("{")
        for key, value in node.items():
            parts.append(key)
            if key == "resourceType":
                parts.append(value)
            elif key == "div":  # narrative.py reads it, the models do not
                parts.append(type(value))
            else:
                _add(value, parts)
        parts.append("}")
    elif kind is list:
        if len(parts) > PARTS_MAX:
            raise _TooLongError
        parts.append("[")
        for value in node:
            _add(value, parts)
        parts.append("]")
    else:
        parts.append(kind)


def _text(text: str) -> Any:
    # The walk has looked at each date; what is left of one is how much of it is there.
    if text[:1].isdigit() and MOMENT.fullmatch(text):
        return len(text)
    if PLAIN.fullmatch(text):
        return str
    if len(text) > OTHER_MAX:
        raise _TooLongError
    return text
