"""Elements of an encoded data set with their places, strictly: what ends too early or is no sequence raises HeaderError.

`engine` and `gate` walk with it. Over imaging.header's reading of single elements, which knows the encodings.
"""

import mmap
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pydicom.datadict import dictionary_is_retired, dictionary_VR

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
    meta_walk,
    uid_is_valid,
    value_end,
)

INFLATED_CAP = 512 << 20
HEAD_CAP = 64 << 20  # of bytes that aren't pixels
PIXEL_GROUP = 0x7FE0
TRANSFER_SYNTAX = 0x00020010
Buffer = mmap.mmap | bytes
_SHORT_VRS = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM",
     b"UI", b"UL", b"US")
)  # fmt: skip
_VRS = {vr: vr.decode("ascii") for vr in LONG_VRS | _SHORT_VRS}


class Element(NamedTuple):
    """`at`: where its head starts; `start` to `stop`: its value without a closing delimiter; `after`: where the next one starts."""

    tag: int
    vr: bytes
    at: int
    start: int
    stop: int
    after: int
    is_undefined: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """An object's bytes. `is_copy`: inflated, so that offsets are not the file's. `fd` is the open file, -1 for bytes."""

    data: Buffer
    meta: dict[int, str]
    syntax: str
    encoding: Encoding
    start: int
    is_copy: bool
    fd: int


@contextmanager
def object_open(path: Path) -> Iterator[Opened]:
    """A Part 10 file, mapped and not read. Raises HeaderError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if not os.fstat(fd).st_size:
            raise HeaderError("the file is empty")
        with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as mapped:
            yield object_opened(mapped, fd)
    finally:
        os.close(fd)


def object_opened(data: Buffer, fd: int = -1) -> Opened:
    """The same of bytes. Raises HeaderError."""
    meta, start = meta_walk(data)  # type: ignore[arg-type]
    syntax = meta.get(TRANSFER_SYNTAX, "")
    if not uid_is_valid(syntax):
        raise HeaderError("the file meta names no transfer syntax")
    if syntax in DEFLATED_SYNTAXES:
        return Opened(_inflated(data[start:]), meta, syntax, EXPLICIT_LITTLE, 0, is_copy=True, fd=fd)
    return Opened(data, meta, syntax, ENCODINGS.get(syntax, EXPLICIT_LITTLE), start, is_copy=False, fd=fd)


def _inflated(data: bytes) -> bytes:
    """PS3.5 A.5. Raises HeaderError also for what ends too early."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(data, INFLATED_CAP)
    except zlib.error:
        raise HeaderError("the deflated data set cannot be inflated") from None
    if inflater.unconsumed_tail:
        raise HeaderError(f"the data set inflates to more than {INFLATED_CAP >> 20} MiB")
    if not inflater.eof:
        raise HeaderError("the deflated data set ends too early")
    return content


def elements(data: Buffer, at: int, end: int, encoding: Encoding) -> Iterator[Element]:
    """One level, in the order it lies. Raises HeaderError."""
    while end - at >= 8:
        tag, vr, length, start = element_at(data, at, encoding)  # type: ignore[arg-type]
        if tag >> 16 == 0xFFFE:
            raise HeaderError("a delimiter where an element should be")
        if length != UNDEFINED:
            stop = after = start + length
        else:
            after = value_end(data, start, inner_encoding(tag, vr, encoding))  # type: ignore[arg-type]
            stop = after - 8
        if after > end:
            raise NeedMore(after)
        yield Element(tag, vr, at, start, stop, after, length == UNDEFINED)
        at = after
    if at != end and any(data[at:end]):
        raise HeaderError("the data set ends inside an element")


def items(data: Buffer, element: Element, encoding: Encoding) -> Iterator[tuple[int, int]]:
    """Start and end of the content of each item. Raises HeaderError for what is no sequence."""
    at, end = element.start, element.stop
    while at < end:
        tag, _, length, start = element_at(data, at, encoding)  # type: ignore[arg-type]
        if tag != ITEM:
            raise HeaderError("a sequence is not made of items")
        if length != UNDEFINED:
            stop = at = start + length
        else:
            at = value_end(data, start, encoding, is_item=True)  # type: ignore[arg-type]
            stop = at - 8
        if at > end:
            raise NeedMore(at)
        yield start, stop


def inner_encoding(tag: int, vr: bytes, encoding: Encoding) -> Encoding:
    """What was sent as UN holds implicit little endian, whatever is around it (PS3.5 6.2.2 note 2)."""
    return IMPLICIT_LITTLE if vr == b"UN" and tag >> 16 != PIXEL_GROUP else encoding


def nesting_check(depth: int) -> None:
    if depth > NESTING_CAP:
        raise HeaderError(f"sequences nested deeper than {NESTING_CAP}")


def sent_vr(vr: bytes) -> str:
    """The VR as sent; "" for none, UN or nonsense."""
    return "" if vr == b"UN" else _VRS.get(vr, "")


@lru_cache(maxsize=16384)
def known_vr(tag: int) -> str:
    """The dictionary's VR, "" for a tag that it doesn't have. The first of a choice like `US or SS`."""
    try:
        return dictionary_VR(tag)[:2]
    except KeyError:
        return ""


@lru_cache(maxsize=16384)
def is_retired(tag: int) -> bool:
    try:
        return bool(dictionary_is_retired(tag))
    except KeyError:
        return False
