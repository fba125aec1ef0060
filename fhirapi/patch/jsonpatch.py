"""JSON Patch (RFC 6902), one operation at a time, on values whose numbers remember how they were written.

Own code: the library at hand takes true for 1 in a test and ends in bare TypeErrors on odd documents.
"""

import copy
import re
from collections.abc import Callable
from typing import Any

from fhirapi.jsontext import DEPTH_MAX, is_deeper

COPY_MAX = 1000  # values within a value that is copied: a copy of a copy doubles
INDEX = re.compile(r"0|[1-9][0-9]{0,9}")  # RFC 6901 4: no leading zeros


class PatchError(Exception):
    """A patch that is none (400) or that does not fit the resource (422). `user_message` holds no values."""

    def __init__(self, user_message: str, *, status: int = 422) -> None:
        super().__init__(user_message)
        self.user_message = user_message
        self.status = status


def json_patch_apply(document: Any, operation: dict[str, Any]) -> Any:
    """The document after one operation; it may be changed in place."""
    name = operation.get("op")
    if name not in OPERATIONS:
        raise PatchError("op is none of add, remove, replace, move, copy, test.", status=400)
    return OPERATIONS[name](document, operation)


def is_equal(one: Any, other: Any) -> bool:
    """RFC 6902 4.6: numbers by value, and never a boolean with a number."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_equal, one, other))
    return bool(one == other)


def _add(document: Any, operation: dict[str, Any]) -> Any:
    return _put(document, _pointer(operation, "path"), _value(operation))


def _remove(document: Any, operation: dict[str, Any]) -> Any:
    return _take(document, _pointer(operation, "path"))[0]


def _replace(document: Any, operation: dict[str, Any]) -> Any:
    path, value = _pointer(operation, "path"), _value(operation)
    if not path:
        return value
    parent = _at(document, path[:-1])
    parent[_key(parent, path[-1])] = value
    return document


def _move(document: Any, operation: dict[str, Any]) -> Any:
    source, path = _pointer(operation, "from"), _pointer(operation, "path")
    if path[: len(source)] == source and len(path) > len(source):
        raise PatchError("a value cannot be moved into itself.")
    document, value = _take(document, source)
    return _put(document, path, value)


def _copy(document: Any, operation: dict[str, Any]) -> Any:
    value = _at(document, _pointer(operation, "from"))
    if not _is_small(value) or is_deeper(value, DEPTH_MAX):
        raise PatchError("the value is too large to be copied.")
    return _put(document, _pointer(operation, "path"), copy.deepcopy(value))


def _test(document: Any, operation: dict[str, Any]) -> Any:
    if not is_equal(_at(document, _pointer(operation, "path")), _value(operation)):
        raise PatchError("the test does not hold.")
    return document


OPERATIONS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "add": _add, "remove": _remove, "replace": _replace, "move": _move, "copy": _copy, "test": _test,
}  # fmt: skip


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise PatchError("value is missing.", status=400)
    return copy.deepcopy(operation["value"])


def _pointer(operation: dict[str, Any], name: str) -> list[str]:
    """RFC 6901: the steps of a pointer."""
    text = operation.get(name)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise PatchError(f"{name} is no JSON pointer.", status=400)
    steps = [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]
    if len(steps) > DEPTH_MAX:
        raise PatchError("there is nothing at that path.")
    return steps


def _at(document: Any, path: list[str]) -> Any:
    node = document
    for step in path:
        node = node[_key(node, step)]
    return node


def _key(node: Any, step: str) -> Any:
    """The key of a child that is there."""
    if isinstance(node, dict) and step in node:
        return step
    if isinstance(node, list) and INDEX.fullmatch(step) and int(step) < len(node):
        return int(step)
    raise PatchError("there is nothing at that path.")


def _is_small(value: Any) -> bool:
    """Looked at no further than COPY_MAX."""
    seen, waiting = 0, [value]
    while waiting and seen <= COPY_MAX:
        node = waiting.pop()
        seen += 1
        waiting += node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return seen <= COPY_MAX


def _put(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent, step = _at(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[step] = value
    elif isinstance(parent, list) and (step == "-" or (INDEX.fullmatch(step) and int(step) <= len(parent))):
        parent.insert(len(parent) if step == "-" else int(step), value)
    else:
        raise PatchError("there is nothing at that path.")
    return document


def _take(document: Any, path: list[str]) -> tuple[Any, Any]:
    if not path:
        return None, document
    parent = _at(document, path[:-1])
    key = _key(parent, path[-1])
    return document, parent.pop(key)
