"""ai.models.Job -> Task: one algorithm over one study, how far it is, and why not (research/fhir.md section 7)."""

from uuid import UUID

from ai.models import Job
from fhirapi.resources.device import device_id
from fhirapi.resources.observation import ANALYSIS
from fhirapi.resources.parts import HTEST, URI, Json, concept, filled, reference, text_of
from fhirapi.sources import JobRow
from fhirapi.store import instant

STATES = {
    Job.State.QUEUED: "requested",
    Job.State.SENT: "in-progress",
    Job.State.DONE: "completed",
    Job.State.NOT_ANALYSABLE: "completed",
    Job.State.REFUSED: "rejected",
    Job.State.FAILED: "failed",
    Job.State.QUARANTINED: "failed",  # an answer came, and our gate kept it
}


def to_fhir(*, job: JobRow, based_on: list[Json]) -> Json:
    return filled({
        "resourceType": "Task",
        "id": str(job.uuid),
        "meta": {"security": [HTEST]} if job.is_test else {},
        "identifier": [{"system": URI, "value": f"urn:uuid:{job.uuid}"}],
        "basedOn": based_on,
        "status": STATES[Job.State(job.state)],
        "statusReason": filled({"text": text_of(job.reason)}),
        "intent": "order",
        "code": concept(ANALYSIS, text=text_of(job.algorithm)),
        "focus": reference("ImagingStudy", job.study.uuid),
        "for": reference("Patient", job.study.patient.fhir_id),
        "executionPeriod": filled({name: instant(at) for name, at in (("start", job.sent_at), ("end", job.ended_at)) if at}),
        "authoredOn": instant(job.created_at),
        "lastModified": instant(job.ended_at or job.sent_at or job.created_at),
        "owner": reference("Device", device_id(algorithm=job.made_by)) if job.made_by else {},
        "output": _output(job.report_uuid),
    })  # fmt: skip


def _output(report: UUID | None) -> list[Json]:
    return [{"type": {"text": "Report"}, "valueReference": reference("DiagnosticReport", report)}] if report else []
