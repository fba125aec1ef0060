"""CPU seconds of process trees from /proc: steadier than rates when a machine is busy with other things."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PARENT, TIMES = 1, slice(11, 15)  # of the fields behind the name: ppid; utime stime cutime cstime


def tree_seconds(root: int) -> float:
    """CPU of a process, its living descendants, and the dead ones that were waited for."""
    fields = {pid: found for pid, found in _processes()}
    children: dict[int, list[int]] = {}
    for pid, found in fields.items():
        children.setdefault(int(found[PARENT]), []).append(pid)
    waiting, ticks = [root], 0
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        ticks += sum(int(field) for field in fields.get(pid, ["0"] * 16)[TIMES])
    return ticks / TICK


def _processes() -> Iterable[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it may have ended
                yield int(entry.name), stat_fields((entry / "stat").read_text(encoding="utf-8", errors="replace"))


def stat_fields(text: str) -> list[str]:
    """The fields behind the name, which stands in brackets and may hold spaces and brackets itself."""
    return text[text.rindex(")") + 2 :].split()
