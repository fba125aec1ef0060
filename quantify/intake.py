"""Reading a multipart/related request to one spool file on disk; called by the POST door.

One file for all parts: hundreds of slices cost one fsync, and the job's index says where each part lies.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import BinaryIO

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser

CHUNK = 256 * 1024
MAX_PARTS = 20_000
MAX_HEADER = 8192
PREAMBLE = 128  # PS3.10 7.1: 128 bytes of anything, then "DICM"
MAGIC = b"DICM"
BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{1,70}")  # RFC 2046 5.1.1
DICOM = "application/dicom"


class IntakeError(Exception):
    """The request cannot become a job; `status` is the HTTP status the door answers with."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text


@dataclass(frozen=True)
class PartPlace:
    """Where one Part 10 object lies in the spool."""

    offset: int
    length: int


class _RelatedParser(PushMultipartParser):  # type: ignore[misc]
    """multipart/related (RFC 2387): its parts carry no Content-Disposition."""

    def _create_segment(self, headerlist: list[tuple[str, str]]) -> MultipartSegment:
        return MultipartSegment(headerlist)


def boundary_of(content_type: str) -> str:
    """The boundary of a `multipart/related; type="application/dicom"` request; quoted or not."""
    message = Message()
    message["content-type"] = content_type
    kind = message.get_param("type")
    if message.get_content_type() != "multipart/related" or not isinstance(kind, str) or kind.lower() != DICOM:
        raise IntakeError(415, "unsupported_media_type", 'send multipart/related; type="application/dicom"')
    boundary = message.get_param("boundary")
    if not isinstance(boundary, str) or not BOUNDARY.fullmatch(boundary):
        raise IntakeError(400, "malformed_body", "the boundary is missing or not as RFC 2046 wants it")
    return boundary


def spool(source: BinaryIO, boundary: str, target: Path, max_bytes: int) -> tuple[PartPlace, ...]:
    """Stream all parts into `target`, fsynced; raises IntakeError and leaves the file to its caller to remove."""
    with target.open("wb") as file:
        places = tuple(_parts(_RelatedParser(boundary, max_header_size=MAX_HEADER), _limited(source, max_bytes), file))
        file.flush()
        os.fsync(file.fileno())
    if not places:
        raise IntakeError(400, "malformed_body", "no part in the body")
    return places


def drain(source: BinaryIO, max_bytes: int) -> None:
    """Read what is left of a body nobody needs: gunicorn closes on an unread one, and the client misses the answer."""
    left = max_bytes
    while left > 0 and (chunk := source.read(min(CHUNK, left))):
        left -= len(chunk)


def _limited(source: BinaryIO, max_bytes: int) -> Callable[[int], bytes]:
    seen = 0

    def read(size: int) -> bytes:
        nonlocal seen
        chunk = source.read(size)
        seen += len(chunk)
        if seen > max_bytes:
            raise IntakeError(413, "too_large", f"more than {max_bytes} bytes")
        return chunk

    return read


def _parts(parser: PushMultipartParser, read: Callable[[int], bytes], file: BinaryIO) -> Iterator[PartPlace]:
    start, head, count = 0, b"", 0
    try:
        for event in parser.parse_blocking(read, chunk_size=CHUNK):
            if isinstance(event, MultipartSegment):
                count += 1
                _check_segment(event, count)
                start, head = file.tell(), b""
            elif event is None:
                if head[PREAMBLE:] != MAGIC:
                    raise IntakeError(400, "not_part10", f"part {count} is no DICOM Part 10 object")
                yield PartPlace(offset=start, length=file.tell() - start)
            else:
                head += bytes(event[: PREAMBLE + len(MAGIC) - len(head)])
                file.write(event)
    except ParserLimitReached as error:
        raise IntakeError(400, "malformed_body", "a part's headers are too long") from error
    except MultipartError as error:
        raise IntakeError(400, "malformed_body", "the body is not the multipart it says it is") from error


def _check_segment(segment: MultipartSegment, count: int) -> None:
    if count > MAX_PARTS:
        raise IntakeError(413, "too_many_parts", f"more than {MAX_PARTS} parts")
    if segment.content_type not in (None, DICOM):
        raise IntakeError(400, "malformed_body", f"part {count} is not application/dicom")
