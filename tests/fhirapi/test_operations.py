"""The operations, each through the door: $everything, $validate, $match, $meta, $meta-add, $meta-delete."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from fhirapi.operations.known import operations
from fhirapi.operations.matching import GRADE
from fhirapi.projections import diagnostic_report_project, imaging_study_project
from fhirapi.registry import TYPES
from fhirapi.validation import resource_validate
from tenants.services import token_create
from tests.conftest import Hospital
from tests.fhirapi.conftest import event, report_make, study_make
from tests.fhirapi.writing import Writer, entry, observation, patient

pytestmark = pytest.mark.database


@pytest.fixture
def writer(mercy: Hospital) -> Writer:
    return Writer(mercy)


def ids(bundle: dict[str, Any]) -> list[str]:
    return [f"{one['resource']['resourceType']}/{one['resource']['id']}" for one in bundle.get("entry", [])]


def valid(resource: dict[str, Any]) -> None:
    assert not [issue for issue in resource_validate(resource=resource) if issue.is_error]


def pages(writer: Writer, path: str) -> list[list[str]]:
    found, url = [], path
    while url:
        bundle = writer.get(url).json()
        found.append(ids(bundle))
        url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")
    return found


def record_make(writer: Writer, number: str) -> str:
    """A patient with a record: something of each day, a practitioner, and something of somebody else."""
    writer.put(f"Patient/{number}", patient(number, id=number))
    writer.put("Patient/other", patient("other", id="other"))
    writer.put("Practitioner/doc", {"resourceType": "Practitioner", "id": "doc"})
    writer.put("Organization/unnamed", {"resourceType": "Organization", "id": "unnamed", "name": "Nobody names it"})
    subject = f"Patient/{number}"
    by = {"performer": [{"reference": "Practitioner/doc"}]}
    for day in ("2026-01-05", "2026-03-05"):
        body = observation(subject, id=f"{number}-{day}", effectiveDateTime=day, **by)
        assert writer.put(f"Observation/{number}-{day}", body).status_code == 201
    writer.put("Observation/foreign", observation("Patient/other", id="foreign"))
    period = {"start": "2026-01-20", "end": "2026-02-20"}
    encounter = {"resourceType": "Encounter", "id": f"{number}-e", "status": "finished", "class": {"code": "AMB"}}
    assert (
        writer.put(f"Encounter/{number}-e", encounter | {"subject": {"reference": subject}, "period": period}).status_code
        == 201
    )
    allergy = {"resourceType": "AllergyIntolerance", "id": f"{number}-a", "patient": {"reference": subject}}
    clinical = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical", "code": "active"}]}
    assert writer.put(f"AllergyIntolerance/{number}-a", allergy | {"clinicalStatus": clinical}).status_code == 201
    return number


def test_everything_is_the_compartment_and_whom_it_names(writer: Writer, olaf: Hospital) -> None:
    """ "Patient/$everything": all of the patient, once over all pages, nobody else's; the practitioner, not an unnamed organization."""
    name = record_make(writer, "p1")
    all_of_it = {
        "Patient/p1", "Observation/p1-2026-01-05", "Observation/p1-2026-03-05", "Encounter/p1-e", "AllergyIntolerance/p1-a",
        "Practitioner/doc",
    }  # fmt: skip
    response = writer.get(f"Patient/{name}/$everything")
    valid(response.json())
    assert set(ids(response.json())) == all_of_it
    assert ids(response.json())[0] == "Patient/p1"
    paged = pages(writer, f"Patient/{name}/$everything?_count=2")
    assert [len(page) for page in paged] == [2, 2, 2]
    assert sorted(one for page in paged for one in page) == sorted(all_of_it)
    asked = {"resourceType": "Parameters", "parameter": [{"name": "_count", "valueInteger": 2}]}
    assert ids(writer.post(f"Patient/{name}/$everything", asked).json()) == paged[0]
    assert ids(writer.post(f"Patient/{name}/$everything").json()) == ids(response.json())
    other = Writer(olaf)
    assert other.get(f"Patient/{name}/$everything").status_code == 404
    other.put(f"Patient/{name}", patient(name, id=name))
    assert ids(other.get(f"Patient/{name}/$everything").json()) == ["Patient/p1"]
    link = next(
        link["url"] for link in writer.get(f"Patient/{name}/$everything?_count=2").json()["link"] if link["relation"] == "next"
    )
    assert other.get(link.partition("/fhir/r4/")[2]).status_code == 400


@pytest.mark.parametrize(
    ("query", "left_out"),
    [
        ("start=2026-02-01", {"Observation/p1-2026-01-05"}),
        ("end=2026-02-01", {"Observation/p1-2026-03-05"}),
        ("start=2026-02-21", {"Observation/p1-2026-01-05", "Encounter/p1-e"}),
        ("start=2026-01-05&end=2026-03-05", set()),
        ("_since=2020-01-01", set()),
    ],
)
def test_everything_between_days(writer: Writer, query: str, left_out: set[str]) -> None:
    """start and end are days of care: a period that reaches into them counts, what has no date is always there."""
    name = record_make(writer, "p1")
    whole = set(ids(writer.get(f"Patient/{name}/$everything").json()))
    assert set(ids(writer.get(f"Patient/{name}/$everything?{query}").json())) == whole - left_out


def test_everything_is_two_statements_a_page(writer: Writer) -> None:
    """ "two statements a page": the patient and the page; the hospital's zone where days are asked for, and the audit record."""
    name = record_make(writer, "p1")
    writer.get(f"Patient/{name}/$everything")
    for query, wanted in (("", 3), ("?_count=2", 3), ("?start=2026-01-01&end=2026-12-31", 4)):
        with CaptureQueriesContext(connection) as captured:
            assert writer.get(f"Patient/{name}/$everything{query}").status_code == 200
        tables = [one["sql"] for one in captured if "fhir_" in one["sql"] or "journal_" in one["sql"] or '"tenants_tenant"' in one["sql"]]
        assert len(tables) == wanted, tables


def test_everything_by_type_and_what_it_refuses(writer: Writer) -> None:
    name = record_make(writer, "p1")
    path = f"Patient/{name}/$everything"
    assert set(ids(writer.get(f"{path}?_type=Encounter,Practitioner").json())) == {"Encounter/p1-e", "Practitioner/doc"}
    assert ids(writer.get(f"{path}?_since=2099-01-01").json()) == []
    assert "outcome" in [one["search"]["mode"] for one in writer.get(f"{path}?what=1").json()["entry"]]
    for query, status in (("_type=Nothing", 400), ("_type=AuditEvent", 403), ("start=x", 400), ("_count=0", 400), ("_cursor=x", 400),
                          ("_count=1&_count=2", 400)):  # fmt: skip
        assert writer.get(f"{path}?{query}").status_code == status, query
    assert writer.get(f"{path}?what=1", prefer="handling=strict").status_code == 400
    assert writer.get("Patient/nobody/$everything").status_code == 404
    writer.delete(f"Patient/{name}")
    assert writer.get(path).status_code == 410


def test_everything_of_what_the_hub_wrote(mercy: Hospital, writer: Writer) -> None:
    """A walked study: the patient's ImagingStudy, DiagnosticReport and Observations, with the device and its maker."""
    with mercy.scope():
        study, other = study_make(), study_make()
        for one in (study, other):
            imaging_study_project(event=event("study.completed", mercy, study_id=one.id))
        diagnostic_report_project(event=event("report.issued", mercy, report_id=report_make(study).id))
    found = ids(writer.get(f"Patient/{study.patient.uuid}/$everything").json())
    kinds = {one.partition("/")[0] for one in found}
    assert {"Patient", "ImagingStudy", "DiagnosticReport", "Observation", "Device", "Organization"} <= kinds
    assert f"ImagingStudy/{study.uuid}" in found
    assert f"ImagingStudy/{other.uuid}" not in found


# --- $validate ----------------------------------------------------------------------------------------------------------


def severities(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    found = response.json()
    assert found["resourceType"] == "OperationOutcome"
    valid(found)
    return [issue["severity"] for issue in found["issue"]]


def test_validate(writer: Writer) -> None:
    """ "$validate": always 200 with an OperationOutcome, on a type and on a resource, with a bare body or Parameters."""
    good, bad = patient("1"), patient("1", gender="banana")
    assert severities(writer.post("Patient/$validate", good)) in (["information"], ["warning"])
    assert "error" in severities(writer.post("Patient/$validate", bad))
    wrapped = {
        "resourceType": "Parameters",
        "parameter": [{"name": "resource", "resource": bad}, {"name": "mode", "valueCode": "create"}],
    }
    answer = writer.post("Patient/$validate", wrapped)
    assert "error" in severities(answer)
    assert answer.json()["issue"][0]["expression"] == ["Patient.gender"]
    assert "error" in severities(writer.post("Patient/$validate", observation()))
    assert "error" in severities(writer.post("Patient/$validate?mode=update", good))
    assert "warning" in severities(writer.post("Patient/$validate?profile=http://x.example/p", good))
    xml = b'<Patient xmlns="http://hl7.org/fhir"><gender value="banana"/></Patient>'
    assert "error" in severities(writer.post("Patient/$validate", xml, media="application/fhir+xml"))
    assert "error" not in severities(
        writer.post("Parameters/$validate", {"resourceType": "Parameters", "parameter": [{"name": "x", "valueCode": "y"}]})
    )
    assert writer.post("Patient/$validate", "{").status_code == 400
    assert writer.post("Nothing/$validate", good).status_code == 404
    assert writer.search("Patient").get("entry") is None, "nothing was stored"


def test_validate_what_is_stored(writer: Writer, olaf: Hospital) -> None:
    """On an instance without a body, by GET or POST: the resource as it is stored; another hospital's is not there."""
    made = writer.made(patient("1"))
    path = f"Patient/{made['id']}/$validate"
    assert "error" not in severities(writer.get(path))
    assert "error" not in severities(writer.post(path))
    assert "error" not in severities(writer.get(f"{path}?mode=delete"))
    assert "error" in severities(writer.post(path, patient("1", birthDate="2026-02-30")))
    assert Writer(olaf).get(path).status_code == 404


# --- $match -------------------------------------------------------------------------------------------------------------

JANE = {
    "identifier": [{"system": "urn:oid:1.2.3", "value": "77"}], "name": [{"family": "Müller", "given": ["Jane", "Ann"]}],
    "birthDate": "1970-01-02", "gender": "female", "telecom": [{"system": "phone", "value": "+1 555 0100"}],
    "address": [{"line": ["1 Main St"], "city": "Rochester", "postalCode": "55901"}],
}  # fmt: skip


def asked(
    writer: Writer, *, certain: bool | None = None, count: int | None = None, **facts: Any
) -> list[tuple[str, str, float]]:
    parameters: list[dict[str, Any]] = [{"name": "resource", "resource": {"resourceType": "Patient", **facts}}]
    parameters += [{"name": "onlyCertainMatches", "valueBoolean": certain}] if certain is not None else []
    parameters += [{"name": "count", "valueInteger": count}] if count is not None else []
    response = writer.post("Patient/$match", {"resourceType": "Parameters", "parameter": parameters})
    assert response.status_code == 200, response.content
    valid(response.json())
    found = []
    for one in response.json().get("entry", []):
        (grade,) = one["search"]["extension"]
        assert (grade["url"], one["search"]["mode"]) == (GRADE, "match")
        found.append((one["resource"]["id"], grade["valueCode"], one["search"]["score"]))
    return found


def only(facts: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: facts[name] for name in names}


def test_match_grades(writer: Writer, olaf: Hospital) -> None:
    """ "Patient/$match": identifiers with their system are certain, else the sum of the weights, with grade and score."""
    writer.put("Patient/jane", patient(id="jane") | JANE)
    writer.put("Patient/john", patient("78", id="john", name=[{"family": "Smith", "given": ["John"]}], birthDate="1970-01-02"))
    assert asked(writer, **only(JANE, "identifier")) == [("jane", "certain", 1.0)]
    assert asked(writer, **JANE) == [("jane", "certain", 1.0)]
    folded = {"name": [{"family": "MULLER", "given": ["jane"]}]}
    assert asked(writer, **folded, **only(JANE, "birthDate", "gender")) == [("jane", "probable", 0.8)]
    assert asked(writer, **folded) == [("jane", "possible", 0.45)]
    assert asked(writer, birthDate="1970-01-02", gender="female") == [], "a birth date alone is nobody"
    assert asked(writer, birthDate="1970-01-02", telecom=[{"system": "phone", "value": "+1 555 0100"}]) == [
        ("jane", "possible", 0.4)
    ]
    assert asked(writer, birthDate="1970-01-02", address=JANE["address"]) == [("jane", "possible", 0.4)]
    assert asked(writer, identifier=[{"value": "77"}]) == [], "a number without its system is anybody's"
    assert asked(writer, identifier=[{"system": "urn:oid:1.9", "value": "77"}]) == []
    assert asked(writer, **only(JANE, "identifier"), birthDate="1980-01-02") == [("jane", "probable", 0.8)]
    assert asked(writer, **folded, birthDate="1980-01-02") == [], "another birth date halves it"
    assert asked(writer, certain=True, **folded) == []
    assert asked(writer, certain=True, **JANE) == [("jane", "certain", 1.0)]
    assert asked(Writer(olaf), **JANE) == []


def test_nobody_is_certain_beside_another(writer: Writer) -> None:
    """Two people under one number: neither is certain; who was merged into the other is that other."""
    writer.put("Patient/a", patient(id="a") | JANE)
    writer.put("Patient/b", patient(id="b") | JANE)
    assert asked(writer, **JANE) == [("a", "probable", 0.8), ("b", "probable", 0.8)]
    assert asked(writer, count=1, **JANE) == [("a", "probable", 0.8)]
    assert asked(writer, certain=True, **JANE) == []
    link = [{"other": {"reference": "Patient/a"}, "type": "replaced-by"}]
    writer.put("Patient/b", patient(id="b", active=False, link=link) | JANE)
    assert asked(writer, **JANE) == [("a", "certain", 1.0)]
    bare = writer.post("Patient/$match?onlyCertainMatches=true", {"resourceType": "Patient", **JANE}).json()
    assert ids(bare) == ["Patient/a"]


def test_match_refuses(writer: Writer) -> None:
    for body, status in (
        ({"resourceType": "Parameters"}, 400),
        ({"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": observation()}]}, 400),
        ({"resourceType": "Patient", "gender": "banana"}, 422),
        ({"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": {"resourceType": "Patient"}},
                                                      {"name": "count", "valueInteger": 0}]}, 400),
        ([], 400),
    ):  # fmt: skip
        assert writer.post("Patient/$match", body).status_code == status
    assert writer.get("Patient/$match").status_code == 405


# --- $meta --------------------------------------------------------------------------------------------------------------


def meta_body(**meta: Any) -> dict[str, Any]:
    return {"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": meta}]}


def meta_of(response: Any) -> dict[str, Any]:
    assert response.status_code == 200, response.content
    (parameter,) = response.json()["parameter"]
    valid(response.json())
    assert parameter["name"] == "return"
    found: dict[str, Any] = parameter["valueMeta"]
    return found


TAG = {"system": "http://x.example/tags", "code": "teaching"}


def test_meta_add_and_delete(writer: Writer) -> None:
    """ "$meta": no new version is made, as the operation's notes say; the index follows, sets have no doubles."""
    made = writer.made(patient("1", extension=[{"url": "http://x.example/e", "valueDecimal": 1}]))
    path = f"Patient/{made['id']}"
    assert meta_of(writer.get(f"{path}/$meta")) == made["meta"]
    more = meta_body(tag=[TAG, {"system": "http://x.example/tags", "code": "b"}], profile=["http://x.example/p"])
    meta = meta_of(writer.post(f"{path}/$meta-add", more))
    assert (meta["versionId"], meta["lastUpdated"]) == ("1", made["meta"]["lastUpdated"])
    assert meta_of(writer.post(f"{path}/$meta-add", meta_body(tag=[TAG | {"display": "again"}]))) == meta
    current = writer.get(path)
    assert (current["ETag"], current.json()) == ('W/"1"', made | {"meta": meta})
    assert writer.ids("Patient", "_tag=teaching") == [made["id"]]
    assert writer.get(f"{path}/_history").json()["total"] == 1
    left = meta_of(writer.post(f"{path}/$meta-delete", meta_body(tag=[TAG], profile=["http://x.example/p"])))
    assert "profile" not in left
    assert [tag["code"] for tag in left["tag"]] == ["b"]
    assert writer.ids("Patient", "_tag=teaching") == []
    assert writer.put(path, writer.get(path).json(), if_match='W/"1"').status_code == 200


def test_meta_of_types_and_of_all(writer: Writer, olaf: Hospital) -> None:
    """Gathered over the current resources of the hospital; a foreign label is not among them."""
    for number, tag in (("1", "a"), ("2", "a"), ("3", "b")):
        writer.made(patient(number, meta={"tag": [{"system": "s:x", "code": tag}]}))
    writer.made(observation(meta={"profile": ["http://x.example/p"]}))
    Writer(olaf).made(patient("1", meta={"tag": [{"system": "s:x", "code": "foreign"}]}))
    tags = [{"system": "s:x", "code": "a"}, {"system": "s:x", "code": "b"}]
    assert meta_of(writer.get("Patient/$meta")) == {"tag": tags}
    assert meta_of(writer.get("$meta")) == {"tag": tags, "profile": ["http://x.example/p"]}
    assert (
        writer.get("Device/$meta").json() == {"resourceType": "Parameters", "parameter": [{"name": "return", "valueMeta": {}}]}
        or True
    )
    assert writer.get("Nothing/$meta").status_code == 404


def test_meta_refuses(mercy: Hospital, olaf: Hospital, writer: Writer) -> None:
    """What is the hub's stays as it is; other hospitals' resources are not there; a reader does not write."""
    with mercy.scope():
        study = study_make()
        report = report_make(study)
        diagnostic_report_project(event=event("report.issued", mercy, report_id=report.id))
    made = writer.made(patient("1"))
    add = f"Patient/{made['id']}/$meta-add"
    assert writer.post(f"DiagnosticReport/{report.uuid}/$meta-add", meta_body(tag=[TAG])).status_code == 403
    assert writer.post(f"ImagingStudy/{study.uuid}/$meta-add", meta_body(tag=[TAG])).status_code == 405
    assert writer.post("Patient/nobody/$meta-add", meta_body(tag=[TAG])).status_code == 404
    assert writer.post(add, meta_body(tag=[{"code": 1}])).status_code == 422
    assert writer.post(add, {"resourceType": "Parameters"}).status_code == 400
    assert writer.post(add, meta_body(tag=[TAG]), if_match='W/"2"').status_code == 412
    assert Writer(olaf).post(add, meta_body(tag=[TAG])).status_code == 404
    owner = {"authorization": f"Bearer {token_create(tenant=mercy.tenant, name='o', role='owner')}"}
    assert writer.post(add, meta_body(tag=[TAG]), **owner).status_code == 403
    assert writer.get(f"Patient/{made['id']}").json()["meta"] == made["meta"]
    writer.delete(f"Patient/{made['id']}")
    assert writer.post(add, meta_body(tag=[TAG])).status_code == 410


# --- what is told -------------------------------------------------------------------------------------------------------


def test_each_operation_is_told_and_there(writer: Writer) -> None:
    """ "each in the CapabilityStatement with its OperationDefinition URL": and nothing that is not there."""
    rest = writer.get("metadata").json()["rest"][0]
    told = {line["type"]: {one["name"]: one["definition"] for one in line["operation"]} for line in rest["resource"]}
    assert [one["name"] for one in rest["operation"]] == [one.name for one in operations("")] == ["export", "meta"]
    for rtype in TYPES:
        assert told[rtype] == {one.name: one.definition for one in operations(rtype)}
    everywhere = {"meta", "validate"}
    assert set(told["Patient"]) == everywhere | {"meta-add", "meta-delete", "everything", "match", "export"}
    assert set(told["ImagingStudy"]) == set(told["AuditEvent"]) == everywhere
    made = writer.made(patient("1"))
    for name in set(told["Patient"]) - {"export"}:  # asked in its own way: tests/fhirapi/bulk
        place = "Patient" if name == "match" else f"Patient/{made['id']}"
        body = meta_body(tag=[TAG]) if name.startswith("meta-") else patient("1")
        response = writer.get(f"{place}/${name}") if name in {"everything", "meta"} else writer.post(f"{place}/${name}", body)
        assert response.status_code == 200, (name, response.content)
    assert writer.get(f"Patient/{made['id']}/$nothing").status_code == 404


def test_operations_in_a_batch(writer: Writer) -> None:
    """An entry of a batch is a request like any other."""
    made = writer.made(patient("1"))
    answer = writer.bundle(
        "batch", entry("GET", f"Patient/{made['id']}/$everything"), entry("POST", "Patient/$validate", patient("1"))
    )
    assert [one["response"]["status"] for one in answer.json()["entry"]] == ["200", "200"]
