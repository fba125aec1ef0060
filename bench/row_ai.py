"""Row `ai`: what the hub adds to an AI job, at 50 studies a minute, with a vendor of its own that answers at once."""

import json
import os
import re
import secrets
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path

from pydicom import dcmread

from ai.connections import connection_set
from ai.contract import platforms
from ai.governance.terms import terms_accept, terms_of
from ai.models import Report
from ai.services import rule_set
from bench.context import QUIET_SECONDS, Bench
from bench.environment import VENDOR_PORT, VENDORS
from bench.figures import Figure, Outcome, percentile
from bench.house import BenchError, Hospital, hospital_make, wait
from bench.rest import Rest, RestError
from bench.row_stow import CONTENT_TYPE, body_make
from billing.entitlements import entitlement_set
from fhirapi.store import resource_read
from journal.audit import Actor
from medhub.stack import ROOT

STUDIES, A_MINUTE = int(os.environ.get("BENCH_AI_STUDIES", "100")), 50
WARM = 5
SLICES, SPACING, MATRIX = 40, 2.5, 64
PLATFORM, ALGORITHM = "sharedmind", "by-contract"
UID = re.compile(rb"2\.25\.(\d{30,39})")


@dataclass(frozen=True)
class Job:
    """One study's way: POSIX times, from the sender, from our rows, and from the vendor."""

    sent_at: float
    completed_at: float
    made_at: float
    dispatched_at: float
    result_at: float
    reported_at: float
    stored_at: float
    vendor_seconds: float

    @property
    def overhead(self) -> float:
        """From when the study could be complete to the resource in the FHIR store, less what the vendor took."""
        return self.stored_at - self.sent_at - QUIET_SECONDS - self.vendor_seconds

    @property
    def parts(self) -> dict[str, float]:
        return {
            "last response -> study complete, less quiet": self.completed_at - self.sent_at - QUIET_SECONDS,
            "study complete -> job made": self.made_at - self.completed_at,
            "job made -> de-identified and sent": self.dispatched_at - self.made_at,
            "sent -> result passed the gate, less the vendor's": self.result_at - self.dispatched_at - self.vendor_seconds,
            "result -> report": self.reported_at - self.result_at,
            "report -> in the FHIR store": self.stored_at - self.reported_at,
        }


def ai_measure(bench: Bench) -> Outcome:
    """A few studies to warm up, then an even stream; a vendor that has measured these pixels before answers at once."""
    with _vendor(bench) as vendor:
        hospital = _hospital(vendor)
        pictures = _pictures(bench.folder_new("ai"))
        _streamed(bench, hospital, vendor, pictures, WARM)
        jobs = _streamed(bench, hospital, vendor, pictures, STUDIES)
    overheads = [job.overhead for job in jobs]
    outcome = Outcome(
        f"AI jobs at {A_MINUTE} studies a minute: {STUDIES} chest CTs of {SLICES} slices by STOW-RS, de-identified, sent by STOW-RS, "
        f"asked for by QIDO-RS and WADO-RS, an SR with measurements back; quiet time {QUIET_SECONDS} s",
        [Figure("overhead of the hub", overheads, "s")],
        [
            "counted: from the answer to a study's STOW-RS plus the quiet time to its DiagnosticReport in the FHIR store, less the",
            "vendor's own time: from its answer to the last image to its SR in its store, by its clock on this machine; on the same cores",
        ],
    )
    for share in (50, 95):
        value = percentile(overheads, share / 100)
        outcome.figures.append(Figure(f"overhead of the hub, p{share}", [value], "s"))
        outcome.measured[f"ai_p{share}"] = value
    outcome.figures += [Figure(f"  {name}", [job.parts[name] for job in jobs], "s") for name in jobs[0].parts]
    outcome.figures.append(Figure("  the vendor's own", [job.vendor_seconds for job in jobs], "s"))
    return outcome


@dataclass(frozen=True)
class _Vendor:
    """The stand-in and how to reach it."""

    url: str
    credentials: dict[str, str]
    context: ssl.SSLContext

    def times(self) -> dict[str, list[float]]:
        request = urllib.request.Request(f"{self.url}/control/times", headers={"X-Control": self.credentials["control"]})  # noqa: S310 loopback
        with urllib.request.urlopen(request, timeout=30, context=self.context) as answer:  # noqa: S310 loopback
            found: dict[str, list[float]] = json.load(answer)
        return found


@contextmanager
def _vendor(bench: Bench) -> Iterator[_Vendor]:
    """A process of its own, in front of the house's MedHub Quantify."""
    command = [
        sys.executable, "-W", "ignore", "-m", "sandbox.vendors", "--folder", str(VENDORS), "--family", "performer", "--remember",
        "--port", str(VENDOR_PORT), "--quantify", f"http://127.0.0.1:{bench.stack.ports.quantify}",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, env=bench.stack.child_environment(), stdout=subprocess.PIPE)  # noqa: S603 our own module
    try:
        assert process.stdout is not None  # noqa: S101 it is a pipe
        line = process.stdout.readline()
        if not line:
            raise BenchError("the stand-in of the vendor did not start")
        credentials = json.loads((VENDORS / "credentials.json").read_text(encoding="utf-8"))
        yield _Vendor(json.loads(line)["url"], credentials, ssl.create_default_context(cafile=VENDORS / "ca.pem"))
    finally:
        process.terminate()
        process.wait(10)


def _hospital(vendor: _Vendor) -> Hospital:
    hospital = hospital_make("bench-ai", quiet_seconds=QUIET_SECONDS)
    store = f"{vendor.url}/performer/dicomweb"
    values = {
        "contract": "bench", "way": "stow", "dicomweb_url": store, "answer": "dicomweb", "answer_url": store, "closing": "SR",
        "auth": "bearer", "token": vendor.credentials["performer_key"],
    }  # fmt: skip
    with hospital.scope():
        entitlement_set(state="active")
        actor, terms = Actor(name="system:bench"), terms_of(platforms()[PLATFORM])
        made = connection_set(platform=PLATFORM, values=values, is_test=True, actor=actor)
        if terms is not None:
            terms_accept(platform=PLATFORM, version=terms.version, actor=actor)
        rule_set(name="chest CT", connection=made, algorithm=ALGORITHM, conditions=[{"fact": "modality", "is": ["CT"]}])
    return hospital


def _pictures(folder: Path) -> list[bytes]:
    command = [
        sys.executable, "-m", "sandbox.phantoms", "--out", str(folder), "--slices", str(SLICES), "--spacing", str(SPACING),
        "--matrix", str(MATRIX),
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 our own module
    return [path.read_bytes() for path in sorted(folder.glob("*.dcm"))]


def _renewed(pictures: list[bytes], study_uid: bytes) -> tuple[str, list[bytes]]:
    """The same pixels as a study that nobody has seen, and its UID: each UID with other digits, as many."""
    known: dict[bytes, bytes] = {}

    def other(match: re.Match[bytes]) -> bytes:
        digits = str(secrets.randbelow(9 * 10**38) + 10**38).encode()[: len(match[1])]
        return known.setdefault(match[0], b"2.25." + digits)

    renewed = [UID.sub(other, one) for one in pictures]
    return known[study_uid].decode(), renewed


def _streamed(bench: Bench, hospital: Hospital, vendor: _Vendor, pictures: list[bytes], count: int) -> list[Job]:
    """Send `count` studies at an even pace and wait for their reports."""
    with hospital.scope():
        before = set(Report.objects.values_list("id", flat=True))
    original = str(dcmread(BytesIO(pictures[0]), stop_before_pixels=True).StudyInstanceUID).encode()
    rest = Rest(bench.stack.ports.http, hospital.auth)
    answered: dict[str, float] = {}
    began = time.monotonic()
    for number in range(count):
        study_uid, renewed = _renewed(pictures, original)
        body = body_make(renewed)
        time.sleep(max(began + number * 60 / A_MINUTE - time.monotonic(), 0))
        status, _ = rest.request("POST", hospital.path("dicomweb/studies"), body=body, headers={"Content-Type": CONTENT_TYPE})
        if status != 200:
            raise RestError(f"STOW-RS answered {status}")
        answered[study_uid] = time.time()
    rest.close()
    found: list[Job] = []

    def is_there() -> bool:
        times = vendor.times()
        with hospital.scope():
            reports = list(Report.objects.exclude(id__in=before).select_related("study", "result__job"))
            found[:] = [one for one in (_job(report, answered, times) for report in reports) if one]
        return len(found) == count

    try:
        wait(is_there, f"the last of {count} reports", seconds=120, step=1)
    except BenchError as error:
        raise BenchError(f"{error}; {len(found)} had come") from error
    return found


def _job(report: Report, answered: dict[str, float], vendor_times: dict[str, list[float]]) -> Job | None:
    """In a scope. None while its resource, or the vendor's word, is not there."""
    document = resource_read(rtype="DiagnosticReport", fhir_id=str(report.uuid))
    job = report.result.job
    times = vendor_times.get(job.surrogate_uid, [])
    if document is None or len(times) != 2:
        return None
    return Job(
        sent_at=answered[report.study.study_uid], completed_at=_posix(report.study.completed_at),
        made_at=_posix(job.created_at), dispatched_at=_posix(job.sent_at), result_at=_posix(report.result.received_at),
        reported_at=_posix(report.issued_at), stored_at=_posix(document.last_updated), vendor_seconds=times[1] - times[0],
    )  # fmt: skip


def _posix(at: datetime) -> float:
    return at.timestamp()
