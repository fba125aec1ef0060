"""US Core: named where a hospital wants it and where it holds, and nowhere else."""

from typing import Any

import pytest

from fhirapi.projections import diagnostic_report_project, imaging_study_project
from fhirapi.uscore import SUPPORTED, is_conformant
from imaging.models import Study
from journal.audit import Actor
from tenants.services import us_core_set
from tests.conftest import Hospital
from tests.fhirapi.conftest import event, report_make, study_make
from tests.fhirapi.projecting import valid
from tests.fhirapi.writing import Writer

pytestmark = pytest.mark.database
ACTOR = Actor(name="user:test")


def profiles(writer: Writer, path: str) -> list[str]:
    found = writer.get(path).json()
    valid(found)
    named: list[str] = found.get("meta", {}).get("profile", [])
    return named


def walked(hospital: Hospital, study: Study) -> str:
    """A study and its report, projected; the report's id."""
    with hospital.scope():
        report = report_make(study)
        imaging_study_project(event=event("study.completed", hospital, study_id=study.id))
        diagnostic_report_project(event=event("report.issued", hospital, report_id=report.id))
    return str(report.uuid)


def switched(hospital: Hospital, *, is_on: bool) -> None:
    with hospital.scope():
        us_core_set(is_on=is_on, actor=ACTOR)


def test_only_where_it_is_switched_on(mercy: Hospital, olaf: Hospital) -> None:
    """ "US Core claimed only where it holds, switchable per tenant": on resources and in the CapabilityStatement, and off again."""
    writer = Writer(mercy)
    with mercy.scope():
        study = study_make()
    paths = [f"DiagnosticReport/{walked(mercy, study)}", f"Patient/{study.patient.uuid}"]
    assert [profiles(writer, path) for path in paths] == [[], []]
    assert told(writer) == {}
    switched(mercy, is_on=True)
    paths[0] = f"DiagnosticReport/{walked(mercy, study)}"
    assert [profiles(writer, path) for path in paths] == [[SUPPORTED["DiagnosticReport"]], [SUPPORTED["Patient"]]]
    for one in writer.get(paths[0]).json()["result"]:
        assert profiles(writer, one["reference"]) == [SUPPORTED["Observation"]]
    assert profiles(writer, f"ImagingStudy/{study.uuid}") == []
    assert told(writer) == {name: [profile] for name, profile in SUPPORTED.items()}
    assert told(Writer(olaf)) == {}
    assert writer.ids("Patient", f"_profile={SUPPORTED['Patient']}") == [str(study.patient.uuid)]
    switched(mercy, is_on=False)
    paths[0] = f"DiagnosticReport/{walked(mercy, study)}"
    assert [profiles(writer, path) for path in paths] == [[], []]
    assert told(writer) == {}


def told(writer: Writer) -> dict[str, list[str]]:
    lines = writer.get("metadata").json()["rest"][0]["resource"]
    profiled = [line for line in lines if "supportedProfile" in line and line["type"] != "Subscription"]  # that is the backport's
    return {line["type"]: line["supportedProfile"] for line in profiled}


@pytest.mark.parametrize("lacking", [{"sex": ""}, {"name": ""}, {"patient_id": ""}])
def test_what_a_patient_lacks_its_reports_lack(mercy: Hospital, lacking: dict[str, str]) -> None:
    """A report about a patient who is no US Core patient is no US Core report."""
    writer = Writer(mercy)
    switched(mercy, is_on=True)
    with mercy.scope():
        study = study_make(patient=lacking)
    report = walked(mercy, study)
    assert profiles(writer, f"Patient/{study.patient.uuid}") == []
    assert profiles(writer, f"DiagnosticReport/{report}") == []
    for one in writer.get(f"DiagnosticReport/{report}").json()["result"]:
        assert profiles(writer, one["reference"]) == []


def test_the_ehrs_patient_is_judged_by_the_ehrs_words(mercy: Hospital) -> None:
    """ "only when the resource really satisfies the profile's must-haves": the stored one, not the one we would have written."""
    writer = Writer(mercy)
    switched(mercy, is_on=True)
    with mercy.scope():
        study = study_make()
    walked(mercy, study)
    path = f"Patient/{study.patient.uuid}"
    told_otherwise = {name: value for name, value in writer.get(path).json().items() if name not in {"gender", "meta"}}
    assert writer.put(path, told_otherwise).status_code == 200
    assert profiles(writer, f"DiagnosticReport/{walked(mercy, study)}") == []


def test_a_report_without_a_day_is_none(mercy: Hospital) -> None:
    """us-core-8: effective[x] is there once there is a report, and says at least the day (us-core-1)."""
    writer = Writer(mercy)
    switched(mercy, is_on=True)
    for date in ("", "2026"):
        with mercy.scope():
            study = study_make(study_date=date, study_time="")
        assert profiles(writer, f"DiagnosticReport/{walked(mercy, study)}") == []
        assert profiles(writer, f"Patient/{study.patient.uuid}") == [SUPPORTED["Patient"]]


PATIENT = {
    "resourceType": "Patient", "id": "p", "identifier": [{"system": "urn:oid:1.2", "value": "1"}], "name": [{"family": "Doe"}],
    "gender": "female",
}  # fmt: skip
CATEGORY = [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "imaging"}]}]
OBSERVATION = {
    "resourceType": "Observation", "id": "o", "status": "final", "category": CATEGORY, "code": {"text": "x"},
    "subject": {"reference": "Patient/p"}, "effectiveDateTime": "2026-01-01",
    "valueQuantity": {"value": 1, "system": "http://unitsofmeasure.org", "code": "mm"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("resource", "change"),
    [
        (PATIENT, {"identifier": [{"value": "1"}]}),
        (PATIENT, {"identifier": [{"system": "urn:oid:1.2", "value": "1"}, {"system": "urn:oid:1.2"}]}),
        (PATIENT, {"name": [{"text": "Doe"}]}),
        (PATIENT, {"gender": ""}),
        (OBSERVATION, {"category": []}),
        (OBSERVATION, {"subject": {"reference": "Patient/other"}}),
        (OBSERVATION, {"effectiveDateTime": "2026-01"}),
        (OBSERVATION, {"valueQuantity": {"value": 1, "system": "http://x.example", "code": "mm"}}),
    ],
)
def test_each_must_have(resource: dict[str, Any], change: dict[str, Any]) -> None:
    """As it is it conforms; without one thing it does not."""
    assert is_conformant(resource=resource, known={"Patient/p": PATIENT})
    assert not is_conformant(resource=resource | change, known={"Patient/p": PATIENT})
