"""One frame in another form: decoded, or encoded without loss, and kept a little while (PS3.18 8.7.3.4).

The colour space stays what the metadata says of the stored bytes: nothing is turned into RGB behind it (raw decoding), except
where the code stream itself does so (YBR_RCT, YBR_ICT).
"""

import os
from typing import Any

import numpy as np
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import UID

import imaging.decoding  # noqa: F401 chooses who decodes
from imaging.dicomweb.encoding import EncodingError, frame_encode
from imaging.dicomweb.frames import FrameError, Layout, Pixels, frame_pieces
from imaging.dicomweb.memory import Memory
from imaging.dicomweb.syntaxes import EXPLICIT, JPEG_LS
from imaging.rendering import _stream_size

FRAME_CAP = 512 << 20
KEPT = 64 << 20

_kept: Memory[bytes] = Memory(KEPT, len)


def frame_transcode(layout: Layout, *, key: str, path: os.PathLike[str] | str, number: int, syntax: str) -> bytes:
    """The frame in Explicit VR Little Endian (bare pixels) or as a code stream of `syntax`. Raises FrameError (406)."""
    return _kept.get((key, number, syntax), lambda: _frame_transcode(layout, path, number, syntax))


def _frame_transcode(layout: Layout, path: os.PathLike[str] | str, number: int, syntax: str) -> bytes:
    stored = b"".join(piece.read() for piece in frame_pieces(layout, path, number))
    if layout.pixels.frame_bits // 8 > FRAME_CAP:
        raise FrameError(406, "the frame is larger than this server decodes")
    try:
        native = _decoded(layout, stored) if layout.is_encapsulated else stored
        return native if syntax == EXPLICIT else _encoded(layout.pixels, native, syntax)
    except FrameError:
        raise
    except EncodingError as error:
        raise FrameError(406, str(error)) from None
    except Exception as error:  # noqa: BLE001 codecs raise whatever they like, and their texts quote the object
        raise FrameError(406, f"the frame cannot be had in this transfer syntax ({type(error).__name__})") from None


def _options(pixels: Pixels) -> dict[str, Any]:
    return {
        "rows": pixels.rows, "columns": pixels.columns, "samples_per_pixel": pixels.samples, "number_of_frames": 1,
        "bits_allocated": pixels.allocated, "bits_stored": pixels.stored, "pixel_representation": pixels.representation,
        "photometric_interpretation": pixels.photometric, "pixel_keyword": pixels.keyword,
        "planar_configuration": pixels.planar if pixels.samples > 1 else 0,
    }  # fmt: skip


def _decoded(layout: Layout, stored: bytes) -> bytes:
    pixels = layout.pixels
    height, width = _stream_size(stored)
    if height * width > 2 * max(pixels.rows * pixels.columns, 1):
        raise FrameError(406, "the code stream claims more pixels than the header")
    frame, _ = get_decoder(UID(layout.syntax)).as_array(encapsulate([stored]), index=0, raw=True, **_options(pixels))
    if pixels.samples > 1 and pixels.planar == 1:  # as the metadata says
        frame = np.moveaxis(frame, -1, 0)
    return np.ascontiguousarray(frame).astype(frame.dtype.newbyteorder("<"), copy=False).tobytes()


def _encoded(pixels: Pixels, native: bytes, syntax: str) -> bytes:
    if pixels.keyword != "PixelData" or pixels.allocated not in (8, 16, 32):
        raise FrameError(406, "these pixels have no compressed form")
    options = _options(pixels)
    if pixels.photometric in ("YBR_RCT", "YBR_ICT"):
        options["photometric_interpretation"] = "RGB"
    if syntax == JPEG_LS and pixels.samples > 1:
        raise FrameError(406, "colour has no JPEG-LS form here")
    if pixels.samples > 1 and pixels.planar == 1:
        native = np.moveaxis(
            np.frombuffer(native, f"<u{pixels.allocated // 8}").reshape(pixels.samples, pixels.rows, pixels.columns), 0, -1
        ).tobytes()
        options["planar_configuration"] = 0
    return frame_encode(native, syntax=syntax, options=options)
