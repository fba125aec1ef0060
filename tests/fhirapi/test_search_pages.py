"""What a search answers with: includes, orders, totals, parts of resources, several types at once, and the limits of it all."""

import base64
import json
import threading
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection, connections
from fhir.resources.R4B import get_fhir_model_class

from fhirapi.projections import imaging_study_project
from fhirapi.search import include as search_include
from fhirapi.search import pages as search
from fhirapi.store import resources_put
from tests.conftest import Hospital
from tests.fhirapi.conftest import Fhir, event, patient_resource, study_make
from tests.fhirapi.test_search_cases import WORLD, observation


@pytest.fixture
def filled(mercy: Hospital) -> Fhir:
    with mercy.scope():
        resources_put(resources=WORLD)
    return Fhir(mercy)


INCLUDES = {
    "Observation?_id=w1&_include=Observation:subject": "jane",
    "Observation?_id=w1&_include=Observation:patient:Patient": "jane",
    "Observation?_id=w2&_include=Observation:performer": "ward",
    "Observation?_id=w2&_include=Observation:*": "jane ward",
    "Observation?_id=w2&_include=*": "jane ward",
    "Observation?_id=w1,w2&_include=Observation:subject&_include=Observation:performer:Organization": "jane ward",
    "Observation?_id=w2&_include=Observation:performer:Practitioner": "",
    "DiagnosticReport?_id=report&_include=DiagnosticReport:result": "w1 w2",
    "DiagnosticReport?_id=report&_include=DiagnosticReport:imagingStudy": "ct",
    "DiagnosticReport?_id=report&_include=DiagnosticReport:result&_include=Observation:performer": "w1 w2",
    "DiagnosticReport?_id=report&_include=DiagnosticReport:result&_include:iterate=Observation:performer": "w1 w2 ward",
    "Observation?_id=w1&_include=Observation:patient&_include:iterate=Patient:organization&_include:iterate=*": "jane ward top",
    "Observation?_id=w1&_include:iterate=*": "jane ward top",
    "DiagnosticReport?_id=orphan&_include=DiagnosticReport:subject": "",
    "Patient?_id=jane&_revinclude=Encounter:patient": "stay",
    "Patient?_id=jane,john&_revinclude=Encounter:subject&_revinclude=Condition:patient": "stay open c1 c2",
    "Patient?_id=kim&_revinclude=Patient:link": "",
    "Patient?_id=john&_revinclude=Patient:link": "kim",
    "ImagingStudy?_id=ct&_revinclude=DiagnosticReport:imagingStudy": "report",
    "Organization?_id=top&_revinclude=Organization:partof&_revinclude:iterate=Patient:organization": "ward john jane",
    "Patient?_id=jane&_revinclude=Group:*": "cohort",
    "Patient?_list=watch&_include=Patient:organization": "ward",
}


def test_includes(filled: Fhir) -> None:
    """ "`_include`, `_revinclude`, `:iterate`": each once, marked as included, whatever leads to it."""
    wrong = {}
    for query, expected in INCLUDES.items():
        rtype, _, rest = query.partition("?")
        found = filled.ids(rtype, rest, mode="include")
        if sorted(found) != sorted(expected.split()):
            wrong[query] = found
    assert wrong == {}
    for unknown in (
        "_include=Observation:shoe",
        "_include=Shoe:size",
        "_revinclude=*",
        "_include=Observation:subject:Shoe",
        "_include=Observation",
    ):
        assert filled.get(f"Observation?{unknown}", prefer="handling=strict").status_code == 400, unknown


def test_too_many_includes_are_said(filled: Fhir, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that would grow without limit is refused with the limit in its outcome."""
    monkeypatch.setattr(search_include, "INCLUDED_MAX", 3)
    response = filled.get("Patient?_revinclude=Observation:patient")
    assert response.status_code == 400
    issue = response.json()["issue"][0]
    assert issue["code"] == "too-costly"
    assert "3 resources" in issue["diagnostics"]


SORTS = {
    "Patient?_sort=_id": "jane jo john kim",
    "Patient?_sort=-_id": "kim john jo jane",
    "Patient?_sort=birthdate": "jane john jo kim",
    "Patient?_sort=-birthdate": "jo john jane kim",
    "Patient?_sort=family,-_id": "jane kim john jo",
    "Patient?_sort=-family,_id": "jo john kim jane",
    "Patient?_sort=gender,_id": "jane john kim jo",
    "Patient?_sort=-gender": "kim john jane jo",
    "Patient?_sort=identifier": "jane john jo kim",
    "Patient?_sort=organization,_id": "john jane jo kim",
    "Patient?birthdate=ge1980&_sort=-birthdate": "jo john",
    "Observation?code=29463-7&_sort=date": "low g w1 w3 w2",
    "Observation?code=29463-7&_sort=-date": "w2 w3 w1 g low",
    "Observation?value-quantity:missing=false&_sort=value-quantity,_id": "low g w1 w2 w3",
    "Observation?value-quantity:missing=false&_sort=-value-quantity,-_id": "w3 w2 w1 g low",
    "Observation?_sort=-value-quantity,_id&_count=2": "w3 w2",
    "Observation?patient=jo&_sort=-date": "words low",
    "Encounter?_sort=-date": "open stay",
    "Observation?_id=nodate,w1&_sort=date": "w1 nodate",
    "Observation?_id=nodate,w1&_sort=-date": "w1 nodate",
    "Observation?_id=w1,smoke&_sort=code-value-string": "",
    "Observation?patient=jane&_sort=status,-date": "w2 bp1 smoke w1",
}


def test_sorts(filled: Fhir) -> None:
    """ "`_sort` by any parameter", several keys, missing values last."""
    wrong = {}
    for query, expected in SORTS.items():
        rtype, _, rest = query.partition("?")
        if not expected:
            assert filled.get(f"{query}", prefer="handling=strict").status_code == 400, query
        elif filled.ids(rtype, rest) != expected.split():
            wrong[query] = filled.ids(rtype, rest)
    assert wrong == {}


PAGED = [
    "",
    "_sort=_id",
    "_sort=birthdate",
    "_sort=-birthdate,family",
    "_sort=gender,-birthdate",
    "_sort=family,-_lastUpdated",
    "_sort=-_lastUpdated",
    "gender=female,male&_sort=family",
    "_sort=identifier",
]


@pytest.mark.parametrize("query", PAGED)
def test_pages_of_any_order_are_exact_under_writes(mercy: Hospital, fhir: Fhir, query: str) -> None:
    """ "paging exact under concurrent writes": what stays as it is comes exactly once, in the order of a single page."""

    def patient(number: int, mark: str) -> dict[str, Any]:
        more: dict[str, Any] = {"birthDate": f"19{70 + number % 3}"} if number % 4 else {}
        more |= {"gender": ("female", "male")[number % 2], "name": [{"family": f"F{number % 5}"}]}
        return patient_resource(f"{mark}{number}", **more)

    with mercy.scope():
        resources_put(resources=[patient(number, "p") for number in range(17)])
    whole = fhir.ids("Patient", f"{query}&_count=100")
    stop = threading.Event()

    def write() -> None:
        number = 0
        try:
            while not stop.is_set() and number < 200:
                with mercy.scope():
                    resources_put(resources=[patient(number, "new")])
                number += 1
                stop.wait(0.002)
        finally:
            connections.close_all()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        seen = sum(fhir.walk("Patient", f"{query}&_count=3"), [])
    finally:
        stop.set()
        thread.join()
    assert len(seen) == len(set(seen))
    assert [name for name in seen if name.startswith("p")] == whole


def test_total_is_computed_once(filled: Fhir, mercy: Hospital) -> None:
    """ "`_total` none by default": and the same on every page, whatever is added meanwhile."""
    assert "total" not in filled.search("Patient")
    assert "total" not in filled.search("Patient", "_total=none")
    for value in ("accurate", "estimate"):
        first = filled.search("Patient", f"_total={value}&_count=3")
        assert first["total"] == 4
        with mercy.scope():
            resources_put(resources=[patient_resource(f"later-{value}")])
        second = filled.get(next(link["url"] for link in first["link"] if link["relation"] == "next")).json()
        assert second["total"] == 4
        with mercy.scope(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM fhir_resource WHERE fhir_id = %s", [f"later-{value}"])


def test_parts_of_resources(filled: Fhir) -> None:
    """ "`_summary`, `_elements`": marked SUBSETTED, what must be there is there, numbers as they were written."""

    def one(query: str) -> dict[str, Any]:
        return filled.search("Observation", f"_id=w1&{query}")["entry"][0]["resource"]

    always = {"resourceType", "id", "meta"}
    assert set(one("_elements=valueQuantity")) == always | {"status", "code", "valueQuantity"}
    assert set(one("_elements=value,issued")) == always | {"status", "code", "valueQuantity", "issued"}
    assert set(one("_summary=text")) == always | {"status", "code"}
    assert set(one("_summary=data")) >= always | {"status", "code", "category", "subject"}
    assert set(one("_summary=true")) == always | {"status", "code", "subject", "valueQuantity", "effectiveDateTime"} | {
        "issued"
    } - {"category"}
    assert one("_summary=false") == filled.get("Observation/w1").json()
    for query in ("_elements=status", "_summary=true", "_summary=text", "_summary=data"):
        assert one(query)["meta"]["tag"][-1]["code"] == "SUBSETTED"
    assert '"value":60.0,' in filled.get("Observation?_id=w1&_elements=value").content.decode()
    assert filled.get("Observation?_elements=a%20b").status_code == 400


def test_a_summary_leaves_images_out(mercy: Hospital, fhir: Fhir) -> None:
    """ImagingStudy.series.instance is no part of a summary; `instance` finds the study all the same."""
    with mercy.scope():
        study = study_make()
        imaging_study_project(event=event("study.completed", mercy, study_id=study.id))
        uid = study.series_set.first().instance_set.first().sop_instance_uid
    whole = fhir.search("ImagingStudy")["entry"][0]["resource"]
    part = fhir.search("ImagingStudy", "_summary=true")["entry"][0]["resource"]
    assert whole["series"][0]["instance"]
    assert "instance" not in part["series"][0]
    assert part["series"][0]["uid"] == whole["series"][0]["uid"]
    for value in (uid, f"urn:oid:{uid}", f"urn:dicom:uid|urn:oid:{uid}", f"x,{uid}"):
        assert fhir.ids("ImagingStudy", f"instance={value}") == [str(study.uuid)], value
    assert fhir.ids("ImagingStudy", "instance=1.2.3") == []
    assert fhir.ids("ImagingStudy", f"series={whole['series'][0]['uid']}") == [str(study.uuid)]
    for value in ("1.2.840.10008.5.1.4.1.1.2", "urn:oid:1.2.840.10008.5.1.4.1.1.2"):
        assert fhir.ids("ImagingStudy", f"dicom-class={value}") == [str(study.uuid)]


def test_several_types_and_compartments(filled: Fhir) -> None:
    """Search of the whole system by `_type`, by GET and POST, and of a patient's compartment."""

    def ids(path: str) -> list[str]:
        response = filled.get(path)
        assert response.status_code == 200, response.content
        return sorted(entry["resource"]["id"] for entry in response.json().get("entry", []))

    assert ids("?_type=Encounter,Condition") == ["c1", "c2", "open", "stay"]
    assert ids("?_type=Encounter,Condition&patient=jane") == ["c1", "stay"]
    assert ids("?_id=jane") == ["jane"]
    assert len(ids("?_lastUpdated=ge2020&_count=500")) == len(WORLD)
    assert filled.get("?_type=Shoe").status_code == 400
    assert filled.get("?_type=Encounter,Patient&class=IMP", prefer="handling=strict").status_code == 400
    pages = filled.get("?_type=Encounter,Condition&_count=3&_sort=_id").json()
    assert [entry["resource"]["id"] for entry in pages["entry"]] == ["c1", "c2", "open"]
    following = next(link["url"] for link in pages["link"] if link["relation"] == "next")
    assert ids(following) == ["stay"]
    form = "application/x-www-form-urlencoded"
    posted = filled.client.post(f"{filled.path}/_search", "_type=Encounter", content_type=form, headers=filled.hospital.auth)
    assert len(posted.json()["entry"]) == 2
    assert ids("Patient/jane/Observation") == ["bp1", "smoke", "w1", "w2"]
    assert ids("Patient/jane/Observation?code=29463-7") == ["w1", "w2"]
    assert ids("Patient/jane/Group") == ["cohort"]
    assert ids("Patient/jane/Device") == []
    assert ids("Patient/nobody/Observation") == []
    assert ids("Patient/jane/*?_type=Encounter,Condition,Patient") == ["c1", "jane", "stay"]
    first = filled.get("Patient/jane/Observation?_count=3").json()
    following = next(link["url"] for link in first["link"] if link["relation"] == "next")
    assert "/Patient/jane/Observation?" in following
    assert len(ids(following)) == 1
    assert filled.get(following.replace("/Patient/jane/", "/Patient/john/")).status_code == 400


def test_too_costly_is_said(filled: Fhir, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "too costly queries are stopped with an OperationOutcome", and the connection goes on with the limit it had."""
    monkeypatch.setattr(search, "TIMEOUT_MS", 1)
    monkeypatch.setattr(search, "_plan", lambda query: connection.cursor().execute("SELECT pg_sleep(1)"))
    response = filled.get("Patient?gender=female")
    assert response.status_code == 504
    assert response.json()["issue"][0]["code"] == "too-costly"
    monkeypatch.undo()
    assert filled.get("Patient?gender=female").status_code == 200
    for many in (
        f"gender={','.join(['x'] * 51)}",
        "&".join(["name=x"] * 101),
        f"_sort={','.join(['_id'] * 6)}",
        "&".join(["_include=*"] * 21),
    ):
        assert filled.get(f"Patient?{many}").status_code == 400
    assert json.loads(filled.get(f"Patient?{'&'.join(['name=x'] * 101)}").content)["issue"][0]["code"] == "too-costly"


def test_links_of_any_order_carry_the_search(filled: Fhir) -> None:
    """A next link of a sort by name is of this search only."""
    bundle = filled.search("Patient", "_sort=family&_count=1&_total=accurate")
    url = next(link["url"] for link in bundle["link"] if link["relation"] == "next")
    assert filled.get(url).json()["total"] == 4
    assert filled.get(url.replace("_sort=family", "_sort=-family")).status_code == 400
    assert urlsplit(url).query.startswith("_sort=family&_count=1&_total=accurate&_cursor=")
    # What is sorted by may be a name: no reader of an address learns it.
    token = urlsplit(url).query.rpartition("=")[2]
    assert b"m\xc3\xbc" not in base64.urlsafe_b64decode(token + "==")
    assert b"muller" not in base64.urlsafe_b64decode(token + "==")


def test_common_terms_are_walked(mercy: Hospital, fhir: Fhir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a term is rare or common changes the plan, never the answer."""
    with mercy.scope():
        resources_put(resources=WORLD + [observation(f"o{n}", "jane", "29463-7", f"2026-01-{n:02d}") for n in range(1, 29)])
    queries = [
        "code=29463-7&status=final",
        "code=29463-7&date=ge2026-01-10",
        "code=29463-7&_sort=date",
        "patient.gender=female&code=29463-7",
        "code=29463-7&_sort=-_lastUpdated",
        "status=final&value-quantity:missing=true",
        "performer=ward,who&status=final,amended",
    ]
    expected = [fhir.walk("Observation", f"{query}&_count=4") for query in queries]
    monkeypatch.setattr(search, "LONG", 2)
    assert [fhir.walk("Observation", f"{query}&_count=4") for query in queries] == expected
    assert all(sum(pages, []) for pages in expected)


def test_a_parameter_of_our_own_is_published(fhir: Fhir) -> None:
    """ "`DiagnosticReport:imagingStudy` published with its own definition URL under the server"."""
    statement = fhir.get("metadata").json()["rest"][0]["resource"]
    lines = [param for line in statement if line["type"] == "DiagnosticReport" for param in line["searchParam"]]
    (definition,) = (param["definition"] for param in lines if param["name"] == "imagingStudy")
    assert definition == f"{fhir.base}/SearchParameter/DiagnosticReport-imagingStudy"
    published = fhir.client.get(definition.removeprefix("http://testserver")).json()
    get_fhir_model_class("SearchParameter").model_validate(published)
    assert (published["url"], published["expression"]) == (definition, "DiagnosticReport.imagingStudy")
    assert fhir.get("SearchParameter/none").status_code == 404


def test_an_address_of_ones_own_is_a_reference(mercy: Hospital, olaf: Hospital, fhir: Fhir) -> None:
    """A client may write the whole address of a resource of its hospital; another hospital's or server's stays an address."""
    bases = {
        "own": fhir.base,
        "olafs": fhir.base.replace(mercy.slug, olaf.slug),
        "elsewhere": fhir.base.replace("testserver", "hub.example"),
    }
    with mercy.scope():
        resources_put(
            resources=[
                patient_resource("p1"),
                *(
                    observation(name, "p1", "x", "2026-01-01") | {"subject": {"reference": f"{base}/Patient/p1"}}
                    for name, base in bases.items()
                ),
            ]
        )
    assert fhir.ids("Observation", "patient=p1") == fhir.ids("Observation", f"subject={fhir.base}/Patient/p1") == ["own"]
    assert fhir.ids("Observation", "_id=own,olafs,elsewhere&_include=Observation:subject", mode="include") == ["p1"]
    for name in ("olafs", "elsewhere"):
        assert fhir.ids("Observation", f"subject={bases[name]}/Patient/p1") == [name]
    assert fhir.ids("Observation", "patient.identifier=MRN-p1") == ["own"]
