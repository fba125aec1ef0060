"""Routing, dispatch and the gate, with a platform that answers over real HTTP on loopback."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from ai import dispatch, jobs
from ai.connections import ConnectionRefused
from ai.models import Connection, Decision, Job, Report, Result
from ai.services import connection_create, rule_set
from billing.entitlements import entitlement_set
from imaging.models import Study
from tests import house
from tests.dicom_files import series_of

pytestmark = pytest.mark.database


class Vendor(ThreadingHTTPServer):
    """Enforces the job interface's contract as far as the tests need it: key, idempotency, media type."""

    answer: dict[str, Any] | None = None
    status = 200
    posts: list[str] = []
    key = ""


class VendorHandler(BaseHTTPRequestHandler):
    server: Vendor

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _reply(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def do_POST(self) -> None:  # noqa: N802 the library's name
        body = self._body()
        if self.headers["Authorization"] != f"Bearer {self.server.key}":
            self._reply(401, {})
        elif self.server.status != 200:
            self._reply(self.server.status, {})
        elif not self.headers["Content-Type"].startswith('multipart/related; type="application/dicom"') or b"DICM" not in body:
            self._reply(415, {})
        else:
            self.server.posts.append(self.headers["Idempotency-Key"])
            time.sleep(self.server.seconds)
            self._reply(202, {"job_id": f"r-{self.headers['Idempotency-Key']}", "status": "queued"})

    def do_GET(self) -> None:  # noqa: N802 the library's name
        self._reply(200, self.server.answer or {"status": "running"})


@pytest.fixture
def vendor(settings) -> Iterator[Vendor]:
    server = Vendor(("127.0.0.1", 0), VendorHandler)
    server.posts, server.key, server.seconds = [], "k", 0.0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.QUANTIFY_URL = f"http://127.0.0.1:{server.server_port}"
    settings.QUANTIFY_KEY = "k"
    settings.EGRESS_ALLOW = [f"127.0.0.1:{server.server_port}"]
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def routed(mercy, vendor):
    """A chest CT of 25 slices, complete and routed: one queued job."""
    with mercy.scope():
        entitlement_set(state="active")
        rule_set(
            name="chest", connection=connection_create(platform="medhub-quantify"), algorithm="lung-density-mask",
            conditions=[{"fact": "modality", "is": ["CT"]}],
        )  # fmt: skip
    house.store(mercy, series_of(25))
    house.index(mercy)
    house.complete(mercy)
    house.deliver(mercy)
    return mercy


def answer_for(hospital, **changes) -> dict[str, Any]:
    with hospital.scope():
        from imaging.models import Instance, Series

        series = Series.objects.get()
        uids = sorted(Instance.objects.values_list("sop_instance_uid", flat=True))
        study = Study.objects.get()
    coding = {"system": "http://snomed.info/sct", "code": "118565006", "display": "Volume"}
    return {
        "status": "done",
        "algorithm": {"name": "lung-density-mask", "version": "1.0.0", "manufacturer": "MedHub Quantify"},
        "input": {"study_uid": study.study_uid, "series_uid": series.series_uid, "sop_uids": uids, "sha256": "0" * 64},
        "measurements": [
            {"code": coding, "value": 4215.2, "unit": "mL", "unit_display": "mL", "method": "test", "body_site": None, "parameters": []}
        ],
        "notes": [],
        **changes,
    }


def job_of(hospital) -> Job:
    with hospital.scope():
        return Job.objects.get()


def step(hospital) -> Job:
    with hospital.scope():
        Job.objects.filter(due_at__isnull=False).update(due_at="2026-01-01T00:00:00Z")
    dispatch.job_run(tenant_id=hospital.tenant.id, job_id=job_of(hospital).id)
    return job_of(hospital)


def test_a_job_is_sent_asked_for_and_reported(routed, vendor) -> None:
    """"dispatch ... result gate, report": queued, sent, done; the report is preliminary and says what it is not."""
    assert step(routed).state == "sent"
    assert step(routed).state == "sent"  # still running there
    vendor.answer = answer_for(routed)
    assert step(routed).state == "done"
    house.deliver(routed)
    with routed.scope():
        report = Report.objects.get()
    assert report.status == "preliminary"
    assert report.conclusion == "Volume 4,215 mL. AI-generated, preliminary, not a medical device."
    assert vendor.posts == [str(job_of(routed).uuid)]


def test_a_step_that_lasts_longer_than_its_lease_is_not_begun_again(routed, vendor, settings) -> None:
    """"a state machine ...; per-target queue": sending a large series may take minutes; its worker keeps the lease as long as it lives."""
    settings.MEDHUB_LEASE_SECONDS, vendor.seconds = 0.8, 3.0
    job_id, others = job_of(routed).id, []

    def another_worker() -> None:
        end = time.monotonic() + 2.4
        while time.monotonic() < end:
            time.sleep(0.2)
            others.append(dispatch.job_run(tenant_id=routed.tenant.id, job_id=job_id))
        connections.close_all()

    thread = threading.Thread(target=another_worker)
    with routed.scope():
        Job.objects.filter(id=job_id).update(due_at=timezone.now())
    thread.start()
    dispatch.job_run(tenant_id=routed.tenant.id, job_id=job_id)
    thread.join()
    assert len(vendor.posts) == 1
    assert len(others) > 5
    assert job_of(routed).state == "sent"


def test_a_replayed_event_makes_no_second_job(routed) -> None:
    """A job is unique per study, version, connection and algorithm."""
    from ai.routing.live import study_route
    from journal.models import OutboxEvent
    from journal.types import Event

    with routed.scope():
        row = OutboxEvent.objects.get(name="study.completed")
        event = Event(id=row.id, tenant_id=row.tenant_id, name=row.name, ids=row.ids, trace_id=row.trace_id)
        study_route(event=event)
        assert Job.objects.count() == 1
        assert Decision.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"input": {"study_uid": "9.9", "series_uid": "9", "sop_uids": ["9"], "sha256": ""}}, "the answer names another study"),
        ({"algorithm": {"name": "other", "version": "1", "manufacturer": "MedHub Quantify"}}, "the answer comes from another algorithm"),
        ({"measurements": []}, "the answer says both something and nothing"),
    ],
)
def test_the_gate_keeps_back_what_does_not_belong(routed, vendor, changes, reason) -> None:
    """"result gate": another patient's images, another algorithm, an empty answer: kept, shown, never reported."""
    step(routed)
    vendor.answer = answer_for(routed, **changes)
    job = step(routed)
    assert (job.state, job.reason, job.due_at) == ("quarantined", reason, None)
    house.deliver(routed)
    with routed.scope():
        assert Report.objects.count() == 0
        assert Result.objects.get().payload["status"] == "done"


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm": {"name": "lung-density-mask", "version": "1", "manufacturer": "Aidoc"}},
        {"status": "maybe"},
        {"measurements": [{"code": "x"}]},
    ],
)
def test_a_wrong_shape_or_another_makers_name_never_gets_through(routed, vendor, changes) -> None:
    """"never shows a vendor's name on a result that the vendor didn't make": the gate's schema pins the manufacturer."""
    step(routed)
    vendor.answer = answer_for(routed, **changes)
    job = step(routed)
    assert job.state == "quarantined"
    assert job.reason.startswith("the answer's shape is wrong")
    with routed.scope():
        assert Report.objects.count() == 0


def test_a_vendor_that_is_down_is_tried_again_and_then_shown(routed, vendor) -> None:
    """"leases, retry": 500 backs off; after the last attempt the job is failed, with a reason and a resend."""
    vendor.status = 500
    first = step(routed)
    assert (first.state, first.reason) == ("queued", "the platform answered 500")
    assert first.due_at is not None
    for _ in range(jobs.MAX_ATTEMPTS):
        with routed.scope():
            Connection.objects.filter(broken_until__isnull=False).update(broken_until="2026-01-01T00:00:00Z")  # the pause is over
        job = step(routed)
    assert (job.state, job.due_at) == ("failed", None)
    vendor.status = 200
    with routed.scope():
        Connection.objects.update(broken_until=None)
        jobs.job_resend(job_id=job.id)
    assert step(routed).state == "sent"


def test_a_refused_key_is_permanent(routed, settings) -> None:
    """401 is not tried again; the reason says what to mend."""
    settings.QUANTIFY_KEY = "wrong"
    job = step(routed)
    assert (job.state, job.reason) == ("failed", "the platform refused our key")


def test_an_unpaid_hospital_keeps_its_images_and_sends_nothing(routed, vendor) -> None:
    """"entitlement is one row per hospital": paused means refused with the reason, nothing left the house."""
    with routed.scope():
        entitlement_set(state="paused")
    job = step(routed)
    assert (job.state, job.reason) == ("refused", "AI dispatch is paused for this hospital")
    assert vendor.posts == []
    with routed.scope():
        assert Study.objects.get().state == "complete"


def test_only_the_in_house_platform_can_be_connected(mercy) -> None:
    """"only the in-house Quantify connection ... can be created; any other is refused"."""
    with mercy.scope():
        for platform in ("aidoc", "aws-healthlake", ""):
            with pytest.raises(ConnectionRefused):
                connection_create(platform=platform)


def test_without_a_rule_the_study_says_so(mercy) -> None:
    """No rule, no job, one decision with its reason."""
    house.store(mercy, series_of(3))
    house.index(mercy)
    house.complete(mercy)
    house.deliver(mercy)
    with mercy.scope():
        assert Job.objects.count() == 0
        assert Decision.objects.get().summary == "no rule is active"


def test_a_late_image_reruns_and_makes_the_next_version_of_the_report(routed, vendor) -> None:
    """"A late image makes a new version of the study and re-runs what depended on it"."""
    step(routed)
    vendor.answer = answer_for(routed)
    step(routed)
    house.deliver(routed)
    with routed.scope():
        study = Study.objects.get()
        first = Report.objects.get()
        uid = first.content["series_uid"]
    from tests.dicom_files import ct_slice

    late = ct_slice(StudyInstanceUID=study.study_uid, SeriesInstanceUID=uid, InstanceNumber=99, ImagePositionPatient=[0, 0, 50])
    house.store(routed, [late])
    house.index(routed)
    house.complete(routed)
    vendor.answer = answer_for(routed)
    house.settle(routed)
    with routed.scope():
        assert [(r.version, r.uuid) for r in Report.objects.order_by("version")] == [(1, first.uuid), (2, first.uuid)]
        assert Study.objects.get().version == 2
