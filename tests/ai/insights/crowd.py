"""Many jobs of one hospital at once, straight into the tables: what the insights count."""

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from ai.models import Connection, Decision, Job, Report, Result
from ai.services import connection_create
from imaging.models import Patient, Study
from journal.wall.ids import id_new
from tests.conftest import Hospital

PRESENT = {"code": {"system": "x", "code": "y", "display": "Y"}, "value": {"system": "x", "code": "52101004", "display": "Present"}}
BARE = {"measurements": [], "findings": [], "is_flagged": False, "not_analysable": None, "documents": [], "review": None}


def crowd_make(
    hospital: Hospital, *, count: int, algorithm: str = "lung-density-mask", state: str = "done", action: str = "", reason: str = "",
    is_positive: bool = False, institution: str = "Mercy", thickness: float = 1.0, days_ago: float = 1, minutes: float = 10,
) -> list[Job]:  # fmt: skip
    """`count` studies, each with a job that took `minutes` (the n-th one n times that), and what a person said about it."""
    said = {
        "algorithm": algorithm, "state": state, "action": action, "reason": reason, "is_positive": is_positive,
        "institution": institution, "thickness": thickness, "minutes": minutes,
    }  # fmt: skip
    with hospital.scope():
        link: Connection = connection_create(platform="medhub-quantify")
        patient = Patient.objects.first() or Patient.objects.create(patient_id="P", name="NOBODY^AT ALL")
        began = timezone.now() - timedelta(days=days_ago)
        return [_one(link, patient, began, said | {"n": n}) for n in range(1, count + 1)]


def _one(link: Connection, patient: Patient, began: datetime, said: dict[str, Any]) -> Job:
    uid, series = f"2.25.{id_new()}", id_new()
    study = Study.objects.create(
        study_uid=uid, patient=patient, modalities="CT", state="complete", version=1, first_received_at=began, last_received_at=began,
        stored_at=began, completed_at=began + timedelta(seconds=30),
    )  # fmt: skip
    facts = {
        "calling_aes": ["CT_1"], "patient_age_years": 50.0,
        "series": [{"id": series, "institution": said["institution"], "slice_thickness_mm": said["thickness"], "manufacturer": "ACME"}],
    }  # fmt: skip
    Decision.objects.create(study=study, study_version=1, summary="", outcomes=[], facts=facts, created_at=began)
    sent = began + timedelta(seconds=40)
    job = Job.objects.create(
        study=study, study_version=1, connection=link, algorithm=said["algorithm"], series=series, state=said["state"], created_at=began,
        sent_at=sent,
    )  # fmt: skip
    if said["state"] != "done":
        return job
    answered = sent + timedelta(minutes=said["minutes"] * said["n"])
    result = Result.objects.create(job=job, payload={}, is_analysable=True, received_at=answered)
    content = {**BARE, "findings": [PRESENT] if said["is_positive"] else []}
    first = Report.objects.create(
        study=study, result=result, connection=link, algorithm=job.algorithm, conclusion="-", content=content,
        issued_at=answered + timedelta(seconds=2),
    )  # fmt: skip
    if said["action"]:
        review = {"action": said["action"], "reason": said["reason"], "at": (first.issued_at + timedelta(hours=1)).isoformat()}
        Report.objects.create(
            uuid=first.uuid, version=2, is_by_person=True, study=study, result=result, connection=link, algorithm=job.algorithm,
            conclusion="-", content={**content, "review": review}, issued_at=first.issued_at + timedelta(hours=1),
        )  # fmt: skip
    return job
