"""Bytes on their way out: multipart/related (RFC 2387, PS3.18 8.6.1.2), single parts, ranges (RFC 9110 14).

Nothing here touches the database: rows are known before the first byte, and files are opened when their turn comes.
Of known length and over a plain socket, they go from the file to the socket without passing through Python (medhub/wsgi.py).
"""

import os
import re
import secrets
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse

CHUNK = 1 << 20
IN_MEMORY = 64 << 10  # an answer up to this size is one write
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes in memory, or `length` bytes of a file from `start`."""

    data: bytes = b""
    path: "os.PathLike[str] | str" = ""
    start: int = 0
    length: int = 0

    @property
    def size(self) -> int:
        return self.length if self.path else len(self.data)

    def chunks(self) -> Iterator[bytes]:
        if not self.path:
            yield self.data
            return
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            at, end = self.start, self.start + self.length
            while at < end:
                chunk = os.pread(fd, min(CHUNK, end - at), at)
                if not chunk:
                    raise EOFError("the object is shorter than its row says")
                at += len(chunk)
                yield chunk
        finally:
            os.close(fd)

    def read(self) -> bytes:
        return b"".join(self.chunks())

    def send(self, sock: socket.socket) -> None:
        """A file's bytes by sendfile. Raises OSError when the other side went away, EOFError."""
        with open(self.path, "rb", buffering=0) as file:
            if sock.sendfile(file, self.start, self.length) != self.length:
                raise EOFError("the object is shorter than its row says")

    def cut(self, start: int, length: int) -> "Piece":
        if not self.path:
            return Piece(self.data[start : start + length])
        return Piece(path=self.path, start=self.start + start, length=length)


class PiecesResponse(StreamingHttpResponse):
    """Pieces of known length. Iterated it is a stream like any other."""

    def __init__(self, pieces: list[Piece], *, length: int, **kwargs: Any) -> None:
        super().__init__((chunk for piece in pieces for chunk in piece.chunks()), **kwargs)
        self._pieces = pieces
        self["Content-Length"] = str(length)

    @property
    def is_whole(self) -> bool:
        """Whether nothing on the way out has changed the bytes: a middleware that compresses takes the length away."""
        return self.has_header("Content-Length") and not self.has_header("Content-Encoding")

    def sent_by(self, sock: socket.socket) -> Iterator[bytes]:
        """The same bytes: small ones to the server, which writes each before it asks for the next, large ones by sendfile."""
        try:
            yield b""  # the server's head goes first
            for piece in self._pieces:
                if piece.length > IN_MEMORY:
                    piece.send(sock)
                else:
                    yield from piece.chunks()
        finally:
            self.close()


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its Content-Type, where it can be had alone, and its bytes."""

    content_type: str
    pieces: tuple[Piece, ...]
    location: str = ""

    @property
    def size(self) -> int:
        return sum(piece.size for piece in self.pieces)

    def head(self, boundary: str, *, is_sized: bool) -> bytes:
        lines = [f"--{boundary}", f"Content-Type: {self.content_type}"]
        if is_sized:
            lines.append(f"Content-Length: {self.size}")
        if self.location:
            lines.append(f"Content-Location: {self.location}")
        return "\r\n".join([*lines, "", ""]).encode()


def parts_response(parts: Iterable[Part], *, media_type: str) -> HttpResponseBase:
    """multipart/related. With a list the length is known beforehand; an iterator is sent as it comes."""
    boundary = secrets.token_hex(16)
    content_type = f'multipart/related; type="{media_type}"; boundary={boundary}'
    tail = f"--{boundary}--\r\n".encode()
    if not isinstance(parts, list):
        return StreamingHttpResponse(_parts_chunks(parts, boundary, tail), content_type=content_type)
    heads = [part.head(boundary, is_sized=True) for part in parts]
    length = sum(len(head) + part.size + 2 for head, part in zip(heads, parts, strict=True)) + len(tail)
    if length <= IN_MEMORY:
        return HttpResponse(b"".join(_parts_chunks(parts, boundary, tail)), content_type=content_type)
    pieces = [piece for head, part in zip(heads, parts, strict=True) for piece in (Piece(head), *part.pieces, Piece(b"\r\n"))]
    return PiecesResponse([*pieces, Piece(tail)], length=length, content_type=content_type)


def _parts_chunks(parts: Iterable[Part], boundary: str, tail: bytes) -> Iterator[bytes]:
    for part in parts:
        yield part.head(boundary, is_sized=True)
        for piece in part.pieces:
            yield from piece.chunks()
        yield b"\r\n"
    yield tail


class RangeError(Exception):
    """No byte of the range exists; the door answers 416 (RFC 9110 15.5.17)."""

    def __init__(self, size: int) -> None:
        super().__init__("the range lies outside")
        self.size = size


def range_read(header: str, *, size: int) -> tuple[int, int] | None:
    """(start, length) of a single byte range; None when there is none, or several, which may be answered whole. Raises RangeError."""
    found = _RANGE.fullmatch(header.replace(" ", ""))
    if found is None or not (found[1] or found[2]):
        return None
    if found[1]:
        start, end = int(found[1]), min(int(found[2]) if found[2] else size - 1, size - 1)
        if found[2] and int(found[2]) < start:
            return None  # no valid range: as if it were not there
    else:
        start, end = max(size - int(found[2]), 0), size - 1
    if start >= size or end < start:
        raise RangeError(size)
    return start, end - start + 1


def plain_response(part: Part, *, range_header: str = "") -> HttpResponseBase:
    """One part by itself; a range of it with 206. Raises RangeError."""
    size = part.size
    wanted = range_read(range_header, size=size) if range_header else None
    pieces, status = part.pieces, 200
    if wanted is not None:
        pieces, status = tuple(_cut(part.pieces, *wanted)), 206
    length = sum(piece.size for piece in pieces)
    response: HttpResponseBase
    if length <= IN_MEMORY:
        content = b"".join(chunk for piece in pieces for chunk in piece.chunks())
        response = HttpResponse(content, status=status, content_type=part.content_type)
    else:
        response = PiecesResponse(list(pieces), length=length, status=status, content_type=part.content_type)
    response["Accept-Ranges"] = "bytes"
    if wanted is not None:
        response["Content-Range"] = f"bytes {wanted[0]}-{wanted[0] + wanted[1] - 1}/{size}"
    if part.location:
        response["Content-Location"] = part.location
    return response


def _cut(pieces: Iterable[Piece], start: int, length: int) -> Iterator[Piece]:
    for piece in pieces:
        if start >= piece.size:
            start -= piece.size
            continue
        taken = min(length, piece.size - start)
        yield piece.cut(start, taken)
        length -= taken
        start = 0
        if not length:
            return
