"""Row `deident`: a CT of 500 slices made fit to be sent to a platform, one thread, from file to file."""

import hashlib
import os
import time
from pathlib import Path

from ai.deident.engine import object_deidentify
from ai.deident.profile import DEFAULT
from ai.deident.surrogates import Keys
from bench.context import Bench
from bench.figures import Figure, Outcome
from bench.house import BenchError
from bench.series import HEAD_BYTES, Series

PIXEL_BYTES = 512 * 512 * 2


def deident_measure(bench: Bench) -> Outcome:
    """500 slices of 512x512, 16 bits, under the default profile. The files are in the page cache, as they are after their receipt."""
    runs = [_run(bench.ct, bench.folder_new("deident")) for _ in range(bench.reps(3))]
    seconds, cpu = [run[0] for run in runs], [run[1] for run in runs]
    outcome = Outcome(
        f"De-identification of a CT: {len(bench.ct.files)} slices of 512x512, 16 bits, one thread",
        [
            Figure("ours", seconds, "s", "file to file, no fsync: what is sent is thrown away afterwards"),
            Figure("CPU", [1000 * spent / len(bench.ct.files) for spent in cpu], "ms/inst"),
        ],
        notes=["the pixel bytes of every slice were compared with its source's after the clock had stopped"],
    )
    outcome.measured["deident_seconds"] = max(seconds)
    return outcome


def _run(series: Series, folder: Path) -> tuple[float, float]:
    """(seconds, CPU seconds of this thread)."""
    folder.mkdir()
    os.sync()
    keys = Keys(os.urandom(32))
    began, spent = time.perf_counter(), time.thread_time()
    for file in series.files:
        object_deidentify(file, folder / file.name, profile=DEFAULT, keys=keys)
    seconds, spent = time.perf_counter() - began, time.thread_time() - spent
    for file in series.files:
        if _pixels(file) != _pixels(folder / file.name):
            raise BenchError("the pixel bytes changed")
    return seconds, spent


def _pixels(file: Path) -> str:
    """Of the last value of the file, which is its native pixel data."""
    size = file.stat().st_size
    if not PIXEL_BYTES < size < PIXEL_BYTES + HEAD_BYTES:
        raise BenchError("a slice has another size than its pixels need")
    with file.open("rb") as source:
        source.seek(size - PIXEL_BYTES)
        return hashlib.sha256(source.read()).hexdigest()
