"""Row `quantify`: processor seconds of MedHub Quantify's algorithms, each in a process of its own, as a job is."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from bench.context import Bench
from bench.figures import Figure, Outcome
from bench.house import BenchError
from medhub.stack import ROOT

SHARED = ROOT.parent / "shared" / "dicom"
CHEST = "series/chest-ct-lidc-0314-2mm.zip"
# Algorithm, its file in the shared folder, and what is expected of it. Only the first has a goal.
RUNS = (
    ("lung-density-mask", CHEST, "done"),
    ("calcium-agatston-like", CHEST, "done"),
    ("fundus-vessel-index", "real/fundus-op-retina.dcm", "done"),
    ("breast-percent-density", "real/mammo-ge-mlo.dcm", "not_analysable"),
)
# The module is loaded before the clock starts; reading and decoding the instances is part of the computing.
CHILD = """
import json, sys, time
from pathlib import Path
from quantify.algorithms import ALGORITHMS
from quantify.outcome import finding
analyse = ALGORITHMS[sys.argv[1]].load()
parts = [path.read_bytes() for path in sorted(Path(sys.argv[2]).iterdir())]
began, spent = time.perf_counter(), time.process_time()
status = finding(analyse(parts))["status"]
print(json.dumps({"status": status, "images": len(parts), "cpu": time.process_time() - spent, "wall": time.perf_counter() - began}))
"""


def quantify_measure(bench: Bench) -> Outcome:
    """Real files of the shared folder, one thread. Raises BenchError where one is missing or ends otherwise than it should."""
    figures, measured = [], {}
    for algorithm, name, expected in RUNS:
        folder = _laid(SHARED / name, bench.folder_new("quantify"))
        runs = [_run(algorithm, folder, expected) for _ in range(bench.reps(3))]
        cpu = [run["cpu"] for run in runs]
        wall = max(run["wall"] for run in runs)
        noun = "images" if runs[0]["images"] > 1 else "image"
        figures.append(Figure(algorithm, cpu, "s CPU", f"{runs[0]['images']} {noun}, {expected}; slowest by the clock {wall:.2f} s"))
        if algorithm == "lung-density-mask":
            measured["quantify_seconds"] = max(cpu)
    return Outcome("MedHub Quantify: processor seconds of one job's computing, on real files, one thread", figures, measured=measured)


def _laid(source: Path, folder: Path) -> Path:
    """The instances as files of a folder."""
    if not source.exists():
        raise BenchError(f"the shared file {source.name} is missing")
    folder.mkdir()
    if source.suffix == ".zip":
        with zipfile.ZipFile(source) as archive:
            for number, entry in enumerate(name for name in sorted(archive.namelist()) if not name.endswith("/")):
                (folder / f"{number:04d}").write_bytes(archive.read(entry))
    else:
        (folder / "0000").write_bytes(source.read_bytes())
    return folder


def _run(algorithm: str, folder: Path, expected: str) -> dict[str, float]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, algorithm, str(folder)]
    ended = subprocess.run(command, cwd=ROOT, env=env, check=False, capture_output=True, text=True)  # noqa: S603 our own module
    if ended.returncode:
        raise BenchError(f"{algorithm} ended with {ended.returncode}")
    run: dict[str, float] = json.loads(ended.stdout)
    if run["status"] != expected:
        raise BenchError(f"{algorithm} is {run['status']}, not {expected}")
    return run
