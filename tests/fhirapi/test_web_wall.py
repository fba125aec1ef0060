"""The wall as an attacker tries it: a valid token of one hospital, the addresses, ids and links of the other."""

import json
from typing import Any

import httpx
import pytest

from tests.conftest import Hospital
from tests.fhirapi.writing import FHIR_JSON, entry, observation, patient
from tests.web import Web

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("fhir-web")]
FORM = "application/x-www-form-urlencoded"


class Asker:
    """A hospital's token; asks at whichever address it is told."""

    def __init__(self, web: Web, hospital: Hospital) -> None:
        self.base = f"{web.address}/t/{hospital.slug}/fhir/r4"
        self.client = httpx.Client(headers=hospital.auth, timeout=30)

    def __call__(self, method: str, url: str, body: Any = None, **headers: str) -> httpx.Response:
        where = url if url.startswith("http") else f"{self.base}/{url}"
        names = {"content-type": FHIR_JSON} | {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if body is None or isinstance(body, str) else json.dumps(body)
        return self.client.request(method, where, content=content, headers=names)


@pytest.fixture
def ours(web: Web, mercy: Hospital) -> Asker:
    return Asker(web, mercy)


@pytest.fixture
def theirs(web: Web, olaf: Hospital) -> Asker:
    """Two patients of the other hospital, one observed."""
    asker = Asker(web, olaf)
    asker("PUT", "Patient/po", patient("MRN-po") | {"id": "po"})
    asker("PUT", "Patient/p2", patient("MRN-p2") | {"id": "p2"})
    assert asker("PUT", "Observation/oo", observation("Patient/po", id="oo")).status_code == 201
    return asker


def bundle(kind: str, *entries: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


PATCH = [{"op": "replace", "path": "/gender", "value": "male"}]
META = {"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": {"tag": [{"code": "ours"}]}}]}
JSON_PATCH = "application/json-patch+json"
REQUESTS: list[tuple[str, str, Any]] = [
    ("GET", "Patient/po", None), ("HEAD", "Patient/po", None), ("GET", "Patient/po/_history/1", None), ("GET", "Patient/po/_history", None),
    ("GET", "Patient/_history", None), ("GET", "_history", None), ("GET", "Patient", None), ("GET", "Patient?_id=po", None),
    ("GET", "Patient/po/Observation", None), ("GET", "?_type=Patient", None), ("POST", "Patient/_search", None), ("POST", "_search", None),
    ("PUT", "Patient/po", patient() | {"id": "po"}), ("PUT", "Patient?identifier=MRN-po", patient()), ("POST", "Patient", patient()),
    ("PATCH", "Patient/po", PATCH), ("PATCH", "Patient?identifier=MRN-po", PATCH), ("DELETE", "Patient/po", None),
    ("DELETE", "Patient?identifier=MRN-po", None), ("POST", "", bundle("batch", entry("GET", "Patient/po"))),
    ("POST", "", bundle("transaction", entry("DELETE", "Patient/po"))),
    ("GET", "Patient/po/$everything", None), ("GET", "Patient/po/$meta", None), ("POST", "Patient/po/$meta-add", META),
    ("GET", "$meta", None), ("GET", "Patient/po/$validate", None), ("POST", "Patient/$match", patient("MRN-po")),
    ("POST", "Patient/$validate", patient()),
]  # fmt: skip


def media(method: str) -> str:
    return JSON_PATCH if method == "PATCH" else FHIR_JSON


def test_the_other_base_answers_404(ours: Asker, theirs: Asker) -> None:
    """ "Foreign ids answer 404": every kind of request at the other hospital's base with our token, and 401 without one."""
    for method, path, body in REQUESTS:
        url = f"{theirs.base}/{path}"
        assert ours(method, url, body, content_type=media(method)).status_code == 404, (method, path)
        assert httpx.request(method, url, json=body).status_code == 401, (method, path)
    following = theirs("GET", "Patient?_count=1").json()["link"][-1]
    assert following["relation"] == "next"
    for link, status in ((following["url"], 404), (following["url"].replace(theirs.base, ours.base), 400)):
        assert ours("GET", link).status_code == status
    assert httpx.get(following["url"]).status_code == 401
    assert len(theirs("GET", "_history").json()["entry"]) == 3


def test_the_other_ids_are_not_there(ours: Asker, theirs: Asker) -> None:
    """By id, by criteria and in bundles: nothing is found, and nothing of theirs changes."""
    for method, path, expected in (
        ("GET", "Patient/po", 404), ("GET", "Patient/po/_history/1", 404), ("GET", "Patient/po/_history", 404),
        ("PATCH", "Patient/po", 404), ("DELETE", "Patient/po", 404), ("PATCH", "Patient?identifier=MRN-po", 404),
        ("DELETE", "Patient?_id=po", 404), ("GET", "Patient/po/$everything", 404), ("GET", "Patient/po/$meta", 404),
        ("POST", "Patient/po/$meta-add", 404), ("POST", "Patient/po/$meta-delete", 404), ("GET", "Patient/po/$validate", 404),
    ):  # fmt: skip
        body = {"PATCH": PATCH, "POST": META}.get(method)
        assert ours(method, path, body, content_type=media(method)).status_code == expected, (method, path)
    assert "entry" not in ours("POST", "Patient/$match", patient("MRN-po")).json()
    assert ours("GET", "$meta").json() == {"resourceType": "Parameters"}
    assert ours("PUT", "Patient/po", patient() | {"id": "po"}, if_match='W/"1"').status_code == 412
    for rtype, query in (
        ("Patient", "_id=po"), ("Patient", "identifier=MRN-po"), ("Patient", "_has:Observation:patient:code=1-8"),
        ("Observation", "patient=po"), ("Observation", "patient.identifier=MRN-po"),
        ("Patient", "_revinclude=Observation:subject"), ("Patient", "_lastUpdated=ge2020"),
        ("Patient/po/Observation", ""), ("_history", ""), ("Patient/_history", ""),
    ):  # fmt: skip
        assert "entry" not in ours("GET", f"{rtype}?{query}").json(), (rtype, query)
        if "/" not in rtype and rtype != "_history":
            assert "entry" not in ours("POST", f"{rtype}/_search", query, content_type=FORM).json(), (rtype, query)
    assert len(theirs("GET", "_history").json()["entry"]) == 3


def test_a_bundle_does_not_reach_over(ours: Asker, theirs: Asker) -> None:
    """ "reference in transactions, conditional references": what names the other's resources finds none of them."""

    def sent(kind: str, *entries: dict[str, Any]) -> httpx.Response:
        return ours("POST", "", bundle(kind, *entries))

    assert sent("transaction", entry("POST", "Observation", observation("Patient?identifier=MRN-po"))).status_code == 412
    for method, url, status in (("DELETE", "Patient/po", 404), ("GET", "Patient/po", 404), ("GET", f"{theirs.base}/Patient/po", 400)):
        assert sent("transaction", entry(method, url)).status_code == status, url
        (answer,) = sent("batch", entry(method, url)).json()["entry"]
        assert (answer["response"]["status"], "resource" in answer) == (str(status), False), url
    once = sent("transaction", entry("POST", "Patient", patient("MRN-po"), ifNoneExist="identifier=MRN-po"))
    assert once.json()["entry"][0]["response"]["status"] == "201", "ours is made, theirs is no match"
    # A reference to an id that only they have, or to their base: it stays as written and leads nowhere.
    made = sent("transaction", *(
        entry("POST", "Observation", observation(reference)) for reference in ("Patient/po", f"{theirs.base}/Patient/po")
    ))  # fmt: skip
    assert [one["response"]["status"] for one in made.json()["entry"]] == ["201", "201"]
    found = ours("GET", "Observation?_include=Observation:subject&_include:iterate=*").json()["entry"]
    assert [one["search"]["mode"] for one in found] == ["match", "match"]
    assert "entry" not in ours("GET", "Observation?subject.gender=female").json()
    assert {one["resource"]["id"] for one in theirs("GET", "Observation").json()["entry"]} == {"oo"}
    assert len(theirs("GET", "_history").json()["entry"]) == 3


def test_the_same_id_is_two_resources(ours: Asker, theirs: Asker) -> None:
    """An id that the other hospital has is free here, with a life of its own."""
    made = ours("PUT", "Patient/po", patient("ours") | {"id": "po"})
    assert (made.status_code, made.json()["meta"]["versionId"]) == (201, "1")
    assert ours("DELETE", "Patient/po").status_code == 204
    assert ours("GET", "Patient/po").status_code == 410
    read = theirs("GET", "Patient/po")
    assert (read.status_code, read.json()["identifier"][0]["value"]) == (200, "MRN-po")


def test_criteria_of_every_kind_of_body(ours: Asker, theirs: Asker) -> None:
    """A form in chunks is read as one with a length; a body that is no form is refused, not taken for "everybody"."""
    url = f"{theirs.base}/Patient/_search"
    for body in ("identifier=MRN-p2", iter([b"identifier=", b"MRN-p2"])):
        found = theirs.client.post(url, content=body, headers={"content-type": FORM}).json()  # type: ignore[arg-type]
        assert [one["resource"]["id"] for one in found["entry"]] == ["p2"]
    for body, kind, more, status in (
        (b"identifier=MRN-p2", "text/plain", {}, 415), (b'{"identifier":"MRN-p2"}', FHIR_JSON, {}, 415),
        (b"identifier=MRN-p2", FORM, {"content-encoding": "gzip"}, 415), (b"identifier=" + b"a" * 70_000, FORM, {}, 413),
        (iter([b"identifier=" + b"a" * 70_000]), FORM, {}, 413), (b"identifier=%00", FORM, {}, 400), (b"name=a%00", FORM, {}, 400),
        ("&".join(f"a{n}=1" for n in range(3000)), FORM, {}, 400),
    ):  # fmt: skip
        refused = theirs.client.post(url, content=body, headers={"content-type": kind, **more})  # type: ignore[arg-type]
        assert (refused.status_code, refused.json()["resourceType"]) == (status, "OperationOutcome")
    assert len(theirs.client.post(f"{url}?identifier=MRN-p2").json()["entry"]) == 1


def test_parameters_that_come_in_chunks(theirs: Asker) -> None:
    """What an operation is told counts, with a length or without one."""
    asked = [b'{"resourceType":"Parameters","parameter":[{"name":"_type",', b'"valueString":"Observation"}]}']
    wrong = [b'{"resourceType":"Patient","id":"po",', b'"gender":"unheard-of"}']
    for join in (b"".join, iter):
        found = theirs.client.post(f"{theirs.base}/Patient/po/$everything", content=join(asked), headers={"content-type": FHIR_JSON})  # type: ignore[operator]
        assert [one["resource"]["id"] for one in found.json()["entry"]] == ["oo"]
        told = theirs.client.post(f"{theirs.base}/Patient/po/$validate", content=join(wrong), headers={"content-type": FHIR_JSON})  # type: ignore[operator]
        assert "Patient.gender" in told.text
