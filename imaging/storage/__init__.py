"""Where objects rest: the seam between the rows and the bytes. Files by default, an S3 store where one is configured.

Keys are made of our ids under the hospital's own prefix, never of attribute values; a key's bytes are written once and never change.
Everybody above asks here: `object_path` for who reads files, `object_range`, `object_digest`, `object_delete`.
"""

import functools
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.utils.module_loading import import_string

from imaging.storage.errors import ObjectMissingError, StoreAwayError
from imaging.storage.files import file_drop, file_path, object_folder, objects_settle
from imaging.storage.lazy import LazyPath
from imaging.storage.remote import Bucket

__all__ = [
    "CHUNK", "LazyPath", "ObjectMissingError", "StoreAwayError", "bucket", "is_remote", "object_delete", "object_digest", "object_folder",
    "object_key", "object_path", "object_range", "object_size", "object_stream", "objects_settle",
]  # fmt: skip
CHUNK = 1 << 20


def is_remote() -> bool:
    return bool(settings.MEDHUB_OBJECTS_STORE == "s3")


@functools.cache
def bucket() -> Bucket:
    """The S3 store of this install; boto3 is imported here and only here."""
    made: Bucket = import_string("imaging.storage.s3.bucket_open")()
    return made


def object_key(*, tenant_id: int, folder: str, instance_id: int) -> str:
    """`t/<tenant>/<object_folder or 'aside'>/<instance id>.dcm`; `in` where the store had it before there was a row."""
    if is_remote() and settings.MEDHUB_OBJECTS_ACK == "store":
        folder = "in"
    return f"t/{tenant_id}/{folder}/{instance_id}.dcm"


def object_path(key: str) -> Path | LazyPath:
    """Where the bytes can be opened. Under S3 they are fetched when the path is used, not when it is asked for."""
    return LazyPath(key, bucket()) if is_remote() else file_path(key)


def object_range(key: str, *, start: int, length: int) -> bytes:
    """`length` bytes from `start`, fewer at the end. Raises ObjectMissingError, StoreAwayError."""
    try:
        with open(_near(key), "rb") as file:
            return os.pread(file.fileno(), length, start)
    except FileNotFoundError:
        if not is_remote():
            raise ObjectMissingError from None
    return bucket().range(key, start=start, length=length)


def object_stream(key: str) -> Iterator[bytes]:
    """All bytes in pieces, past the cache. Raises ObjectMissingError, StoreAwayError, also while it is read."""
    path = file_path(key)
    try:
        file = path.open("rb")
    except FileNotFoundError:
        if not is_remote():
            raise ObjectMissingError from None
        yield from bucket().stream(key, chunk=CHUNK)
        return
    with file:
        while chunk := file.read(CHUNK):
            yield chunk
        # a walk over everything must not push out what people are reading
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def object_digest(key: str) -> tuple[int, str]:
    """(size, SHA-256) of the bytes as they are now. Raises ObjectMissingError, StoreAwayError."""
    digest, size = hashlib.sha256(), 0
    for chunk in object_stream(key):
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


def object_size(key: str) -> int:
    """How many bytes are kept, asked where they are. Raises ObjectMissingError, StoreAwayError."""
    try:
        return file_path(key).stat().st_size
    except FileNotFoundError:
        if not is_remote():
            raise ObjectMissingError from None
    return bucket().size(key)


def object_delete(key: str) -> None:
    """Remove the bytes everywhere. Idempotent. Raises StoreAwayError."""
    file_drop(key)
    if is_remote():
        bucket().cache.drop(key)
        bucket().delete(key)


def _near(key: str) -> Path:
    path = file_path(key)
    return path if not is_remote() or path.exists() else bucket().cache.path(key)
