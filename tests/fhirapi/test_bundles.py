"""Batch and transaction (FHIR R4 3.1.0.11): links, order, criteria, all or nothing, and what they cost."""

import base64
import json
import threading
import time
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from fhir.resources.R4B import get_fhir_model_class

from fhirapi.views import bundle as bundle_view
from fhirapi.views import write as write_view
from fhirapi.writing.links import rewritten
from tests.conftest import Hospital
from tests.fhirapi.test_http import assert_outcome
from tests.fhirapi.test_store import at_once, rows
from tests.fhirapi.writing import Writer, entry, observation, patient

pytestmark = pytest.mark.database
URN = "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"
OID = "urn:oid:1.2.3.4.5"


@pytest.fixture
def fhir(mercy: Hospital) -> Writer:
    return Writer(mercy)


def answers(response: Any) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.content
    found = response.json()
    get_fhir_model_class("Bundle").model_validate(found)
    return [one["response"] for one in found.get("entry", [])]


def count(fhir: Writer) -> int:
    with fhir.hospital.scope():
        return int(rows("SELECT count(*) FROM fhir_resource")[0][0])


def test_links_become_what_they_mean(fhir: Writer) -> None:
    """ "urn:uuid / urn:oid fullUrl links rewritten everywhere in the text": forwards, backwards, in lists, uris and narratives."""
    linked = observation(URN) | {
        "text": {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><a href="{URN}">she</a> {URN}</div>'},
        "hasMember": [{"reference": OID}, {"reference": "Observation/elsewhere"}],
        "extension": [{"url": "http://e", "valueUri": URN}, {"url": "http://e", "valueString": URN}],
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": URN}],
    }  # fmt: skip
    response = fhir.bundle(
        "transaction", entry("POST", "Observation", linked), entry("POST", "Patient", patient("1"), full_url=URN),
        entry("POST", "Observation", observation(), full_url=OID),
    )  # fmt: skip
    first, second, third = answers(response)
    ids = [one["location"].split("/")[-3] for one in (first, second, third)]
    assert [one["location"] for one in (first, second)] == [
        f"{fhir.base}/Observation/{ids[0]}/_history/1", f"{fhir.base}/Patient/{ids[1]}/_history/1",
    ]  # fmt: skip
    assert (first["status"][:3], first["etag"]) == ("201", 'W/"1"')
    assert first["lastModified"]
    made = fhir.get(f"Observation/{ids[0]}").json()
    assert made["subject"] == {"reference": f"Patient/{ids[1]}"}
    assert made["hasMember"] == [{"reference": f"Observation/{ids[2]}"}, {"reference": "Observation/elsewhere"}]
    assert [one.get("valueUri") or one["valueString"] for one in made["extension"]] == [f"Patient/{ids[1]}", URN]
    assert made["identifier"][0]["value"] == URN
    assert f'href="Patient/{ids[1]}"' in made["text"]["div"]
    assert made["text"]["div"].count(URN) == 1
    assert fhir.ids("Observation", f"subject=Patient/{ids[1]}") == [ids[0]]


def test_restful_full_urls_are_links_too(fhir: Writer) -> None:
    """A bundle from another server: its absolute and relative references follow the new ids."""
    other = "http://other.example/fhir"
    one = observation("Patient/77") | {"focus": [{"reference": f"{other}/Patient/77"}, {"reference": URN}]}
    response = fhir.bundle(
        "transaction", entry("POST", "Patient", patient(), full_url=f"{other}/Patient/77"),
        entry("POST", "Observation", one, full_url=f"{other}/Observation/5"),
        entry("POST", "Device", {"resourceType": "Device"}, full_url=URN),
    )  # fmt: skip
    patient_id, observation_id, device_id = [told["location"].split("/")[-3] for told in answers(response)]
    made = fhir.get(f"Observation/{observation_id}").json()
    assert made["subject"]["reference"] == f"Patient/{patient_id}"
    assert [link["reference"] for link in made["focus"]] == [f"Patient/{patient_id}", f"Device/{device_id}"]


def test_only_links_are_rewritten() -> None:
    """Strings, codes, ids and displays that look like a link stay what they are."""
    node = {"reference": "a", "url": "a", "display": "a", "value": "a", "valueString": "a", "id": "a", "code": "a", "profile": ["a", "b"]}
    changed = rewritten({"x": [node]}, lambda link: link.replace("a", "NEW"))["x"][0]
    assert {name for name, value in changed.items() if value != node[name]} == {"reference", "url", "profile"}


def test_a_hostile_narrative_costs_no_time() -> None:
    """Links are looked for in linear time, whatever the markup."""
    start = time.monotonic()
    for text in ("<a " * 300_000, "<a href=" * 100_000, "<a href" + " " * 900_000, '<img src="' * 90_000, "<a" + " href" * 200_000):
        assert rewritten({"div": text}, lambda link: link)["div"] == text
    assert time.monotonic() - start < 5


def test_order_and_answers(fhir: Writer) -> None:
    """ "order DELETE, POST, PUT/PATCH, GET ... responses in the order of the request with status, location, etag"."""
    fhir.put("Patient/old", patient("1") | {"id": "old"})
    fhir.put("Patient/p", patient("2") | {"id": "p"})
    patch = {"resourceType": "Binary", "contentType": "application/json-patch+json",
             "data": base64.b64encode(b'[{"op":"add","path":"/active","value":true}]').decode()}  # fmt: skip
    response = fhir.bundle(
        "transaction",
        entry("GET", "Patient?identifier=1"), entry("GET", "Patient/p"), entry("PATCH", "Patient/p", patch, ifMatch='W/"1"'),
        entry("POST", "Patient", patient("1"), ifNoneExist="identifier=1"), entry("DELETE", "Patient?identifier=1"),
        entry("PUT", "Patient/new", patient("3") | {"id": "new"}), entry("GET", "Patient/p/_history/1"),
        entry("GET", "Patient/new/_history"),
    )  # fmt: skip
    told = answers(response)
    assert [one["status"][:3] for one in told] == ["200", "200", "200", "201", "204", "201", "200", "200"]
    found = response.json()["entry"]
    assert found[0]["resource"]["entry"][0]["resource"]["id"] == told[3]["location"].split("/")[-3]
    assert (found[1]["resource"]["active"], found[1]["response"]["etag"]) == (True, 'W/"2"')
    assert "active" not in found[6]["resource"]
    assert found[7]["resource"]["type"] == "history"
    assert "resource" not in found[3]
    assert told[5]["location"] == f"{fhir.base}/Patient/new/_history/1"
    assert_outcome(fhir.get("Patient/old"), 410)


def test_prefer_representation(fhir: Writer) -> None:
    """Writes answer shortly unless the bundle prefers otherwise."""
    one = entry("PUT", "Patient/p", patient() | {"id": "p"})
    for kind in ("transaction", "batch"):
        assert "resource" not in fhir.bundle(kind, one).json()["entry"][0]
        assert fhir.bundle(kind, one, prefer="return=representation").json()["entry"][0]["resource"]["id"] == "p"


@pytest.mark.parametrize(
    ("broken", "status"),
    [
        (entry("PUT", "Patient/p", patient("9") | {"id": "p"}, ifMatch='W/"7"'), 412),
        (entry("PUT", "Patient/p", patient("9") | {"id": "p"}, ifMatch="x"), 400),
        (entry("POST", "Patient", patient(gender="banana")), 422),
        (entry("POST", "Patient", observation()), 400), (entry("POST", "Patient"), 400), (entry("PUT", "Patient/q", patient()), 400),
        (entry("DELETE", "Patient/never"), 404), (entry("DELETE", "Patient?identifier=never"), 404), (entry("DELETE", "Patient"), 412),
        (entry("GET", "Patient/never"), 404), (entry("GET", "Patient?unheard:x=1"), 400), (entry("GET", "a/b/c/d/e"), 404),
        (entry("POST", "Observation", observation("Patient?identifier=never")), 412),
        (entry("POST", "Observation", observation("Patient?identifier=many")), 412),
        (entry("POST", "Patient", patient(), ifNoneExist="identifier=many"), 412),
        (entry("PUT", "Patient?identifier=many", patient()), 412),
        (entry("POST", "Patient", patient(), ifNoneExist="unheard=1"), 400), (entry("POST", "Basic", {"resourceType": "Basic"}), 404),
        (entry("POST", "ImagingStudy", {"resourceType": "ImagingStudy"}), 405),
        (entry("PATCH", "Patient/p", {"resourceType": "Binary"}), 400),
        (entry("PATCH", "Patient/p", {"resourceType": "Parameters"}, ifMatch="9"), 412), ({"resource": patient()}, 400), ("x", 400),
        (entry("TRACE", "Patient"), 400), (entry("POST", "", patient()), 400), (entry("POST", "http://other/Patient", patient()), 400),
        (entry("POST", "Patient/x", patient()), 400), (entry("PUT", "Patient/fresh", patient("2") | {"id": "fresh"}), 400),
    ],
    ids=lambda value: json.dumps(value)[:90] if isinstance(value, dict) else "",
)  # fmt: skip
def test_all_or_nothing(fhir: Writer, broken: Any, status: int) -> None:
    """ "all or nothing with one OperationOutcome naming the entry (`Bundle.entry[3]`)"."""
    for fhir_id, number in (("p", "1"), ("m1", "many"), ("m2", "many")):
        fhir.put(f"Patient/{fhir_id}", patient(number) | {"id": fhir_id})
    before = count(fhir)
    response = fhir.bundle(
        "transaction", entry("POST", "Patient", patient("n")), entry("PUT", "Patient/fresh", patient("f") | {"id": "fresh"}),
        entry("POST", "Device", {"resourceType": "Device"}), broken,
    )  # fmt: skip
    issue = assert_outcome(response, status)
    assert "Bundle.entry[3]" in issue["diagnostics"]
    assert issue["expression"][0].startswith("Bundle.entry[3]")
    assert count(fhir) == before
    assert fhir.get("Patient/p")["ETag"] == 'W/"1"'
    assert len(fhir.get("_history").json()["entry"]) == 3


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"resourceType": "Bundle", "type": "collection"}, 400), ({"resourceType": "Bundle"}, 400), (patient(), 400), ([], 400), ("{", 400),
        ({"resourceType": "Bundle", "type": "batch", "entry": {}}, 400),
        ({"resourceType": "Bundle", "type": "transaction", "entry": 1}, 400),
    ],
)  # fmt: skip
def test_what_is_no_bundle(fhir: Writer, body: Any, status: int) -> None:
    assert_outcome(fhir.post("", body), status)


def test_two_entries_for_one_resource(fhir: Writer) -> None:
    """ "two entries touching one resource -> 400", by id or by what criteria find; a read beside a write is none of it."""
    fhir.put("Patient/p", patient("1") | {"id": "p"})
    update = entry("PUT", "Patient/p", patient("2") | {"id": "p"})
    found = entry("PUT", "Patient?identifier=1", patient("1")), entry("DELETE", "Patient?identifier=1")
    for other in (update, entry("DELETE", "Patient/p"), *found):
        assert assert_outcome(fhir.bundle("transaction", update, other), 400)["code"] == "duplicate"
    twice = entry("POST", "Patient", patient("3"), ifNoneExist="identifier=3")
    assert_outcome(fhir.bundle("transaction", twice, twice), 400)
    assert fhir.get("Patient/p")["ETag"] == 'W/"1"'
    assert answers(fhir.bundle("transaction", update, entry("GET", "Patient/p")))[1]["etag"] == 'W/"2"'


def test_a_full_url_names_one_entry(fhir: Writer) -> None:
    """ "bdl-7: FullUrl must be unique in a bundle": a link to two resources would be a guess."""
    response = fhir.bundle("transaction", *[entry("POST", "Patient", patient(), full_url=URN)] * 2)
    assert "Bundle.entry[1]" in assert_outcome(response, 400)["diagnostics"]
    assert count(fhir) == 0


def test_what_fails_in_a_batch_leaves_nothing(fhir: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that breaks after its write, or that loses against another, undoes that write; its neighbours stay."""
    honest = write_view.audit_record

    def failing(**values: Any) -> None:
        honest(**values)
        if values["object_id"] in errors:
            raise errors[values["object_id"]]

    deadlock = OperationalError()
    deadlock.__cause__ = psycopg.errors.DeadlockDetected()
    errors = {"b": RuntimeError(), "d": deadlock}
    monkeypatch.setattr(write_view, "audit_record", failing)
    puts = [entry("PUT", f"Patient/{name}", patient() | {"id": name}) for name in "abcd"]
    assert [one["status"] for one in answers(fhir.bundle("batch", *puts))] == ["201", "500", "201", "409"]
    assert sorted(fhir.ids("Patient")) == ["a", "c"]


def test_conditional_references_and_creates(fhir: Writer) -> None:
    """ "conditional references (`Patient?identifier=`) resolved", and a created link to what was there already."""
    known = fhir.made(patient("1"))["id"]
    response = fhir.bundle(
        "transaction", entry("POST", "Observation", observation("Patient?identifier=urn:oid:1.2.3|1")),
        entry("POST", "Patient", patient("1"), full_url=URN, ifNoneExist="identifier=1"), entry("POST", "Observation", observation(URN)),
        entry("PUT", "Patient?identifier=2", patient("2"), full_url=OID), entry("POST", "Observation", observation(OID)),
    )  # fmt: skip
    told = answers(response)
    assert [one["status"][:3] for one in told] == ["201", "200", "201", "201", "201"]
    ids = [one["location"].split("/")[-3] for one in told]
    assert ids[1] == known
    for position, target in ((0, known), (2, known), (4, ids[3])):
        assert fhir.get(f"Observation/{ids[position]}").json()["subject"]["reference"] == f"Patient/{target}"


def test_a_batch_takes_each_entry_on_its_own(fhir: Writer) -> None:
    """ "Batch: each entry on its own (savepoints)": what fails tells why and leaves its neighbours."""
    nested = {"resourceType": "Bundle", "type": "batch"}
    response = fhir.bundle(
        "batch",
        entry("POST", "Patient", patient("1")), entry("POST", "Patient", patient(gender="banana")), entry("GET", "Patient?identifier=1"),
        entry("POST", "Patient", patient("1"), ifNoneExist="identifier=1"), entry("DELETE", "Patient/never"), "x",
        entry("POST", "", nested), entry("PUT", "Patient/p", patient() | {"id": "p"}, ifMatch='W/"3"'), entry("GET", "metadata"),
        entry("GET", f"{fhir.base}/Patient?identifier=1&_format=xml&_pretty=true"), entry("DELETE", "Patient?identifier=1"),
        entry("HEAD", "Patient"),
        entry("GET", "Patient/p%20q"), entry("POST", "Patient?identifier=5", patient("5")),
    )  # fmt: skip
    told = answers(response)
    statuses = [one["status"][:3] for one in told]
    assert statuses == ["201", "422", "200", "200", "404", "400", "400", "412", "200", "200", "204", "200", "404", "201"]
    for one, status in zip(told, statuses, strict=True):
        assert (one.get("outcome", {}).get("resourceType") == "OperationOutcome") == (status[0] == "4")
    found = response.json()["entry"]
    assert len(found[2]["resource"]["entry"]) == 1
    assert found[3]["response"]["etag"] == 'W/"1"'
    assert found[8]["resource"]["resourceType"] == "CapabilityStatement"


def test_limits(fhir: Writer, settings: Any) -> None:
    """ "entries limit ... -> 413"."""
    settings.MEDHUB_FHIR_BUNDLE_ENTRIES = 2
    for kind in ("batch", "transaction"):
        assert_outcome(fhir.bundle(kind, *[entry("GET", "Patient")] * 3), 413)
        assert answers(fhir.bundle(kind, *[entry("GET", "Patient")] * 2))
    settings.MEDHUB_FHIR_BUNDLE_BYTES = 100
    assert_outcome(fhir.bundle("batch", *[entry("GET", "Patient")] * 2), 413)
    settings.MEDHUB_FHIR_BUNDLE_BYTES, settings.MEDHUB_FHIR_BUNDLE_ENTRIES = 10**6, 1000
    links = [entry("POST", "Observation", observation(f"Patient?identifier={n}")) for n in range(201)]
    assert assert_outcome(fhir.bundle("transaction", *links), 413)["code"] == "too-costly"


def test_the_number_of_statements_does_not_grow(fhir: Writer) -> None:
    """ "Bulk: a transaction of 500 creates uses a constant number of statements"."""

    def counted(number: int) -> int:
        entries = [entry("POST", "Observation", observation(URN)) for _ in range(number)]
        entries += [entry("PUT", f"Patient/x{number}-{n}", patient() | {"id": f"x{number}-{n}"}) for n in range(number)]
        with CaptureQueriesContext(connection) as queries:
            answers(fhir.bundle("transaction", entry("POST", "Patient", patient("1"), full_url=URN), *entries))
        return len(queries)

    counted(1)
    assert counted(2) == counted(60) <= 16


def test_opposite_transactions_lose_nothing(fhir: Writer) -> None:
    """ "two transactions over same resources don't deadlock into 500"."""
    ids = [f"p{n}" for n in range(6)]
    statuses: list[int] = []

    def work(order: list[str], mark: str) -> None:
        for step in range(4):
            puts = [entry("PUT", f"Patient/{i}", patient(f"{mark}{step}") | {"id": i}) for i in order]
            statuses.append(fhir.bundle("transaction", *puts).status_code)

    assert at_once(lambda: work(ids, "a"), lambda: work(ids[::-1], "b"), lambda: work(ids[3:] + ids[:3], "c")) == []
    assert statuses == [200] * 12
    assert {fhir.get(f"Patient/{i}")["ETag"] for i in ids} == {'W/"12"'}


def test_a_deadlock_is_tried_once_more(fhir: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "retry once on serialization/deadlock, else 409": a real deadlock of PostgreSQL, made by a statement that takes locks in turn."""
    honest, first = bundle_view.transaction_write, threading.Event()
    asked: list[int] = []

    def crossing(**values: Any) -> Any:
        done = honest(**values)
        asked.append(1)
        if len(asked) == 1:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(77001)")
                first.set()
                time.sleep(0.3)
                cursor.execute("SELECT pg_advisory_xact_lock(77002)")
        return done

    def other() -> None:
        first.wait(5)
        with fhir.hospital.scope(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(77002)")
            cursor.execute("SELECT pg_advisory_xact_lock(77001)")

    monkeypatch.setattr(bundle_view, "transaction_write", crossing)
    statuses: list[int] = []
    failed = at_once(lambda: statuses.append(fhir.bundle("transaction", entry("POST", "Patient", patient("1"))).status_code), other)
    assert statuses == [200]
    assert all(isinstance(error, OperationalError) for error in failed)
    assert len(fhir.ids("Patient", "identifier=1")) == 1


def test_a_second_deadlock_is_a_conflict(fhir: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice is told as 409, which a client may repeat; nothing was written."""

    def losing(**values: Any) -> Any:
        with connection.cursor() as cursor:
            cursor.execute("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$")

    monkeypatch.setattr(bundle_view, "transaction_write", losing)
    assert_outcome(fhir.bundle("transaction", entry("POST", "Patient", patient())), 409)
    assert count(fhir) == 0
