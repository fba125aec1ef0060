"""A stored object, mapped and not read: its elements with the place of their values (PS3.5 7.1, 7.5, Annex A).

`frames`, `bulk` and `jsonmodel` look at objects through it, so a value costs memory only when it is asked for.
"""

import mmap
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from pydicom.datadict import dictionary_VR

from imaging.header import (
    DEFLATED_SYNTAXES,
    ENCODINGS,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    ITEM,
    LONG_VRS,
    NESTING_CAP,
    UNDEFINED,
    Encoding,
    HeaderError,
    NeedMore,
    element_at,
    encoding_inside,
    meta_walk,
    value_end,
)

INFLATED_CAP = 512 << 20
TRANSFER_SYNTAX = 0x00020010
Buffer = mmap.mmap | bytes
_SHORT_VRS = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM",
     b"UI", b"UL", b"US")
)  # fmt: skip


class Element(NamedTuple):
    """One element; `start` to `stop` is its value, for undefined length without the closing delimiter."""

    tag: int
    sent_vr: bytes
    start: int
    stop: int
    is_undefined: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """An object's bytes, its syntax, and where its data set begins. `is_copy`: inflated, so offsets are not the file's."""

    data: Buffer
    syntax: str
    encoding: Encoding
    start: int
    is_copy: bool

    def elements(self) -> Iterator[Element]:
        return elements(self.data, self.start, len(self.data), self.encoding)


@contextmanager
def object_open(path: os.PathLike[str] | str) -> Iterator[Opened]:
    """Raises HeaderError for what is no Part 10 file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            mapped = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise HeaderError("the file is empty") from None
    finally:
        os.close(fd)
    with mapped:
        meta, start = meta_walk(mapped)  # type: ignore[arg-type]
        syntax = meta.get(TRANSFER_SYNTAX, "")
        if syntax in DEFLATED_SYNTAXES:
            yield Opened(_inflated(mapped[start:]), syntax, EXPLICIT_LITTLE, 0, is_copy=True)
        else:
            yield Opened(mapped, syntax, ENCODINGS.get(syntax, EXPLICIT_LITTLE), start, is_copy=False)


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(data, INFLATED_CAP)
    except zlib.error:
        raise HeaderError("the deflated data set cannot be inflated") from None
    if inflater.unconsumed_tail:
        raise HeaderError(f"the data set inflates to more than {INFLATED_CAP >> 20} MiB")
    return content


def elements(data: Buffer, at: int, end: int, encoding: Encoding) -> Iterator[Element]:
    """In the order they lie. A value that runs over the end is cut there: the object came so and is kept so."""
    while end - at >= 8:
        try:
            tag, vr, length, start = element_at(data, at, encoding)  # type: ignore[arg-type]
        except NeedMore:
            return
        if tag >> 16 == 0xFFFE:
            return
        if length != UNDEFINED:
            at = start + length
            yield Element(tag, vr, start, min(at, end), False)
            continue
        try:
            at = value_end(data, start, encoding_inside(vr, encoding))  # type: ignore[arg-type]
        except NeedMore:
            at = end + 8
        yield Element(tag, vr, start, min(at - 8, end), True)


def items(data: Buffer, at: int, end: int, encoding: Encoding) -> Iterator[tuple[int, int]]:
    """Start and end of the content of each item of a sequence."""
    while end - at >= 8:
        try:
            tag, _, length, start = element_at(data, at, encoding)  # type: ignore[arg-type]
            if tag != ITEM:
                return
            after = start + length if length != UNDEFINED else value_end(data, start, encoding, is_item=True)  # type: ignore[arg-type]
        except NeedMore:
            return
        yield start, min(after if length != UNDEFINED else after - 8, end)
        at = after


@lru_cache(maxsize=8192)
def vr_of(tag: int, sent: bytes) -> str:
    """The VR as sent, or the dictionary's where none was sent or UN; may be a choice like `US or SS`."""
    if sent != b"UN" and (sent in LONG_VRS or sent in _SHORT_VRS):
        return sent.decode("ascii")
    try:
        return dictionary_VR(tag)
    except KeyError:
        is_creator = tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF
        return "LO" if is_creator else "UN"


def sequence_encoding(element: Element, encoding: Encoding) -> Encoding:
    """How the items of a sequence are read: what was sent as UN holds implicit little endian (PS3.5 6.2.2 note 2)."""
    return IMPLICIT_LITTLE if element.sent_vr == b"UN" else encoding


class Found(NamedTuple):
    """An element that a path leads to."""

    element: Element
    vr: str
    encoding: Encoding


def element_find(opened: Opened, path: str) -> Found | None:
    """`7FE00010`, or into items, counted from 1: `00880200/1/7FE00010`. None when it leads nowhere."""
    steps = path.split("/")
    if len(steps) % 2 == 0 or len(steps) > 2 * NESTING_CAP:
        return None
    at, end, encoding = opened.start, len(opened.data), opened.encoding
    for step in range(0, len(steps), 2):
        tag = _number(steps[step], 16, 8)
        found = next((one for one in elements(opened.data, at, end, encoding) if one.tag == tag), None)
        if found is None or tag is None:
            return None
        if step + 1 == len(steps):
            return Found(found, vr_of(tag, found.sent_vr), encoding)
        number = _number(steps[step + 1], 10, 6)
        encoding = sequence_encoding(found, encoding)
        spans = enumerate(items(opened.data, found.start, found.stop, encoding), start=1)
        span = next((span for at_number, span in spans if at_number == number), None)
        if span is None:
            return None
        at, end = span
    return None


def _number(text: str, base: int, longest: int) -> int | None:
    try:
        return int(text, base) if len(text) <= longest and text.isalnum() else None
    except ValueError:
        return None
