"""multipart/related (RFC 2387) of DICOM files on their way out: nothing of an object is held in memory.

Knows nothing of the house, so the wires of `ai` use it too.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

CHUNK = 1024 * 1024


def parts_of(files: Sequence[Path], boundary: str) -> Iterator[bytes]:
    """The body for these files, unread and unchanged."""
    for path in files:
        yield _head(boundary)
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def size_of(files: Sequence[Path], boundary: str) -> int:
    """How long `parts_of` is, for Content-Length."""
    return sum(path.stat().st_size + len(_head(boundary)) + 2 for path in files) + len(boundary) + 6


def content_type(boundary: str) -> str:
    return f'multipart/related; type="application/dicom"; boundary={boundary}'


def _head(boundary: str) -> bytes:
    return f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
