"""Tag walker over encoded data sets (PS3.5 6.1.2, 6.2, 7.1-7.5, 9.1, Annex A): no pydicom Dataset, no recursion.

`imaging.ingest` walks what it received before it acknowledges; the index worker walks the head of the stored file.
"""

import builtins
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from pydicom.charset import convert_encodings, decode_bytes, python_encoding
from pydicom.datadict import dictionary_VR
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

Bytes = bytes | bytearray | memoryview

SPECIFIC_CHARACTER_SET = 0x00080005
PIXELS = 0x7FE00008  # float, double and integer pixels; below are only the extended offset tables
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF
NESTING_CAP = 64
FIRST_READ = 64 << 10
HEAD_CAP = 64 << 20  # a head larger than this before the pixels is no header any more
INFLATED_CAP = 4 << 20  # a deflated kilobyte can claim a megabyte: only the head is ever inflated
KEPT_WITHOUT_ASKING = 64 << 10  # longest value kept when the caller did not name the tags it wants

DEFLATED_SYNTAXES = frozenset(
    {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"},
)
LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
BINARY_VRS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d", "US or SS": "H"}
LEADING_SPACE_COUNTS = frozenset(("ST", "LT", "UT"))  # PS3.5 table 6.2-1: elsewhere leading spaces are padding
LOOSE_CHARSETS = frozenset(("utf-8", "utf8", "latin1", "latin-1", "gb2312", "gbk", "gb18030", "big5", "euc-kr"))

_UID = re.compile(r"[0-9](?:[0-9.]{0,62}[0-9])?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


class HeaderError(Exception):
    """The bytes are no data set we can walk; `reason` holds no value from the data set and may be shown."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NeedMore(HeaderError):  # noqa: N818 - a request to the reader more than an error
    """The walk ran over the end of the buffer; `needed` bytes of it would get one element further."""

    def __init__(self, needed: int) -> None:
        super().__init__("the data set ends inside an element")
        self.needed = needed


class Encoding(NamedTuple):
    """How element heads are read: PS3.5 Annex A reduced to what a walker must know."""

    is_implicit: bool
    order: str
    explicit: struct.Struct
    implicit: struct.Struct
    long: struct.Struct


def _encoding(*, is_implicit: bool, order: str) -> Encoding:
    return Encoding(is_implicit, order, *(struct.Struct(order + form) for form in ("HH2sH", "HHI", "I")))


IMPLICIT_LITTLE = _encoding(is_implicit=True, order="<")
EXPLICIT_LITTLE = _encoding(is_implicit=False, order="<")
EXPLICIT_BIG = _encoding(is_implicit=False, order=">")
ENCODINGS = {
    "1.2.840.10008.1.2": IMPLICIT_LITTLE,
    "1.2.840.113619.5.2": IMPLICIT_LITTLE,  # GE private: only its pixels are big endian
    "1.2.840.10008.1.2.2": EXPLICIT_BIG,
}


def uid_is_valid(text: str) -> bool:
    """PS3.5 9.1 with one concession: leading zeros in a component, because devices in the field send them."""
    return len(text) <= 64 and ".." not in text and _UID.fullmatch(text) is not None


@lru_cache(maxsize=256)
def _charset(raw: bytes) -> tuple[tuple[str, ...], bool]:
    """Python codecs for a Specific Character Set, and whether the value was one we know (PS3.3 C.12.1.1.2)."""
    terms = [term.strip(" \0") for term in raw.decode("ascii", "replace").split("\\")]
    # an arbitrary term must never reach codecs.lookup: Python also registers codecs that are no character sets
    known = [term in python_encoding or term.startswith("ISO") or term.lower() in LOOSE_CHARSETS for term in terms]
    try:
        codecs = convert_encodings([term if is_known else "" for term, is_known in zip(terms, known, strict=True)])
    except (LookupError, ValueError, Warning):
        return ("iso8859",), False
    return tuple(codecs), all(known)


@dataclass(frozen=True, slots=True)
class Header:
    """Raw values of the top-level elements, decoded on request; nothing here raises on bad content."""

    values: Mapping[builtins.int, bytes]
    vrs: Mapping[builtins.int, bytes]
    encoding: Encoding
    pixel_data_offset: builtins.int | None
    undecodable: set[builtins.int] = field(default_factory=set)

    @property
    def is_undecodable(self) -> bool:
        """Some text asked for so far lies outside its declared character set and was decoded with replacements."""
        return bool(self.undecodable)

    def __contains__(self, tag: builtins.int) -> bool:
        return tag in self.values

    def vr(self, tag: builtins.int) -> str:
        """The VR as sent, or the dictionary's where it was not sent or says UN."""
        sent = self.vrs.get(tag, b"").decode("ascii", "replace")
        if sent and sent != "UN":
            return sent
        try:
            return dictionary_VR(tag)
        except KeyError:
            return "UN"

    def text(self, tag: builtins.int) -> str:
        vr = self.vr(tag)
        text = self._decoded(tag, PN_DELIMS if vr == "PN" else TEXT_VR_DELIMS).rstrip(" ")
        return text if vr in LEADING_SPACE_COUNTS else text.lstrip(" ")

    def texts(self, tag: builtins.int) -> tuple[str, ...]:
        text = self.text(tag)
        return tuple(part.strip(" ") for part in text.split("\\")) if text else ()

    def uid(self, tag: builtins.int) -> str:
        return self.values.get(tag, b"").decode("ascii", "replace").strip(" \0")

    def int(self, tag: builtins.int) -> builtins.int | None:
        return next(iter(self.ints(tag)), None)

    def ints(self, tag: builtins.int) -> tuple[builtins.int, ...]:
        return tuple(int(number) for number in self._numbers(tag, _INTEGER))

    def decimal(self, tag: builtins.int) -> float | None:
        return next(iter(self.decimals(tag)), None)

    def decimals(self, tag: builtins.int) -> tuple[float, ...]:
        return tuple(float(number) for number in self._numbers(tag, _DECIMAL))

    def person_name(self, tag: builtins.int) -> tuple[str, str, str]:
        """(alphabetic, ideographic, phonetic) of the first name, PS3.5 6.2.1.1."""
        first = self._decoded(tag, PN_DELIMS).split("\\", 1)[0]
        groups = [group.strip(" ") for group in first.split("=")[:3]]
        return (*groups, "", "")[:3] if len(groups) < 3 else tuple(groups)

    def items(self, tag: builtins.int) -> tuple["Header", ...]:
        """The items of a kept sequence as headers of their own; () when it is no sequence."""
        inner = _inside(self.vrs.get(tag, b""), self.encoding)
        try:
            return tuple(_walk(item, inner, None, is_whole=True) for item in _items(self.values.get(tag, b""), inner))
        except HeaderError:
            return ()

    def _decoded(self, tag: builtins.int, delimiters: set[builtins.int]) -> str:
        raw = self.values.get(tag, b"").rstrip(b"\0 ")
        if raw.isascii() and b"\x1b" not in raw:
            text = raw.decode("ascii")
        else:
            codecs, is_known = _charset(self.values.get(SPECIFIC_CHARACTER_SET, b""))
            text, is_exact = _decode(raw, codecs, delimiters)
            if not (is_known and is_exact):
                self.undecodable.add(tag)
        if "\0" in text:  # PostgreSQL takes no NUL in text
            self.undecodable.add(tag)
            text = text.replace("\0", "\ufffd")
        return text

    def _numbers(self, tag: builtins.int, pattern: re.Pattern[str]) -> Iterator[float | str]:
        raw = self.values.get(tag, b"")
        form = BINARY_VRS.get(self.vr(tag))
        if form:
            size = struct.calcsize(form)
            numbers = struct.unpack(f"{self.encoding.order}{len(raw) // size}{form}", raw[: len(raw) // size * size])
            # NaN and infinities are no measurements, and int() of them raises
            yield from (number for number in numbers if number - number == 0)
            return
        for part in raw.decode("ascii", "replace").split("\\"):
            number = part.strip(" \0")
            if pattern.fullmatch(number):
                yield number


def _decode(raw: bytes, codecs: tuple[str, ...], delimiters: set[int]) -> tuple[str, bool]:
    """Text, and whether every byte of it was in the declared repertoire."""
    try:
        if b"\x1b" not in raw:
            # pydicom reads ISO-IR 6, the default, as Latin-1: a good guess, but a guess
            return raw.decode(codecs[0]), codecs[0] != "iso8859"
        text = decode_bytes(raw, codecs, delimiters)
        return text, "\ufffd" not in text and "\x1b" not in text
    except (ValueError, LookupError, Warning):
        return raw.decode(codecs[0], "replace"), False


def _element(data: Bytes, at: int, encoding: Encoding) -> tuple[int, bytes, int, int]:
    """(tag, VR or b"", length, offset of the value) of the element that starts at `at`, PS3.5 7.1.2 and 7.1.3."""
    if at + 8 > len(data):
        raise NeedMore(at + 12)
    if encoding.is_implicit:
        group, element, length = encoding.implicit.unpack_from(data, at)
        return group << 16 | element, b"", length, at + 8
    group, element, vr, length = encoding.explicit.unpack_from(data, at)
    tag = group << 16 | element
    if vr in LONG_VRS and group != 0xFFFE:
        if at + 12 > len(data):
            raise NeedMore(at + 12)
        return tag, vr, encoding.long.unpack_from(data, at + 8)[0], at + 12
    if group == 0xFFFE or not (vr.isalpha() and vr.isupper()):
        # items never carry a VR; and some writers fall back to implicit VR inside explicit data sets
        return tag, b"", encoding.long.unpack_from(data, at + 4)[0], at + 8
    return tag, vr, length, at + 8


def _inside(vr: bytes, encoding: Encoding) -> Encoding:
    """UN of undefined length holds implicit little endian whatever is around it (PS3.5 6.2.2 note 2, CP-246)."""
    return IMPLICIT_LITTLE if vr == b"UN" else encoding


def _undefined_end(data: Bytes, at: int, encoding: Encoding, *, is_item: bool = False) -> int:
    """Offset behind the delimiter of a value of undefined length (PS3.5 7.5); what has a length is jumped over."""
    stack = [(is_item, encoding)]
    while stack:
        in_item, inner = stack[-1]
        tag, vr, length, start = _element(data, at, inner)
        if tag == (ITEM_END if in_item else SEQUENCE_END):
            stack.pop()
            at = start
            continue
        if in_item == (tag >> 16 == 0xFFFE):
            raise HeaderError("a sequence is not made of items")
        if length != UNDEFINED:
            at = start + length
            continue
        if len(stack) >= 2 * NESTING_CAP:
            raise HeaderError(f"sequences nested deeper than {NESTING_CAP}")
        stack.append((not in_item, _inside(vr, inner)))
        at = start
    return at


def _items(raw: bytes, encoding: Encoding) -> Iterator[bytes]:
    at = 0
    while at + 8 <= len(raw):
        tag, _, length, start = _element(raw, at, encoding)
        if tag != ITEM:
            return
        if length != UNDEFINED:
            at = start + length
            yield raw[start:at]
        else:
            at = _undefined_end(raw, start, encoding, is_item=True)
            yield raw[start : at - 8]


def _walk(data: Bytes, encoding: Encoding, wanted: frozenset[int] | None, *, is_whole: bool) -> Header:
    last = max(wanted, default=-1) if wanted is not None else PIXELS
    values: dict[int, bytes] = {}
    vrs: dict[int, bytes] = {}
    at, tag, end, pixels_at = 0, -1, len(data), None
    try:
        while at < end or not is_whole:
            if is_whole and end - at < 8:
                break  # a few stray bytes behind the last element: padding of careless writers
            previous = tag
            tag, vr, length, start = _element(data, at, encoding)
            if tag >= PIXELS:
                pixels_at = at
                break
            if tag <= previous:
                raise HeaderError("tags do not ascend")
            stop = start + length if length != UNDEFINED else _undefined_end(data, start, _inside(vr, encoding))
            if stop > end:
                raise NeedMore(stop)
            if stop - start <= KEPT_WITHOUT_ASKING if wanted is None else tag in wanted:
                values[tag] = bytes(data[start:stop])
                vrs[tag] = vr
            at = stop
    except NeedMore:
        # behind the last wanted tag only the nesting was of interest, and that as far as the buffer goes
        if tag < last or (tag == last and tag not in values):
            raise
    return Header(values, vrs, encoding, pixels_at)


def _inflated_walk(data: Bytes, wanted: frozenset[int] | None, *, is_whole: bool) -> Header:
    """Walk of a deflated data set (PS3.5 A.5): inflates as little as the wanted tags need, never beyond the cap."""
    room = FIRST_READ
    while True:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            head = inflater.decompress(data, room)
        except zlib.error:
            raise HeaderError("the deflated data set cannot be inflated") from None
        try:
            header = _walk(head, EXPLICIT_LITTLE, wanted, is_whole=inflater.eof)
        except NeedMore:
            if len(head) < room:
                raise NeedMore(len(data) + 1) from None
            if room >= INFLATED_CAP:
                raise HeaderError(f"the wanted tags lie behind {INFLATED_CAP >> 20} MiB of inflated header") from None
            room *= 4
            continue
        return Header(header.values, header.vrs, EXPLICIT_LITTLE, None)


def header_read(
    data: Bytes, *, transfer_syntax_uid: str, wanted: frozenset[int] | None = None, is_whole: bool = True,
) -> Header:
    """Walk a bare data set up to its pixels. `is_whole=False` says that `data` is only the head of it."""
    if wanted is not None:
        wanted |= {SPECIFIC_CHARACTER_SET}
    if transfer_syntax_uid in DEFLATED_SYNTAXES:
        return _inflated_walk(data, wanted, is_whole=is_whole)
    # encapsulated, private and unknown syntaxes all head their data set in explicit little endian (PS3.5 A.4)
    return _walk(data, ENCODINGS.get(transfer_syntax_uid, EXPLICIT_LITTLE), wanted, is_whole=is_whole)


def meta_walk(data: Bytes) -> tuple[dict[int, str], int]:
    """Group 0002 as text and the offset of the data set (PS3.10 7.1); the group length is not trusted."""
    if bytes(data[128:132]) != b"DICM":
        raise HeaderError("no DICM prefix: this is no DICOM Part 10 file")
    at, meta = 132, {}
    while at + 8 <= len(data) and bytes(data[at : at + 2]) == b"\x02\x00":
        tag, _, length, start = _element(data, at, EXPLICIT_LITTLE)
        at = start + length
        if at > len(data):
            raise NeedMore(at)
        meta[tag] = bytes(data[start:at]).decode("ascii", "replace").strip(" \0")
    if at + 8 > len(data):
        raise NeedMore(at + 8)
    return meta, at


@dataclass(frozen=True, slots=True)
class Part10Head:
    """What the head of a Part 10 file says."""

    meta: Mapping[int, str]
    transfer_syntax_uid: str
    data_set_offset: int
    header: Header


@contextmanager
def _opened(source: str | os.PathLike[str] | int) -> Iterator[int]:
    if isinstance(source, int):
        yield source
        return
    fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def part10_read(source: str | os.PathLike[str] | int, *, wanted: frozenset[int] | None = None, cap: int = HEAD_CAP) -> Part10Head:
    """Meta and header of a Part 10 file by path or descriptor: 64 KiB first, more when needed up to `cap`, never the pixels."""
    with _opened(source) as fd:
        return part10_head(lambda room: os.pread(fd, room, 0), os.fstat(fd).st_size, wanted=wanted, cap=cap)


def part10_head(
    read: Callable[[int], Bytes], size: int, *, wanted: frozenset[int] | None = None, cap: int = HEAD_CAP,
) -> Part10Head:
    """The same of `size` bytes wherever they lie: `read` gives so many of them from the first on."""
    room = FIRST_READ
    while True:
        data = memoryview(read(room))
        try:
            meta, offset = meta_walk(data)
            syntax = meta.get(0x00020010, "")
            if not uid_is_valid(syntax):  # it is told to clients in headers
                raise HeaderError("the file meta names no transfer syntax")
            header = header_read(data[offset:], transfer_syntax_uid=syntax, wanted=wanted, is_whole=len(data) >= size)
            return Part10Head(meta, syntax, offset, header)
        except NeedMore as more:
            if len(data) >= size:
                raise
            if room >= cap:
                raise HeaderError(f"the header is larger than {cap >> 20} MiB") from None
            room = min(max(2 * room, more.needed + FIRST_READ), cap)


# What the readers of whole objects (imaging.dicomweb.elements) build on: they look at values too large to be kept.
element_at, value_end, encoding_inside = _element, _undefined_end, _inside


def text_decode(raw: bytes, charset: bytes, delimiters: set[int]) -> str:
    """Text by the raw value of (0008,0005); what lies outside its repertoire is replaced, never an error."""
    return _decode(raw, _charset(charset)[0], delimiters)[0]
