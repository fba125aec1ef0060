"""Both targets of a comparison with Orthanc: started, filled with the same studies, measured in turn."""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.context import Bench
from bench.environment import MOVE_PORT
from bench.figures import Figure, Outcome, paired_ratios
from bench.house import Hospital, hospital_make, settled_wait, wait
from bench.memory import pages_drop
from bench.peer_orthanc import data_make, harness, orthanc
from imaging.inbox import inbox_watermark
from imaging.models import StorageUse
from imaging.nodes import node_add

STUDIES, PER_COPY = 18_000, 2_000


@dataclass(frozen=True)
class Task:
    """A task of the harness, which of its metrics counts, and the key that a goal is judged by."""

    name: str
    metric: str
    is_more_better: bool
    words: str
    key: str
    times: int = 1  # repetitions for each one asked for: what takes milliseconds is measured oftener

    @property
    def is_store(self) -> bool:
        return self.name.startswith(("store", "stow"))


@dataclass
class Sides:
    """Both targets and what is loaded on them."""

    bench: Any  # the harness module
    context: Any
    hospital: Hospital
    ours: dict[str, Any]
    theirs: dict[str, Any]
    folders: list[Path]  # where both keep their objects

    def run(self, task: "Task", target: dict[str, Any]) -> dict[str, float]:
        os.sync()
        if task.is_store:
            pages_drop(self.folders)  # even conditions for writers (bench/memory.py); readers find what they would find: warm files
        elif task.name != "echo":
            self.context.load(target)
        found: dict[str, float] = self.bench.TASKS[task.name](self.context, target)
        return found


@contextlib.contextmanager
def sides_running(bench: Bench, slug: str) -> Iterator[Sides]:
    """Orthanc beside a hospital of ours, both filled."""
    data = data_make()
    hospital = hospital_make(slug)
    with hospital.scope():
        node_add(ae_title="BENCH", services=("store", "find", "move", "get"))
        node_add(ae_title="BENCHDST", host="127.0.0.1", port=MOVE_PORT, services=("store",))
    ours = {
        "name": "ours", "host": "127.0.0.1", "dimse_port": bench.stack.ports.dimse, "aet": hospital.called_ae,
        "dicomweb": f"http://127.0.0.1:{bench.stack.ports.http}/t/{slug}/dicomweb", "auth": f"Bearer {hospital.token}", "pids": [],
    }  # fmt: skip
    with orthanc(bench.folder_new("orthanc")) as theirs, tempfile.TemporaryDirectory(dir=bench.scratch) as scratch:
        module = harness()
        context = module.Ctx(data, Path(scratch), int(time.time()) % 100_000 * 100)
        folders = [bench.stack.home.root / "objects", *bench.scratch.glob("orthanc-*")]
        sides = Sides(module, context, hospital, ours, {**theirs, "pids": []}, folders)
        _fill(bench, sides)
        yield sides


def _fill(bench: Bench, sides: Sides) -> None:
    for number in range(STUDIES // PER_COPY):
        bench.console.print(f"  filling both archives: {number * PER_COPY:,} of {STUDIES:,} studies", style="dim")
        for target in (sides.ours, sides.theirs):
            sides.bench.TASKS["store_small_4"](sides.context, target)
    _all_rows(sides.hospital, lambda: None)


def tasks_measure(bench: Bench, sides: Sides, outcome: Outcome, tasks: Sequence[Task]) -> None:
    """Writers first; readers when what was stored has become FHIR resources."""
    for task in tasks:
        if task.is_store:
            task_measure(bench, sides, outcome, task)
    settled(bench, sides, outcome)
    for task in tasks:
        if not task.is_store:
            task_measure(bench, sides, outcome, task)


def task_measure(bench: Bench, sides: Sides, outcome: Outcome, task: Task) -> None:
    """Ratios are paired by repetition; who goes first changes with each."""
    ours: list[float] = []
    theirs: list[float] = []
    lags: list[float] = []
    for rep in range(bench.reps(3) * task.times):
        for is_ours in (True, False) if rep % 2 == 0 else (False, True):
            if not is_ours:
                theirs.append(sides.run(task, sides.theirs)[task.metric])
            elif task.is_store:
                lags.append(_all_rows(sides.hospital, lambda: ours.append(sides.run(task, sides.ours)[task.metric])))
            else:
                ours.append(sides.run(task, sides.ours)[task.metric])
    ratios = paired_ratios(ours, theirs) if task.is_more_better else paired_ratios(theirs, ours)
    unit = task.metric.replace("C-FIND ", "").replace("C-ECHO ", "")
    outcome.figures += [
        Figure(task.words, ratios, "x Orthanc"),
        Figure("  ours", ours, unit),
        Figure("  Orthanc", theirs, unit),
    ]
    outcome.measured[task.key] = outcome.figures[-3].median
    bench.console.print(f"  {task.words}: {outcome.measured[task.key]:.3g} x Orthanc", style="dim")
    if lags:
        outcome.figures.append(Figure("  last response -> all rows, a query finds them", lags, "s"))
        key = "web_lag" if task.name.startswith("stow") else "orthanc_lag"
        outcome.measured[key] = max(outcome.measured.get(key, 0.0), *lags)


def settled(bench: Bench, sides: Sides, outcome: Outcome) -> None:
    """Wait until all deliveries of what was stored are done: FHIR resources written. Orthanc's like is kept out by StableAge."""
    with bench.console.status("waiting until FHIR resources of all studies are written"):
        seconds = settled_wait(sides.hospital)
    outcome.figures.append(Figure("waited for our FHIR resources before the reading rows", [seconds], "s"))


def _all_rows(hospital: Hospital, send: Callable[[], object]) -> float:
    """Send, then wait until the index worker has nothing left of it. Seconds from the last response."""
    send()
    began = time.monotonic()
    wait(lambda: inbox_watermark(tenant_id=hospital.tenant.id) is None, "all rows", seconds=120)
    with hospital.scope():
        StorageUse.objects.get()
    return time.monotonic() - began
