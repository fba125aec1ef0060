"""Clients at once, through the processes of the real web server: no update is lost, no page has a gap."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.conftest import Hospital
from tests.fhirapi.writing import FHIR_JSON, entry, observation, patient
from tests.web import Web

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("fhir-web")]
JSON_PATCH = {"content-type": "application/json-patch+json"}
FHIRPATH_PATCH = {
    "resourceType": "Parameters",
    "parameter": [{"name": "operation", "part": [
        {"name": "type", "valueCode": "replace"}, {"name": "path", "valueString": "Patient.gender"},
        {"name": "value", "valueCode": "other"},
    ]}],
}  # fmt: skip


@pytest.fixture
def client(web: Web, mercy: Hospital) -> Iterator[httpx.Client]:
    base = f"{web.address}/t/{mercy.slug}/fhir/r4/"
    with httpx.Client(base_url=base, headers={**mercy.auth, "content-type": FHIR_JSON}, timeout=30) as found:
        yield found


def at_once(work: Callable[[int], Any], count: int = 16) -> list[Any]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


def test_one_of_many_changes_wins(client: httpx.Client) -> None:
    """ "two clients patching with If-Match": of sixteen that saw version 1, by every way of writing, one is taken, the others are told."""
    client.put("Patient/a", json=patient("1", id="a"))
    match = {"if-match": 'W/"1"'}

    def change(number: int) -> int:
        if number % 4 == 0:
            value = [{"op": "add", "path": "/birthDate", "value": f"19{10 + number}-01-01"}]
            return client.patch("Patient/a", json=value, headers=JSON_PATCH | match).status_code
        if number % 4 == 1:
            return client.patch("Patient/a", json=FHIRPATH_PATCH, headers=match).status_code
        if number % 4 == 2:
            return client.put("Patient/a", json=patient("1", id="a", birthDate=f"19{10 + number}"), headers=match).status_code
        one = entry("PUT", "Patient/a", patient("1", id="a", birthDate=f"19{10 + number}"), ifMatch='W/"1"')
        return client.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": [one]}).status_code

    assert Counter(at_once(change)) == {200: 1, 412: 15}
    assert len(client.get("Patient/a/_history").json()["entry"]) == 2


def test_no_update_is_lost(client: httpx.Client) -> None:
    """ "lost updates refused": sixteen who each add an identifier, and read again when they are told 412, all leave theirs."""
    client.put("Patient/a", json=patient("0", id="a"))

    def add(number: int) -> None:
        while True:
            read = client.get("Patient/a")
            resource = read.json()
            resource["identifier"].append({"system": "urn:n", "value": str(number)})
            if client.put("Patient/a", json=resource, headers={"if-match": read.headers["etag"]}).status_code != 412:
                return

    at_once(add)
    found = client.get("Patient/a").json()
    assert {one["value"] for one in found["identifier"] if one["system"] == "urn:n"} == {str(number) for number in range(16)}
    assert found["meta"]["versionId"] == "17"


def test_creators_of_one_id(client: httpx.Client) -> None:
    """If-None-Match: * from sixteen makes one version; without it each counts, in one unbroken history."""
    answers = at_once(lambda n: client.put("Patient/b", json=patient(str(n), id="b"), headers={"if-none-match": "*"}).status_code)
    assert Counter(answers) == {201: 1, 412: 15}
    answers = at_once(lambda n: client.put("Patient/c", json=patient(str(n), id="c")).status_code)
    assert Counter(answers) == {201: 1, 200: 15}
    versions = [int(one["resource"]["meta"]["versionId"]) for one in client.get("Patient/c/_history").json()["entry"]]
    assert versions == list(range(16, 0, -1))


def test_a_deletion_and_updates_at_once(client: httpx.Client) -> None:
    """Whoever comes first: versions follow one another, and what is gone came back only by a later update."""
    client.put("Patient/d", json=patient("0", id="d"))

    def work(number: int) -> int:
        if number % 2:
            return client.delete("Patient/d").status_code
        return client.put("Patient/d", json=patient(str(number), id="d")).status_code

    assert set(at_once(work)) <= {200, 201, 204}
    entries = client.get("Patient/d/_history").json()["entry"]
    numbers = [int(one["response"]["etag"].strip('W/"')) for one in entries]
    assert numbers == list(range(len(numbers), 0, -1))
    assert client.get("Patient/d").status_code == (410 if entries[0]["request"]["method"] == "DELETE" else 200)


PAGED = ["_count=7", "_count=7&_sort=date", "_count=7&_sort=-date,_id", "_count=7&_sort=code&status=final", "_count=7&_sort=_id"]


@pytest.mark.parametrize("query", PAGED)
def test_pages_under_writes(client: httpx.Client, query: str) -> None:
    """ "paging stays exact under concurrent writes": who stays comes once, while others come, change and go."""
    days = [f"2026-01-{1 + number % 9:02}" for number in range(60)]
    stay = [entry("PUT", f"Observation/s{n}", observation(id=f"s{n}", effectiveDateTime=day)) for n, day in enumerate(days)]
    assert client.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": stay}).status_code == 200
    stop = threading.Event()

    def write(who: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            body = observation(effectiveDateTime=days[number % 9], code={"coding": [{"code": f"c{number % 3}"}]})
            passing = client.post("Observation", json=body).json()["id"]
            client.put(f"Observation/s{number % 60}", json={
                **observation(effectiveDateTime=days[number % 60], note=[{"text": f"{who} {number}"}]), "id": f"s{number % 60}",
            })  # fmt: skip
            if number % 2:
                client.delete(f"Observation/{passing}")

    writers = [threading.Thread(target=write, args=(who,)) for who in range(3)]
    for writer in writers:
        writer.start()
    try:
        seen, url = [], f"Observation?{query}"
        for _ in range(40):
            bundle = client.get(url).json()
            seen += [one["resource"]["id"] for one in bundle["entry"]]
            url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
            if not url:
                break
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    counts = Counter(seen)
    assert max(counts.values()) == 1
    assert {f"s{number}" for number in range(60)} <= set(counts)
