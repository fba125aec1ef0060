"""Real FHIR clients against the real web server: what they send is taken, and they understand what comes back."""

import asyncio
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fhirclient.client import FHIRClient
from fhirclient.models.bundle import Bundle
from fhirclient.models.diagnosticreport import DiagnosticReport
from fhirclient.models.observation import Observation
from fhirclient.models.patient import Patient
from fhirclient.server import FHIRNotFoundException
from fhirpy import AsyncFHIRClient, SyncFHIRClient
from fhirpy.base.exceptions import MultipleResourcesFound, OperationOutcome, ResourceNotFound

from tests.conftest import Hospital
from tests.fhirapi.writing import entry, observation, patient
from tests.orthanc import need_program
from tests.web import Web

pytestmark = [pytest.mark.stack, pytest.mark.peers, pytest.mark.xdist_group("fhir-web")]
FOLDER = Path(__file__).parent.parent / "clients"
URN = "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"


@dataclass
class Place:
    """Where a client works: its hospital's base and token, and the id of a patient that only the other hospital has."""

    base: str
    token: str
    foreign: str


@pytest.fixture
def place(web: Web, mercy: Hospital, olaf: Hospital) -> Place:
    def base(hospital: Hospital) -> str:
        return f"{web.address}/t/{hospital.slug}/fhir/r4"

    made = httpx.post(f"{base(olaf)}/Patient", json=patient("theirs"), headers=olaf.auth)
    assert made.status_code == 201
    return Place(base(mercy), mercy.token, made.json()["id"])


def family(value: str) -> dict[str, Any]:
    """A patient with seven observations and a report of two of them, linked within the transaction."""
    links = [f"urn:uuid:0c3151bd-1cbf-4d64-b04d-00000000000{day}" for day in range(1, 8)]
    report = {
        "resourceType": "DiagnosticReport", "status": "final", "code": {"text": "weights"}, "subject": {"reference": URN},
        "result": [{"reference": link} for link in links[:2]],
    }  # fmt: skip
    days = [
        entry("POST", "Observation", observation(URN, effectiveDateTime=f"2026-01-0{day}"), full_url=link)
        for day, link in enumerate(links, 1)
    ]
    entries = [entry("POST", "Patient", patient(value), full_url=URN), *days, entry("POST", "DiagnosticReport", report)]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def test_fhirclient(place: Place) -> None:
    """ "PyPI fhirclient 4.4.0": reads /metadata before it signs, sends Accept-Charset, parses strictly."""
    server = FHIRClient(settings={"app_id": "test", "api_base": place.base}).server
    assert server.prepare()
    assert server.capabilityStatement.fhirVersion == "4.0.1"
    server.session.headers["Authorization"] = f"Bearer {place.token}"

    jane = Patient(patient("jane"))
    made = jane.create(server)
    jane = Patient.read(made["id"], server)
    jane.active = True
    assert jane.update(server)["meta"]["versionId"] == "2"
    assert Patient.read(made["id"], server).active is True

    answer = Bundle(server.post_json("", family("family")).json())
    assert {one.response.status for one in answer.entry} == {"201"}
    chained = Observation.where({"patient.identifier": "family", "_count": "3", "_sort": "date"})
    days = [[one.resource.effectiveDateTime.as_json()[9] for one in page.entry] for page in chained.perform_iter(server)]
    assert days == [["1", "2", "3"], ["4", "5", "6"], ["7"]]
    reports = DiagnosticReport.where({"patient.identifier": "family"}).include("result").include("subject")
    (page,) = reports.perform_iter(server)
    modes = sorted((one.search.mode, one.resource.resource_type) for one in page.entry)
    assert modes == [("include", "Observation")] * 2 + [("include", "Patient"), ("match", "DiagnosticReport")]
    weights = Patient.where({"identifier": "family"}).include("subject", Observation, reverse=True)
    assert sum(len(page.entry) for page in weights.perform_iter(server)) == 8

    Patient.read(made["id"], server).delete()
    with pytest.raises(OSError, match="410"):
        Patient.read(made["id"], server)
    with pytest.raises(FHIRNotFoundException):
        Patient.read(place.foreign, server)


def test_fhirpy(place: Place) -> None:
    """ "PyPI fhirpy 2.3.1": application/json, criteria in the address of a POST, `_count=0` for a total."""
    client = SyncFHIRClient(place.base, authorization=f"Bearer {place.token}")
    jane = client.resource("Patient", **patient("jane"))
    jane.save()
    jane["active"] = True
    jane.save()
    assert client.reference("Patient", jane.id).to_resource()["meta"]["versionId"] == "2"
    with pytest.raises(OperationOutcome, match="A patch is a list"):  # a JSON Merge Patch, which is no patch of FHIR R4
        jane.patch(gender="male")
    assert client.get("Patient", jane.id)["gender"] == "female"

    patients = client.resources("Patient")
    once = [patients.search(identifier="once").get_or_create(client.resource("Patient", **patient("once"))) for _ in range(2)]
    assert ([is_made for _, is_made in once], once[0][0].id) == ([True, False], once[1][0].id)
    renamed, is_made = patients.search(identifier="once").update(client.resource("Patient", **patient("once", active=True)))
    assert (renamed.id, is_made) == (once[0][0].id, False)

    client.execute("", method="post", data=family("family"))
    weights = client.resources("Observation").search(patient__identifier="family")
    assert weights.count() == 7
    assert [one["effectiveDateTime"][-1] for one in weights.sort("date").limit(3)] == list("1234567")
    assert len(weights.search(_lastUpdated__ge="2020", date__lt="2026-01-03").fetch_all()) == 2
    included = client.resources("DiagnosticReport").include("DiagnosticReport", "result").fetch_raw()
    assert [one["resource"]["resourceType"] for one in included["entry"]] == ["DiagnosticReport", "Observation", "Observation"]
    assert len(patients.search(identifier="family").revinclude("Observation", "subject").fetch_raw()["entry"]) == 8
    assert patients.has("Observation", "patient", code="1-8").get()["identifier"][0]["value"] == "family"
    assert set(patients.search(identifier="family").elements("gender").get()) >= {"gender", "id"}
    with pytest.raises(MultipleResourcesFound):
        patients.search(gender="female").delete()

    jane.delete()
    for gone in (jane.id, place.foreign):
        with pytest.raises(ResourceNotFound):
            client.get("Patient", gone)
    assert patients.search(_id=place.foreign).fetch_all() == []


def test_fhirpy_many_at_once(place: Place) -> None:
    """Its asynchronous client: sixteen askers of get_or_create have one patient between them."""
    client = AsyncFHIRClient(place.base, authorization=f"Bearer {place.token}")

    async def ask() -> tuple[str, bool]:
        found, is_made = (
            await client.resources("Patient").search(identifier="k").get_or_create(client.resource("Patient", **patient("k")))
        )
        return found.id, bool(is_made)

    async def together() -> list[tuple[str, bool]]:
        return await asyncio.gather(*(ask() for _ in range(16)))

    answers = asyncio.run(together())
    assert len({fhir_id for fhir_id, _ in answers}) == 1
    assert sorted(is_made for _, is_made in answers) == [False] * 15 + [True]


@pytest.fixture(scope="module")
def node() -> str:
    """Node with the clients of tests/clients; one named skip where they are missing, a failure under REQUIRE_PEERS=1."""
    program = need_program("node")
    if not (FOLDER / "node_modules").is_dir():
        (pytest.fail if os.environ.get("REQUIRE_PEERS") == "1" else pytest.skip)("needs the clients of npm: make clients")
    return program


@pytest.mark.parametrize("name", ["kit", "medplum"])
def test_clients_of_npm(node: str, place: Place, name: str) -> None:
    """ "fhir-kit-client 2.0.3, @medplum/core 4.5.2": each runs its story, whose assertions are in the script."""
    told = json.dumps(vars(place))
    done = subprocess.run([node, f"{name}.mjs", told], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
