"""Where the frames of an object lie (PS3.5 8.2, A.4; PS3.3 C.7.6.3): offsets only, so a frame is one read of its own bytes.

Native pixels, bit-packed ones as well; encapsulated ones by extended or basic offset table, one fragment a frame, or by the
markers of code streams where fragments are many and the table is empty.
"""

import os
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from imaging.dicomweb.elements import Buffer, Element, Opened, object_open
from imaging.dicomweb.memory import Memory
from imaging.dicomweb.streams import Piece
from imaging.dicomweb.syntaxes import BIG_ENDIAN, GE_BIG_PIXELS, MEDIA, RLE
from imaging.header import ITEM, HeaderError

LAYOUTS_KEPT = 32 << 20
MAX_FRAMES = 4_000_000
FLOAT_PIXELS, DOUBLE_PIXELS, PIXELS = 0x7FE00008, 0x7FE00009, 0x7FE00010
OFFSETS, LENGTHS = 0x7FE00001, 0x7FE00002
SAMPLES, PHOTOMETRIC, PLANAR, FRAMES, ROWS, COLUMNS = 0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011
ALLOCATED, STORED, REPRESENTATION = 0x00280100, 0x00280101, 0x00280103
_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


class FrameError(Exception):
    """The frames of this object cannot be given; `status` for the door, the text holds nothing from the object."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class Pixels:
    """What the header says of the image (PS3.3 C.7.6.3.1)."""

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    representation: int
    planar: int
    photometric: str
    frames: int
    vr: str
    keyword: str

    @property
    def frame_bits(self) -> int:
        # native 4:2:2 shares its colour among two pixels (PS3.3 C.7.6.3.1.2)
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.rows * self.columns * samples * self.allocated


@dataclass(frozen=True, slots=True)
class Layout:
    """`spans` holds (offset, length) of fragments one after another, `firsts` where those of each frame begin; both empty when native."""

    syntax: str
    pixels: Pixels
    start: int
    stop: int
    spans: array  # type: ignore[type-arg]
    firsts: array  # type: ignore[type-arg]
    inflated: bytes  # the pixel value itself, where the file holds it deflated

    @property
    def count(self) -> int:
        return len(self.firsts) - 1 if self.is_encapsulated else self.pixels.frames

    @property
    def is_encapsulated(self) -> bool:
        return len(self.firsts) > 0

    @property
    def word(self) -> int:
        """Bytes to be swapped so that the values are little endian; 1 for none."""
        if self.syntax not in (BIG_ENDIAN, GE_BIG_PIXELS) or self.pixels.vr == "OB":
            return 1
        if self.pixels.vr == "OW" and self.pixels.allocated > 16:
            return self.pixels.allocated // 8
        return _WORDS.get(self.pixels.vr, 1)


_layouts: Memory[Layout] = Memory(
    LAYOUTS_KEPT, lambda one: 600 + 8 * (len(one.spans) + len(one.firsts)) + len(one.inflated)
)


def layout_of(key: str, path: "os.PathLike[str] | str") -> Layout:
    """The layout of a stored object, kept: the bytes under a key never change. Raises FrameError."""
    return _layouts.get(key, lambda: _layout_read(path))


def _layout_read(path: "os.PathLike[str] | str") -> Layout:
    try:
        with object_open(path) as opened:
            return _layout(opened)
    except HeaderError as error:
        raise FrameError(404, error.reason) from None


def _layout(opened: Opened) -> Layout:
    found: dict[int, Element] = {one.tag: one for one in opened.elements() if one.tag >> 16 in (0x0028, 0x7FE0)}
    element = next((found[tag] for tag in (PIXELS, FLOAT_PIXELS, DOUBLE_PIXELS) if tag in found), None)
    if element is None:
        raise FrameError(404, "the object has no pixels")
    pixels = _pixels(opened, found, element)
    spans, firsts, inflated, start, stop = array("Q"), array("Q"), b"", element.start, element.stop
    if element.is_undefined:
        spans, firsts = _fragments(opened, found, element, pixels.frames)
    elif not pixels.frame_bits:
        raise FrameError(404, "the object has no image")
    if opened.is_copy:
        if element.is_undefined:
            raise FrameError(406, "encapsulated pixels inside a deflated data set")
        inflated, start, stop = opened.data[start:stop], 0, stop - start
    return Layout(opened.syntax, pixels, start, stop, spans, firsts, inflated)


def _pixels(opened: Opened, found: dict[int, Element], element: Element) -> Pixels:
    data, form = opened.data, opened.encoding.order + "H"

    def number(tag: int, otherwise: int) -> int:
        one = found.get(tag)
        return struct.unpack_from(form, data, one.start)[0] if one is not None and one.stop - one.start >= 2 else otherwise

    def text(tag: int) -> str:
        one = found.get(tag)
        return data[one.start : min(one.stop, one.start + 64)].decode("ascii", "replace").strip(" \0") if one is not None else ""

    frames = text(FRAMES).split("\\")[0].strip()
    bits = {FLOAT_PIXELS: 32, DOUBLE_PIXELS: 64}.get(element.tag)
    allocated = bits or number(ALLOCATED, 0)
    return Pixels(
        rows=number(ROWS, 0), columns=number(COLUMNS, 0), samples=number(SAMPLES, 1) or 1, allocated=allocated,
        stored=number(STORED, allocated), representation=number(REPRESENTATION, 0), planar=number(PLANAR, 0),
        photometric=text(PHOTOMETRIC), frames=min(max(int(frames), 1), MAX_FRAMES) if frames.isdecimal() else 1,
        vr={FLOAT_PIXELS: "OF", DOUBLE_PIXELS: "OD"}.get(element.tag) or (element.sent_vr.decode("ascii", "replace") or "OW"),
        keyword={FLOAT_PIXELS: "FloatPixelData", DOUBLE_PIXELS: "DoubleFloatPixelData"}.get(element.tag, "PixelData"),
    )  # fmt: skip


def _fragments(opened: Opened, found: dict[int, Element], element: Element, frames: int) -> tuple[array, array]:  # type: ignore[type-arg]
    """Fragments and where each frame's begin (PS3.5 A.4). Raises FrameError when they cannot be told apart."""
    data = opened.data
    walk = list(fragments_of(data, element.start, element.stop))
    if not walk:
        raise FrameError(404, "the object has no pixels")
    table, base = walk[0], walk[0][0] + walk[0][1]
    extended = _extended(opened, found, frames, base, element.stop)
    if extended is not None:
        return extended
    fragments = walk[1:]
    offsets = struct.unpack_from(f"<{table[1] // 4}I", data, table[0])
    starts = _starts(data, opened.syntax, fragments, frames, offsets, base)
    spans = array("Q", [number for fragment in fragments for number in fragment])
    return spans, array("Q", [*starts, len(fragments)])


def fragments_of(data: Buffer, at: int, end: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of each item's content, cut at the end of the value."""
    head = struct.Struct("<HHI")
    while at + 8 <= end:
        group, element, length = head.unpack_from(data, at)
        if group << 16 | element != ITEM:
            return
        yield at + 8, min(length, end - at - 8)
        at += 8 + length


def _extended(
    opened: Opened, found: dict[int, Element], frames: int, base: int, stop: int
) -> tuple[array, array] | None:  # type: ignore[type-arg]
    """The extended offset table (PS3.3 C.7.6.3.1.8): one fragment a frame. None without one that holds."""
    tables = found.get(OFFSETS), found.get(LENGTHS)
    if tables[0] is None or tables[1] is None:
        return None
    offsets, lengths = (
        struct.unpack_from(f"<{(one.stop - one.start) // 8}Q", opened.data, one.start) for one in tables if one is not None
    )
    if len(offsets) != len(lengths) or len(offsets) != frames:
        return None
    spans = array("Q")
    for offset, length in zip(offsets, lengths, strict=True):
        if base + offset + 8 + length > stop:
            return None
        spans.extend((base + offset + 8, length))
    return spans, array("Q", range(frames + 1))


def _starts(
    data: Buffer, syntax: str, fragments: list[tuple[int, int]], frames: int, offsets: tuple[int, ...], base: int
) -> list[int]:
    """The number of the first fragment of each frame."""
    if len(offsets) >= frames and frames > 1 or (len(offsets) == 1 and frames == 1):
        places = {start - 8 - base: number for number, (start, _) in enumerate(fragments)}
        starts = [places[offset] for offset in offsets[:frames] if offset in places]
        if len(starts) == frames and starts == sorted(set(starts)):
            return starts
    if frames == 1:
        return [0]
    if len(fragments) == frames or syntax == RLE:
        return list(range(len(fragments)))
    starts = [n for n in range(len(fragments)) if n == 0 or _is_end(data, fragments[n - 1]) and _is_begin(data, fragments[n])]
    if MEDIA.get(syntax, "").startswith("image/") and len(starts) == frames:
        return starts
    raise FrameError(406, "the frames of this object cannot be told apart")


def _is_begin(data: Buffer, fragment: tuple[int, int]) -> bool:
    return data[fragment[0] : fragment[0] + 2] in (b"\xff\xd8", b"\xff\x4f")


def _is_end(data: Buffer, fragment: tuple[int, int]) -> bool:
    stop = fragment[0] + fragment[1]
    return data[max(stop - 4, fragment[0]) : stop].rstrip(b"\0").endswith(b"\xff\xd9")


def frame_check(layout: Layout, number: int) -> None:
    """Raises FrameError (404) naming a frame that the object does not have."""
    if number > layout.count:
        raise FrameError(404, f"there is no frame {number}: the object has {layout.count}")


def frame_pieces(layout: Layout, path: "os.PathLike[str] | str", number: int) -> tuple[Piece, ...]:
    """The bytes of a frame as stored, native ones in little endian. Raises FrameError."""
    frame_check(layout, number)
    if layout.is_encapsulated:
        first, after = layout.firsts[number - 1], layout.firsts[number]
        spans = layout.spans
        return tuple(Piece(path=path, start=spans[2 * n], length=spans[2 * n + 1]) for n in range(first, after))
    bits = layout.pixels.frame_bits
    first_bit, last_bit = (number - 1) * bits, number * bits
    start, length = first_bit // 8, (last_bit + 7) // 8 - first_bit // 8
    if layout.start + start + length > layout.stop:
        raise FrameError(404, f"the object ends before frame {number} does")
    piece = Piece(path=path, start=layout.start + start, length=length)
    if layout.inflated:
        piece = Piece(layout.inflated[start : start + length])
    if layout.pixels.allocated == 1 and (first_bit % 8 or bits % 8):
        return (Piece(_bits(piece.read(), first_bit % 8, bits)),)
    if layout.word > 1:
        return (Piece(words_swapped(piece.read(), layout.word)),)
    return (piece,)


def _bits(data: bytes, shift: int, count: int) -> bytes:
    """Packed pixels moved so that the first one is the lowest bit (PS3.5 8.1.1), padded with zeros."""
    number = (int.from_bytes(data, "little") >> shift) & ((1 << count) - 1)
    return number.to_bytes((count + 7) // 8, "little")


def words_swapped(data: bytes, word: int) -> bytes:
    whole = len(data) - len(data) % word
    swapped = array({2: "H", 4: "I", 8: "Q"}[word], data[:whole])
    swapped.byteswap()
    return swapped.tobytes() + data[whole:]
