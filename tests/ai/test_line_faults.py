"""What a vendor's line can do wrong, through whole jobs: said in words, nothing made of it, and the job goes on when it is over."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from ai import jobs
from ai.contract import platforms
from ai.models import Connection, Job, Report, Result
from imaging.models import Instance
from tests import house
from tests.ai.lines import (
    CHAT,
    DICOMWEB,
    DIMSE,
    FHIR,
    HOOK,
    INFERENCE,
    MONAI,
    TASK,
    Line,
    failed_once,
    nothing_came_of_it,
    said_nothing,
    sent_to,
    tries_of,
)
from tests.ai.test_dispatch import ENDED, run
from tests.orthanc import port_free
from tests.web import Web, web_run

pytestmark = [pytest.mark.database, pytest.mark.faults, pytest.mark.xdist_group("faults-2")]

SILENT = "the other side was not reached or did not answer in time"
PRIVATE = "the address is private or not allowed (EGRESS_ALLOW)"
NO_JSON = "the platform's answer is not JSON"
PAGE = "a page answered, and not the platform"
TIMEOUT = {"kind": "timeout", "seconds": 3}
BROKEN = {"kind": "status", "status": 500}
WEB_LINES = (INFERENCE, TASK, HOOK)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """The real web door, for vendors that fetch from us and call our hook."""
    with web_run(tmp_path_factory.mktemp("web")) as running:
        yield running


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is silence after a second and a half: the platforms' own setting, lowered."""
    for slug in ("sharedmind", "nvidia-clara", "cloud-temple"):
        monkeypatch.setattr(type(platforms()[slug]), "patience_seconds", 1.5)


def done_once(hospital: Any, line: Line, images: int) -> None:
    """It went on by itself to one result and one report; its objects, where it has some, are there once."""
    ended = run(hospital, ENDED, slug=line.slug)
    assert (ended.state, ended.reason) == ("done", "")
    with hospital.scope():
        assert Report.objects.filter(result__job=ended).count() == Result.objects.filter(job=ended).count() == 1
        has_objects = line in (DICOMWEB, MONAI, INFERENCE, DIMSE)
        assert Instance.objects.filter(series__modality="CT").count() == images
        assert Instance.objects.exclude(series__modality="CT").count() >= has_objects
        assert Connection.objects.get(platform=line.slug).failures == 0


WORDS_OF_A_LINE = [
    (DICOMWEB, "send", TIMEOUT, SILENT), (DICOMWEB, "ask", TIMEOUT, SILENT),
    (DICOMWEB, "send", BROKEN, "the platform answered 500"), (DICOMWEB, "ask", BROKEN, "the platform answered 500"),
    (DICOMWEB, "send", {"kind": "html"}, "the platform's answer has a document type"), (DICOMWEB, "ask", {"kind": "html"}, NO_JSON),
    (DICOMWEB, "ask", {"kind": "malformed"}, NO_JSON), (DICOMWEB, "send", {"kind": "drop"}, SILENT),
    (FHIR, "send", TIMEOUT, SILENT), (FHIR, "ask", BROKEN, "the platform answered 500"),
    (FHIR, "send", {"kind": "html"}, NO_JSON), (FHIR, "ask", {"kind": "html"}, NO_JSON),
    (MONAI, "send", BROKEN, "the platform answered 500"), (MONAI, "ask", {"kind": "html"}, NO_JSON),
    (INFERENCE, "send", {"kind": "html"}, PAGE), (INFERENCE, "ask", {"kind": "html"}, NO_JSON), (INFERENCE, "ask", TIMEOUT, SILENT),
    (TASK, "send", {"kind": "html"}, PAGE), (TASK, "ask", BROKEN, "the platform answered 500"), (TASK, "ask", {"kind": "html"}, NO_JSON),
    (HOOK, "send", TIMEOUT, SILENT), (HOOK, "send", {"kind": "html"}, PAGE),
    (CHAT, "ask", TIMEOUT, SILENT), (CHAT, "ask", BROKEN, "the platform answered 500"), (CHAT, "ask", {"kind": "html"}, NO_JSON),
]  # fmt: skip


def _id(value: Any) -> str:
    return str(value["kind"]) if isinstance(value, dict) else str(value)[:12]


@pytest.mark.parametrize(("line", "step", "mishap", "words"), WORDS_OF_A_LINE, ids=_id)
def test_a_line_that_fails_once(request, mercy, vendors, thorax, tmp_path, settings, caplog, line, step, mishap, words) -> None:
    """"Vendor times out, answers 500 ..., sends HTML": the reason in words, a counted failure, and the job goes on by itself to one
    report."""
    if line in WEB_LINES:
        settings.MEDHUB_PUBLIC_URL = request.getfixturevalue("web").address
    method, path = line.send if step == "send" else line.ask
    vendors.fault(method=method, path=path, **mishap)
    sent_to(mercy, line, vendors, thorax, tmp_path)
    images = len(thorax)
    job = failed_once(mercy, line.slug)
    assert (job.state, job.reason) == ("queued" if step == "send" else "sent", words)
    assert job.due_at is not None, "it will be tried again"
    assert tries_of(mercy, line.slug, is_good=False) == [(step, words)]
    with mercy.scope():
        assert Connection.objects.get(platform=line.slug).failures == 1
        others = Instance.objects.exclude(series__modality="CT").count()  # of the findings that a draft words
    nothing_came_of_it(mercy, job, images + others)
    done_once(mercy, line, images)
    said_nothing(caplog.text)


@pytest.mark.parametrize("line", [DICOMWEB, FHIR, MONAI, TASK, CHAT], ids=str)
def test_a_redirect_to_a_private_address(request, mercy, vendors, thorax, tmp_path, settings, line) -> None:
    """"redirects to a private address": nobody is called there. A question is given up at once and can be sent again; what is sent is
    never sent to somewhere else, and goes on by itself."""
    if line in WEB_LINES:
        settings.MEDHUB_PUBLIC_URL = request.getfixturevalue("web").address
    method, path = line.ask
    with socket.create_server(("127.0.0.1", 0)) as private:
        inside = f"https://127.0.0.1:{private.getsockname()[1]}/latest/meta-data"
        vendors.fault("redirect", method=method, path=path, location=inside)
        sent_to(mercy, line, vendors, thorax, tmp_path)
        job = failed_once(mercy, line.slug)
        private.settimeout(0.3)
        with pytest.raises(TimeoutError):
            private.accept()
    vendors.control("POST", "rest")  # what it still fetched when its job ended here fails: before the job is sent again
    is_question = method == "GET"
    assert (job.state, job.reason) == (("failed", PRIVATE) if is_question else ("sent", SILENT))
    with mercy.scope():
        assert not Report.objects.filter(result__job=job).exists()
        assert jobs.job_resend(job_id=job.id) is is_question
    done_once(mercy, line, len(thorax))


@pytest.mark.parametrize("line", [DICOMWEB, FHIR, MONAI, TASK], ids=str)
def test_images_are_not_sent_where_a_redirect_leads(request, mercy, vendors, thorax, tmp_path, settings, line) -> None:
    """"redirects to a private address", while images or a task are sent: not one byte goes there."""
    if line in WEB_LINES:
        settings.MEDHUB_PUBLIC_URL = request.getfixturevalue("web").address
    method, path = line.send
    with socket.create_server(("127.0.0.1", 0)) as private:
        vendors.fault("redirect", method=method, path=path, location=f"https://127.0.0.1:{private.getsockname()[1]}/")
        sent_to(mercy, line, vendors, thorax, tmp_path)
        job = failed_once(mercy, line.slug)
        private.settimeout(0.3)
        with pytest.raises(TimeoutError):
            private.accept()
    assert (job.state, job.reason) == ("queued", SILENT)
    nothing_came_of_it(mercy, job, len(thorax))
    done_once(mercy, line, len(thorax))


def test_a_node_that_is_not_there(mercy, vendors, thorax, tmp_path, settings) -> None:
    """"Vendor times out", by C-STORE: nobody listens, the reason says so, and the job goes when somebody does."""
    free = port_free()
    settings.EGRESS_ALLOW = [*settings.EGRESS_ALLOW, f"127.0.0.1:{free}", f"127.0.0.1:{vendors.addresses['dimse_port']}"]
    sent_to(mercy, DIMSE, vendors, thorax, tmp_path)
    _node(mercy, free)
    job = failed_once(mercy, DIMSE.slug)
    assert job.state == "queued"
    assert job.reason
    nothing_came_of_it(mercy, job, len(thorax))
    _node(mercy, vendors.addresses["dimse_port"])
    assert run(mercy, {"sent"}).reason == ""


def _node(hospital: Any, port: int) -> None:
    with hospital.scope():
        link = Connection.objects.get()
        Connection.objects.update(settings={**link.settings, "port": str(port)})


def test_a_job_that_no_worker_survives_is_given_up(mercy, vendors, thorax, tmp_path) -> None:
    """"worker killed at each step", each time: the lease of a step that nobody ends is not taken for ever."""
    sent_to(mercy, DICOMWEB, vendors, thorax, tmp_path)
    with mercy.scope():
        Job.objects.update(attempts=jobs.MAX_ATTEMPTS)  # so many workers have died over it
    house.jobs_step(mercy)
    with mercy.scope():
        job = Job.objects.get()
        assert (job.state, job.reason, job.due_at) == ("failed", "given up: no worker came to the end of this step", None)
        assert jobs.job_resend(job_id=job.id)
    done_once(mercy, DICOMWEB, len(thorax))
