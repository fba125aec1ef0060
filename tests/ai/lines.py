"""The wire families as connections of a hospital to a double, with what each one calls there; and what a failed try must leave."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ai.dispatch import job_run
from ai.models import Connection, Exchange, Job, Report, Result
from imaging.dimse.listener import Listener
from imaging.models import Instance, Study
from tenants.services import return_ae_set
from tests import house
from tests.ai.test_dispatch import chest_store, connect, job_of

PERFORMER = ("sharedmind", "by-contract")
SECRETS_OF_BODIES = ("a fault that was asked for", "Sign in", "DOCTYPE", "broken", "SOMEBODY-ELSE", "Waldorf", "MRN-4711")


@dataclass(frozen=True)
class Line:
    """A family; `send` and `ask` are (method, pattern of the path) of the requests in which a mishap is put."""

    name: str
    slug: str
    algorithm: str
    send: tuple[str, str] = ("", "")
    ask: tuple[str, str] = ("", "")
    more: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


DICOMWEB = Line(
    "dicomweb", *PERFORMER, ("POST", "/performer/dicomweb/studies"), ("GET", "/performer/dicomweb/studies/[0-9.]+/series"),
)  # fmt: skip
FHIR = Line("fhir", *PERFORMER, ("POST", "/performer/fhir/?"), ("GET", "/performer/fhir/DiagnosticReport"), {"answer": "fhir"})
MONAI = Line(
    "monai", "nvidia-clara", "monai-app", ("POST", "/monai/dicomweb/w1/studies"), ("GET", "/monai/dicomweb/studies/[0-9.]+/series"),
)  # fmt: skip
INFERENCE = Line(
    "inference", "nvidia-clara", "monai-app", ("POST", "/monai/inference"), ("GET", "/monai/inference/status/.*"), {"way": "pull"},
)  # fmt: skip
TASK = Line("task", *PERFORMER, ("POST", "/performer/tasks"), ("GET", "/performer/tasks/.*"), {"way": "task", "answer": "task"})
HOOK = Line("hook", *PERFORMER, ("POST", "/performer/tasks"), more={"way": "task", "answer": "pushed"})
DIMSE = Line("dimse", *PERFORMER, more={"way": "dimse", "answer": "pushed", "dicom_tls": "no"})
CHAT = Line("chat", "cloud-temple", "impression-draft", ask=("POST", "/chat/v1/chat/completions"))


def sent_to(hospital: Any, line: Line, vendors: Any, files: list[Path], folder: Path) -> None:
    """The line connected, and the chest in the archive with its job routed; before wording there are findings to word."""
    if line is CHAT:
        connect(hospital, *PERFORMER[:1], vendors, PERFORMER[1])
    connect(hospital, line.slug, vendors, line.algorithm, **line.more)
    chest_store(hospital, files, folder)
    house.deliver(hospital)


def round_run(hospital: Any) -> None:
    """What workers and sweeps do in a moment: rows, events, due jobs."""
    house.index(hospital)
    house.deliver(hospital)
    house.jobs_step(hospital)


def failed_once(hospital: Any, slug: str, seconds: float = 30) -> Job:
    """Work until a try of this platform's job has failed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        round_run(hospital)
        with hospital.scope():
            if Exchange.objects.filter(is_good=False, job__connection__platform=slug).exists():
                return job_of(hospital, slug)
        time.sleep(0.02)
    raise AssertionError("no try failed")


def tries_of(hospital: Any, slug: str, *, is_good: bool) -> list[tuple[str, str]]:
    with hospital.scope():
        rows = Exchange.objects.filter(is_good=is_good, job__connection__platform=slug).order_by("id")
        return list(rows.values_list("kind", "words"))


def nothing_came_of_it(hospital: Any, job: Job, images: int) -> None:
    """No report and no object of this job, and none of the vendor's words in what is kept."""
    with hospital.scope():
        assert not Report.objects.filter(result__job=job).exists()
        assert not Result.objects.filter(job=job, is_analysable=True).exists()
        assert Instance.objects.count() == images
        words = [job.reason, *Exchange.objects.values_list("words", flat=True), *Connection.objects.values_list("check_words", flat=True)]
    said_nothing(" ".join(words))


def said_nothing(text: str) -> None:
    """None of the words of a double's bodies, and no name of a patient."""
    assert [word for word in SECRETS_OF_BODIES if word in text] == []


def job_for(hospital: Any, study: Study) -> Job:
    with hospital.scope():
        found: Job = Job.objects.get(study=study)
    return found


def run_until(hospital: Any, study: Study, states: set[str], seconds: float = 30) -> Job:
    """Work until the job of this study is in one of these states, and its events are delivered."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        round_run(hospital)
        if (job := job_for(hospital, study)).state in states:
            house.index(hospital)
            house.deliver(hospital)
            return job
        time.sleep(0.03)
    raise AssertionError(f"{job.state}: {job.reason}")


def work_on(hospital: Any, seconds: float) -> None:
    """So long, whatever comes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        round_run(hospital)
        time.sleep(0.05)


def due_now(hospital: Any, job: Job) -> None:
    """One step of a job whose time has come."""
    with hospital.scope():
        Job.objects.filter(id=job.id, due_at__isnull=False).update(due_at="2026-01-01T00:00:00Z")
    job_run(tenant_id=hospital.tenant.id, job_id=job.id)


@contextmanager
def returning(hospital: Any, vendors: Any, listener: Listener, settings: Any) -> Iterator[str]:
    """The hospital's return AE for its connection, told to the double; its node may be called. Yields the AE title."""
    with hospital.scope():
        link = Connection.objects.get(platform=DIMSE.slug)
        Connection.objects.filter(id=link.id).update(settings={**link.settings, "port": str(vendors.addresses["dimse_port"])})
    called = f"R{hospital.called_ae}"[:16]
    return_ae_set(tenant=hospital.tenant, ae_title=called, connection_id=link.id, calling_ae="VENDOR", addresses=["127.0.0.1"])
    settings.EGRESS_ALLOW = [*settings.EGRESS_ALLOW, f"127.0.0.1:{vendors.addresses['dimse_port']}"]
    vendors.control("POST", "return", {"host": "127.0.0.1", "port": listener.port, "ae_title": called})
    yield called
