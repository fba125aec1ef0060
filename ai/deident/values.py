"""Encoded elements: heads, dummies by VR, and whether a value that stays is what its VR says (PS3.5 6.2, 7.1)."""

import re
import struct

from imaging.header import LONG_VRS, UNDEFINED, Encoding

_LONG = frozenset(vr.decode("ascii") for vr in LONG_VRS)
_SIZES = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "UV": 8, "SV": 8, "FL": 4, "FD": 8, "AT": 4, "OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_DUMMIES = {
    "PN": b"REMOVED", "AS": b"000Y", "DA": b"19000101", "DT": b"19000101000000", "TM": b"000000", "DS": b"0", "IS": b"0",
    "UR": b"urn:removed", "OB": b"\0\0", "UN": b"\0\0", "SQ": b"",
}  # fmt: skip
_TEXTS = frozenset(("AE", "CS", "LO", "LT", "SH", "ST", "UC", "UT"))
_FAMILIES = tuple(
    frozenset(family)
    for family in (
        ("DS", "IS", "US", "SS", "UL", "SL", "FL", "FD", "UV", "SV", "AT", "OW", "OB", "OF", "OD", "OL", "OV"),
        ("LO", "SH", "ST", "LT", "UT", "UC", "CS"), ("DA", "DT"), ("SQ",), ("UI",), ("TM",), ("PN",), ("AE",), ("AS",), ("UR",),
    )
)  # fmt: skip
_FORMS = {
    "DS": re.compile(rb"[0-9+\-eE. \\\0]*"),
    "IS": re.compile(rb"[0-9+\- .\\\0]*"),
    "TM": re.compile(rb"[0-9:. \\\0]*"),
    "DA": re.compile(rb"[0-9. \\\0]*"),
    "DT": re.compile(rb"[0-9+\-. \\\0]*"),
    "UI": re.compile(rb"[0-9. \\\0]*"),
    "AS": re.compile(rb"(?:[0-9]{3}[DWMY] ?)?"),
}


def element_bytes(tag: int, vr: str, value: bytes, encoding: Encoding) -> bytes:
    """One element of known length, padded to an even one."""
    if len(value) & 1:
        value += b"\0" if vr in ("UI", "OB", "UN") else b" "
    group, element = tag >> 16, tag & 0xFFFF
    if encoding.is_implicit:
        return encoding.implicit.pack(group, element, len(value)) + value
    if vr in _LONG:
        return encoding.explicit.pack(group, element, vr.encode("ascii"), 0) + encoding.long.pack(len(value)) + value
    return encoding.explicit.pack(group, element, vr.encode("ascii"), len(value)) + value


def sequence_bytes(tag: int, vr: str, contents: list[bytes], encoding: Encoding, inner: Encoding) -> bytes:
    """A sequence of encoded items. As UN it keeps its undefined length, which is what says that it is one (PS3.5 6.2.2 note 2)."""
    items = b"".join(inner.implicit.pack(0xFFFE, 0xE000, len(content)) + content for content in contents)
    if vr != "UN":
        return element_bytes(tag, "SQ", items, encoding)
    head = encoding.explicit.pack(tag >> 16, tag & 0xFFFF, b"UN", 0) + encoding.long.pack(UNDEFINED)
    return head + items + inner.implicit.pack(0xFFFE, 0xE0DD, 0)


def dummy(vr: str) -> bytes:
    """D of PS3.15: a value that is no one's. UIDs are mapped instead."""
    if vr in _TEXTS:
        return b"REMOVED"
    return _DUMMIES.get(vr) or bytes(_SIZES.get(vr, 0))


def is_trusted(vr: str, sent: str, value: bytes) -> bool:
    """A kept value has the VR that its tag has, or a related one, and looks like it: no text hides in a number."""
    if sent and sent != vr and not any(vr in family and sent in family for family in _FAMILIES):
        return False
    form = _FORMS.get(sent or vr)
    if form is not None and form.fullmatch(value) is None:
        return False
    size = struct_size(sent or vr)
    return size == 0 or len(value) % size == 0


def struct_size(vr: str) -> int:
    """Bytes of one number of a binary VR, 0 for others."""
    return _SIZES.get(vr, 0) if vr in ("US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT") else 0


def numbers(value: bytes, vr: str, encoding: Encoding) -> tuple[float, ...]:
    """DS, IS, US, UL as numbers; () when they are none."""
    form = {"US": "H", "UL": "I"}.get(vr)
    if form:
        size = struct.calcsize(form)
        return struct.unpack(f"{encoding.order}{len(value) // size}{form}", value[: len(value) // size * size])
    try:
        return tuple(float(part) for part in value.decode("ascii").strip(" \0").split("\\")) if value.strip(b" \0") else ()
    except (UnicodeDecodeError, ValueError):
        return ()
