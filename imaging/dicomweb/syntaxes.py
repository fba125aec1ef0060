"""Transfer syntaxes as the web sees them: media types (PS3.18 tables 8.7.3-2 to 8.7.3-6), what can be decoded and encoded here."""

from functools import lru_cache

from pydicom.pixels import get_decoder, get_encoder
from pydicom.uid import UID

import imaging.decoding  # noqa: F401 chooses who decodes
from imaging.header import DEFLATED_SYNTAXES

IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99",
)  # fmt: skip
GE_BIG_PIXELS = "1.2.840.113619.5.2"  # implicit little endian, pixels big endian
PLAIN = frozenset((IMPLICIT, EXPLICIT))
NATIVE = PLAIN | {BIG_ENDIAN, GE_BIG_PIXELS} | DEFLATED_SYNTAXES
DICOM, OCTETS = "application/dicom", "application/octet-stream"
_J = "1.2.840.10008.1.2.4."
J2K_LOSSLESS, JPEG_LS, RLE, JPEG_LOSSLESS, HTJ2K = f"{_J}90", f"{_J}80", "1.2.840.10008.1.2.5", f"{_J}70", f"{_J}201"
FAMILIES: dict[str, tuple[str, ...]] = {
    "image/jpeg": (f"{_J}50", f"{_J}51", f"{_J}57", f"{_J}70"),
    "image/jls": (f"{_J}80", f"{_J}81"),
    "image/jp2": (f"{_J}90", f"{_J}91"),
    "image/jpx": (f"{_J}92", f"{_J}93"),
    "image/jphc": (f"{_J}201", f"{_J}202", f"{_J}203"),
    "image/jxl": (f"{_J}110", f"{_J}111", f"{_J}112"),
    "image/dicom-rle": (RLE,),
    "video/mpeg": (f"{_J}100", f"{_J}100.1", f"{_J}101", f"{_J}101.1"),
    "video/mp4": tuple(f"{_J}{n}" for n in ("102", "102.1", "103", "103.1", "104", "104.1", "105", "105.1", "106", "106.1", "107", "108")),
}
MEDIA = {uid: media for media, uids in FAMILIES.items() for uid in uids}
# GDCM's encoders end the whole process on input they do not like (seen with RLE of an odd image): they are never asked
IMAGECODECS = "imagecodecs"  # not one of pydicom's plug-ins: imaging.dicomweb.encoding
ENCODERS = {J2K_LOSSLESS: IMAGECODECS, JPEG_LS: "pyjpegls", RLE: "pylibjpeg", JPEG_LOSSLESS: IMAGECODECS, HTJ2K: IMAGECODECS}


@lru_cache(maxsize=256)
def is_decodable(uid: str) -> bool:
    """Can the pixels of this syntax be had uncompressed?"""
    if uid in NATIVE:
        return uid != f"{_J}95" and uid != f"{_J}205"  # deflated references to pixels elsewhere (JPIP)
    try:
        return bool(get_decoder(UID(uid)).is_available)
    except NotImplementedError:
        return False


@lru_cache(maxsize=1)
def encodable() -> tuple[str, ...]:
    """Lossless syntaxes that an encoder is installed for; pixels are never made lossy here."""
    found = []
    for uid, plugin in ENCODERS.items():
        if plugin == IMAGECODECS or plugin in get_encoder(UID(uid)).available_plugins:
            found.append(uid)
    return tuple(found)
