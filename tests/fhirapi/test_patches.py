"""PATCH in both forms, against HL7's own cases and by properties."""

import copy
import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from fhirapi.jsontext import json_dump, json_load
from fhirapi.outcomes import FhirError
from fhirapi.patch.elements import members
from fhirapi.patch.jsonpatch import PatchError, is_equal, json_patch_apply
from fhirapi.patch.patches import patch_make
from tests.conftest import Hospital
from tests.dicom_files import SHARED
from tests.fhirapi.test_http import assert_outcome
from tests.fhirapi.writing import FHIR_JSON, Writer, observation, patient

HL7 = "{http://hl7.org/fhir}"
CASES = SHARED.parent / "standards" / "fhir-test-cases" / "r4" / "patch"


def cases(name: str) -> bytes:
    """HL7's cases (FHIR/fhir-test-cases, Apache-2.0); one named skip where they are missing, a failure under REQUIRE_PEERS=1."""
    if not (CASES / name).exists():
        (pytest.fail if os.environ.get("REQUIRE_PEERS") == "1" else pytest.skip)(f"{name} of fhir-test-cases is not here")
    return (CASES / name).read_bytes()


def json_of(node: Any, kind: str) -> Any:
    """The JSON of an XML element of the cases, as far as they need it."""
    made: dict[str, Any] = {"id": node.get("id")} if node.get("id") else {}
    made |= {"url": node.get("url")} if node.get("url") else {}
    for child in node:
        if not isinstance(child.tag, str):
            continue
        name = etree.QName(child).localname
        if name == "div":
            made[name] = etree.tostring(child, encoding="unicode", with_tail=False)
            continue
        repeats, inner, _ = members(kind).get(name, (False, "", ""))
        value = child.get("value")
        item: Any = json_of(child, inner) if value is None else {"true": True, "false": False}.get(value, value)
        item = int(item) if name == "valueInteger" else item
        if repeats:
            made.setdefault(name, []).append(item)
        else:
            made[name] = item
        if value is not None and len(child):
            made[f"_{name}"] = json_of(child, "Element")
    return made


def resource_of(case: Any, name: str) -> dict[str, Any]:
    (node,) = [child for child in case.find(name) if isinstance(child.tag, str)]
    kind = etree.QName(node).localname
    return {"resourceType": kind} | json_of(node, kind)


def squeezed(tree: Any) -> Any:
    """White space of a narrative is none of a patch's business."""
    return json.loads("".join(json.dumps(tree).replace("\\n", " ").split()).replace("\\t", ""))


def test_every_fhirpath_patch_case_of_hl7() -> None:
    """ "Proved by .../r4/patch (both files): every case"."""
    found = etree.fromstring(cases("fhir-patch-tests.xml")).findall("case")
    assert len(found) == 33
    for case in found:
        before, patch = resource_of(case, "input"), patch_make(tree=resource_of(case, "diff"))
        kept = copy.deepcopy(before)
        if case.find("error") is not None:
            with pytest.raises(FhirError) as error:
                patch(before)
            assert error.value.status == 422
        else:
            assert squeezed(patch(before)) == squeezed(resource_of(case, "output")), case.get("name")
        assert before == kept


def test_every_json_patch_case() -> None:
    """RFC 6902 A and more."""
    found = json.loads(cases("json-patch-tests.json"))
    assert len(found) == 16
    for case in found:
        document: Any = case["doc"]
        try:
            for operation in case["patch"]:
                document = json_patch_apply(document, operation)
        except PatchError:
            assert "error" in case, case["comment"]
        else:
            assert document == case["expected"], case["comment"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab/~", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~01", max_size=2), inner, max_size=3),
    max_leaves=12,
)


def pointers(node: Any, path: str = "") -> list[str]:
    found = [path]
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in pairs:
        found += pointers(child, f"{path}/{str(key).replace('~', '~0').replace('/', '~1')}")
    return found


@given(JSON, JSON, st.data())
def test_what_was_added_can_be_tested_and_removed(document: Any, value: Any, data: Any) -> None:
    """A property of RFC 6902: test finds what replace put, and remove undoes an add to an object."""
    path = data.draw(st.sampled_from(pointers(document)))
    changed = json_patch_apply(copy.deepcopy(document), {"op": "replace", "path": path, "value": value})
    json_patch_apply(changed, {"op": "test", "path": path, "value": value})
    holder = {"x": document}
    added = json_patch_apply(copy.deepcopy(holder), {"op": "add", "path": "/new", "value": value})
    assert is_equal(json_patch_apply(added, {"op": "remove", "path": "/new"}), holder)


OPERATIONS = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"])},
    optional={
        "path": st.text("/ab01-~", max_size=5) | st.none(),
        "from": st.text("/ab0", max_size=4) | st.integers(),
        "value": JSON,
    },
)


@given(st.dictionaries(st.text("ab", max_size=1), JSON), st.lists(OPERATIONS, max_size=4))
def test_no_patch_ends_otherwise_than_by_an_error_of_ours(document: Any, operations: Any) -> None:
    """Whatever is sent: a result, or 400 or 422, and the document as it was."""
    kept, status = copy.deepcopy(document), 200
    try:
        patch_make(tree=operations)(document)
    except FhirError as error:
        status = error.status
    assert status in {200, 400, 422}
    assert is_equal(document, kept)


def test_a_patch_is_no_bomb() -> None:
    """ "everything from outside has a limit": copies of copies, and nesting by moves and adds."""
    deep: Any = {}
    for _ in range(50):
        deep = {"a": deep}
    nested = [{"op": "add", "path": "/b" + "/a" * 50, "value": deep}]
    bombs = [
        [{"op": "copy", "from": "", "path": "/a"}] * 100, [{"op": "copy", "from": "/l", "path": "/l/-"}] * 200,
        [{"op": "add", "path": "/b", "value": deep}, *nested], [{"op": "test", "path": "/a" * 70, "value": 1}],
    ]  # fmt: skip
    for operations in bombs:
        with pytest.raises(FhirError) as error:
            patch_make(tree=operations)({"l": [1, 2, 3]})
        assert error.value.status == 422
    grown = [operation("add", "Patient" + ".extension[0]" * n, name="extension", value={"valueExtension": {"url": "u"}}) for n in range(80)]
    with pytest.raises(FhirError) as error:
        patch_make(tree=parameters(*grown))(patient())
    assert error.value.status == 422


def test_numbers_survive_a_patch() -> None:
    """ "numbers as written must survive, 1.00 stays 1.00": those that stay, those that move and those that come."""
    before = json_load(b'{"a":1.00,"b":[2.0,3.10E1]}')
    operations = json_load(
        b'[{"op":"add","path":"/c","value":4.000},{"op":"move","from":"/b/1","path":"/d"},{"op":"copy","from":"/a","path":"/e"},'
        b'{"op":"test","path":"/a","value":1}]'
    )
    assert json_dump(patch_make(tree=operations)(before)) == '{"a":1.00,"b":[2.0],"c":4.000,"d":3.10E1,"e":1.00}'


@pytest.mark.parametrize(("one", "other"), [(True, 1), (False, 0), (1, "1"), (None, False), ([1], [True]), ({"a": 0}, {"a": False})])
def test_what_json_tells_apart(one: Any, other: Any) -> None:
    """RFC 6902 4.6: a boolean is no number, a number is no string."""
    assert not is_equal(one, other)


def operation(kind: str, path: str, **parts: Any) -> dict[str, Any]:
    named = [{"name": name, **(value if isinstance(value, dict) else {"valueString": value})} for name, value in parts.items()]
    return {"name": "operation", "part": [{"name": "type", "valueCode": kind}, {"name": "path", "valueString": path}, *named]}


def parameters(*operations: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Parameters", "parameter": list(operations)}


def index(number: int) -> dict[str, int]:
    return {"valueInteger": number}


OBSERVATION = observation() | {
    "valueQuantity": {"value": 1}, "component": [{"code": {"text": "a"}, "valueString": "x"}, {"code": {"text": "b"}, "valueString": "y"}],
    "extension": [{"url": "http://e", "valueBoolean": True}],
}  # fmt: skip
PERSON = patient("1") | {
    "name": [{"use": "official", "given": ["A", "B"], "_given": [None, {"id": "x"}]}, {"use": "usual", "family": "C"}],
    "birthDate": "1970-01-01", "_birthDate": {"id": "b"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("resource", "wish", "path", "expected"),
    [
        (OBSERVATION, operation("replace", "Observation.value", value={"valueString": "z"}), "valueString", "z"),
        (OBSERVATION, operation("replace", "Observation.value.ofType(Quantity).value", value={"valueDecimal": 2}),
         "valueQuantity.value", 2),
        (OBSERVATION, operation("replace", "Observation.component.where(code.text = 'b').value", value={"valueString": "z"}),
         "component.1.valueString", "z"),
        (OBSERVATION, operation("replace", "Observation.component[1].value", value={"valueInteger": 7}), "component.1.valueInteger", 7),
        (OBSERVATION, operation("replace", "Observation.extension('http://e').value", value={"valueBoolean": False}),
         "extension.0.valueBoolean", False),
        (OBSERVATION, operation("delete", "Observation.component.last()"), "component.1", None),
        (OBSERVATION, operation("delete", "Observation.component.first()"), "component.0.code.text", "b"),
        (OBSERVATION, operation("add", "Observation.component[0]", name="interpretation", value={"valueCodeableConcept": {"text": "H"}}),
         "component.0.interpretation.0.text", "H"),
        (OBSERVATION, operation("add", "Observation", name="effective", value={"valueDateTime": "2026"}), "effectiveDateTime", "2026"),
        (OBSERVATION, operation("insert", "Observation.note", index=index(0), value={"valueAnnotation": {"text": "n"}}),
         "note.0.text", "n"),
        (PERSON, operation("delete", "Patient.name.where(use = 'official').given[0]"), "name.0._given.0.id", "x"),
        (PERSON, operation("insert", "Patient.name[0].given", index=index(1), value="N"), "name.0._given.2.id", "x"),
        (PERSON, operation("move", "Patient.name[0].given", source=index(1), destination=index(0)), "name.0._given.0.id", "x"),
        (PERSON, operation("replace", "Patient.name[0].given[1]", value="N"), "name.0._given.1", None),
        (PERSON, operation("delete", "Patient.birthDate"), "_birthDate", None),
        (PERSON, operation("delete", "Patient.photo"), "photo", None),
        (PERSON, operation("delete", "Patient.name.where(use != 'official')"), "name.1", None),
        (PERSON, operation("delete", "Patient.identifier[0]"), "identifier", None),
        (PERSON, operation("add", "Patient", name="contained", value={"resource": {"resourceType": "Device", "id": "d"}}),
         "contained.0.id", "d"),
    ],
)  # fmt: skip
def test_fhirpath_patches(resource: dict[str, Any], wish: dict[str, Any], path: str, expected: Any) -> None:
    """Choices, indexes, where(), first(), last(), ofType(), extension(), and the extensions beside primitives."""
    node: Any = patch_make(tree=parameters(wish))(resource)
    for step in path.split("."):
        try:
            node = node[int(step)] if step.isdigit() else node[step]
        except (IndexError, KeyError):
            node = None
    assert node == expected


@pytest.mark.parametrize(
    ("wish", "status"),
    [
        (operation("replace", "Patient.name.family", value="x"), 200),
        (operation("replace", "Patient.name.given", value="x"), 422), (operation("delete", "Patient.name"), 422),
        (operation("replace", "Patient.photo", value="x"), 422), (operation("add", "Patient.name", name="family", value="x"), 422),
        (operation("add", "Patient", name="gender", value={"valueCode": "male"}), 422), (operation("delete", "Patient"), 422),
        (operation("insert", "Patient.name", index=index(3), value={"valueHumanName": {}}), 422),
        (operation("insert", "Patient.gender", index=index(0), value="x"), 422),
        (operation("move", "Patient.name", source=index(0), destination=index(2)), 422),
        (operation("move", "Patient.name", source=index(-1), destination=index(0)), 400), (operation("wipe", "Patient"), 400),
        (operation("delete", "Patient.name.where($this.exists())"), 400), (operation("delete", "Patient.("), 400),
        (operation("delete", ""), 400),
        (operation("delete", "Patient.repeat(name)"), 400), (operation("add", "Patient", name="active"), 400),
        ({"name": "operation"}, 400), ({"name": "other", "part": []}, 400), ({"name": "operation", "part": [1]}, 400),
        (operation("add", "Patient", name="active", value={"valueBoolean": True, "valueString": "x"}), 400),
    ],
)  # fmt: skip
def test_fhirpath_patches_that_are_refused(wish: dict[str, Any], status: int) -> None:
    """A patch that is none is 400, one that does not fit is 422; the resource stays as it was."""
    before = copy.deepcopy(PERSON)
    if status == 200:
        assert patch_make(tree=parameters(wish))(before)["name"][1]["family"] == "x"
        return
    with pytest.raises(FhirError) as error:
        patch_make(tree=parameters(wish))(before)
    assert (error.value.status, before) == (status, PERSON)


@pytest.mark.parametrize(
    ("body", "media", "status"),
    [
        ([{"op": "replace", "path": "/gender", "value": "male"}], "application/json-patch+json", 200),
        ([{"op": "replace", "path": "/gender", "value": "male"}], FHIR_JSON, 200),
        (parameters(operation("replace", "Patient.gender", value={"valueCode": "male"})), FHIR_JSON, 200),
        ([{"op": "test", "path": "/gender", "value": "male"}], "application/json-patch+json", 422),
        ([{"op": "remove", "path": "/photo"}], "application/json-patch+json", 422),
        ([{"op": "replace", "path": "/gender", "value": "banana"}], "application/json-patch+json", 422),
        ([{"op": "replace", "path": "", "value": []}], "application/json-patch+json", 422),
        ([{"op": "replace", "path": "/id", "value": "other"}], "application/json-patch+json", 400),
        ([{"op": "replace", "path": "/resourceType", "value": "Device"}], "application/json-patch+json", 400),
        ([{"op": "wipe"}], "application/json-patch+json", 400), (["x"], "application/json-patch+json", 400),
        ({"op": "test"}, "application/json-patch+json", 400), (patient(), FHIR_JSON, 400),
        ([], "application/merge-patch+json", 415), ([], "application/json-patch+json", 200),
        ([{"op": "test", "path": "/x", "value": 1}] * 1001, "application/json-patch+json", 413),
    ],
)  # fmt: skip
def test_patch_over_http(mercy: Hospital, body: Any, media: str, status: int) -> None:
    """ "`test` failing -> 422 ...; unknown path 422"; what a refused patch was sent for stays at its version."""
    fhir = Writer(mercy)
    fhir.put("Patient/a", patient("1") | {"id": "a"})
    response = fhir.patch("Patient/a", body, media=media)
    assert response.status_code == status, response.content
    if status != 200:
        assert_outcome(response, status)
    assert fhir.get("Patient/a")["ETag"] == ('W/"2"' if status == 200 and body else 'W/"1"')


def test_a_patch_keeps_decimals(mercy: Hospital) -> None:
    fhir = Writer(mercy)
    body = json.dumps(observation(valueQuantity={"value": "@"})).replace('"@"', "1.00")
    fhir_id = fhir.post("Observation", body).json()["id"]
    answer = fhir.patch(f"Observation/{fhir_id}", '[{"op":"add","path":"/referenceRange","value":[{"low":{"value":0.50}}]}]')
    assert '"value":1.00}' in answer.content.decode()
    assert '{"value":0.50}' in answer.content.decode()
