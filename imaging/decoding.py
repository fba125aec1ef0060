"""Which library decodes what: JPEG by libjpeg-turbo (imagecodecs), the other families by pydicom's plug-ins, nothing by GDCM.

GDCM ends the whole process on headers that it does not expect (seen: JPEG in 32 bits allocated, 7 of 8 bits stored), so one object
could take a web process with it. This module is a plug-in as pydicom describes it. Whoever decodes imports it, and so
puts it in place before the first frame; processes that never decode do without numpy and 40 MB.
"""

import imagecodecs
import numpy as np
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

GDCM, OURS = "gdcm", "imagecodecs"
DECODER_DEPENDENCIES = {uid: (OURS,) for uid in (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)}
_OTHERS = (JPEGLSLossless, JPEGLSNearLossless, JPEG2000Lossless, JPEG2000)


def is_available(uid: str) -> bool:
    return uid in DECODER_DEPENDENCIES


def decoders_choose() -> None:
    for uid in _OTHERS:
        decoder = get_decoder(UID(uid))
        if GDCM in decoder.available_plugins:
            decoder.remove_plugin(GDCM)
    for uid in DECODER_DEPENDENCIES:
        decoder = get_decoder(UID(uid))
        if OURS in decoder.available_plugins:
            continue
        for label in decoder.available_plugins:
            decoder.remove_plugin(label)
        decoder.add_plugin(OURS, (__name__, "decode_frame"))


def decode_frame(src: bytes, runner: DecodeRunner) -> bytes:
    """The samples as they are coded, no colour turned into another, in as many bytes as the header allocates. Raises ValueError."""
    samples, bits = runner.samples_per_pixel, runner.bits_allocated
    if bits not in (8, 16) or samples not in (1, 3):
        raise ValueError("JPEG has one or three samples of 8 or 16 bits")
    shape = (runner.rows, runner.columns, samples)[: 2 if samples == 1 else 3]
    if _shape(src) != (runner.rows, runner.columns, samples):  # before anything of its size is allocated
        raise ValueError("the code stream is of another size than the header")
    space = "GRAYSCALE" if samples == 1 else "YCBCR"  # the same on both sides: as it is
    found = imagecodecs.jpeg8_decode(src, colorspace=space, outcolorspace=space)
    if found.shape != shape or found.itemsize * 8 > bits and int(found.max(initial=0)) >> bits:
        raise ValueError("the code stream is of another kind than the header")
    if samples > 1:
        runner.set_option("planar_configuration", 0)
    return np.ascontiguousarray(found, dtype=f"<u{bits // 8}").tobytes()


def _shape(src: bytes) -> tuple[int, int, int]:
    """Rows, columns and components of the frame header (ISO 10918-1 B.2.2); zeros without one."""
    at = 2
    while at + 10 <= len(src) and src[at] == 0xFF:
        marker = src[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(src[at + 5 : at + 7], "big"), int.from_bytes(src[at + 7 : at + 9], "big"), src[at + 9]
        at += 1 if marker == 0xFF else 2 + int.from_bytes(src[at + 2 : at + 4], "big")
    return 0, 0, 0


decoders_choose()
