"""Synthetic resources for the `ehr` row: what a hospital's store holds, the same each time. Names and numbers mean nobody."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

Json = dict[str, Any]
LOINC, HL7, DCM = "http://loinc.org", "http://terminology.hl7.org/CodeSystem", "http://dicom.nema.org/resources/ontology/DCM"
UCUM = "http://unitsofmeasure.org"
CT = {"system": DCM, "code": "CT"}
CODES = [f"{n}-{n % 10}" for n in range(8000, 8040)]
CATEGORIES = ("laboratory", "vital-signs", "imaging")
FIRST = datetime(2022, 1, 1, tzinfo=UTC)
PER_PATIENT = 20  # resources with the patient's own


def patient_id(number: int) -> str:
    return f"p{number}"


def resources_make(*, patients: range) -> Iterator[Json]:
    """Twenty a patient: Patient, Encounter, 12 Observations, 3 DiagnosticReports, 3 ImagingStudies."""
    for number in patients:
        chance = random.Random(number)  # noqa: S311 data, no secret
        yield from _patient(number, chance)


def observation(*, fhir_id: str | None, patient: int, chance: random.Random) -> Json:
    """One result with a value, a category and a date."""
    code = chance.choice(CODES)
    named = {"id": fhir_id} if fhir_id else {}
    return {
        "resourceType": "Observation", **named, "status": "final",
        "category": [{"coding": [{"system": f"{HL7}/observation-category", "code": chance.choice(CATEGORIES)}]}],
        "code": {"coding": [{"system": LOINC, "code": code, "display": "a quantity"}], "text": "a quantity"},
        "subject": {"reference": f"Patient/{patient_id(patient)}"},
        "effectiveDateTime": _moment(chance), "issued": _moment(chance),
        "valueQuantity": {"value": chance.randrange(1, 4000) / 10, "unit": "mmol/L", "system": UCUM, "code": "mmol/L"},
        "identifier": [{"system": "urn:bench:result", "value": f"{fhir_id or chance.getrandbits(60)}"}],
    }  # fmt: skip


def _moment(chance: random.Random) -> str:
    return (FIRST + timedelta(minutes=chance.randrange(5 * 365 * 1440))).strftime("%Y-%m-%dT%H:%M:%SZ")


def _patient(number: int, chance: random.Random) -> Iterator[Json]:
    subject = {"reference": f"Patient/{patient_id(number)}"}
    name = f"Name{number % 977}"
    yield {
        "resourceType": "Patient", "id": patient_id(number), "active": True, "gender": chance.choice(("female", "male", "other")),
        "identifier": [{"system": "urn:bench:mrn", "value": f"MRN{number}"}],
        "name": [{"family": name, "given": [f"Given{number % 211}"]}],
        "birthDate": f"{chance.randrange(1930, 2020)}-{chance.randrange(1, 13):02d}-{chance.randrange(1, 29):02d}",
        "address": [{"line": ["1 Street"], "city": f"City{number % 89}", "postalCode": f"{number % 99999:05d}"}],
    }  # fmt: skip
    yield {
        "resourceType": "Encounter", "id": f"e{number}", "status": "finished", "class": {"system": f"{HL7}/v3-ActCode", "code": "AMB"},
        "subject": subject, "period": {"start": _moment(chance)},
    }  # fmt: skip
    observations = [f"o{number}-{n}" for n in range(12)]
    yield from (observation(fhir_id=one, patient=number, chance=chance) for one in observations)
    for n in range(3):
        study = f"i{number}-{n}"
        yield {
            "resourceType": "ImagingStudy", "id": study, "status": "available", "subject": subject, "started": _moment(chance),
            "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:2.25.{number * 10 + n}"}],
            "modality": [CT],
            "numberOfSeries": 1, "numberOfInstances": 1,
            "series": [{"uid": f"2.25.{number * 10 + n}1", "modality": CT}],
        }  # fmt: skip
        yield {
            "resourceType": "DiagnosticReport", "id": f"d{number}-{n}", "status": chance.choice(("preliminary", "final", "final", "final")),
            "category": [{"coding": [{"system": f"{HL7}/v2-0074", "code": "RAD"}]}],
            "code": {"coding": [{"system": LOINC, "code": "18748-4"}]},
            "subject": subject, "effectiveDateTime": _moment(chance), "issued": _moment(chance),
            "imagingStudy": [{"reference": f"ImagingStudy/{study}"}],
            "result": [{"reference": f"Observation/{one}"} for one in observations[n * 4 : n * 4 + 4]],
            "identifier": [{"system": "urn:bench:report", "value": f"R{number}-{n}"}],
        }  # fmt: skip
