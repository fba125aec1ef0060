"""Texts inside compressed pixels: JPEG comments, EXIF and the like, JPEG 2000 comments. `engine` asks before it copies the bytes."""

import re
from collections.abc import Iterable, Iterator

from ai.deident.blocks import Blocked
from ai.deident.walk import Buffer

JPEG, JPEG_2000 = b"\xff\xd8", b"\xff\x4f"
_START_OF_SCAN, _START_OF_TILE = 0xDA, 0x90
_COMMENT, _COMMENT_2000 = 0xFE, 0x64
_SEGMENTS_CAP = 1000
_BARE = frozenset((0x01, *range(0xD0, 0xD8), 0x30))  # markers without a length
# What an application segment may be: JFIF, an ICC profile, SPIFF and JPEG-LS colour transforms, Adobe's transform. Not EXIF, XMP, IPTC.
_APPLICATIONS = {0xE0: (b"JFIF\0", b"JFXX\0"), 0xE2: (b"ICC_PROFILE\0",), 0xE8: (b"SPIFF\0", b"mrfx"), 0xEE: (b"Adobe",)}
_ENCODERS = re.compile(
    r"(?:Created by |Creator: )?(?:OpenJPEG|OpenJPH|JasPer|Kakadu|Kdu|GDCM|IJG|gd-jpeg|LEAD|AWARE|Aware|PVRG|libjpeg|CharLS)"
    r"[ -~]{0,40}",
)


def texts_check(data: Buffer, fragments: Iterable[tuple[int, int]]) -> None:
    """Raises Blocked when a codestream carries a text that isn't its encoder's name. `fragments`: start and end of each."""
    for start, stop in fragments:
        head = data[start : min(start + 2, stop)]
        if head not in (JPEG, JPEG_2000):
            continue  # a continuation, RLE, or the offset table
        for marker, content in _segments(data, start + 2, stop, _START_OF_SCAN if head == JPEG else _START_OF_TILE):
            if head == JPEG and 0xE0 <= marker <= 0xEF and not content.startswith(_APPLICATIONS.get(marker, ())):
                raise Blocked("pixel_text", "the compressed picture carries descriptive data of its own (EXIF or the like)")
            if marker == (_COMMENT if head == JPEG else _COMMENT_2000):
                _comment_check(content if head == JPEG else content[2:])


def _segments(data: Buffer, at: int, stop: int, last: int) -> Iterator[tuple[int, bytes]]:
    """(marker, content) before the coded data; ends quietly where the stream is no longer one: a decoder would end there too."""
    for _ in range(_SEGMENTS_CAP):
        while at + 1 < stop and data[at] == data[at + 1] == 0xFF:
            at += 1  # fill bytes
        if at + 4 > stop or data[at] != 0xFF or data[at + 1] == last:
            return
        marker = data[at + 1]
        if marker in _BARE:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4])
        yield marker, data[at + 4 : min(at + 2 + max(length, 2), stop)]
        at += 2 + max(length, 2)


def _comment_check(content: bytes) -> None:
    text = content.strip(b" \0\r\n").decode("latin-1")
    if text and _ENCODERS.fullmatch(text) is None:
        raise Blocked("pixel_text", "the compressed picture carries a comment")
