"""Files of an export: one gzip stream (RFC 1952) each, written chunk by chunk so that it can go on after a crash.

A chunk is whole deflate blocks that lean on nothing before them. What lies behind the committed bytes is of somebody who lost the
lease, and is never served; the stream's end is made when it is read.
"""

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from imaging.inbox import folder_sync

HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"  # deflate, no time, made quickly, by an unknown system
LAST_BLOCK = b"\x03\x00"
READ = 64 * 1024
RAW = -zlib.MAX_WBITS


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How far a file goes: lines, bytes as read, bytes as stored, checksum of what is read."""

    count: int = 0
    size: int = 0
    stored: int = 0
    crc: int = 0


def export_folder(*, tenant_id: int, export_id: int) -> Path:
    path: Path = settings.MEDHUB_OBJECTS / "bulk" / str(tenant_id) / str(export_id)
    return path


def folder_make(path: Path) -> None:
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        for parent in (path.parent, path.parent.parent, path.parent.parent.parent):  # else lost with an unsynced folder
            folder_sync(parent)


def chunk_write(path: Path, *, extent: Extent, batches: Iterable[list[str]]) -> Extent:
    """Add lines behind `extent`, durably. Returns how far the file goes now; without lines nothing is written. Raises OSError."""
    filled = (batch for batch in batches if batch)
    first = next(filled, None)
    if first is None:
        return extent
    is_new = extent.stored == 0
    with path.open("wb" if is_new else "r+b") as file:
        if is_new:
            file.write(HEAD)
        else:
            file.truncate(extent.stored)
            file.seek(extent.stored)
        packer = zlib.compressobj(1, zlib.DEFLATED, RAW)
        count, size, crc = extent.count, extent.size, extent.crc
        for batch in _chained(first, filled):
            data = ("\n".join(batch) + "\n").encode()
            count, size, crc = count + len(batch), size + len(data), zlib.crc32(data, crc)
            file.write(packer.compress(data))
        file.write(packer.flush(zlib.Z_FULL_FLUSH))
        file.flush()
        os.fsync(file.fileno())
        stored = file.tell()
    if is_new:
        folder_sync(path.parent)
    return Extent(count=count, size=size, stored=stored, crc=crc)


def _chained(first: list[str], rest: Iterator[list[str]]) -> Iterator[list[str]]:
    yield first
    yield from rest


def length_of(extent: Extent, *, is_gzip: bool) -> int:
    return extent.stored + len(_end(extent)) if is_gzip else extent.size


def file_stream(file: BinaryIO, *, extent: Extent, is_gzip: bool) -> Iterator[bytes]:
    """The bytes of an open file, as they lie there or as they read; closes it."""
    with file:
        if is_gzip:
            yield from _pieces(file, extent.stored)
            yield _end(extent)
            return
        file.seek(len(HEAD))
        unpacker = zlib.decompressobj(RAW)
        for piece in _pieces(file, extent.stored - len(HEAD)):
            if text := unpacker.decompress(piece):
                yield text


def _pieces(file: BinaryIO, left: int) -> Iterator[bytes]:
    while left > 0 and (piece := file.read(min(READ, left))):
        left -= len(piece)
        yield piece


def _end(extent: Extent) -> bytes:
    return LAST_BLOCK + struct.pack("<II", extent.crc, extent.size & 0xFFFFFFFF)
