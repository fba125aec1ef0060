"""Rows of patients, studies and reports, and what the pure to_fhir functions make of them: valid by our check and HL7's schema."""

import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import fastjsonschema

import fhirapi
from fhirapi.projections import report_resources
from fhirapi.registry import TYPES
from fhirapi.resources import imaging_study, patient
from fhirapi.sources import HospitalRow, PatientRow, ReportRow, SeriesRow, StudyRow
from fhirapi.validation import resource_check
from tests.fhirapi.conftest import content_make, uid_new

SCHEMA = Path(fhirapi.__file__).with_name("fhir-r4.schema.json")
HOSPITAL = HospitalRow(uuid=UUID("6f1c8f0e-3f0a-4d0e-9a51-0c8f6d0b7a11"), zone=ZoneInfo("America/Chicago"))
NOTICE = "AI-generated, preliminary, not a medical device"


@cache
def official() -> Any:
    """HL7's own schema, compiled: an oracle that shares no code with our check."""
    definitions = json.loads(SCHEMA.read_text())["definitions"]
    roots = [{"$ref": f"#/definitions/{name}"} for name in TYPES if name in definitions]
    return fastjsonschema.compile(
        {"$schema": "http://json-schema.org/draft-06/schema#", "definitions": definitions, "oneOf": roots}
    )


def valid(*resources: dict[str, Any]) -> None:
    for resource in resources:
        resource_check(resource=resource)
        official()(resource)


def person(**values: Any) -> PatientRow:
    defaults = {
        "id": 1, "uuid": uuid4(), "issuer": "MERCY", "patient_id": "4711", "variant": "", "name": "Doe^Jane^Q^Dr^Jr",
        "birth_date": "19700102", "sex": "F",
    }  # fmt: skip
    return PatientRow(**(defaults | values))


def study(**values: Any) -> StudyRow:
    series = SeriesRow(
        series_uid=uid_new(), modality="CT", number=2, description="lung", body_part="CHEST", laterality="",
        instances=((uid_new(), "1.2.840.10008.5.1.4.1.1.2", 1), (uid_new(), "1.2.840.10008.5.1.4.1.1.2", None)),
    )  # fmt: skip
    defaults = {
        "id": 1, "uuid": uuid4(), "study_uid": uid_new(), "patient": person(), "accession_number": "A1", "accession_issuer": "",
        "study_date": "20260115", "study_time": "081530.25", "utc_offset": "", "description": "CT chest",
        "referrer": "Ref^Erring", "body_part": "CHEST", "modalities": ("CT",), "is_complete": True, "is_from_ai": False,
        "series": (series,),
    }  # fmt: skip
    return StudyRow(**(defaults | values))


def report(
    *, status: str = "preliminary", conclusion: str = "Low attenuation area 2.75 %.", of: StudyRow | None = None, **content: Any
) -> ReportRow:
    of = of or study()

    class Named:
        study_uid = of.study_uid

    return ReportRow(
        uuid=uuid4(), status=status, conclusion=conclusion, issued_at=datetime(2026, 1, 15, 15, 0, 0, 123456, tzinfo=UTC),
        content=content_make(Named(), **content), study=of,  # type: ignore[arg-type]
    )  # fmt: skip


def built(row: ReportRow) -> dict[str, list[dict[str, Any]]]:
    resources = report_resources(report=row, hospital=HOSPITAL)
    valid(*resources)
    found: dict[str, list[dict[str, Any]]] = {}
    for resource in resources:
        found.setdefault(resource["resourceType"], []).append(resource)
    return found


def as_patient(**values: Any) -> dict[str, Any]:
    resource = patient.to_fhir(patient=person(**values), hospital=HOSPITAL.uuid)
    valid(resource)
    return resource


def as_study(**values: Any) -> dict[str, Any]:
    resource = imaging_study.to_fhir(study=study(**values), hospital=HOSPITAL.uuid, zone=HOSPITAL.zone)
    valid(resource)
    return resource
