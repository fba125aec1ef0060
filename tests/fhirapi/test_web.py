"""The FHIR door through the real web server: what Django's test client cannot show."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.conftest import Hospital
from tests.fhirapi.writing import FHIR_JSON, entry, observation, patient
from tests.web import Web

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("fhir-web")]


@pytest.fixture
def client(web: Web, mercy: Hospital) -> Iterator[httpx.Client]:
    base = f"{web.address}/t/{mercy.slug}/fhir/r4/"
    with httpx.Client(base_url=base, headers={**mercy.auth, "content-type": FHIR_JSON}, timeout=30) as found:
        yield found


def test_bodies_of_every_kind(client: httpx.Client) -> None:
    """With a length, in chunks, too large in both, none; the connection lives on."""
    body = json.dumps(patient("1")).encode()
    made = client.post("Patient", content=body)
    assert made.status_code == 201
    assert client.post("Patient", content=iter([body[:9], body[9:]])).status_code == 201
    large = json.dumps(patient(name=[{"text": "x" * 200_000}])).encode()
    assert client.post("Patient", content=large).status_code == 413
    assert client.post("Patient", content=(large[n : n + 9000] for n in range(0, len(large), 9000))).status_code == 413
    assert client.post("Patient").status_code == 400
    location = made.headers["location"]
    assert client.get(location).headers["etag"] == 'W/"1"'
    assert client.head(location).content == b""
    assert len(client.get("Patient", params={"identifier": "1"}).json()["entry"]) == 2


def test_gzip_over_the_wire(client: httpx.Client) -> None:
    """httpx asks for gzip and opens it."""
    entries = [entry("PUT", f"Patient/p{n}", patient() | {"id": f"p{n}"}) for n in range(30)]
    assert client.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": entries}).status_code == 200
    answer = client.get("Patient", params={"_count": 30})
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.json()["entry"]) == 30


def test_processes_make_one_patient(client: httpx.Client) -> None:
    """ "16 clients same conditional create -> one row", across the processes of the web; links point at the one."""
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [
        entry("POST", "Patient", patient("k"), full_url="urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0", ifNoneExist="identifier=k"),
        entry("POST", "Observation", observation("urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0")),
    ]}  # fmt: skip

    def send(number: int) -> Any:
        if number % 2:
            return client.post("Patient", json=patient("k"), headers={"if-none-exist": "identifier=k"}).status_code
        return client.post("", json=bundle).status_code

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(send, range(32)))
    assert set(statuses) <= {200, 201}
    (one,) = client.get("Patient", params={"identifier": "k"}).json()["entry"]
    found = client.get("Observation", params={"subject": f"Patient/{one['resource']['id']}", "_count": 50}).json()
    assert len(found["entry"]) == 16
