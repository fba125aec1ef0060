"""Small factories for DICOM and AI rows, and a client that speaks FHIR to one hospital."""

import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from ai.findings import Algorithm, Coding, Measurement, Note, Parameter, ReportContent
from ai.models import Connection, Job, Report, Result
from imaging.models import Instance, Patient, Series, Study
from journal.types import Event
from journal.wall.ids import id_new
from tests.conftest import Hospital
from tests.orthanc import need_program
from tests.web import Web, web_run

CLIENTS = Path(__file__).parent.parent / "clients"
SCT = "http://snomed.info/sct"
LOCAL = "https://medicalcloudaihub.com/fhir/CodeSystem/quantify"
LUNG = Coding(system=SCT, code="39607008", display="Lung structure")
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
TEST_DOUBLE = "MedHub Quantify (test double)"


@pytest.fixture(autouse=True)
def _urls(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.fhirapi.urls"


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """The real web server, one for all tests of the group "fhir-web"; no request of theirs may make it log an error."""
    with web_run(tmp_path_factory.mktemp("web"), MEDHUB_FHIR_RESOURCE_BYTES="100000") as found:
        yield found
        assert found.faults() == []


@pytest.fixture(scope="session")
def node() -> str:
    """Node with the clients of tests/clients; one named skip where they are missing, a failure under REQUIRE_PEERS=1."""
    program = need_program("node")
    if not (CLIENTS / "node_modules").is_dir():
        (pytest.fail if os.environ.get("REQUIRE_PEERS") == "1" else pytest.skip)("needs the clients of npm: make clients")
    return program


def uid_new() -> str:
    return f"1.2.826.0.1.3680043.8.498.{secrets.randbits(96)}"


def study_make(*, images: int = 3, series: int = 1, **values: Any) -> Study:
    """A study with its patient, series and instances in the hospital in scope. `patient` is a Patient or its columns."""
    patient = values.pop("patient", None) or {}
    if not isinstance(patient, Patient):
        columns = {"patient_id": f"MRN{secrets.token_hex(5)}", "issuer": "MERCY", "name": "Doe^Jane", "birth_date": "19700102"}
        patient = Patient.objects.create(**(columns | {"sex": "F"} | patient))
    now = timezone.now()
    defaults = {
        "study_uid": uid_new(), "study_date": "20261120", "study_time": "101112.5", "modalities": "CT", "body_part": "CHEST",
        "state": Study.State.COMPLETE, "accession_number": f"A{secrets.token_hex(4)}", "description": "CT chest",
        "number_of_series": series, "number_of_instances": series * images, "first_received_at": now, "last_received_at": now,
    }  # fmt: skip
    study = Study.objects.create(patient=patient, **(defaults | values))
    for number in range(1, series + 1):
        series_make(study, number=number, images=images)
    return study


def series_make(study: Study, *, number: int, images: int, **values: Any) -> Series:
    now = timezone.now()
    defaults = {"modality": "CT", "body_part": "CHEST", "description": "lung", "number_of_instances": images}
    series = Series.objects.create(
        study=study, series_uid=uid_new(), number=number, first_received_at=now, **(defaults | values)
    )
    Instance.objects.bulk_create(
        Instance(
            study=study, series=series, sop_instance_uid=uid_new(), sop_class_uid=CT_IMAGE, transfer_syntax_uid="1.2.840.10008.1.2.1",
            number=position, key="k", size=1, sha256="0" * 64, received_at=now,
        )
        for position in range(1, images + 1)
    )  # fmt: skip
    return series


def measurement(code: str, value: float, unit: str, *, display: str = "") -> Measurement:
    return Measurement(
        code=Coding(system=LOCAL, code=code, display=display or f"{code} of the lungs"),
        value=value,
        unit=unit,
        unit_display={"[hnsf'U]": "HU"}.get(unit, unit),
        body_site=LUNG,
        method="voxels below the threshold, both lungs",
        parameters=(
            Parameter(
                code=Coding(
                    system="http://dicom.nema.org/resources/ontology/DCM",
                    code="112032",
                    display="Threshold Attenuation Coefficient",
                ),
                value=-950.0,
                unit="[hnsf'U]",
            ),
        ),
    )


def content_make(study: Study, **values: Any) -> ReportContent:
    defaults: dict[str, Any] = {
        "algorithm": Algorithm(name="lung-density", version="1.2.0", manufacturer="MedHub Quantify"),
        "platform": "medhub-quantify",
        "is_test_double": False,
        "study_uid": study.study_uid,
        "series_uid": uid_new(),
        "sop_uids": tuple(uid_new() for _ in range(3)),
        "input_sha256": "ab" * 32,
        "measurements": (
            measurement("laa-950", 2.7500000000000004, "%"),
            measurement("perc15", -912.3333333333334, "[hnsf'U]"),
        ),
        "not_analysable": None,
        "notes": (Note(code="sharp-kernel", text="A sharp kernel raises the share of dark voxels."),),
    }
    return ReportContent(**(defaults | values))


def report_make(
    study: Study, *, status: str = "preliminary", conclusion: str = "Low attenuation area 2.75 %.", **content: Any
) -> Report:
    """A report version of a study, with the connection, job and result it stands on."""
    now = timezone.now()
    connection, _ = Connection.objects.get_or_create(
        platform="medhub-quantify", defaults={"name": "Quantify", "created_at": now}
    )
    job = Job.objects.create(
        study=study, study_version=1, connection=connection, algorithm=f"a{secrets.token_hex(6)}", created_at=now
    )
    result = Result.objects.create(job=job, payload={}, is_analysable=True, received_at=now)
    return Report.objects.create(
        study=study, result=result, connection=connection, algorithm=job.algorithm, status=status, conclusion=conclusion,
        content=asdict(content_make(study, **content)), issued_at=now - timedelta(seconds=1),
    )  # fmt: skip


def event(name: str, hospital: Hospital, **ids: int) -> Event:
    return Event(id=id_new(), tenant_id=hospital.tenant.id, name=name, ids=ids, trace_id="0" * 32)


class Fhir:
    """One hospital's FHIR base over Django's test client."""

    def __init__(self, hospital: Hospital) -> None:
        self.hospital = hospital
        self.client = Client()
        self.path = f"/t/{hospital.slug}/fhir/r4"
        self.base = f"http://testserver{self.path}"

    def get(self, path: str, **headers: str) -> Any:
        url = path.removeprefix("http://testserver") if path.startswith("http://testserver/") else f"{self.path}/{path}"
        return self.client.get(url, headers={**self.hospital.auth, **headers})

    def search(self, rtype: str, query: str = "") -> dict[str, Any]:
        response = self.get(f"{rtype}?{query}")
        assert response.status_code == 200, response.content
        return response.json()

    def ids(self, rtype: str, query: str = "", mode: str = "match") -> list[str]:
        return [e["resource"]["id"] for e in self.search(rtype, query).get("entry", []) if e["search"]["mode"] == mode]

    def walk(self, rtype: str, query: str) -> list[list[str]]:
        """The ids of the matches of every page, following next links only."""
        pages, url = [], f"{self.base}/{rtype}?{query}"
        while url:
            bundle = self.get(url).json()
            pages.append([e["resource"]["id"] for e in bundle.get("entry", []) if e["search"]["mode"] == "match"])
            url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
        return pages


@pytest.fixture
def fhir(mercy: Hospital) -> Fhir:
    return Fhir(mercy)


def patient_resource(fhir_id: str, **values: Any) -> dict[str, Any]:
    """A small resource that the store takes, for tests of the store alone."""
    identifier = [{"system": "urn:oid:1.2.3", "value": f"MRN-{fhir_id}"}]
    return {"resourceType": "Patient", "id": fhir_id, "identifier": identifier, "gender": "female"} | values
