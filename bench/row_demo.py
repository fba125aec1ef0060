"""Row `demo`: `make demo ONCE=1` as a newcomer runs it, in a folder of its own, on a warm .venv."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

from bench.context import Bench
from bench.dicom_peers import port_free
from bench.environment import OTHER_INSTALLS, home_remove
from bench.figures import Figure, Outcome
from bench.house import BenchError
from medhub.embedded import Home
from medhub.stack import PORT_VARIABLES, ROOT

# Lines of the demo's output that end a phase. What follows the last one is the end of all processes.
PHASES = (("start: database, house, hospitals", "up: "), ("walk: phantom, C-STORE to report", "DiagnosticReport"))
STOP = "stop: all processes ended"
STACK_SETTINGS = ("MEDHUB_", "QUANTIFY_", "EGRESS_ALLOW", "DJANGO_SETTINGS_MODULE")


def demo_measure(bench: Bench) -> Outcome:
    """The first run makes the database and draws the phantom; the second finds both."""
    totals, phases = [], []
    with tempfile.TemporaryDirectory(prefix="medhub-bench-") as folder:
        Path(folder).chmod(0o711)  # PostgreSQL runs as nobody and must get in
        home = Home(Path(folder) / "home")
        try:
            for _ in range(bench.reps(2)):
                took, parts = demo_run(home.root)
                totals.append(took)
                phases.append(parts)
        finally:
            home_remove(home)
    outcome = Outcome(
        "`make demo ONCE=1` on a warm .venv",
        [Figure("whole command", totals, "s", " and ".join(f"{total:.1f} s" for total in totals))],
        ["the first run starts in an empty folder, the next ones where it left off; the bench's own house idles beside them"],
        {"demo_seconds": max(totals)},
    )
    for name in phases[0]:
        values = [parts[name] for parts in phases]
        outcome.figures.append(Figure(f"  {name}", values, "s", " and ".join(f"{value:.1f} s" for value in values)))
    return outcome


def demo_run(home: Path) -> tuple[float, dict[str, float]]:
    """Run it once. Returns seconds in all and by phase. Raises BenchError when it fails."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(STACK_SETTINGS) and key not in OTHER_INSTALLS
    }
    ports = {variable: str(port_free()) for variable in PORT_VARIABLES.values()}
    environment |= {"MEDHUB_HOME": str(home), "PYTHONUNBUFFERED": "1", **ports}
    began = time.monotonic()
    process = subprocess.Popen(
        ["make", "-s", "demo", "ONCE=1"], cwd=ROOT, env=environment, text=True,  # noqa: S607 whatever make the path has
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None  # noqa: S101 it is a pipe
    marks, lines = [began], []
    for line in process.stdout:
        lines.append(line)
        if len(marks) <= len(PHASES) and PHASES[len(marks) - 1][1] in line:
            marks.append(time.monotonic())
    status = process.wait()
    marks.append(time.monotonic())
    if status or len(marks) != len(PHASES) + 2:
        raise BenchError(f"make demo ended with {status}: {''.join(lines[-8:])}")
    names = [name for name, _ in PHASES] + [STOP]
    steps = zip(names, marks, marks[1:], strict=False)
    return marks[-1] - began, {name: end - start for name, start, end in steps}
