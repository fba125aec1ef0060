"""Where the fragments of one data set gather: memory, or an unnamed file when the object is large. `lane` fills it."""

import mmap
import tempfile
from types import TracebackType


class ObjectTooLargeError(Exception):
    """More bytes than one object may have."""


class Spool:
    """Append-only bytes of one data set, handed on as one memoryview."""

    def __init__(self, *, memory_bytes: int, object_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._object_bytes = object_bytes
        self._held = bytearray()
        self._file: tempfile._TemporaryFileWrapper[bytes] | None = None
        self._length = 0

    def __enter__(self) -> "Spool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._held = bytearray()
        if self._file is not None:
            self._file.close()
            self._file = None

    def append(self, fragment: memoryview) -> None:
        self._length += len(fragment)
        if self._length > self._object_bytes:
            raise ObjectTooLargeError
        if self._file is None and self._length > self._memory_bytes:
            self._file = tempfile.TemporaryFile(prefix="medhub-dimse-")  # noqa: SIM115 - closed by close()
            self._file.write(self._held)
            self._held = bytearray()
        if self._file is None:
            self._held += fragment
        else:
            self._file.write(fragment)

    def view(self) -> memoryview:
        """All of it, read-only; the mapping lives as long as somebody holds the view."""
        if self._file is None:
            return memoryview(self._held).toreadonly()
        self._file.flush()
        return memoryview(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ))
