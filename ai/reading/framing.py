"""Do a data set's lengths add up to its last byte? Called before pydicom, which takes what a cut object still holds for all of it."""

import struct
from dataclasses import dataclass

from pydicom.datadict import dictionary_has_tag, dictionary_VR

ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF
LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
PIXELS = {0x7FE00008, 0x7FE00009, 0x7FE00010}
MAX_DEPTH, MAX_ELEMENTS = 64, 1_000_000


class FramingError(ValueError):
    """Cut short, nested too deep, too many elements, or no data set at all."""


@dataclass
class _Level:
    """What is open: a data set (root or item) or a sequence. `end` is None where a delimiter ends it."""

    end: int | None
    is_sequence: bool
    is_implicit: bool
    is_pixels: bool = False  # items are fragments of bytes, not data sets


def framing_check(data: bytes, *, start: int, is_implicit: bool, is_big_endian: bool = False) -> int:
    """Walk all elements from `start` (PS3.5 7.1 to 7.5, A.4); returns where the pixels begin, or the end. Raises FramingError."""
    walk = _Walk(data, start, is_implicit, ">" if is_big_endian else "<")
    walk.run()
    return walk.header_end


class _Walk:
    def __init__(self, data: bytes, start: int, is_implicit: bool, endian: str) -> None:
        self.data, self.at, self.endian = data, start, endian
        self.levels = [_Level(len(data), is_sequence=False, is_implicit=is_implicit)]
        self.limits = [len(data)]  # the nearest end that is known, a level
        self.count = 0
        self.header_end = len(data)

    def run(self) -> None:
        while self.levels:
            level = self.levels[-1]
            if level.end is not None and self.at == level.end:
                self._pop()
                continue
            self.count += 1
            if self.count > MAX_ELEMENTS:
                raise FramingError("too many elements")
            if level.is_sequence:
                self._item(level)
            else:
                self._element(level)

    def _pop(self) -> None:
        self.levels.pop()
        self.limits.pop()

    def _push(self, length: int, level: _Level) -> None:
        if len(self.levels) >= MAX_DEPTH:
            raise FramingError("nested too deep")
        if length != UNDEFINED:
            level.end = self._within(length)
        self.levels.append(level)
        self.limits.append(self.limits[-1] if level.end is None else level.end)

    def _within(self, length: int) -> int:
        end = self.at + length
        if end > self.limits[-1]:
            raise FramingError("cut short")
        return end

    def _take(self, form: str) -> tuple[int, ...]:
        end = self._within(struct.calcsize(self.endian + form))
        found = struct.unpack_from(self.endian + form, self.data, self.at)
        self.at = end
        return found

    def _tag(self) -> int:
        group, element = self._take("HH")
        return group << 16 | element

    def _item(self, level: _Level) -> None:
        tag, (length,) = self._tag(), self._take("I")
        if tag == SEQUENCE_END and level.end is None and length == 0:
            self._pop()
        elif tag != ITEM or (level.is_pixels and length == UNDEFINED):
            raise FramingError("a sequence holds something that is no item")
        elif level.is_pixels:
            self.at = self._within(length)
        else:
            self._push(length, _Level(None, is_sequence=False, is_implicit=level.is_implicit))

    def _element(self, level: _Level) -> None:
        tag = self._tag()
        if tag == ITEM_END and level.end is None:
            self._take("I")
            self._pop()
            return
        if tag in PIXELS and len(self.levels) == 1:
            self.header_end = min(self.header_end, self.at - 4)
        vr, length = self._head(tag, level)
        if vr == b"SQ" or (length == UNDEFINED and vr == b"UN"):
            # PS3.5 6.2.2 note 2: a UN of undefined length is a sequence in implicit VR.
            implicit = level.is_implicit or vr == b"UN"
            self._push(length, _Level(None, is_sequence=True, is_implicit=implicit))
        elif length == UNDEFINED:
            self._push(length, _Level(None, is_sequence=True, is_implicit=False, is_pixels=True))
        else:
            self.at = self._within(length)

    def _head(self, tag: int, level: _Level) -> tuple[bytes, int]:
        if level.is_implicit:
            (length,) = self._take("I")
            is_sequence = length == UNDEFINED or (dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ")
            return (b"SQ" if is_sequence else b""), length
        (vr,) = struct.unpack_from("2s", self.data, self.at) if self.at + 2 <= self.limits[-1] else (b"",)
        if not vr.isalpha() or not vr.isupper():
            raise FramingError("an element has no value representation")
        self.at += 2
        if vr in LONG_VRS:
            return vr, self._take("HI")[1]
        return vr, self._take("H")[0]
