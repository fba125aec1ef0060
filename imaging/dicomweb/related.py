"""Reading multipart/related bodies as they come (RFC 2387, PS3.18 8.6.1.2). The STOW-RS view consumes it."""

from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from functools import lru_cache
from types import MappingProxyType
from typing import BinaryIO

from multipart import MultipartError, MultipartSegment, PushMultipartParser

CHUNK = 256 * 1024
MAX_HEADER = 8192


class BodyError(Exception):
    """The body cannot be read; `status` is what the door answers."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class _RelatedParser(PushMultipartParser):
    def _create_segment(self, headerlist: list[tuple[str, str]]) -> MultipartSegment:
        # The library's documented hook: parts of multipart/related carry no Content-Disposition.
        return MultipartSegment(headerlist)


@lru_cache(maxsize=128)
def media_type(content_type: str) -> tuple[str, Mapping[str, str]]:
    """Type and parameters; the boundary may be quoted and `type="application/dicom"` holds a slash."""
    message = Message()
    message["content-type"] = content_type
    names = ("boundary", "type", "transfer-syntax")
    found = {name: message.get_param(name) for name in names}
    return message.get_content_type(), MappingProxyType({name: value for name, value in found.items() if isinstance(value, str)})


def limited(source: BinaryIO, *, limit: int, length: int | None) -> Callable[[int], bytes]:
    """`read` of a body of `length` bytes, or of a chunked one (None), that ends with BodyError past the limit."""
    seen = 0
    if length is not None and length > limit:
        raise BodyError(413, "the request is larger than this archive takes")

    def read(size: int) -> bytes:
        nonlocal seen
        # PEP 3333: never read past Content-Length.
        try:
            chunk = source.read(size if length is None else min(size, length - seen))
        except Exception as error:  # noqa: BLE001 the server's own exceptions: chunks that are none, a sender that is gone
            raise BodyError(400, "the body ends early, or its chunks are none (RFC 9112 7.1)") from error
        seen += len(chunk)
        if seen > limit:
            raise BodyError(413, "the request is larger than this archive takes")
        return chunk

    return read


def parts(read: Callable[[int], bytes], boundary: str) -> Iterator[MultipartSegment | bytes | None]:
    """A segment with its headers, then its bytes in pieces, then None; for each part. Raises BodyError."""
    try:
        yield from _RelatedParser(boundary, max_header_size=MAX_HEADER).parse_blocking(read, chunk_size=CHUNK)
    except (MultipartError, ValueError) as error:
        raise BodyError(400, "the body is not the multipart/related that it says it is") from error
