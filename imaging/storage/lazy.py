"""A path whose bytes may still be in the object store: fetched by whoever opens it, not by whoever lists it."""

import os
from pathlib import Path
from typing import IO, Any

from imaging.storage.errors import ObjectMissingError
from imaging.storage.files import file_path
from imaging.storage.remote import Bucket


class LazyPath(os.PathLike[str]):
    """Usable wherever a path is opened: `os.open`, `open`, pydicom. Raises ObjectMissingError and StoreAwayError, both OSErrors."""

    __slots__ = ("_bucket", "key")

    def __init__(self, key: str, bucket: Bucket) -> None:
        self.key = key
        self._bucket = bucket

    def __fspath__(self) -> str:
        """The local file until the store has it, then a file of the cache. It stays for some seconds after this call."""
        path = file_path(self.key)
        return str(path if path.exists() else self._bucket.fetch(self.key))

    def open(self, mode: str = "rb") -> IO[Any]:
        return Path(self).open(mode)

    def read_bytes(self) -> bytes:
        return Path(self).read_bytes()

    def exists(self) -> bool:
        try:
            return file_path(self.key).exists() or self._bucket.size(self.key) >= 0
        except ObjectMissingError:
            return False
