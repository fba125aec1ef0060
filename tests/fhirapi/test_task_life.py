"""A Task follows its job through routing, dispatch, gate and report, by the events alone."""

from typing import Any

import orjson
import pytest

from ai import dispatch, jobs
from ai.models import Job
from fhirapi.store import resource_read
from journal.models import Delivery, OutboxEvent
from tests import house
from tests.ai.test_jobs import answer_for, job_of, routed, step, vendor  # noqa: F401 fixtures

pytestmark = pytest.mark.database


def told(hospital: Any) -> dict[str, Any]:
    while house.deliver(hospital):  # one event leads to the next
        pass
    with hospital.scope():
        waiting = Delivery.objects.exclude(state="done").exclude(event__name="audit.sealed")
        assert list(waiting.values_list("subscriber", "last_error")) == []
        document = resource_read(rtype="Task", fhir_id=str(job_of(hospital).uuid))
    assert document is not None
    found: dict[str, Any] = orjson.loads(document.content)
    return found


def test_requested_sent_completed(routed: Any, vendor: Any) -> None:  # noqa: F811
    """Queued, sent, reported: three states, and nothing told twice while the answer is waited for."""
    assert told(routed)["status"] == "requested"
    step(routed)
    assert told(routed)["status"] == "in-progress"
    step(routed)
    with routed.scope():
        assert OutboxEvent.objects.filter(name="job.changed").count() == 2
    vendor.answer = answer_for(routed)
    step(routed)
    found = told(routed)
    assert (found["status"], found["meta"]["versionId"]) == ("completed", "3")
    assert found["output"][0]["valueReference"]["reference"].startswith("DiagnosticReport/")


def test_kept_by_the_gate(routed: Any, vendor: Any) -> None:  # noqa: F811
    """The reason in words, and no report."""
    step(routed)
    vendor.answer = answer_for(routed, measurements=[])
    step(routed)
    found = told(routed)
    assert (found["status"], found["statusReason"]["text"]) == ("failed", "the answer says both something and nothing")
    assert "output" not in found


def test_given_up_and_sent_again(routed: Any) -> None:  # noqa: F811
    with routed.scope():
        jobs.job_fail(job_id=job_of(routed).id, reason="no answer within an hour", is_permanent=True)
    assert told(routed)["status"] == "failed"
    with routed.scope():
        jobs.job_resend(job_id=Job.objects.get().id)
    found = told(routed)
    assert found["status"] == "requested"
    assert "statusReason" not in found


def test_refused(routed: Any) -> None:  # noqa: F811
    """What we refuse to send says why."""
    with routed.scope():
        Job.objects.update(due_at="2026-01-01T00:00:00Z")
        Job.objects.get().connection.__class__.objects.update(is_enabled=False)
    dispatch.job_run(tenant_id=routed.tenant.id, job_id=job_of(routed).id)
    found = told(routed)
    assert (found["status"], found["statusReason"]["text"]) == ("rejected", "the connection is switched off")
