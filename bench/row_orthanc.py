"""Row `orthanc`: every DIMSE row of the issue beside Orthanc, interleaved in one run, with 18,000 studies stored on both sides."""

import subprocess
import time
from pathlib import Path

from pydicom.dataset import Dataset
from pynetdicom import AE

from bench.context import Bench
from bench.figures import Figure, Outcome, percentile
from bench.memory import private_bytes
from bench.peer_orthanc import missing
from bench.sides import STUDIES, Sides, Task, sides_running, tasks_measure
from imaging.dimse.contexts import STUDY_ROOT

INFIXES = [f"{a}{b}{c}" for a in "QXZ" for b in "QXJ" for c in "QXZVW"]  # hardly in any name: the scan, not the answers
STUDY_FIND = f"{STUDY_ROOT}.1"
TASKS = (
    Task("echo", "C-ECHO ms", False, "C-ECHO on an open association", "orthanc_echo", times=3),
    Task("store_ct_1", "instances/s", True, "C-STORE 500-slice CT, 1 association", "orthanc_ct_1"),
    Task("store_ct_4", "instances/s", True, "C-STORE 500-slice CT, 4 associations", "orthanc_ct_4"),
    Task("store_small_1", "instances/s", True, "C-STORE tiny objects, 1 association", "orthanc_small_1"),
    Task("store_small_4", "instances/s", True, "C-STORE tiny objects, 4 associations", "orthanc_small_4"),
    Task("store_large_1", "instances/s", True, "C-STORE 30-40 MB objects", "orthanc_large_1"),
    Task("find_patient_id", "C-FIND ms", False, "C-FIND by PatientID", "orthanc_find_id", times=3),
    Task("find_name", "C-FIND ms", False, "C-FIND by name", "orthanc_find_name", times=3),
    Task("find_date", "C-FIND ms", False, "C-FIND by date", "orthanc_find_date", times=3),
    Task("move_ct", "instances/s", True, "C-MOVE 500 slices", "orthanc_move"),
    Task("get_ct", "instances/s", True, "C-GET 500 slices", "orthanc_get"),
)


def orthanc_measure(bench: Bench) -> Outcome:
    """The DIMSE rows, the time a search inside a name takes, senders as they come, memory."""
    outcome = Outcome("Beside Orthanc (Debian's, TCP_NODELAY=1, PDU 131072, fsync of each file on, SQLite): ours / Orthanc")
    lacks = missing()
    if lacks:
        outcome.notes.append(f"not compared: {', '.join(lacks)} not here")
        return outcome
    with sides_running(bench, "bench-orthanc") as sides:
        tasks_measure(bench, sides, outcome, TASKS)
        _infix(sides, outcome)
        _stock(bench, sides, outcome)
    receivers = _receivers(bench)
    outcome.figures.append(Figure("memory of a receiver process", [private_bytes(pid) / 1e6 for pid in receivers], "MB"))
    outcome.measured["receiver_mb"] = max(private_bytes(pid) for pid in receivers) / 1e6
    outcome.notes.append(f"{STUDIES:,} studies stored on both sides before the first row; C-FIND and C-ECHO as speed: theirs / ours")
    return outcome


def _infix(sides: Sides, outcome: Outcome) -> None:
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


def _stock(bench: Bench, sides: Sides, outcome: Outcome) -> None:
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
