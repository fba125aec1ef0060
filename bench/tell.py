"""Printing: a table for each row, the goals, and the machine it was."""

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figures import Figure, Outcome
from bench.goals import Verdict
from medhub.stack import ROOT

STYLES = {"met": "green", "MISSED": "bold red", "not measured": "yellow"}


def number_words(value: float) -> str:
    """Three figures are all that a shared machine is worth."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def outcome_tell(console: Console, outcome: Outcome) -> None:
    table = Table(title=outcome.title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in ("", "median", "unit", "range", ""):
        table.add_column(name, justify="right" if name in {"median", "range"} else "left")
    for figure in outcome.figures:
        table.add_row(figure.name, number_words(figure.median), figure.unit, _range(figure), figure.note)
    console.print()
    console.print(table)
    for note in outcome.notes:
        console.print(f"  {note}", style="dim")


def _range(figure: Figure) -> str:
    if len(figure.values) < 2:
        return "one run"
    return f"{number_words(min(figure.values))} to {number_words(max(figure.values))}"


def verdicts_tell(console: Console, verdicts: list[Verdict]) -> None:
    """The goals in the issue's words, each with its figure."""
    table = Table(title="Goals", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in ("what", "goal", "measured", "judged by", ""):
        table.add_column(name, ratio=3 if name == "what" else None)
    for verdict in verdicts:
        goal, value = verdict.goal, verdict.value
        found = "-" if value is None else f"{number_words(value)} {goal.unit}"
        table.add_row(goal.what, goal.goal, found, goal.judged_by, f"[{STYLES[verdict.word]}]{verdict.word}[/]")
    console.print()
    console.print(table)


def machine() -> dict[str, Any]:
    """What stands beside the figures: they mean nothing elsewhere."""
    return {
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "processor": _processor(),
        "python": platform.python_version(),
        "revision": _said("git", "rev-parse", "--short", "HEAD"),
        "dcmtk": _said("storescp", "--version").partition("\n")[0].strip("$ "),
    }


def _said(program: str, *arguments: str) -> str:
    path = shutil.which(program)
    if path is None:
        return "absent"
    return subprocess.run([path, *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 a fixed command


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
