"""The DICOM JSON Model (PS3.18 Annex F) of a stored object, straight from its encoded elements.

Text becomes UTF-8 by the character set of its own item or the one around it. Numbers that JSON has not (NaN, infinities) become
null. Binary values over INLINE bytes, and pixels always, are a BulkDataURI; the path is hexadecimal tags and item numbers from 1.
"""

import struct
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydicom.datadict import private_dictionary_VR
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from imaging.dicomweb.elements import Buffer, Element, Opened, elements, items, sequence_encoding, vr_of
from imaging.dicomweb.frames import words_swapped
from imaging.header import BINARY_VRS, NESTING_CAP, PIXELS, SPECIFIC_CHARACTER_SET, Encoding, text_decode

INLINE = 1024
NUMBERS_INLINE = 64 << 10
TEXT_INLINE = 4 << 20
AVAILABLE_SYNTAX = 0x00083002
REPRESENTATION = 0x00280103
WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
BYTES = frozenset(("OB", "UN", *WORDS))
SINGLE_TEXT = frozenset(("LT", "ST", "UT", "UR"))
LEADING_SPACE_COUNTS = frozenset(("LT", "ST", "UT"))
UTF8 = {"vr": "CS", "Value": ["ISO_IR 192"]}
_CHOICES = {"OB or OW": "OW", "US or OW": "OW", "US or SS or OW": "OW"}
_PN_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


@dataclass(slots=True)
class _Around:
    """What an item takes over from the data set around it."""

    charset: bytes
    is_signed: bool


def object_json(opened: Opened, *, bulk: Callable[[str], str]) -> dict[str, Any]:
    """All attributes but groups 0000 and 0002. `bulk` makes the URI of a path. Raises HeaderError for nesting without end."""
    found = _dataset(opened.data, opened.start, len(opened.data), opened.encoding, _Around(b"", False), "", bulk, 0)
    found["00083002"] = {"vr": "UI", "Value": [opened.syntax]}  # what the bytes are stored in
    return dict(sorted(found.items()))


def _dataset(
    data: Buffer, at: int, end: int, encoding: Encoding, around: _Around, path: str, bulk: Callable[[str], str], depth: int
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    mine = _Around(around.charset, around.is_signed)
    creators: dict[int, str] = {}
    for element in elements(data, at, end, encoding):
        tag = element.tag
        if not tag & 0xFFFF or tag >> 16 <= 2 or tag == 0xFFFCFFFC:
            continue
        vr = vr_of(tag, element.sent_vr)
        if tag >> 16 & 1:
            vr = _private(data, element, vr, creators)
        name = f"{tag:08X}"
        if vr == "SQ" or (element.is_undefined and tag < PIXELS):
            found[name] = _sequence(data, element, encoding, mine, f"{path}{name}", bulk, depth)
            continue
        if tag == SPECIFIC_CHARACTER_SET:
            mine.charset = data[element.start : element.stop]
            found[name] = UTF8
            continue
        if tag == REPRESENTATION and element.stop - element.start >= 2:
            mine.is_signed = data[element.start : element.start + 2] in (b"\1\0", b"\0\1")
        found[name] = _element(data, element, vr, encoding, mine, f"{path}{name}", bulk)
    return found


def _private(data: Buffer, element: Element, vr: str, creators: dict[int, str]) -> str:
    """Of a private element sent without its VR, what its creator's dictionary says, if it is known."""
    group, number = element.tag >> 16, element.tag & 0xFFFF
    if 0x10 <= number <= 0xFF:
        creators[group << 8 | number] = data[element.start : min(element.stop, element.start + 64)].decode("latin-1").strip(" \0")
        return "LO"
    creator = creators.get(group << 8 | number >> 8)
    return _private_vr(element.tag, creator) if vr == "UN" and creator else vr


@lru_cache(maxsize=4096)
def _private_vr(tag: int, creator: str) -> str:
    try:
        return private_dictionary_VR(tag, creator)
    except KeyError:
        return "UN"


def _sequence(
    data: Buffer, element: Element, encoding: Encoding, around: _Around, path: str, bulk: Callable[[str], str], depth: int
) -> dict[str, Any]:
    if depth >= NESTING_CAP:
        return {"vr": "SQ"}
    inner = sequence_encoding(element, encoding)
    spans = enumerate(items(data, element.start, element.stop, inner), start=1)
    found = [_dataset(data, start, stop, inner, around, f"{path}/{n}/", bulk, depth + 1) for n, (start, stop) in spans]
    return {"vr": "SQ", "Value": found} if found else {"vr": "SQ"}


def _element(
    data: Buffer, element: Element, vr: str, encoding: Encoding, around: _Around, path: str, bulk: Callable[[str], str]
) -> dict[str, Any]:
    size = element.stop - element.start
    vr = _CHOICES.get(vr) or ("SS" if around.is_signed else "US") if " or " in vr else vr
    if not size:
        return {"vr": vr}
    order = "<" if element.sent_vr == b"UN" else encoding.order
    if vr in BYTES:
        if size > INLINE or element.is_undefined or element.tag >= PIXELS:
            return {"vr": vr, "BulkDataURI": bulk(path)}
        raw = data[element.start : element.stop]
        if order == ">" and vr in WORDS:
            raw = words_swapped(raw, WORDS[vr])
        return {"vr": vr, "InlineBinary": b64encode(raw).decode("ascii")}
    if size > TEXT_INLINE or (vr in BINARY_VRS and size > NUMBERS_INLINE):
        return {"vr": vr, "BulkDataURI": bulk(path)}
    raw = data[element.start : element.stop]
    values = _numbers(raw, vr, order) if vr in BINARY_VRS or vr == "AT" else _texts(raw, vr, around.charset)
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def _numbers(raw: bytes, vr: str, order: str) -> list[Any]:
    if vr == "AT":
        pairs = struct.unpack(f"{order}{len(raw) // 4 * 2}H", raw[: len(raw) // 4 * 4])
        return [f"{group:04X}{number:04X}" for group, number in zip(pairs[::2], pairs[1::2], strict=True)]
    form = BINARY_VRS[vr]
    size = struct.calcsize(form)
    values = struct.unpack(f"{order}{len(raw) // size}{form}", raw[: len(raw) // size * size])
    if form in "fd":
        return [value if value - value == 0 else None for value in values]
    return list(values)


def _texts(raw: bytes, vr: str, charset: bytes) -> list[Any]:
    raw = raw.rstrip(b"\0 ")
    if raw.isascii() and b"\x1b" not in raw:
        text = raw.decode("ascii")
    else:
        text = text_decode(raw, charset, PN_DELIMS if vr == "PN" else TEXT_VR_DELIMS)
    if vr in SINGLE_TEXT:
        text = text if vr in LEADING_SPACE_COUNTS else text.strip(" ")
        return [text] if text else []
    if not text.strip(" \0"):
        return []
    values = [part.strip(" \0") for part in text.split("\\")]
    convert = _CONVERT.get(vr)
    return [(convert(value) if convert else value) if value else None for value in values]


def _name(text: str) -> dict[str, str] | None:
    groups = {name: group.strip(" ") for name, group in zip(_PN_GROUPS, text.split("="), strict=False) if group.strip(" ")}
    return groups or None


def _integer(text: str) -> int | str:
    try:
        return int(text) if len(text) <= 18 and "_" not in text else text
    except ValueError:
        return text


def _decimal(text: str) -> int | float | str | None:
    """What is no number stays text, as Annex F allows; what is one that JSON lacks becomes null."""
    try:
        number = float(text) if "_" not in text else None
    except ValueError:
        return text
    if number is None:
        return text
    if number - number != 0:
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


_CONVERT: dict[str, Callable[[str], Any]] = {"PN": _name, "IS": _integer, "DS": _decimal}
