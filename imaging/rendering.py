"""One frame of a stored object as PNG (PS3.3 C.7.6.3, C.7.9, C.11.1, C.11.2; PS3.18 8.7.4): viewer fallback, icons.

`imaging.dicomweb` calls `slice_render` for /rendered and /thumbnail. Sizes are checked before anything is allocated.
"""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import BinaryIO

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi, get_decoder, pixel_array
from pydicom.uid import UID, ExplicitVRLittleEndian

import imaging.decoding  # noqa: F401 chooses who decodes
from imaging.header import DEFLATED_SYNTAXES, Header, HeaderError, Part10Head, part10_read
from imaging.part10 import file_meta_bytes

MAX_PIXELS = 40_000_000  # a stitched long-leg radiograph has 30 million
INFLATED_CAP = 512 << 20

SAMPLES, PHOTOMETRIC, FRAMES, ROWS, COLUMNS = 0x00280002, 0x00280004, 0x00280008, 0x00280010, 0x00280011
PLANAR, BITS_ALLOCATED, BITS_STORED, HIGH_BIT, SIGNED, PADDING = (
    0x00280006, 0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00280120,
)  # fmt: skip
MODALITY_TABLE, VOI_TABLE, PIXEL_DATA = 0x00283000, 0x00283010, 0x7FE00010
WINDOW_CENTER, WINDOW_WIDTH, VOI_FUNCTION = 0x00281050, 0x00281051, 0x00281056
INTERCEPT, SLOPE = 0x00281052, 0x00281053
SHARED_GROUPS, FRAME_GROUPS, FRAME_VOI, FRAME_VALUES = 0x52009229, 0x52009230, 0x00289132, 0x00289145
_WANTED = frozenset((
    SAMPLES, PHOTOMETRIC, FRAMES, ROWS, COLUMNS, PLANAR, BITS_ALLOCATED, BITS_STORED, HIGH_BIT, SIGNED, PADDING, WINDOW_CENTER,
    WINDOW_WIDTH, VOI_FUNCTION, INTERCEPT, SLOPE, MODALITY_TABLE, VOI_TABLE, SHARED_GROUPS, FRAME_GROUPS, 0x7FE00001, 0x7FE00002,
))  # fmt: skip
_NATIVE = frozenset(("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.113619.5.2"))
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

Window = tuple[float, float]


class RenderError(Exception):
    """This object cannot be shown as an image; `reason` holds nothing from the object and may be shown."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NoPixelsError(RenderError):
    """The object has no pixels at all: a report, a waveform, a plan."""


class FrameMissingError(RenderError):
    """The object has fewer frames than that."""


@dataclass(frozen=True, slots=True)
class _Grayscale:
    """How stored values become brightness, from the frame's functional groups or the top level."""

    slope: float
    intercept: float
    window: Window | None
    function: str


def slice_render(
    path: str | os.PathLike[str], *, frame: int = 1, window: Window | None = None, max_pixels: int = MAX_PIXELS,
) -> bytes:
    """PNG, 8 bit, of one frame. `window` is (center, width) in the units after rescale and wins over the header."""
    shown = frame_shown(path, frame=frame, window=window, max_pixels=max_pixels)
    png = io.BytesIO()
    Image.fromarray(shown).save(png, "PNG", compress_level=1)
    return png.getvalue()


def frame_shown(
    path: str | os.PathLike[str], *, frame: int = 1, window: Window | None = None, function: str = "", max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """What a screen shows of one frame: uint8, (rows, columns) or (rows, columns, 3). Raises RenderError.

    `function` is LINEAR, LINEAR_EXACT or SIGMOID and goes with `window`; without it the header's is used.
    """
    try:
        head = part10_read(path, wanted=_WANTED)
    except HeaderError as error:
        raise RenderError(error.reason) from None
    _check_frame(head.header, frame, max_pixels)
    stored = _stored(path, head, frame)
    if stored is not None:
        return _shown_plain(stored, head.header, _grayscale(head.header, frame, window, function))
    with _source(path, head) as (source, syntax):
        _check_bytes(source, head, syntax=syntax, frame=frame, max_pixels=max_pixels)
        attributes = Dataset()
        try:
            get_decoder(syntax)
            pixels = pixel_array(source, ds_out=attributes, index=frame - 1)
        except NotImplementedError:
            raise RenderError("no decoder for this transfer syntax") from None
        except AttributeError:
            raise NoPixelsError("the object has no pixel data") from None
        except Exception as error:  # decoders raise whatever they like, and their texts quote the object
            raise RenderError(f"the pixels cannot be decoded ({type(error).__name__})") from None
    try:
        return _shown(pixels, head.header, attributes, _grayscale(head.header, frame, window, function))
    except RenderError:
        raise
    except Exception as error:  # broken look-up tables
        raise RenderError(f"the pixels cannot be shown ({type(error).__name__})") from None


_LITTLE = frozenset(("1.2.840.10008.1.2", "1.2.840.10008.1.2.1"))
_LONG_HEAD, _IMPLICIT_HEAD = struct.Struct("<HH2s2xI"), struct.Struct("<HHI")


def _stored(path: str | os.PathLike[str], head: Part10Head, frame: int) -> np.ndarray | None:
    """The frame read where it lies, when it is plain gray or RGB of whole bytes: most of what is looked at. Else None."""
    header = head.header
    bits, samples, at = header.int(BITS_ALLOCATED), header.int(SAMPLES) or 1, header.pixel_data_offset
    if head.transfer_syntax_uid not in _LITTLE or at is None or MODALITY_TABLE in header or VOI_TABLE in header:
        return None
    stored = header.int(BITS_STORED) or bits
    if bits not in (8, 16) or not stored or stored > bits or (header.int(HIGH_BIT) or stored - 1) != stored - 1:
        return None
    photometric = header.text(PHOTOMETRIC)
    is_gray = samples == 1 and photometric in ("MONOCHROME1", "MONOCHROME2")
    if not is_gray and not (samples == 3 and photometric == "RGB" and stored == 8 and bits == 8 and not header.int(PLANAR)):
        return None
    rows, columns = header.int(ROWS) or 0, header.int(COLUMNS) or 0
    size = rows * columns * samples * bits // 8
    with open(path, "rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size < size:  # pread would allocate what the header claims
            return None
        lead = os.pread(file.fileno(), 12, head.data_set_offset + at)
        start = _pixels_start(lead, is_implicit=header.encoding.is_implicit)
        if not start:
            return None
        raw = os.pread(file.fileno(), size, head.data_set_offset + at + start + (frame - 1) * size)
    if len(raw) != size:
        return None  # the long way says why
    if not is_gray:
        return np.frombuffer(raw, np.uint8).reshape(rows, columns, 3)
    return np.frombuffer(raw, np.dtype("u1" if bits == 8 else "<u2")).reshape(rows, columns)


def _pixels_start(lead: bytes, *, is_implicit: bool) -> int:
    """Length of the element head when it is Pixel Data of a known length, else 0."""
    if len(lead) < 12:
        return 0
    group, element, *_, length = (_IMPLICIT_HEAD if is_implicit else _LONG_HEAD).unpack_from(lead)
    is_known = (group << 16 | element) == PIXEL_DATA and length != 0xFFFFFFFF
    return (8 if is_implicit else 12) if is_known else 0


def _shown_plain(pixels: np.ndarray, header: Header, grayscale: "_Grayscale") -> np.ndarray:
    """By a table of what each stored value looks like: an image has more pixels than values."""
    if pixels.ndim == 3:
        return pixels
    bits, is_signed = header.int(BITS_STORED) or pixels.dtype.itemsize * 8, bool(header.int(SIGNED))
    if grayscale.window is None or grayscale.window[1] <= 0:
        grayscale = replace(grayscale, window=None)
    table = _table(pixels.dtype.itemsize * 8, bits, is_signed, header.text(PHOTOMETRIC) == "MONOCHROME1", grayscale)
    if table is None:
        values = _values(pixels.dtype.itemsize * 8, bits, is_signed)[pixels]
        real = values.astype(np.float32) * np.float32(grayscale.slope) + np.float32(grayscale.intercept)
        bright = _stretched(real, values, header)
        bright = 1 - bright if header.text(PHOTOMETRIC) == "MONOCHROME1" else bright
        return (bright * 255 + 0.5).astype(np.uint8)
    return table.take(pixels)  # several times faster than table[pixels]


@lru_cache(maxsize=8)
def _values(allocated: int, bits: int, is_signed: bool) -> np.ndarray:
    """Raw word -> stored value; bits above the highest stored one are no part of it (PS3.5 8.1.1)."""
    words = np.arange(1 << allocated, dtype=np.int32) & ((1 << bits) - 1)
    return np.where(words >> (bits - 1), words - (1 << bits), words).astype(np.int32) if is_signed else words


@lru_cache(maxsize=256)
def _table(allocated: int, bits: int, is_signed: bool, is_inverted: bool, grayscale: "_Grayscale") -> np.ndarray | None:
    """Raw word -> brightness; None without a window, where brightness depends on the image."""
    if grayscale.window is None:
        return None
    real = _values(allocated, bits, is_signed).astype(np.float32) * np.float32(grayscale.slope) + np.float32(grayscale.intercept)
    bright = _windowed(real, grayscale.window, grayscale.function)
    return ((1 - bright if is_inverted else bright) * 255 + 0.5).astype(np.uint8)


def _check_frame(header: Header, frame: int, max_pixels: int) -> None:
    rows, columns = header.int(ROWS), header.int(COLUMNS)
    if not rows or not columns:
        raise NoPixelsError("the object has no image")
    if rows * columns > max_pixels:
        raise RenderError(f"{columns} x {rows} pixels are more than this server renders")
    if not 1 <= frame <= max(header.int(FRAMES) or 1, 1):
        raise FrameMissingError(f"there is no frame {frame}")
    if (header.int(SAMPLES) or 1) not in (1, 3) or (header.int(BITS_ALLOCATED) or 0) > 64:
        raise RenderError("the pixel layout is not one DICOM knows")


@contextmanager
def _source(path: str | os.PathLike[str], head: Part10Head) -> Iterator[tuple[BinaryIO, UID]]:
    """The file, or for a deflated data set a bounded inflated copy in memory; and the syntax to read it in."""
    with open(path, "rb") as file:
        if head.transfer_syntax_uid not in DEFLATED_SYNTAXES:
            yield file, UID(head.transfer_syntax_uid)
            return
        file.seek(head.data_set_offset)
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data_set = inflater.decompress(file.read(), INFLATED_CAP)
        except zlib.error:
            raise RenderError("the deflated data set cannot be inflated") from None
        if inflater.unconsumed_tail:
            raise RenderError(f"the data set inflates to more than {INFLATED_CAP >> 20} MiB")
    meta = file_meta_bytes(sop_class_uid="", sop_instance_uid="", transfer_syntax_uid=ExplicitVRLittleEndian)
    yield io.BytesIO(meta + data_set), ExplicitVRLittleEndian


def _check_bytes(source: BinaryIO, head: Part10Head, *, syntax: UID, frame: int, max_pixels: int) -> None:
    """The object must hold what its header claims: native pixels by length, code streams by their own frame size."""
    header = head.header
    if syntax in _NATIVE:
        bits = (header.int(ROWS) or 0) * (header.int(COLUMNS) or 0) * (header.int(SAMPLES) or 1)
        if bits * (header.int(BITS_ALLOCATED) or 1) // 8 > source.seek(0, io.SEEK_END):
            raise RenderError("the object holds fewer pixels than its header claims")
        return
    if header.pixel_data_offset is None:
        raise NoPixelsError("the object has no pixel data")
    source.seek(head.data_set_offset + header.pixel_data_offset + 12)
    tables = (header.values.get(0x7FE00001, b""), header.values.get(0x7FE00002, b""))
    try:
        offsets = tables if all(tables) else None
        stream = get_frame(source, frame - 1, number_of_frames=header.int(FRAMES) or 1, extended_offsets=offsets)
    except Exception as error:
        raise RenderError(f"the frame cannot be found ({type(error).__name__})") from None
    height, width = _stream_size(stream)
    if height * width > max_pixels:
        raise RenderError("the compressed frame claims more pixels than this server renders")


def _stream_size(stream: bytes) -> tuple[int, int]:
    """(height, width) that a decoder would allocate; (0, 0) for streams without such a claim, RLE for one."""
    size = stream.find(b"\xff\x4f\xff\x51")  # JPEG 2000: SOC, SIZ (ISO 15444-1 A.5.1)
    if size >= 0:
        right, bottom, left, top = (int.from_bytes(stream[at : at + 4], "big") for at in range(size + 8, size + 24, 4))
        return max(bottom - top, 0), max(right - left, 0)
    if not stream.startswith(b"\xff\xd8"):
        return 0, 0
    at = 2
    while at + 9 <= len(stream):  # JPEG and JPEG-LS: markers up to the frame header (ISO 10918-1 B.2.2)
        if stream[at] != 0xFF:
            return 0, 0
        marker = stream[at + 1]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return int.from_bytes(stream[at + 5 : at + 7], "big"), int.from_bytes(stream[at + 7 : at + 9], "big")
        at += 1 if marker == 0xFF else 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return 0, 0


def _shown(pixels: np.ndarray, header: Header, attributes: Dataset, grayscale: _Grayscale) -> np.ndarray:
    photometric = header.text(PHOTOMETRIC)
    if photometric == "PALETTE COLOR":
        coloured = apply_color_lut(pixels, attributes)
        return _eight_bits(coloured, coloured.dtype.itemsize * 8)
    if pixels.ndim == 3:
        if photometric not in _COLOUR:
            raise RenderError("the colour space is not one we can show")
        return _eight_bits(pixels, header.int(BITS_STORED) or 8)
    bright = _brightness(pixels, attributes, header, grayscale)
    if photometric == "MONOCHROME1":
        bright = 1 - bright
    return (bright * 255 + 0.5).astype(np.uint8)


def _eight_bits(pixels: np.ndarray, bits: int) -> np.ndarray:
    return (pixels >> (bits - 8)).astype(np.uint8) if bits > 8 else pixels.astype(np.uint8)


def _grayscale(header: Header, frame: int, window: Window | None, function: str) -> _Grayscale:
    """Enhanced objects say it for a frame or for all (PS3.3 C.7.6.16.2.9, C.7.6.16.2.10), others at the top level."""
    groups = [*header.items(FRAME_GROUPS)[frame - 1 : frame], *header.items(SHARED_GROUPS)[:1]]
    values = next((item for group in groups for item in group.items(FRAME_VALUES)), header)
    voi = next((item for group in groups for item in group.items(FRAME_VOI)), header)
    center, width = voi.decimal(WINDOW_CENTER), voi.decimal(WINDOW_WIDTH)
    if window is None and center is not None and width is not None:
        window = (center, width)
    slope, intercept = values.decimal(SLOPE), values.decimal(INTERCEPT)
    return _Grayscale(
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0,
        window=window,
        function=function or voi.text(VOI_FUNCTION).upper() or "LINEAR",
    )


def _brightness(pixels: np.ndarray, attributes: Dataset, header: Header, grayscale: _Grayscale) -> np.ndarray:
    """0 to 1, dark to bright as MONOCHROME2 means it."""
    real = pixels.astype(np.float32)
    if "ModalityLUTSequence" in attributes:
        modality = apply_modality_lut(pixels, attributes)
        real = modality.astype(np.float32)
    else:
        modality = pixels
        real = real * np.float32(grayscale.slope) + np.float32(grayscale.intercept)
    if grayscale.window is not None and grayscale.window[1] > 0:
        return _windowed(real, grayscale.window, grayscale.function)
    if attributes.get("VOILUTSequence"):
        voi = apply_voi(modality, attributes)
        bits = attributes.VOILUTSequence[0].LUTDescriptor[2]
        return np.clip(voi.astype(np.float32) / (2**bits - 1), 0, 1)
    return _stretched(real, pixels, header)


def _windowed(real: np.ndarray, window: Window, function: str) -> np.ndarray:
    center, width = window
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (real - center) / width, -60, 60)))
    if function != "LINEAR_EXACT":
        center, width = center - 0.5, width - 1
    if width <= 0:
        return (real > center).astype(np.float32)
    return np.clip((real - center) / width + 0.5, 0, 1)


def _stretched(real: np.ndarray, pixels: np.ndarray, header: Header) -> np.ndarray:
    """From the darkest to the brightest value, padding around the image left out (PS3.3 C.7.5.1.1.2)."""
    counted = np.isfinite(real)
    padding = header.int(PADDING)
    if padding is not None:
        counted &= pixels != padding
    seen = real[counted]
    if not seen.size:
        return np.zeros(real.shape, np.float32)
    low, high = float(seen.min()), float(seen.max())
    return np.clip((np.nan_to_num(real) - low) / ((high - low) or 1), 0, 1)
