"""Row `report`: from the last C-STORE response to a DiagnosticReport that a REST client can read, less the quiet time."""

import time
from dataclasses import dataclass
from datetime import datetime

from ai.models import Job, Report
from bench.context import PHANTOM_SLICES, QUIET_SECONDS, Bench
from bench.dicom_peers import CALLING_AE, modality_send
from bench.figures import Figure, Outcome
from bench.house import wait
from bench.rest import Rest
from fhirapi.store import resource_read
from imaging.models import Study

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Walk:
    """One study's way: POSIX times, from the sender, from our rows, and from the client that reads."""

    sent_at: float
    hops: dict[str, float]
    readable_at: float
    report_id: str
    study_uid: str

    @property
    def seconds(self) -> float:
        return self.readable_at - self.sent_at - QUIET_SECONDS


def report_measure(bench: Bench) -> Outcome:
    """Five studies, one after the other; the first one finds workers that have done nothing yet."""
    walks = [study_walk(bench) for _ in range(bench.reps(5))]
    totals = [walk.seconds for walk in walks]
    outcome = Outcome(
        f"C-STORE to DiagnosticReport: thorax phantom of {PHANTOM_SLICES} slices, quiet time {QUIET_SECONDS} s",
        [Figure("last response -> readable, less quiet", totals, "s", f"worst {max(totals):.2f} s")],
        ["the parts add up to the total; reading is by search over REST, asked every 50 ms"],
        {"report_seconds": max(totals)},
    )
    for name in walks[0].hops:
        outcome.figures.append(Figure(f"  {name}", [walk.hops[name] for walk in walks], "s"))
    return outcome


def study_walk(bench: Bench) -> Walk:
    """Send the phantom with fresh UIDs and wait until its report can be read."""
    hospital = bench.walking
    rest = Rest(bench.stack.ports.http, hospital.auth)
    known = _report_ids(rest, hospital.path("fhir/r4/DiagnosticReport"))
    sent = modality_send(
        bench.phantom, count=PHANTOM_SLICES, called=hospital.called_ae, calling=CALLING_AE, port=bench.stack.ports.dimse,
        is_renewed=True,
    )  # fmt: skip
    found: set[str] = set()

    def is_readable() -> bool:
        found.update(_report_ids(rest, hospital.path("fhir/r4/DiagnosticReport")) - known)
        return bool(found)

    wait(is_readable, "the DiagnosticReport", step=POLL_SECONDS)
    readable_at = time.time()
    report_id = found.pop()
    with hospital.scope():
        hops, study_uid = _hops(report_id, sent.last_at, readable_at)
    return Walk(sent.last_at, hops, readable_at, report_id, study_uid)


def _report_ids(rest: Rest, path: str) -> set[str]:
    bundle = rest.get_json(f"{path}?_count=50")
    return {entry["resource"]["id"] for entry in bundle.get("entry", [])}


def _hops(report_id: str, sent_at: float, readable_at: float) -> tuple[dict[str, float], str]:
    """Seconds of each part of the way, from the times our rows carry."""
    report = Report.objects.select_related("study", "result__job").get(uuid=report_id)
    study: Study = report.study
    job: Job = report.result.job
    document = resource_read(rtype="DiagnosticReport", fhir_id=report_id)
    times = [
        ("last response -> study complete, less quiet", study.completed_at),
        ("study complete -> job made", job.created_at),
        ("job made -> job sent", job.sent_at),
        ("job sent -> result", report.result.received_at),
        ("result -> report", report.issued_at),
        ("report -> in the FHIR store", document.last_updated if document else report.issued_at),
    ]
    hops, before = {}, sent_at + QUIET_SECONDS
    for name, at in times:
        hops[name], before = _posix(at) - before, _posix(at)
    hops["in the FHIR store -> read by the client"] = readable_at - before
    return hops, study.study_uid


def _posix(at: datetime) -> float:
    return at.timestamp()
