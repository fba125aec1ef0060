"""A hospital that exports: kick-off, the worker's steps in this process, files as lines."""

import gzip
import json
from typing import Any

import pytest

from fhirapi.bulk.run import export_step
from fhirapi.models import BulkExport
from fhirapi.store import resources_put
from tests.conftest import Hospital, hospital_make
from tests.fhirapi.conftest import patient_resource
from tests.fhirapi.test_http import assert_outcome
from tests.fhirapi.writing import Writer, observation

ASYNC = {"prefer": "respond-async"}


@pytest.fixture(autouse=True)
def _no_margin(settings: Any) -> None:
    """One clock and no load: a moment is settled when it is over. One test waits for it."""
    settings.MEDHUB_BULK_SETTLE_SECONDS = 0
    settings.MEDHUB_BULK_RUNNING = 50


def assert_refused(response: Any, status: int, code: str) -> None:
    """An OperationOutcome with this status and issue code."""
    assert_outcome(response, status)
    assert response.json()["issue"][0]["code"] == code


class Exporter(Writer):
    def kick(self, query: str = "", *, place: str = "$export", **headers: str) -> Any:
        return self.get(f"{place}{'?' if query else ''}{query}", **(ASYNC | headers))

    def started(self, query: str = "", *, place: str = "$export") -> str:
        """The address of the status."""
        response = self.kick(query, place=place)
        assert response.status_code == 202, response.content
        return str(response["Content-Location"])

    def row(self, status: str) -> BulkExport:
        with self.hospital.scope():
            row: BulkExport = BulkExport.objects.get(uuid=status.rpartition("/")[2])
        return row

    def run(self, status: str) -> None:
        """As the worker: until nobody is to take it further."""
        row = self.row(status)
        while export_step(tenant_id=row.tenant_id, export_id=row.id) is not None:
            pass

    def manifest(self, status: str) -> dict[str, Any]:
        response = self.get(status, accept="application/json")
        assert response.status_code == 200, response.content
        found: dict[str, Any] = response.json()
        return found

    def exported(self, query: str = "", *, place: str = "$export") -> dict[str, Any]:
        status = self.started(query, place=place)
        self.run(status)
        return self.manifest(status)

    def lines(self, url: str, **headers: str) -> list[dict[str, Any]]:
        response = self.get(url, **headers)
        assert response.status_code == 200
        data = b"".join(response.streaming_content)
        assert len(data) == int(response["Content-Length"])
        if response.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        return [json.loads(line) for line in data.splitlines()]

    def contents(self, manifest: dict[str, Any], kind: str = "output") -> list[dict[str, Any]]:
        """Everything of a kind; each file says its type and its number of lines truly."""
        found = []
        for entry in manifest[kind]:
            lines = self.lines(entry["url"])
            assert len(lines) == entry["count"] > 0
            assert {line["resourceType"] for line in lines} == {entry["type"]}
            found += lines
        return found

    def names(self, manifest: dict[str, Any]) -> list[str]:
        """Type/id of everything, in order; twice where it is there twice."""
        return sorted(f"{one['resourceType']}/{one['id']}" for one in self.contents(manifest))

    def deleted(self, manifest: dict[str, Any]) -> set[str]:
        bundles = self.contents(manifest, "deleted")
        assert all(one["type"] == "transaction" for one in bundles)
        requests = [entry["request"] for one in bundles for entry in one["entry"]]
        assert {one["method"] for one in requests} <= {"DELETE"}
        return {one["url"] for one in requests}


# Two patients with two Observations each, one of a device alone, an organization, a group that names the first.
STORED = [
    patient_resource("p1"), patient_resource("p2", gender="male"),
    *(observation("Patient/p1", id=f"o1{n}") for n in "ab"), *(observation("Patient/p2", id=f"o2{n}") for n in "ab"),
    observation("Device/d1", id="od", status="preliminary"), {"resourceType": "Organization", "id": "org", "name": "Mercy"},
    {"resourceType": "Device", "id": "d1"}, {"resourceType": "Device", "id": "d2", "patient": {"reference": "Patient/p2"}},
    {"resourceType": "Group", "id": "g1", "type": "person", "actual": True, "member": [
        {"entity": {"reference": "Patient/p1"}}, {"entity": {"reference": "Patient/p2"}, "inactive": True}]},
]  # fmt: skip
NAMES = sorted(f"{one['resourceType']}/{one['id']}" for one in STORED)


def filled(hospital: Hospital) -> Exporter:
    with hospital.scope():
        resources_put(resources=STORED)
    return Exporter(hospital)


@pytest.fixture
def bulk(mercy: Hospital) -> Exporter:
    """A hospital of its own, for tests that change what is stored."""
    return filled(mercy)


@pytest.fixture(scope="module")
def stored() -> Exporter:
    """One for all tests of a file that only export."""
    return filled(hospital_make("bulk"))
