"""A run of the bench: rows in order, the goals at the end, the result as JSON. Imported after `environment.prepare`."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from django.utils import timezone
from rich.console import Console

from bench.context import Bench
from bench.dicom_peers import SendError
from bench.environment import BENCH, home_remove, scratch_make
from bench.figures import Outcome
from bench.goals import GOALS, verdicts
from bench.house import BenchError, house_running
from bench.rest import RestError
from bench.row_ai import ai_measure
from bench.row_bulk import bulk_measure
from bench.row_deident import deident_measure
from bench.row_demo import demo_measure
from bench.row_ehr import ehr_measure
from bench.row_orthanc import orthanc_measure
from bench.row_quantify import quantify_measure
from bench.row_reading import fhir_measure, worklist_measure
from bench.row_report import report_measure
from bench.row_routing import routing_measure
from bench.row_store import ct_measure, tiny_measure
from bench.row_stow import stow_measure
from bench.row_web import web_measure
from bench.tell import machine, outcome_tell, verdicts_tell
from medhub.stack import Stack, signals_raised

MEASURES: dict[str, Callable[[Bench], Outcome]] = {
    "ct": ct_measure,
    "tiny": tiny_measure,
    "report": report_measure,
    "ai": ai_measure,
    "demo": demo_measure,
    "fhir": fhir_measure,
    "ehr": ehr_measure,
    "bulk": bulk_measure,
    "worklist": worklist_measure,
    "stow": stow_measure,
    "orthanc": orthanc_measure,
    "web": web_measure,
    "deident": deident_measure,
    "routing": routing_measure,
    "quantify": quantify_measure,
}
RESULT = BENCH / "result.json"


def bench_run(stack: Stack, *, only: Sequence[str], reps: int | None) -> int:
    """Measure, print, write. Returns the exit status: 1 when a goal whose row ran was missed."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    facts = machine()
    console.print(
        f"{facts['processor']}, {facts['cores']} cores, load {facts['load'][0]} at the start; dcmtk: {facts['dcmtk']}. "
        "Everything shares them: compare ratios, not figures of two runs.",
        style="dim",
    )
    outcomes: dict[str, Outcome] = {}
    try:
        with signals_raised(), house_running(stack):
            bench = Bench(console, stack, reps)
            for name in only or MEASURES:
                outcomes[name] = _measured(bench, name)
    finally:
        home_remove(stack.home)
        scratch_make("scratch").rmdir()
    measured = {key: value for outcome in outcomes.values() for key, value in outcome.measured.items()}
    found = [verdict for verdict in verdicts(measured) if verdict.goal.row in outcomes]
    verdicts_tell(console, found)
    result_write(RESULT, facts, outcomes, measured)
    console.print(f"\nwritten to {RESULT}", style="dim")
    has_failed = any(outcome.failure for outcome in outcomes.values())
    return 1 if has_failed or any(verdict.word == "MISSED" for verdict in found) else 0


def _measured(bench: Bench, name: str) -> Outcome:
    """One row. When it fails its reason is its outcome, and the next rows still run."""
    try:
        with bench.console.status(f"measuring: {name}"):
            outcome = MEASURES[name](bench)
    except (BenchError, RestError, SendError) as error:
        bench.console.print(f"\n{name} failed: {error}", style="bold red")
        return Outcome(name, failure=str(error))
    outcome_tell(bench.console, outcome)
    return outcome


def result_write(path: Path, facts: dict[str, Any], outcomes: dict[str, Outcome], measured: dict[str, float]) -> None:
    """The same for machines. A partial run (`--only`) replaces only the rows that it measured."""
    rows = {name: {**outcome.as_data(), "machine": facts} for name, outcome in outcomes.items()}
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": {}, "measured": {}}
    again = {goal.key for goal in GOALS if goal.row in outcomes}  # what was measured before says nothing any more
    values = {key: value for key, value in before["measured"].items() if key not in again} | measured
    data = {
        "at": timezone.now().isoformat(timespec="seconds"),
        "rows": before["rows"] | rows,
        "measured": values,
        "goals": [
            {"what": v.goal.what, "goal": v.goal.goal, "limit": v.goal.limit, "value": v.value, "verdict": v.word}
            for v in verdicts(values)
        ],
    }
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    os.replace(draft, path)

