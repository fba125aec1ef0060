"""A frame as a code stream, without loss: pydicom's encoders, and imagecodecs for families that they lack or have for larger images.

`pixels` and `transcode` ask. What imagecodecs wrote is read back and compared before it leaves; GDCM, which can end the process, is
never asked.
"""

from typing import Any

import imagecodecs
import numpy as np
from pydicom.pixels import get_encoder
from pydicom.uid import UID

from imaging.dicomweb.syntaxes import ENCODERS, HTJ2K, IMAGECODECS, J2K_LOSSLESS, JPEG_LOSSLESS


class EncodingError(Exception):
    """These pixels have no such form; the text holds nothing from the object."""


def frame_encode(native: bytes, *, syntax: str, options: dict[str, Any]) -> bytes:
    """`options` are those of pydicom's encoders, pixels by plane excluded. Raises EncodingError, or what encoders raise."""
    if ENCODERS[syntax] != IMAGECODECS:
        return bytes(get_encoder(UID(syntax)).encode(native, encoding_plugin=ENCODERS[syntax], **options))
    bits, samples = options["bits_allocated"], options["samples_per_pixel"]
    if bits not in (8, 16) or samples not in (1, 3) or options["photometric_interpretation"] == "YBR_FULL_422":
        raise EncodingError("these pixels have no form in this transfer syntax here")
    shape = (options["rows"], options["columns"], samples)[: 2 if samples == 1 else 3]
    kind = "i" if options["pixel_representation"] else "u"
    array = np.frombuffer(native, f"<{kind}{bits // 8}", count=int(np.prod(shape))).reshape(shape)
    stream, back = _WAYS[syntax](array, options["bits_stored"])
    if not np.array_equal(back, array):
        raise EncodingError("the encoder did not keep every value")
    return stream


def _jpeg_lossless(array: np.ndarray, stored: int) -> tuple[bytes, np.ndarray]:
    """Process 14, selection value 1 (PS3.5 8.2.1): the standard's has no sign, so signed values go as the bits they are."""
    unsigned = array.view(f"<u{array.itemsize}")
    if stored < 8:
        raise EncodingError("fewer than 8 bits have no JPEG Lossless form that all readers take")
    is_narrow = not unsigned.size or int(unsigned.max()) < 1 << stored
    space = "RGB" if array.ndim == 3 else None  # as they are: no colour is turned into another
    stream = imagecodecs.jpeg8_encode(
        unsigned, lossless=True, predictor=1, bitspersample=stored if is_narrow else 8 * array.itemsize,
        colorspace=space, outcolorspace=space,
    )  # fmt: skip
    back = imagecodecs.jpeg8_decode(stream, colorspace=space, outcolorspace=space)
    return bytes(stream), back.astype(unsigned.dtype, copy=False).view(array.dtype)


def _htj2k(array: np.ndarray, stored: int) -> tuple[bytes, np.ndarray]:
    """Reversible 5/3, no colour transform (PS3.5 8.2.14)."""
    stream = imagecodecs.htj2k_encode(array, reversible=True, rgb=False, planar=False)
    return bytes(stream), imagecodecs.htj2k_decode(stream, planar=False)


def _jpeg2000(array: np.ndarray, stored: int) -> tuple[bytes, np.ndarray]:
    """Reversible 5/3, no colour transform (PS3.5 8.2.4), halved five times, or as often as the shorter side

    allows: pydicom's encoder refuses one below 32.
    """
    low, high = (-(1 << stored - 1), 1 << stored - 1) if array.dtype.kind == "i" else (0, 1 << stored)
    is_narrow = low <= int(array.min()) and int(array.max()) < high
    stream = imagecodecs.jpeg2k_encode(
        array, level=0, codecformat="j2k", reversible=True, mct=False, resolutions=min(6, min(array.shape[:2]).bit_length()),
        bitspersample=stored if is_narrow else 8 * array.itemsize,
    )  # fmt: skip
    return bytes(stream), imagecodecs.jpeg2k_decode(stream).reshape(array.shape)


_WAYS = {JPEG_LOSSLESS: _jpeg_lossless, HTJ2K: _htj2k, J2K_LOSSLESS: _jpeg2000}
