"""What is FHIR R4 and what is not: a table of what other servers let in, reading, and the operation $validate."""

from time import perf_counter
from typing import Any

import pytest

from fhirapi.validation import (
    InvalidResourceError,
    Issue,
    bundle_check,
    resource_check,
    resource_validate,
)
from fhirapi.validation.operation import validate_operation

VALUE = "Zzyzx-4711"  # no diagnostics may repeat it


def errors(resource: Any) -> list[Issue]:
    return [issue for issue in resource_validate(resource=resource) if issue.is_error]


def observation(**values: Any) -> dict[str, Any]:
    base = {
        "resourceType": "Observation",
        "id": "o",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": "Patient/1"},
    }
    return {key: value for key, value in (base | values).items() if value is not ...}


def patient(**values: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": "p"} | values


def narrative(div: str) -> dict[str, Any]:
    return patient(text={"status": "generated", "div": div})


def div(inner: str) -> dict[str, Any]:
    return narrative(f'<div xmlns="http://www.w3.org/1999/xhtml">{inner}</div>')


def extension(**value: Any) -> dict[str, Any]:
    return patient(extension=[{"url": "http://example.org/x", **value}])


def bundle(kind: str, *entries: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)} | values


# (what, resource, code of the issue, its expression)
REFUSED: list[tuple[str, Any, str, str]] = [
    ("no resourceType", {"id": "x"}, "structure", "Resource"),
    ("an unknown type", {"resourceType": "Nonsense"}, "structure", "Resource"),
    ("no object", [], "structure", "Resource"),
    ("a missing element", observation(status=...), "required", "Observation.status"),
    ("a missing choice of an extension", extension(), "invariant", "Patient.extension[0]"),
    ("an unknown element", patient(nmae="x"), "structure", "Patient.nmae"),
    ("an unknown nested element", patient(name=[{"familiy": "x"}]), "structure", "Patient.name[0].familiy"),
    ("a member without a name", patient(**{f"{VALUE} x": 1}), "structure", "Patient"),
    ("an unknown code", patient(gender="banana"), "code-invalid", "Patient.gender"),
    ("an unknown status", observation(status="banana"), "code-invalid", "Observation.status"),
    ("a code of another system", patient(contact=[{"gender": "f"}]), "code-invalid", "Patient.contact[0].gender"),
    ("two types of one value", observation(valueString="x", valueBoolean=True), "structure", "Observation.value"),
    ("two types, one by its reason", patient(deceasedBoolean=True, _deceasedDateTime={"id": "a"}), "structure", "Patient.deceased"),
    ("no MIME type", patient(photo=[{"contentType": "a picture", "data": "AAAA"}]), "code-invalid", "Patient.photo[0].contentType"),
    ("no currency", extension(valueMoney={"currency": "dollar"}), "code-invalid", "Patient.extension[0].value.currency"),
    ("an extension of an id", patient(_id={"extension": [{"url": "a:b", "valueCode": "x"}]}), "structure", "Patient._id"),
    ("an object for a list", patient(name={"family": "x"}), "structure", "Patient.name"),
    ("a list for an object", observation(code=[{"text": "x"}]), "structure", "Observation.code"),
    ("an empty list", patient(name=[]), "structure", "Patient.name"),
    ("an empty object", patient(name=[{}]), "invariant", "Patient.name[0]"),
    ("an object of an id only", patient(name=[{"id": "a"}]), "invariant", "Patient.name[0]"),
    ("an empty string", patient(name=[{"family": ""}]), "value", "Patient.name[0].family"),
    ("a string of blanks", patient(name=[{"family": "  "}]), "value", "Patient.name[0].family"),
    ("a control character", patient(name=[{"family": "a\x01"}]), "value", "Patient.name[0].family"),
    ("null", patient(gender=None), "structure", "Patient.gender"),
    ("null in a list", patient(name=[{"given": ["a", None]}]), "structure", "Patient.name[0].given[1]"),
    ("null on both sides", patient(name=[{"given": [None], "_given": [None]}]), "structure", "Patient.name[0].given[0]"),
    ("a string for a decimal", observation(valueQuantity={"value": "1.0"}), "structure", "Observation.value.value"),
    ("a string for an integer", observation(valueInteger="5"), "structure", "Observation.value"),
    ("a decimal for an integer", observation(valueInteger=5.0), "structure", "Observation.value"),
    ("a large integer", observation(valueInteger=2**31), "value", "Observation.value"),
    ("a number for a boolean", patient(active=1), "structure", "Patient.active"),
    ("a string for a boolean", patient(active="true"), "structure", "Patient.active"),
    ("a boolean for a number", observation(valueInteger=True), "structure", "Observation.value"),
    ("a number for a string", patient(name=[{"family": 1}]), "structure", "Patient.name[0].family"),
    ("a long id", patient(id="a" * 65), "value", "Patient.id"),
    ("an id of other characters", patient(id="a_b"), "value", "Patient.id"),
    ("an id with a line end", patient(id="a\n"), "value", "Patient.id"),
    ("no date", patient(birthDate="2020-1-1"), "value", "Patient.birthDate"),
    ("a day that never was", patient(birthDate="2023-02-29"), "value", "Patient.birthDate"),
    ("a year nought", patient(birthDate="0000"), "value", "Patient.birthDate"),
    ("a time without a zone", observation(effectiveDateTime="2020-01-01T10:00:00"), "value", "Observation.effective"),
    ("a time without seconds", observation(effectiveDateTime="2020-01-01T10:00Z"), "value", "Observation.effective"),
    ("an instant without a time", observation(issued="2020-01-01"), "value", "Observation.issued"),
    ("hour 24", observation(valueTime="24:00:00"), "value", "Observation.value"),
    ("a blank in a uri", patient(identifier=[{"system": "a b"}]), "value", "Patient.identifier[0].system"),
    ("no oid", patient(identifier=[{"system": "urn:oid:x.1"}]), "value", "Patient.identifier[0].system"),
    ("no uuid", patient(identifier=[{"system": "urn:uuid:1"}]), "value", "Patient.identifier[0].system"),
    ("a wrong oid", extension(valueOid="1.2.3"), "value", "Patient.extension[0].value"),
    ("a wrong uuid", extension(valueUuid="urn:uuid:1"), "value", "Patient.extension[0].value"),
    ("a blank in a canonical", patient(meta={"profile": ["a b"]}), "value", "Patient.meta.profile[0]"),
    ("no base64", patient(photo=[{"contentType": "image/png", "data": "@@@"}]), "value", "Patient.photo[0].data"),
    ("base64 without its padding", patient(photo=[{"contentType": "image/png", "data": "AAA"}]), "value", "Patient.photo[0].data"),
    ("another size", patient(photo=[{"contentType": "a/b", "data": "AAAA", "size": 5}]), "invariant", "Patient.photo[0]"),
    ("no reference", observation(subject={"reference": "not a ref"}), "value", "Observation.subject.reference"),
    ("a reference to no type", observation(subject={"reference": "Nonsense/1"}), "value", "Observation.subject.reference"),
    ("a reference with a long id", observation(subject={"reference": "Patient/" + "a" * 65}), "value", "Observation.subject.reference"),
    ("a wrong target", observation(subject={"reference": "Medication/1"}), "value", "Observation.subject.reference"),
    ("a wrong target elsewhere", observation(subject={"reference": "http://a.b/Medication/1"}), "value", "Observation.subject.reference"),
    ("a wrong target by type", observation(subject={"type": "Medication", "display": "x"}), "value", "Observation.subject.reference"),
    ("two types of target", observation(subject={"reference": "Patient/1", "type": "Group"}), "value", "Observation.subject.reference"),
    ("nothing contained", observation(subject={"reference": "#p"}), "value", "Observation.subject.reference"),
    ("a search for a reference", observation(subject={"reference": "Patient?identifier=1"}), "value", "Observation.subject.reference"),
    (
        "a contained resource of another type",
        observation(subject={"reference": "#d"}, contained=[{"resourceType": "Medication", "id": "d"}]),
        "value",
        "Observation.subject.reference",
    ),
    (
        "an invalid contained resource",
        observation(subject={"reference": "#d"}, contained=[patient(id="d", gender="x")]),
        "code-invalid",
        "Observation.contained[0].gender",
    ),
    (
        "two contained resources of one id",
        observation(subject={"reference": "#d"}, contained=[patient(id="d"), patient(id="d")]),
        "invariant",
        "Observation",
    ),
    ("script", div("x<script>alert(1)</script>"), "invariant", "Patient.text.div"),
    ("an event", div('<p onclick="x()">x</p>'), "invariant", "Patient.text.div"),
    ("a frame", div('x<iframe src="http://a.b"/>'), "invariant", "Patient.text.div"),
    ("an object", div("x<object/>"), "invariant", "Patient.text.div"),
    ("a form", div("x<form><input/></form>"), "invariant", "Patient.text.div"),
    ("an external style", div('x<link rel="stylesheet" href="http://a.b"/>'), "invariant", "Patient.text.div"),
    ("a style element", div("x<style>p {}</style>"), "invariant", "Patient.text.div"),
    ("a style that fetches", div('<p style="background:url(http://a.b)">x</p>'), "invariant", "Patient.text.div"),
    ("a link that runs", div('<a href="javascript:x()">x</a>'), "invariant", "Patient.text.div"),
    ("a link that runs, split", div('<a href="java&#9;script:x()">x</a>'), "invariant", "Patient.text.div"),
    ("a page as data", div('<a href="data:text/html,x">x</a>'), "invariant", "Patient.text.div"),
    ("svg as data", div('<img src="data:image/svg+xml,x"/>'), "invariant", "Patient.text.div"),
    ("an entity", div("a&nbsp;b"), "invariant", "Patient.text.div"),
    ("an entity of its own", narrative('<!DOCTYPE div [<!ENTITY a "b">]><div xmlns="http://www.w3.org/1999/xhtml">&a;</div>'), "invariant",
     "Patient.text.div"),
    ("no XML", div("<p>x"), "invariant", "Patient.text.div"),
    ("no namespace", narrative("<div>x</div>"), "invariant", "Patient.text.div"),
    ("no div", narrative('<p xmlns="http://www.w3.org/1999/xhtml">x</p>'), "invariant", "Patient.text.div"),
    ("an empty narrative", div(" "), "invariant", "Patient.text.div"),
    ("a nested narrative", div("<p>" * 80 + "x" + "</p>" * 80), "invariant", "Patient.text.div"),
    ("an entry without a request", bundle("transaction", {"resource": patient()}), "invariant", "Bundle"),
    (
        "an entry without a method",
        bundle("batch", {"resource": patient(), "request": {"url": "Patient"}}),
        "required",
        "Bundle.entry[0].request.method",
    ),
    (
        "one fullUrl twice",
        bundle("collection", {"fullUrl": "urn:x", "resource": patient()}, {"fullUrl": "urn:x", "resource": patient()}),
        "invariant",
        "Bundle",
    ),
    ("a relative fullUrl", bundle("collection", {"fullUrl": "Patient/1", "resource": patient()}), "invariant", "Bundle.entry[0]"),
    ("an invalid entry", bundle("collection", {"resource": patient(gender="x")}), "code-invalid", "Bundle.entry[0].resource.gender"),
    ("an entry without a type", bundle("collection", {"resource": {"id": "x"}}), "structure", "Bundle.entry[0].resource"),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "code", "place"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_refused(resource: Any, code: str, place: str) -> None:
    """ "an OperationOutcome that names the expression for each problem"; "diagnostics without values"."""
    found = errors(resource)
    assert (code, place) in {(issue.code, issue.expression) for issue in found}
    assert VALUE not in repr(found)


ORGANIZATION = {"resourceType": "Organization", "id": "o", "name": "x", "partOf": {"reference": "#"}}
CREATE = {"method": "POST", "url": "Observation"}

ACCEPTED: list[tuple[str, Any]] = [
    ("values kept in step", patient(name=[{"given": ["a", None], "_given": [None, {"extension": [{"url": "a:b", "valueCode": "x"}]}]}])),
    ("a status by its reason", observation(status=..., _status={"extension": [{"url": "a:b", "valueCode": "unknown"}]})),
    ("a required choice by its reason", {"resourceType": "Group", "type": "person", "actual": True, "characteristic": [
        {"code": {"text": "x"}, "exclude": False, "_valueBoolean": {"extension": [{"url": "a:b", "valueCode": "unknown"}]}}
    ]}),
    ("an id on a primitive", patient(birthDate="2020", _birthDate={"id": "a"})),
    ("beside an extension's value", extension(_valueString={"extension": [{"url": "a:b", "valueCode": "x"}]})),
    ("a leap day", patient(birthDate="2024-02-29")),
    ("a leap second", observation(issued="2016-12-31T23:59:60Z")),
    ("nanoseconds", observation(issued="2016-12-31T23:59:59.123456789+14:00")),
    ("meta in an extension", extension(valueMeta={"tag": [{"code": "x"}]})),
    ("a no-break space", patient(name=[{"family": "\u00a0van\u00a0Dyk"}])),
    ("a reference elsewhere", observation(subject={"reference": "https://a.b/fhir/Patient/1/_history/2"})),
    ("a reference by business", observation(subject={"identifier": {"system": "a:b", "value": "1"}, "type": "Patient"})),
    ("a reference to a new one", observation(subject={"reference": "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"})),
    ("back to its container", patient(contained=[ORGANIZATION], managingOrganization={"reference": "#o"})),
    ("a search for a reference in a transaction", bundle(
        "transaction", {"resource": observation(subject={"reference": "Patient?identifier=1"}), "request": CREATE}
    )),
    ("a picture", div('<img src="data:image/png;base64,AAAA" alt="x"/>')),
    ("formatting", div('<p style="color: red" class="a"><b>x</b> <a href="https://a.b#c">y</a></p><table><tr><td>1</td></tr></table>')),
]  # fmt: skip


@pytest.mark.parametrize("resource", [row[1] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED])
def test_what_is_accepted(resource: Any) -> None:
    assert errors(resource) == []


def test_every_problem_is_told_and_their_number_bounded() -> None:
    """ "resource_validate -> list[Issue] all problems"."""
    found = errors(patient(gender="x", birthDate="y", active="z", name=[{"family": 1}, {}]))
    assert len(found) == 5
    assert len(errors(patient(name=[{}] * 1000))) == 100


def test_a_check_for_the_store_raises_them_all() -> None:
    with pytest.raises(InvalidResourceError) as error:
        resource_check(resource=patient(gender="x", active=1))
    assert [issue.expression for issue in error.value.issues] == ["Patient.gender", "Patient.active"]
    for resource in (observation(id=...), {"resourceType": "Parameters", "id": "x"}, {}, patient(id="")):
        with pytest.raises(InvalidResourceError):
            resource_check(resource=resource)
    resource_check(resource=patient())  # a warning (no narrative) refuses nothing


def test_a_bundle_is_checked_without_what_is_in_it() -> None:
    request = {"method": "POST", "url": "Patient"}
    bundle_check(bundle=bundle("transaction", {"resource": patient(gender="x"), "request": request}))
    with pytest.raises(InvalidResourceError, match="bdl-3"):
        bundle_check(bundle=bundle("transaction", {"resource": patient()}))


def test_deep_nesting_is_an_issue() -> None:
    node: dict[str, Any] = {"url": "a:b", "valueCode": "x"}
    for _ in range(2000):
        node = {"url": "a:b", "extension": [node]}
    assert [issue.code for issue in errors(patient(extension=[node]))] == ["too-long"]
    with pytest.raises(InvalidResourceError):
        bundle_check(bundle=bundle("batch", extension=[node]))


def test_hostile_resources_cost_no_more_than_their_size() -> None:
    """Each of these took minutes where a rule looked at everything for everything."""
    ring = [patient(id=f"c{n}", link=[{"other": {"reference": f"#c{n - 1}"}, "type": "refer"}]) for n in range(1000)]
    codings = [{"code": str(n)} for n in range(5000)]
    started = perf_counter()
    errors(patient(contained=ring))
    errors(observation(code={"coding": codings}, valueString="x", component=[{"code": {"coding": [{"code": "x"}]}}] * 5000))
    errors(div('<p style="' + "url(" * 50_000 + '">x</p>'))
    errors(observation(subject={"reference": "http://" + "a/" * 500_000}))
    errors(patient(birthDate="2" * 1_000_000, language="a " * 500_000, photo=[{"contentType": "a/b", "data": "A" * 1_000_001}]))
    assert perf_counter() - started < 10


# $validate


def outcome(resource: Any, **values: str) -> list[tuple[str, str]]:
    found = validate_operation(resource=resource, **values)
    assert not errors(found)
    return [(issue["severity"], issue["code"]) for issue in found["issue"]]


def parameters(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Parameters", "parameter": list(parts)}


def test_the_operation_validate() -> None:
    """ "$validate: always 200 with the outcome (an all-ok information issue when nothing found)"."""
    clean = div("x")
    given_resource = {"name": "resource", "resource": clean}
    assert outcome(clean) == outcome(parameters(given_resource)) == [("information", "informational")]
    assert outcome(patient()) == [("warning", "invariant")]  # dom-6
    assert outcome(patient(gender="x")) == [("error", "code-invalid"), ("warning", "invariant")]
    assert outcome(parameters(given_resource, {"name": "mode", "valueCode": "create"})) == [("information", "informational")]
    assert outcome(parameters(given_resource, {"name": "mode", "valueCode": "x"}))[0] == ("error", "code-invalid")
    assert outcome(parameters(given_resource, {"name": "profile", "valueUri": "http://a.b"})) == [("warning", "not-supported")]
    assert outcome(parameters({"name": "mode", "valueCode": "delete"})) == [("information", "informational")]
    assert outcome({key: value for key, value in clean.items() if key != "id"}, mode="update") == [("error", "required")]
    assert outcome(None) == [("error", "required")]
    assert outcome([]) == [("error", "structure")]
