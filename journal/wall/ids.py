"""Snowflake ids: 63 bits, ordered by time, made without a database. Every walled row gets one.

41 bits of milliseconds since 2025 | 10 bits of slot (one a process) | 12 bits of sequence.
"""

import fcntl
import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

EPOCH_MS = 1_735_689_600_000  # 2025-01-01T00:00:00Z
SLOTS = 1024


class SlotsExhaustedError(Exception):
    """More processes on this machine than its share of slots: widen MEDHUB_ID_SLOTS."""


class _Maker:
    """One per process; a lock file held for the life of the process keeps two processes from sharing a slot."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slot: int | None = None
        self._file: int | None = None
        self._last = 0
        self._sequence = 0

    def _slot_take(self) -> int:
        folder = Path(os.environ["MEDHUB_HOME"]) / "run" / "slots"
        folder.mkdir(parents=True, exist_ok=True)
        first, last = (int(n) for n in os.environ.get("MEDHUB_ID_SLOTS", f"0-{SLOTS - 1}").split("-"))
        for slot in range(first, last + 1):
            fd = os.open(folder / str(slot), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
                continue
            self._file = fd
            return slot
        raise SlotsExhaustedError(f"no free id slot in {first}-{last}")

    def make(self) -> int:
        with self._lock:
            if self._slot is None:
                self._slot = self._slot_take()
            now = time.time_ns() // 1_000_000 - EPOCH_MS
            if now <= self._last:  # same millisecond, or the clock went back: stay monotonic
                now = self._last
                self._sequence += 1
                if self._sequence == 4096:
                    now += 1
                    self._sequence = 0
            else:
                self._sequence = 0
            self._last = now
            return now << 22 | self._slot << 12 | self._sequence


_maker = _Maker()


def _forked() -> None:
    # A child inherits the parent's lock; it must take a slot of its own.
    global _maker
    _maker = _Maker()


os.register_at_fork(after_in_child=_forked)


def id_new() -> int:
    """A new id: positive, below 2**63, larger than every id this process made before."""
    return _maker.make()


def id_time(value: int) -> datetime:
    """When the id was made, to the millisecond, in UTC."""
    return datetime.fromtimestamp(((value >> 22) + EPOCH_MS) / 1000, tz=UTC)
