"""Even conditions for receivers on a virtual machine.

A hypervisor that takes free memory back (balloon, free page reporting) must give it again at the first write: measured, half a
megabyte into fresh page cache took ten times as long as into recycled one. Whoever ran first had it good. So the files of the
run before leave the page cache just before the next run, which then recycles their memory.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def pages_drop(folders: Iterable[Path]) -> int:
    """Let go of the cached pages of all files below. They must be synced: dirty pages stay. Returns the number of files."""
    count = 0
    for folder in folders:
        for root, _, names in os.walk(folder):
            for name in names:
                with suppress(OSError):  # the index worker empties its inbox
                    _file_drop(os.path.join(root, name))
                    count += 1
    return count


def _file_drop(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def private_bytes(pid: int) -> int:
    """Proportional memory of a process (PSS): its own, and its share of what it has in common with others."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) << 10
