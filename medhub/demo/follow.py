"""Following one study: send it from the stand-in scanner, watch each hop, tell the report in words."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ai.models import Decision, Job, Report
from ai.reports import finding_words, number_words
from imaging.models import Study
from imaging.selectors import study_by_uid
from journal.wall.scope import tenant_scope
from medhub.demo.seed import DemoHospital
from medhub.stack import ROOT, Ports
from portal.timeline import Hop, study_timeline

FOLLOW_SECONDS = 120
LOOK_SECONDS = 0.2
ENDED = {Job.State.DONE, Job.State.NOT_ANALYSABLE}
LABELS = {
    "received": "Received", "stored": "Stored", "complete": "Study complete", "imaging_study": "ImagingStudy",
    "matched": "Rule matched", "sent": "Job sent", "result": "Result received", "report": "Report issued",
}  # fmt: skip


class DemoFailed(Exception):
    """The study did not get through; the text says where it stopped."""


@dataclass
class Sending:
    """What the scanner says it sent."""

    study_uid: str = ""
    studies: int = 1
    instances: int = 0
    sent: int = 0


def study_send(path: Path, *, hospital: DemoHospital, ports: Ports) -> Iterator[Sending]:
    """Run the stand-in scanner and yield its progress. Raises DemoFailed with the first refusal."""
    scanner = subprocess.Popen(  # noqa: S603 our own module
        [
            sys.executable, "-m", "sandbox.modality", str(path), "--port", str(ports.dimse),
            "--called", hospital.called_ae, "--calling", hospital.calling_ae,
        ],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    sending, refused = Sending(), ""
    assert scanner.stdout is not None and scanner.stderr is not None  # noqa: S101, PT018 both are pipes
    for line in scanner.stdout:
        said = json.loads(line)
        sending.study_uid = said.get("study_uid", sending.study_uid)
        sending.studies = said.get("studies", sending.studies)
        sending.instances = said.get("instances", sending.instances)
        sending.sent = said.get("sent", sending.sent)
        refused = refused or said.get("error", "") or (f"{said['refused']} {said['comment']}" if "refused" in said else "")
        if sending.study_uid:
            yield sending
    if scanner.wait():
        words = refused or scanner.stderr.read().strip().splitlines()[-1:] or "no reason given"
        raise DemoFailed(f"the scanner could not send the study: {words}")


def study_follow(console: Console, *, tenant_id: int, hospital: DemoHospital, path: Path, ports: Ports) -> tuple[Study, Report | None]:
    """Send and watch until the report is out, or until it is clear that none will come."""
    began = time.monotonic()
    sending = Sending()
    with Live(console=console, refresh_per_second=8, transient=False) as live:
        for sending in study_send(path, hospital=hospital, ports=ports):
            live.update(_screen(sending, []))
        while time.monotonic() - began < FOLLOW_SECONDS:
            with tenant_scope(tenant_id):
                study = study_by_uid(study_uid=sending.study_uid)
                hops = study_timeline(study=study) if study else []
                live.update(_screen(sending, hops))
                if study and _is_over(study, hops):
                    return study, Report.objects.filter(study=study).order_by("-version").first()
            time.sleep(LOOK_SECONDS)
    missing = next((hop.label for hop in hops if hop.at is None and hop.key != "delivered"), "the first row")
    raise DemoFailed(f"no report after {FOLLOW_SECONDS} s; still waiting for: {missing}")


def _is_over(study: Study, hops: list[Hop]) -> bool:
    if study.state != Study.State.COMPLETE or any(hop.at is None for hop in hops if hop.key in {"imaging_study", "matched"}):
        return False
    jobs = list(Job.objects.filter(study=study, study_version=study.version))
    if not jobs:
        return Decision.objects.filter(study=study, study_version=study.version, matched=0).exists()
    if any(job.due_at is not None for job in jobs):
        return False
    waited_for = {job.id for job in jobs if job.state in ENDED}
    return waited_for <= set(Report.objects.filter(study=study).values_list("result__job_id", flat=True))


def _screen(sending: Sending, hops: list[Hop]) -> Group:
    others = f" of {sending.studies} studies; this is the way of the first" if sending.studies > 1 else ""
    head = Text(f"C-STORE: {sending.sent} of {sending.instances} images sent{others}", style="bold")
    table = Table(show_header=False, box=None, pad_edge=False)
    first = next((hop.at for hop in hops if hop.at), None)
    for hop in hops or [Hop(key=key, label=label, at=None) for key, label in LABELS.items()]:
        mark = "✗" if hop.is_problem else "✓" if hop.at else "·"
        style = "red" if hop.is_problem else "green" if hop.at else "dim"
        took = f"+{(hop.at - first) / timedelta(seconds=1):5.2f} s" if hop.at and first else ""
        table.add_row(Text(mark, style=style), Text(hop.label, style=style), took, Text(hop.detail, style="dim"))
    return Group(head, table)


def report_tell(console: Console, report: Report, truth: dict[str, Any] | None) -> None:
    """The DiagnosticReport in words; beside it what the phantom was made with, if it is our phantom."""
    content = report.content
    algorithm = content["algorithm"]
    console.print()
    console.print(Text("DiagnosticReport", style="bold"), Text(f"({report.status}, version {report.version})", style="yellow"))
    if content["not_analysable"]:
        console.print(Text(f"  not analysable: {content['not_analysable']['text']}"), style="yellow")
    else:
        console.print(_values(content["measurements"], truth))
    console.print(f"  algorithm: {algorithm['name']} {algorithm['version']} by {algorithm['manufacturer']}", style="dim")
    console.print(f"  {content['notice']}", style="yellow")


TRUTH = {"118565006": "lung_volume_ml", "laa-950": "laa_950_percent", "perc15": "perc15_hu"}


def _values(measurements: list[dict[str, Any]], truth: dict[str, Any] | None) -> Table:
    table = Table(box=None, pad_edge=True)
    for title in ("finding", "value", "unit", "method", *(["truth"] if truth else [])):
        table.add_column(title, justify="right" if title in {"value", "truth"} else "left")
    for item in measurements:
        row = [finding_words(item), number_words(item["value"]), item["unit_display"], item["method"]]
        if truth:
            known = truth.get(TRUTH.get(item["code"]["code"], ""))
            row.append("" if known is None else number_words(known))
        table.add_row(*row)
    return table


