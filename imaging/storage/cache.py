"""Objects read back from the store, kept on the local disk up to a number of bytes. Shared by the processes of a machine."""

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

STRIPES = 64
GRACE_SECONDS = 10.0  # what was handed out a moment ago is about to be opened


class Cache:
    """Least recently used goes first. The bound may be passed by a sixteenth a process, and by what was used in the last 10 s."""

    def __init__(self, folder: Path, *, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._lock = threading.Lock()
        self._since_look = limit  # the first fetch of a process looks

    def path(self, key: str) -> Path:
        return self._folder / key

    def hit(self, key: str) -> Path | None:
        """The cached file, marked as used now."""
        path = self.path(key)
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        return path

    @contextlib.contextmanager
    def filling(self, key: str) -> Iterator[Path]:
        """Alone of all threads and processes for this key (and a few others): write the draft, then `keep`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        locks = self._folder / ".locks"
        locks.mkdir(exist_ok=True)
        with (locks / str(hash_of(key) % STRIPES)).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            path = self.path(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_suffix(".part")
            try:
                yield draft
            finally:
                draft.unlink(missing_ok=True)

    def keep(self, key: str, draft: Path) -> Path:
        """The draft is whole: give it its name, and make room."""
        path, size = self.path(key), draft.stat().st_size
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.rename(path)
        os.utime(path)
        with self._lock:
            self._since_look += size
            is_due = self._since_look > self._limit // 16
            if is_due:
                self._since_look = 0
        if is_due:
            self.trim()
        return path

    def adopt(self, key: str, source: Path) -> None:
        """Take over a local copy that is needed no more: what came last is looked at next."""
        try:
            self.keep(key, source)
        except OSError:  # another volume: the store has it
            source.unlink(missing_ok=True)

    def drop(self, key: str) -> None:
        self.path(key).unlink(missing_ok=True)

    def trim(self) -> int:
        """Remove the least recently used until the bound holds. Returns the bytes that are left."""
        found = []
        for root, _, names in os.walk(self._folder):
            for name in names:
                path = os.path.join(root, name)
                if name.endswith(".dcm"):
                    with contextlib.suppress(FileNotFoundError):
                        stat = os.stat(path)
                        found.append((stat.st_mtime, stat.st_size, path))
        total = sum(size for _, size, _ in found)
        fresh = time.time() - GRACE_SECONDS
        for used_at, size, path in sorted(found):
            if total <= self._limit or used_at > fresh:
                break
            Path(path).unlink(missing_ok=True)
            total -= size
        return total


def hash_of(key: str) -> int:
    """The same in every process, which the built-in one is not."""
    return sum(key.encode())
