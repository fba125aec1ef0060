"""What the tests of the worklist share: a connection with a job, its performer's token, requests in DICOM JSON."""

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.test import Client
from django.utils import timezone
from pydicom.uid import generate_uid

from ai.contract import Handle
from ai.models import Connection, Job
from ai.workitems.worklist import OwnWorklist
from imaging.models import Study
from tenants.services import performer_token_create, token_create
from tests import house
from tests.dicom_files import ct_slice

JSON = "application/dicom+json"
BODY = {
    "00741204": {"vr": "LO", "Value": ["Read chest"]},
    "00741202": {"vr": "LO", "Value": ["CHEST"]},
    "00741200": {"vr": "CS", "Value": ["HIGH"]},
    "00404041": {"vr": "CS", "Value": ["READY"]},
    "00404005": {"vr": "DT", "Value": ["20261130120000"]},
    "00741000": {"vr": "CS", "Value": ["SCHEDULED"]},
    "00100020": {"vr": "LO", "Value": ["P1"]},
    "0020000D": {"vr": "UI", "Value": ["1.2.840.1.1"]},
    "00404025": {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["STA1"]}}]},
}


def item(code: str) -> dict[str, Any]:
    return {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": [code]}, "00080102": {"vr": "SH", "Value": ["99X"]}}]}


PERFORMED = {
    "00741216": {"vr": "SQ", "Value": [{
        "00404028": item("STA1"), "00404019": item("CAD"),
        "00404050": {"vr": "DT", "Value": ["20261130120000"]}, "00404051": {"vr": "DT", "Value": ["20261130120100"]},
        "00404033": {"vr": "SQ", "Value": [{
            "0020000D": {"vr": "UI", "Value": ["1.2.3"]}, "0020000E": {"vr": "UI", "Value": ["1.2.3.4"]},
            "00081199": {"vr": "SQ", "Value": [{
                "00081150": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.88.33"]}, "00081155": {"vr": "UI", "Value": ["1.2.3.4.5"]},
            }]},
        }]},
    }]},
}  # fmt: skip


def body(**changes: Any) -> dict[str, Any]:
    """A workitem's data set; `x00741204="..."` changes the value, None takes it out."""
    found = json.loads(json.dumps(BODY))
    for name, value in changes.items():
        tag = name[1:]
        if value is None:
            found.pop(tag, None)
        else:
            found[tag] = {"vr": found.get(tag, {"vr": "LO"})["vr"], "Value": [value]}
    return found


def state(wanted: str, transaction_uid: str = "") -> dict[str, Any]:
    found = {"00741000": {"vr": "CS", "Value": [wanted]}}
    if transaction_uid:
        found["00081195"] = {"vr": "UI", "Value": [transaction_uid]}
    return found


@dataclass
class Requester:
    """One client of the worklist: a token and its hospital's base."""

    base: str
    auth: dict[str, str]

    def call(self, method: str, path: str, data: Any = None, *, content_type: str = JSON, **headers: str) -> Any:
        content = b"" if data is None else data if isinstance(data, bytes) else json.dumps(data).encode()
        return Client().generic(
            method, f"{self.base}{path}", content, content_type=content_type, headers={**self.auth, **headers}
        )

    def create(self, data: Any = None, uid: str = "") -> str:
        answer = self.call("POST", f"/workitems?workitem={uid}" if uid else "/workitems", [data or body()])
        assert answer.status_code == 201, answer.content
        return str(answer.headers["Location"]).rsplit("/", 1)[1]

    def get(self, uid: str) -> dict[str, Any]:
        answer = self.call("GET", f"/workitems/{uid}")
        assert answer.status_code == 200, answer.content
        (found,) = answer.json()
        return dict(found)

    def put(self, uid: str, wanted: str, transaction_uid: str = "") -> Any:
        return self.call("PUT", f"/workitems/{uid}/state", state(wanted, transaction_uid))

    def state(self, uid: str) -> str:
        return str(self.get(uid)["00741000"]["Value"][0])


def base_of(hospital: Any) -> str:
    return f"/t/{hospital.slug}/dicomweb"


def integrator(hospital: Any) -> Requester:
    return Requester(base_of(hospital), hospital.auth)


def of_role(hospital: Any, role: str) -> Requester:
    token = token_create(tenant=hospital.tenant, name=role, role=role)
    return Requester(base_of(hospital), {"authorization": f"Bearer {token}"})


def connection_make(hospital: Any, platform: str = "vendor-a") -> Connection:
    with hospital.scope():
        found: Connection = Connection.objects.create(platform=platform, name=platform, created_at=timezone.now())
    return found


def performer(hospital: Any, connection: Connection, job: UUID | None = None, **options: Any) -> Requester:
    token = performer_token_create(tenant=hospital.tenant, name="performer", connection_id=connection.id, job=job, **options)
    return Requester(base_of(hospital), {"authorization": f"Bearer {token}"})


def job_make(hospital: Any, connection: Connection, algorithm: str = "cad") -> Job:
    house.store(hospital, [ct_slice()])
    house.index(hospital)
    with hospital.scope():
        found: Job = Job.objects.create(
            study=Study.objects.latest("id"), study_version=1, connection=connection, algorithm=algorithm, state=Job.State.SENT,
            created_at=timezone.now(), sent_at=timezone.now(), due_at=None,
        )  # fmt: skip
    return found


def handle_of(job: Job, **changes: Any) -> Handle:
    facts: dict[str, Any] = {
        "idempotency_key": str(job.uuid), "algorithm": job.algorithm, "study_uid": "2.25.1", "series_uid": "2.25.2", "files": [],
        "patient_id": "S123", "pull_url": "https://hub.example/t/x/performer/y/dicomweb",
    }  # fmt: skip
    return Handle(**{**facts, **changes})


def workitem_make(hospital: Any, job: Job, **changes: Any) -> str:
    return OwnWorklist(hospital.tenant.id).create(handle_of(job, **changes), label="Detect")


def uid() -> str:
    return str(generate_uid())
