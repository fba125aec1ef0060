"""Documents and films as they lie in their objects (PS3.3 C.24.2, PS3.5 8.2): where in the file, never a copy of a film.

Raises RenderError with a reason that may be shown.
"""

import os
import struct

from imaging.dicomweb.streams import Piece
from imaging.header import HeaderError, part10_read
from imaging.rendering import NoPixelsError, RenderError

DOCUMENT, DOCUMENT_TYPE, DOCUMENT_LENGTH = 0x00420011, 0x00420012, 0x00420015
MAX_FRAGMENTS = 100_000
_HEAD = struct.Struct("<HHI")
_PIXEL_DATA, _ITEM, _END = (0x7FE0, 0x0010), (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)


def document_piece(path: "os.PathLike[str] | str") -> Piece:
    """The PDF of an Encapsulated PDF object, without the byte that makes its length even."""
    try:
        header = part10_read(path, wanted=frozenset((DOCUMENT, DOCUMENT_TYPE, DOCUMENT_LENGTH))).header
    except HeaderError as error:
        raise RenderError(error.reason) from None
    content = header.values.get(DOCUMENT, b"")
    length = header.int(DOCUMENT_LENGTH) or 0
    if len(content) - 1 == length:
        content = content[:length]
    # What a browser is told to be a PDF must be one.
    if b"%PDF-" not in content[:1024]:
        raise RenderError("the document is not a PDF")
    return Piece(content)


def film_pieces(path: "os.PathLike[str] | str") -> tuple[Piece, ...]:
    """The stream of an MPEG object: its fragments one after the other, the offset table left out."""
    try:
        head = part10_read(path, wanted=frozenset())
    except HeaderError as error:
        raise RenderError(error.reason) from None
    if head.header.pixel_data_offset is None:
        raise NoPixelsError("the object has no pixel data")
    found: list[Piece] = []
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        at = head.data_set_offset + head.header.pixel_data_offset
        lead = os.pread(file.fileno(), 12, at)
        if len(lead) < 12 or struct.unpack_from("<HH", lead) != _PIXEL_DATA or lead[8:] != b"\xff\xff\xff\xff":
            raise RenderError("the film is not encapsulated")
        at += 12
        for number in range(MAX_FRAGMENTS):
            item = os.pread(file.fileno(), 8, at)
            if len(item) < 8:
                raise RenderError("the film ends inside a fragment")
            group, element, length = _HEAD.unpack(item)
            if (group, element) == _END:
                break
            if (group, element) != _ITEM or at + 8 + length > size:
                raise RenderError("the film ends inside a fragment")
            if number and length:
                found.append(Piece(path=path, start=at + 8, length=length))
            at += 8 + length
    if not found:
        raise NoPixelsError("the film is empty")
    return tuple(found)
