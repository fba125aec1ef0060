"""What an object store must be able to do. `imaging.storage.s3` does it; nothing else knows boto3."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from imaging.storage.cache import Cache


class Bucket(Protocol):
    """All methods raise StoreAwayError; those that read also ObjectMissingError."""

    cache: Cache

    def put(self, key: str, path: Path, *, size: int, sha256: str) -> None:
        """Returns when the store holds these very bytes, by size and checksum; does nothing when it held them already."""
        ...

    def fetch(self, key: str) -> Path:
        """A file of the cache with the object's bytes, checked against the checksum that came with them. Single flight."""
        ...

    def stream(self, key: str, *, chunk: int) -> Iterator[bytes]: ...

    def range(self, key: str, *, start: int, length: int) -> bytes: ...

    def size(self, key: str) -> int: ...

    def delete(self, key: str) -> None: ...

    def check(self) -> None:
        """Does the store answer, and let us in?"""
        ...
