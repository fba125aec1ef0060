"""The CapabilityStatement and the conformance page: each line is true, and nothing that is there is left out."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fhir.resources.R4B import get_fhir_model_class

from fhirapi.interactions import GUARDED, HUB_ONLY
from fhirapi.projections import diagnostic_report_project, imaging_study_project
from fhirapi.registry import COMMON, COUNT_DEFAULT, COUNT_MAX, PREFIXES, TYPES
from tests.conftest import Hospital
from tests.fhirapi.conftest import Fhir, event, report_make, study_make
from tests.fhirapi.official import official_examples
from tests.fhirapi.writing import FHIR_JSON, Writer

PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance" / "fhir.md"

# Where a reader of the R4 specification would look for each parameter's value; written here a second time on purpose.
ELEMENTS = {
    ("Patient", "identifier"): "identifier.0.value",
    ("ImagingStudy", "identifier"): "identifier.1.value",
    ("ImagingStudy", "patient"): "subject.reference",
    ("ImagingStudy", "subject"): "subject.reference",
    ("ImagingStudy", "status"): "status",
    ("ImagingStudy", "modality"): "series.0.modality.code",
    ("DiagnosticReport", "identifier"): "identifier.0.value",
    ("DiagnosticReport", "patient"): "subject.reference",
    ("DiagnosticReport", "subject"): "subject.reference",
    ("DiagnosticReport", "status"): "status",
    ("DiagnosticReport", "category"): "category.1.coding.0.code",
    ("DiagnosticReport", "code"): "code.coding.0.code",
    ("DiagnosticReport", "result"): "result.1.reference",
    ("DiagnosticReport", "performer"): "performer.0.reference",
    ("Observation", "identifier"): "identifier.0.value",
    ("Observation", "patient"): "subject.reference",
    ("Observation", "subject"): "subject.reference",
    ("Observation", "status"): "status",
    ("Observation", "category"): "category.0.coding.0.code",
    ("Observation", "code"): "code.coding.0.code",
    ("Observation", "part-of"): "partOf.0.reference",
    ("Observation", "derived-from"): "derivedFrom.0.reference",
    ("Observation", "device"): "device.reference",
    ("Observation", "performer"): "performer.0.reference",
    ("Device", "identifier"): "identifier.0.value",
    ("Device", "status"): "status",
    ("Organization", "identifier"): "identifier.0.value",
    ("Provenance", "target"): "target.0.reference",
    ("Provenance", "agent"): "agent.0.who.reference",
    ("Provenance", "entity"): "entity.0.what.reference",
}


def at(resource: dict[str, Any], path: str) -> str:
    node: Any = resource
    for step in path.split("."):
        node = node[int(step)] if step.isdigit() else node[step]
    return str(node)


@pytest.fixture
def served(mercy: Hospital, fhir: Fhir) -> Fhir:
    with mercy.scope():
        study = study_make()
        imaging_study_project(event=event("study.completed", mercy, study_id=study.id))
        diagnostic_report_project(event=event("report.issued", mercy, report_id=report_make(study).id))
    return fhir


def test_it_is_valid_and_says_4_0_1(served: Fhir) -> None:
    """ "CapabilityStatement generated from the same registry the views use, fhirVersion 4.0.1"."""
    statement = served.get("metadata").json()
    get_fhir_model_class("CapabilityStatement").model_validate(statement)
    assert statement["fhirVersion"] == "4.0.1"
    assert [resource["type"] for resource in statement["rest"][0]["resource"]] == list(TYPES)


def readable(statement: dict[str, Any]) -> list[dict[str, Any]]:
    """The types that this caller may read: AuditEvent has a test file of its own."""
    return [line for line in statement["rest"][0]["resource"] if line["type"] not in GUARDED]


def test_each_line_is_true(served: Fhir) -> None:
    """ "never forgive: a CapabilityStatement that lies" (DESIGN section 1): every type, interaction, parameter, include and format.

    That each parameter finds its values is shown with HL7's examples in test_official.py.
    """
    statement = served.get("metadata").json()
    for name in statement["format"]:
        assert served.get(f"Patient?_format={name}").status_code == 200
    for line in readable(statement):
        rtype = line["type"]
        for param in line["searchParam"]:
            has_none = param["type"] == "composite" or param["name"] in {"_id", "_lastUpdated", "instance"}
            asked = served.get(f"{rtype}?{param['name']}:missing=false", prefer="handling=strict")
            assert asked.status_code == (400 if has_none else 200), (rtype, param["name"])
        found = served.search(rtype).get("entry")
        if not found:
            continue
        first = found[0]["resource"]
        read = served.get(f"{rtype}/{first['id']}")
        assert read.json() == first
        assert read["ETag"] == f'W/"{first["meta"]["versionId"]}"'
        assert served.get(f"{rtype}/{first['id']}/_history/1").status_code == 200
        for path in (f"{rtype}/{first['id']}/_history", f"{rtype}/_history"):
            assert served.get(path).json()["entry"][0]["request"]["method"] == "POST"
        for param in line["searchParam"]:
            if param["name"] in {"_id", "_lastUpdated"} or (rtype, param["name"]) in ELEMENTS:
                _check_param(served, rtype, param, first)
        for include in line.get("searchInclude", []):
            if (rtype, include.partition(":")[2]) in ELEMENTS:
                wanted = at(first, ELEMENTS[rtype, include.partition(":")[2]]).partition("/")[2]
                assert wanted in served.ids(rtype, f"_id={first['id']}&_include={include}", mode="include"), include


def test_each_interaction_is_there(mercy: Hospital, served: Fhir) -> None:
    """ "a test which exercises every claimed interaction of every type against the server"."""
    fhir = Writer(mercy)
    statement = fhir.get("metadata").json()
    rest = statement["rest"][0]
    assert [one["code"] for one in rest["interaction"]] == ["transaction", "batch", "history-system"]
    assert fhir.bundle("batch").json()["type"] == "batch-response"
    assert fhir.bundle("transaction").json()["type"] == "transaction-response"
    assert fhir.get("_history").status_code == 200
    for line in rest["resource"]:
        rtype, codes = line["type"], {one["code"] for one in line["interaction"]}
        reading = {"read", "vread", "history-instance", "history-type", "search-type"}
        body = example_of(rtype)
        if rtype in HUB_ONLY:
            assert (codes, line["versioning"], "updateCreate" in line) == (reading, "versioned", False)
            assert fhir.post(rtype, body).status_code == fhir.put(f"{rtype}/x", body).status_code == 405
            continue
        assert codes == reading | {"create", "update", "patch", "delete"}
        assert (line["versioning"], line["conditionalDelete"], line["conditionalRead"]) == ("versioned-update", "single", "full-support")
        assert line["readHistory"] is line["updateCreate"] is line["conditionalCreate"] is line["conditionalUpdate"] is True
        _check_writing(fhir, statement, rtype, body)


def example_of(rtype: str) -> dict[str, Any]:
    """The smallest of HL7's own, as a client would send it."""
    found = [text for text in official_examples().values() if json.loads(text)["resourceType"] == rtype]
    return {name: value for name, value in json.loads(min(found, key=len)).items() if name not in {"id", "meta", "language"}}


def _check_writing(fhir: Writer, statement: dict[str, Any], rtype: str, body: dict[str, Any]) -> None:
    made = fhir.post(rtype, body)
    assert made.status_code == 201, (rtype, made.content)
    path, own = f"{rtype}/{made.json()['id']}", {"language": "en"}
    patches = {
        "application/json-patch+json": [{"op": "add", "path": "/language", "value": "de"}],
        "application/fhir+json": {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": [
            {"name": "type", "valueCode": "replace"}, {"name": "path", "valueString": f"{rtype}.language"},
            {"name": "value", "valueCode": "fr"}]}]},
    }  # fmt: skip
    assert list(patches) == statement["patchFormat"]
    for media, patch in patches.items():
        assert fhir.patch(path, patch, media=media).status_code == 200, (rtype, media)
    current = fhir.get(path, accept=FHIR_JSON)
    assert (current.json()["language"], current["ETag"]) == ("fr", 'W/"3"')
    assert fhir.put(path, current.json() | own, if_match='W/"1"').status_code == 412
    assert fhir.put(path, current.json() | own, if_match='W/"3"').status_code == 200
    assert fhir.get(path, **{"if-none-match": 'W/"4"'}).status_code == 304
    assert fhir.get(f"{path}/_history/1", accept=FHIR_JSON).json() == made.json()
    assert fhir.post(rtype, body, if_none_exist=f"_id={made.json()['id']}").status_code == 200
    assert fhir.put(f"{rtype}?_id={made.json()['id']}", body).status_code == 200
    assert fhir.delete(f"{rtype}?_id={made.json()['id']}").status_code == 204
    assert fhir.get(path).status_code == 410
    assert fhir.put(f"{rtype}/client-id", body | {"id": "client-id"}).status_code == 201
    assert fhir.delete(f"{rtype}/client-id").status_code == 204


def _check_param(served: Fhir, rtype: str, param: dict[str, str], first: dict[str, Any]) -> None:
    name = param["name"]
    path = {"_id": "id", "_lastUpdated": "meta.lastUpdated"}.get(name) or ELEMENTS[rtype, name]
    value = at(first, path)
    assert first["id"] in served.ids(rtype, f"{name}={value}"), (rtype, name, value)
    nothing = "1999" if name == "_lastUpdated" else "00000000-0000-0000-0000-000000000000"
    assert served.ids(rtype, f"{name}={nothing}") == [], (rtype, name)
    assert served.get(f"{rtype}?{name}={value}", prefer="handling=strict").status_code == 200


def test_nothing_is_served_that_it_does_not_name(served: Fhir) -> None:
    """A type outside the list is 404, a parameter outside it is refused under strict handling."""
    for line in readable(served.get("metadata").json()):
        named = {param["name"] for param in line["searchParam"]}
        for name in {name for _, name in ELEMENTS} - named:
            assert served.get(f"{line['type']}?{name}=x", prefer="handling=strict").status_code == 400
    assert served.get("Appointment").status_code == 404


def test_the_page_names_everything() -> None:
    """ "a test that fails when a supported type/param is missing from the page", or when the page promises more."""
    text = PAGE.read_text(encoding="utf-8")
    rows = {
        cells[0].strip("` "): {name.strip("` ") for name in cells[1].split(",") if "`" in name}
        for cells in (line.strip("| \n").split("|") for line in text.splitlines() if line.startswith("| `"))
        if cells[0].strip("` ") in TYPES
    }
    common = set.intersection(*({param.name for param in entry.params} for entry in TYPES.values()))
    assert rows == {entry.name: {param.name for param in entry.params} - common for entry in TYPES.values()}
    for name in [*(name for name, _, _ in COMMON), *common, "_sort", "_include", "_summary=count", "handling=strict", "AIAST"]:
        assert f"`{name}`" in text, name
    assert f"{COUNT_DEFAULT} by default, {COUNT_MAX} at most" in text
    assert " ".join(PREFIXES) in text


def test_openapi_says_the_same(mercy: Hospital, fhir: Fhir) -> None:
    """The OpenAPI document: every path and method of the CapabilityStatement, and each of them is a door of ours."""
    document = fhir.client.get(f"{fhir.path}/openapi.json").json()
    assert (document["openapi"], document["servers"]) == ("3.0.3", [{"url": fhir.base}])
    statement = fhir.get("metadata").json()["rest"][0]
    told = sum(len(line["interaction"]) + len(line["operation"]) for line in statement["resource"]) + len(statement["operation"])
    methods = [(method, path) for path, item in document["paths"].items() for method in item]
    assert len(methods) == told + 6
    writer = Writer(mercy)
    for method, path in methods:
        guarded = {403} if "AuditEvent" in path else set()
        response = writer.send(method, path.lstrip("/").format(id="never", vid="1", export=uuid4(), file="Patient-1"), media="x/y")
        assert response.status_code in {200, 404, 415, 400} | guarded, (method, path, response.status_code)
    assert fhir.client.get("/t/nobody-here/fhir/r4/openapi.json").status_code == 404
