"""Rows of a query as DICOM JSON (PS3.18 F.2): each value is rendered once a request, however many rows have it."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

import orjson

from imaging.query import attributes
from imaging.query.attributes import Attribute, Level
from imaging.query.keys import Query
from imaging.query.match import Value

RETRIEVE_URL, CHARACTER_SET = 0x00081190, 0x00080005
_WHOLE_VRS = frozenset(("LT", "ST", "UT", "UR"))  # a backslash is a letter there
_INTEGER_VRS = frozenset(("IS", "US", "UL", "SS", "SL", "SV", "UV"))
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
Render = Callable[[Value], bytes]


class JsonEncoder:
    """Made once a query, used for each match. `base` is the hospital's DICOMweb root as the client called it."""

    def __init__(self, query: Query, *, base: str, items: Mapping[int, frozenset[int]]) -> None:
        self._base = base.encode()
        fields: dict[int, tuple[bytes, int, Render | None]] = {}
        for position, (key, attribute) in enumerate(query.answers):
            if attribute is not None:
                fields[key.tag] = (_head(key.tag), position, _rendering(attribute, items.get(attribute.tag)))
        places = {key.tag: position for position, (key, _) in enumerate(query.answers)}
        self._uids = [places[attributes.UNIQUE[level]] for level in range(Level.STUDY, query.level + 1)]
        fields[CHARACTER_SET] = (_head(CHARACTER_SET) + b'{"vr":"CS","Value":["ISO_IR 192"]}', 0, None)
        fields[attributes.AVAILABILITY] = (_head(attributes.AVAILABILITY) + b'{"vr":"CS","Value":["ONLINE"]}', 0, None)
        fields[RETRIEVE_URL] = (_head(RETRIEVE_URL), -1, None)
        self._fields: list[tuple[bytes, int, Render | None, dict[Value, bytes]]] = [(*fields[tag], {}) for tag in sorted(fields)]

    def encode(self, values: Sequence[Value]) -> bytes:
        parts = []
        for head, position, render, seen in self._fields:
            if render is None:
                parts.append(head if position == 0 else head + self._url(values))
                continue
            value = values[position]
            if value.__class__ is list:
                parts.append(head + render(value))
                continue
            found = seen.get(value)
            if found is None:
                found = seen[value] = head + render(value)
            parts.append(found)
        return b"{" + b",".join(parts) + b"}"

    def _url(self, values: Sequence[Value]) -> bytes:
        names = (b"/studies/", b"/series/", b"/instances/")
        # UIDs were checked when they came in: digits and dots
        path = b"".join(name + str(values[at]).encode() for name, at in zip(names, self._uids, strict=False))
        return b'{"vr":"UR","Value":["' + self._base + path + b'"]}'


def _head(tag: int) -> bytes:
    return f'"{tag:08X}":'.encode()


def _rendering(attribute: Attribute, wanted: frozenset[int] | None) -> Render:
    vr = attribute.vr
    items = {tag: of for tag, of in attribute.items if wanted is None or tag in wanted}
    return lambda value: orjson.dumps(_sequence(value, items) if isinstance(value, list) else element_json(vr, value))


def element_json(vr: str, value: Any) -> dict[str, Any]:
    """One element of a text value as rows keep it: several values with backslashes; nothing is an element without Value."""
    if value is None or value == "":
        return {"vr": vr}
    if isinstance(value, int):
        return {"vr": vr, "Value": [value]}
    texts = [value] if vr in _WHOLE_VRS else str(value).split("\\")
    return {"vr": vr, "Value": [_value(vr, text) for text in texts]}


def _value(vr: str, text: str) -> Any:
    if text == "":
        return None  # an empty one among several
    if vr == "PN":
        return {name: group for name, group in zip(_GROUPS, text.split("="), strict=False) if group}
    if vr in _INTEGER_VRS or vr == "DS":
        try:
            number = int(text) if vr != "DS" else float(text)
        except ValueError:
            return text  # F.2.3.1 allows a string for what is no number
        return number if isfinite(number) else text
    return text


def _sequence(found: list[dict[str, str]], vrs: dict[int, str]) -> dict[str, Any]:
    items = [{name: element_json(vrs[int(name, 16)], value) for name, value in item.items() if int(name, 16) in vrs} for item in found]
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
