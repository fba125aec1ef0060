"""Row `orthanc`: every DIMSE row of the issue beside Orthanc, interleaved in one run, with 18,000 studies stored on both sides."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE

from bench.context import Bench
from bench.environment import MOVE_PORT
from bench.figures import Figure, Outcome, paired_ratios, percentile
from bench.house import Hospital, hospital_make, wait
from bench.memory import pages_drop, private_bytes
from bench.peer_orthanc import data_make, harness, missing, orthanc
from imaging.dimse.contexts import STUDY_ROOT
from imaging.inbox import inbox_watermark
from imaging.models import StorageUse
from imaging.nodes import node_add

INFIXES = [f"{a}{b}{c}" for a in "QXZ" for b in "QXJ" for c in "QXZVW"]  # hardly in any name: the scan, not the answers
STUDY_FIND = f"{STUDY_ROOT}.1"
STUDIES, PER_COPY = 18_000, 2_000
# task of the harness, metric, whether more is better, words, and the key that a goal is judged by
TASKS = (
    ("echo", "C-ECHO ms", False, "C-ECHO on an open association", "echo"),
    ("store_ct_1", "instances/s", True, "C-STORE 500-slice CT, 1 association", "ct_1"),
    ("store_ct_4", "instances/s", True, "C-STORE 500-slice CT, 4 associations", "ct_4"),
    ("store_small_1", "instances/s", True, "C-STORE tiny objects, 1 association", "small_1"),
    ("store_small_4", "instances/s", True, "C-STORE tiny objects, 4 associations", "small_4"),
    ("store_large_1", "instances/s", True, "C-STORE 30-40 MB objects", "large_1"),
    ("find_patient_id", "C-FIND ms", False, "C-FIND by PatientID", "find_id"),
    ("find_name", "C-FIND ms", False, "C-FIND by name", "find_name"),
    ("find_date", "C-FIND ms", False, "C-FIND by date", "find_date"),
    ("move_ct", "instances/s", True, "C-MOVE 500 slices", "move"),
    ("get_ct", "instances/s", True, "C-GET 500 slices", "get"),
)  # fmt: skip


@dataclass
class _Sides:
    """Both targets and what is loaded on them."""

    bench: Any  # the harness module
    context: Any
    hospital: Hospital
    ours: dict[str, Any]
    theirs: dict[str, Any]
    folders: list[Path]  # where both keep their objects

    def run(self, task: str, target: dict[str, Any]) -> dict[str, float]:
        os.sync()
        pages_drop(self.folders)  # even conditions (bench/memory.py)
        if not task.startswith(("echo", "store")):
            self.context.load(target)
        found: dict[str, float] = self.bench.TASKS[task](self.context, target)
        return found


def orthanc_measure(bench: Bench) -> Outcome:
    """Ratios are paired by repetition; who goes first changes with each."""
    outcome = Outcome("Beside Orthanc (Debian's, TCP_NODELAY=1, PDU 131072, fsync of each file on, SQLite): ours / Orthanc")
    lacks = missing()
    if lacks:
        outcome.notes.append(f"not compared: {', '.join(lacks)} not here")
        return outcome
    data = data_make()
    hospital = hospital_make("bench-orthanc")
    with hospital.scope():
        node_add(ae_title="BENCH", services=("store", "find", "move", "get"))
        node_add(ae_title="BENCHDST", host="127.0.0.1", port=MOVE_PORT, services=("store",))
    ours = {
        "name": "ours", "host": "127.0.0.1", "dimse_port": bench.stack.ports.dimse, "aet": hospital.called_ae,
        "dicomweb": f"http://127.0.0.1:{bench.stack.ports.http}/", "pids": [],
    }  # fmt: skip
    with orthanc(bench.folder_new("orthanc")) as theirs, tempfile.TemporaryDirectory(dir=bench.scratch) as scratch:
        module = harness()
        context = module.Ctx(data, Path(scratch), int(time.time()) % 100_000 * 100)
        folders = [bench.stack.home.root / "objects", *bench.scratch.glob("orthanc-*")]
        sides = _Sides(module, context, hospital, ours, {**theirs, "pids": []}, folders)
        _fill(bench, sides)
        for task, metric, is_more_better, words, key in TASKS:
            _row(bench, sides, outcome, task=task, metric=metric, is_more_better=is_more_better, words=words, key=key)
        _infix(sides, outcome)
        _stock(bench, sides, outcome)
    receivers = _receivers(bench)
    outcome.figures.append(Figure("memory of a receiver process", [private_bytes(pid) / 1e6 for pid in receivers], "MB"))
    outcome.measured["receiver_mb"] = max(private_bytes(pid) for pid in receivers) / 1e6
    outcome.notes.append(f"{STUDIES:,} studies stored on both sides before the first row; C-FIND and C-ECHO as speed: theirs / ours")
    return outcome


def _fill(bench: Bench, sides: _Sides) -> None:
    for number in range(STUDIES // PER_COPY):
        bench.console.print(f"  filling both archives: {number * PER_COPY:,} of {STUDIES:,} studies", style="dim")
        for target in (sides.ours, sides.theirs):
            sides.bench.TASKS["store_small_4"](sides.context, target)
    _all_rows(sides.hospital, lambda: None)


def _row(
    bench: Bench, sides: _Sides, outcome: Outcome, *, task: str, metric: str, is_more_better: bool, words: str, key: str
) -> None:
    ours: list[float] = []
    theirs: list[float] = []
    lags: list[float] = []
    for rep in range(bench.reps(3)):
        for is_ours in (True, False) if rep % 2 == 0 else (False, True):
            if not is_ours:
                theirs.append(sides.run(task, sides.theirs)[metric])
            elif task.startswith("store"):
                lags.append(_all_rows(sides.hospital, lambda: ours.append(sides.run(task, sides.ours)[metric])))
            else:
                ours.append(sides.run(task, sides.ours)[metric])
    ratios = paired_ratios(ours, theirs) if is_more_better else paired_ratios(theirs, ours)
    unit = metric.replace("C-FIND ", "").replace("C-ECHO ", "")
    outcome.figures += [
        Figure(words, ratios, "x Orthanc"),
        Figure("  ours", ours, unit),
        Figure("  Orthanc", theirs, unit),
    ]
    outcome.measured[f"orthanc_{key}"] = outcome.figures[-3].median
    if lags:
        outcome.figures.append(Figure("  last response -> all rows, C-FIND finds them", lags, "s"))
        outcome.measured["orthanc_lag"] = max(outcome.measured.get("orthanc_lag", 0.0), *lags)


def _all_rows(hospital: Hospital, send: Callable[[], object]) -> float:
    """Send, then wait until the index worker has nothing left of it. Seconds from the last response."""
    send()
    began = time.monotonic()
    wait(lambda: inbox_watermark(tenant_id=hospital.tenant.id) is None, "all rows", seconds=120)
    with hospital.scope():
        StorageUse.objects.get()
    return time.monotonic() - began


def _infix(sides: _Sides, outcome: Outcome) -> None:
    """Text in the middle of a name: a bounded scan of the hospital's patients, which no index serves."""
    entity = AE(ae_title="BENCH")
    entity.add_requested_context(STUDY_FIND)
    association = entity.associate(sides.ours["host"], sides.ours["dimse_port"], ae_title=sides.ours["aet"])
    taken = []
    for letters in INFIXES:
        asked = Dataset()
        asked.QueryRetrieveLevel, asked.PatientName, asked.StudyInstanceUID = "STUDY", f"*{letters}*", ""
        began = time.perf_counter()
        for _ in association.send_c_find(asked, STUDY_FIND):
            pass
        taken.append(1000 * (time.perf_counter() - began))
    association.release()
    outcome.figures += [
        Figure("C-FIND by letters inside a name, first to last answer", taken, "ms", "few or no matches"),
        Figure("  95th percentile", [percentile(taken, 0.95)], "ms"),
    ]


def _stock(bench: Bench, sides: _Sides, outcome: Outcome) -> None:
    """"With senders as they come, without TCP_NODELAY": 150 tiny files."""
    folders, count, _, remove = sides.context.fresh("small", 20)
    command = ["env", "-u", "TCP_NODELAY", "storescu", "-R", "-aet", "BENCH"]
    taken: dict[str, float] = {}
    for target in (sides.ours, sides.theirs):
        began = time.monotonic()
        subprocess.run(  # noqa: S603 a fixed command
            [*command, "-aec", target["aet"], "127.0.0.1", str(target["dimse_port"]), "+sd", str(folders[0])],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        taken[target["name"]] = time.monotonic() - began
    remove()
    outcome.figures += [
        Figure(f"{count // 20} tiny files from a stock storescu, ours", [taken["ours"]], "s"),
        Figure(f"{count // 20} tiny files from a stock storescu, Orthanc", [taken[sides.theirs["name"]]], "s"),
    ]
    outcome.measured["orthanc_stock"] = taken["ours"]


def _receivers(bench: Bench) -> list[int]:
    pid = bench.stack.pids()["dimse"]
    children = [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]
    return [child for child in children if "imaging.dimse.process" in Path(f"/proc/{child}/cmdline").read_text()]
