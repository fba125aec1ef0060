"""JSON that keeps what a client wrote: numbers remember their text, so 1.00 stays 1.00 (FHIR R4 2.24.0.1, decimal).

Views read bodies with `json_load`, the store writes with `json_dump`; in between a number is a float for whoever checks or indexes.
"""

import json
import math
import re
from typing import Any

import orjson

DEPTH_MAX = 64
NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class InvalidJsonError(Exception):
    """The bytes are no JSON that can be stored. `user_message` says why, never with a value."""

    def __init__(self, user_message: str) -> None:
        super().__init__(user_message)
        self.user_message = user_message


class Number(float):
    """A number and the way it was written."""

    text: str

    def __new__(cls, text: str) -> "Number":
        number = super().__new__(cls, text)
        if not math.isfinite(number):
            raise InvalidJsonError("A number is too large.")
        number.text = text
        return number

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def __copy__(self) -> "Number":
        return self

    def __deepcopy__(self, memo: object) -> "Number":
        return self


def json_load(data: bytes) -> Any:
    """The value of a body. Raises InvalidJsonError for what is no JSON, says one thing twice or cannot be kept as written."""
    try:
        text = data.decode("utf-8")
        tree = _DECODER.decode(text)
    except UnicodeDecodeError:
        raise InvalidJsonError("The body is not UTF-8.") from None
    except (json.JSONDecodeError, RecursionError):
        raise InvalidJsonError("The body is not JSON.") from None
    # Most bodies have fewer brackets than may be nested.
    if text.count("{") + text.count("[") > DEPTH_MAX and is_deeper(tree, DEPTH_MAX):
        raise InvalidJsonError(f"The body is nested deeper than {DEPTH_MAX} levels.")
    if "\\u" in text:  # only an escape can hide what cannot be written again
        json_dump(tree)
    return tree


def json_dump(tree: Any, *, is_pretty: bool = False) -> str:
    """The text of a value: no white space between its tokens, numbers as they were written.

    Raises InvalidJsonError for a character that neither JSON nor PostgreSQL can hold.
    """
    try:
        text = orjson.dumps(tree, default=_as_written, option=orjson.OPT_INDENT_2 if is_pretty else None).decode()
    except orjson.JSONEncodeError:
        raise InvalidJsonError("A string holds half a character (a lone surrogate).") from None
    if "\\u0000" in text and NUL.search(text):
        raise InvalidJsonError("A string holds a NUL character.")
    return text


def json_canonical(tree: Any) -> bytes:
    """The same bytes for what says the same: members in one order."""
    return orjson.dumps(tree, default=_as_written, option=orjson.OPT_SORT_KEYS)


def _as_written(value: Any) -> Any:
    if isinstance(value, Number):
        return orjson.Fragment(value.text)
    raise TypeError


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):  # readers disagree which of two counts (RFC 8259 4)
        raise InvalidJsonError("A member is there twice in one object.")
    return found


def _integer(text: str) -> int | Number:
    # Beyond 64 bits, and for minus zero, only the text says what was meant.
    return Number(text) if text == "-0" or len(text) > 18 else int(text)


def _constant(text: str) -> Any:
    raise InvalidJsonError("NaN and Infinity are no JSON.")


def is_deeper(node: Any, left: int) -> bool:
    """Is it nested deeper than this many levels?"""
    if not isinstance(node, dict | list):
        return False
    if left == 0:
        return True
    return any(is_deeper(child, left - 1) for child in (node.values() if isinstance(node, dict) else node))


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=Number, parse_int=_integer, parse_constant=_constant)
