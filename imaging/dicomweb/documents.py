"""One compressed metadata document per series, made when first asked for and served as it lies (DESIGN section 8).

It lies beside the hospital's objects under our ids and a mark of all digests of the series: a changed series has another name, and
what was made before goes when the new one is written. It is derived data: whoever finds none makes it again.
"""

import gzip
import logging
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
from django.conf import settings

from imaging.dicomweb.elements import object_open
from imaging.dicomweb.jsonmodel import object_json
from imaging.dicomweb.memory import Memory
from imaging.dicomweb.rows import SeriesState, StoredInstance
from imaging.header import HeaderError
from imaging.storage import ObjectMissingError
from imaging.storage.files import SHARD_BITS

log = logging.getLogger(__name__)
CHUNK = 256 << 10
INSTANCES_KEPT = 16 << 20
_locks = [threading.Lock() for _ in range(64)]
_instances: Memory[bytes] = Memory(INSTANCES_KEPT, len)


def bulk_root(slug: str, row: StoredInstance) -> str:
    """Without scheme and host: the same document serves whatever name the hospital is called by."""
    return f"/t/{slug}/dicomweb/{row.place}/bulkdata/"


def instance_metadata(row: StoredInstance, *, slug: str) -> dict[str, Any]:
    """The attributes of an object; of one that cannot be read any more, what its row says."""
    root = bulk_root(slug, row)
    try:
        with object_open(row.path) as opened:
            return object_json(opened, bulk=lambda path: root + path)
    except (HeaderError, ObjectMissingError, FileNotFoundError, ValueError, struct.error) as error:
        log.warning("metadata: instance %s cannot be read (%s)", row.instance_id, type(error).__name__)
        facts = {"00080016": row.sop_class_uid, "00080018": row.sop_instance_uid, "0020000D": row.study_uid, "0020000E": row.series_uid}
        return {tag: {"vr": "UI", "Value": [value]} for tag, value in facts.items()}


def instance_document(row: StoredInstance, *, slug: str) -> bytes:
    """A JSON array of the one object, kept a while."""
    return _instances.get((row.key, slug), lambda: orjson.dumps([instance_metadata(row, slug=slug)]))


def document_etag(states: Iterable[SeriesState], *, slug: str) -> str:
    marks = ",".join(f"{one.series_id:x}.{one.count}.{one.mark:x}" for one in states)
    return f'"{zlib.crc32(slug.encode()):08x}-{zlib.crc32(marks.encode()):08x}-{hash_wide(marks):016x}"'


def hash_wide(text: str) -> int:
    """64 bits, the same in every process."""
    number = 0xCBF29CE484222325
    for byte in text.encode():
        number = (number ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return number


def _folder(tenant_id: int, series_id: int) -> Path:
    folder: Path = settings.MEDHUB_OBJECTS / f"t/{tenant_id}/meta/{series_id >> SHARD_BITS:x}"
    return folder


def document_forget(*, tenant_id: int, series_id: int) -> None:
    """What is deleted leaves no copy of its attributes behind."""
    documents_drop(_folder(tenant_id, series_id), str(series_id))


def document_path(state: SeriesState, *, tenant_id: int, slug: str) -> Path:
    mark = f"{state.count:x}-{state.mark & 0xFFFFFFFFFFFFFFFF:x}-{zlib.crc32(slug.encode()):x}"
    return _folder(tenant_id, state.series_id) / f"{state.series_id}.{mark}.json.gz"


def document_make(
    path: Path, rows: Callable[[], list[StoredInstance]], *, slug: str, between: Callable[[], None] = lambda: None
) -> None:
    """Write the document of a series unless it is there. One thread at a time; two processes write the same.

    `between` is called between its instances.
    """
    with _locks[hash(path) % len(_locks)]:
        if path.exists():
            return
        found = rows()
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}.part")
        try:
            with draft.open("wb") as file, gzip.GzipFile(fileobj=file, mode="wb", compresslevel=5, mtime=0, filename="") as packed:
                before = b"["
                for row in found:
                    packed.write(before + orjson.dumps(instance_metadata(row, slug=slug)))
                    before = b",\n"
                    between()
                packed.write(b"]" if before != b"[" else b"[]")
            draft.rename(path)
            if {row.key for row in rows()} != {row.key for row in found}:
                path.unlink(missing_ok=True)  # what was deleted meanwhile was forgotten before this document was there
        finally:
            draft.unlink(missing_ok=True)
        documents_drop(path.parent, path.name.split(".", 1)[0], keep=path.name)


def documents_drop(folder: Path, series_id: str, *, keep: str = "") -> None:
    for old in folder.glob(f"{series_id}.*"):
        if old.name != keep and not old.name.endswith(".part"):
            old.unlink(missing_ok=True)


def inflated(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def joined(paths: Iterable[Path]) -> Iterator[bytes]:
    """The arrays of several documents as one."""
    before = b"["
    for path in paths:
        held = b""
        is_first = True
        for chunk in inflated(path):
            piece = held + (chunk[1:] if is_first else chunk)
            is_first = False
            held, piece = piece[-1:], piece[:-1]
            if piece:
                yield before + piece
                before = b""
        before = b",\n"
    yield b"]" if before == b",\n" else b"[]"


def deflated(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """gzip on the fly, quickly rather than tightly."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    for chunk in chunks:
        if piece := packer.compress(chunk):
            yield piece
    yield packer.flush()
