"""The validator before judges that share no code with it: HL7's examples, HL7's validator cases, HL7's JSON schema, and chance."""

import gzip
import json
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import fastjsonschema
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhirapi.definitions.elements_make import DATA, HELD, SCHEMA
from fhirapi.jsontext import InvalidJsonError, json_load
from fhirapi.validation import Issue, resource_validate
from tests.fhirapi.official import official_examples

CASES = Path(__file__).resolve().parents[3] / "shared/standards/fhir-test-cases"
UNSTORED = {"Parameters", "CapabilityStatement", "OperationOutcome"}


def errors(resource: Any) -> list[Issue]:
    return [issue for issue in resource_validate(resource=resource) if issue.is_error]


@cache
def examples() -> dict[str, dict[str, Any]]:
    return {name: json.loads(text) for name, text in official_examples().items()}


def test_all_official_examples_are_accepted() -> None:
    """ "All official R4 examples of the supported types"."""
    assert {name: issues[0].expression for name, resource in examples().items() if (issues := errors(resource))} == {}
    assert {resource["resourceType"] for resource in examples().values()} >= set(HELD) - UNSTORED


# The official schema as an oracle that shares no code with the walk

ODD: tuple[Any, ...] = (None, "", " ", [], {}, [None], "x y", 0, -1, 1.5, True, "2020-13-01", {"a": 1}, [[]])


@cache
def official() -> Callable[[Any], Any]:
    definitions = json.loads(SCHEMA.read_text())["definitions"]
    roots = [{"$ref": f"#/definitions/{name}"} for name in HELD]
    return fastjsonschema.compile(
        {"$schema": "http://json-schema.org/draft-06/schema#", "definitions": definitions, "oneOf": roots}
    )


def is_official(resource: Any) -> bool:
    try:
        official()(resource)
    except fastjsonschema.JsonSchemaException:
        return False
    return True


def paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield from paths(value, (*path, key))


def mutated(resource: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    copy: dict[str, Any] = orjson.loads(orjson.dumps(resource))
    node: Any = copy
    for key in path[:-1]:
        node = node[key]
    if value is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return copy


def smallest(rtype: str) -> dict[str, Any]:
    return min((r for r in examples().values() if r["resourceType"] == rtype), key=lambda r: len(json.dumps(r)))


@pytest.mark.parametrize(
    "rtype", ["Patient", "Observation", "ServiceRequest", "ImagingStudy", "Condition", "Bundle", "Task", "Consent"]
)
def test_whatever_the_official_schema_refuses_is_refused(rtype: str) -> None:
    """ "official JSON schema": our walk stands in for it, so nothing may pass that it would stop."""
    resource = smallest(rtype)
    assert is_official(resource)
    passed = [
        (path, value)
        for path in paths(resource)
        for value in (..., *ODD)
        if not errors(changed := mutated(resource, path, value)) and not is_official(changed)
    ]
    assert passed == []


# Nothing makes the validator raise

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "url", "code", "extension", "value"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), value=json_values, rtype=st.sampled_from([name for name in HELD if name not in UNSTORED]))
def test_a_changed_resource_gives_issues_and_never_an_exception(data: st.DataObject, value: Any, rtype: str) -> None:
    """ "a mutated valid resource never makes the validator raise anything but Issues"."""
    resource = smallest(rtype)
    path = data.draw(st.sampled_from(list(paths(resource))))
    found = resource_validate(resource=mutated(resource, path, value))
    assert all(isinstance(issue, Issue) for issue in found)


@given(value=json_values)
def test_anything_else_gives_issues(value: Any) -> None:
    assert errors(value)


# HL7's validator cases

# Valid ones that we refuse: HL7's validator was told to look away from a long id, and to read comments in JSON.
LOOKED_AWAY = {"contained-resource-bad-id-ignore", "json-comments-1-yes", "json-comments-2-yes"}


@cache
def cases() -> list[dict[str, Any]]:
    path = CASES / "validator-cases.json"
    if not path.exists():
        message = "shared/standards/fhir-test-cases is not here"
        (pytest.fail if os.environ.get("REQUIRE_PEERS") == "1" else pytest.skip)(message)
    return json.loads(path.read_text())


def verdict(case: dict[str, Any]) -> bool | None:
    """Accepted, refused, or nothing for a type that isn't held."""
    try:
        resource = json_load((CASES / case["file"]).read_bytes())
    except InvalidJsonError:
        return False
    if not isinstance(resource, dict) or resource.get("resourceType") not in HELD:
        return None
    return not errors(resource)


def test_no_valid_case_of_hl7_is_refused() -> None:
    """ "validator cases: no false reject of any valid case of our types"."""
    refused = {case["name"] for case in cases() if not case["errors"] and verdict(case) is False}
    assert refused == LOOKED_AWAY


# Invalid ones that pass, by what it would take to see it.
UNSEEN = {
    "content of code systems that are not held (LOINC, SNOMED CT, CVX), displays": {
        "bundle-id-3", "bundle-id-4", "bundle-id-5", "ips-nz-pj", "obs-temp-code2", "uk-msg", "bundle-with-contained", "mr-covid-bnd1",
    },
    "profiles that R4 puts on vital signs by their code": {"obs-temp-bad", "obs-vs-1"},
    "definitions of extensions": {
        "pat-dob-ext", "pat-example-extensions", "patient-with-turvakielto", "maiden-name-extension", "target-ref-profile-empty",
    },
    "definitions of search parameters": {"capstmt"},
    "references inside a Bundle that lead nowhere or to several": {"bundle-document-versioned-references-bad", "parameters-reference-bad"},
    "rules of the validator, not of R4 (example addresses, markup in strings, links once)": {
        "dr-example-org", "pat-security-bad-string", "bundle-id-2",
    },
    "a digital signature": {"signatures-example-2"},
    "an extension that says why a code is missing, which R4 allows": {"allergy"},
}  # fmt: skip


def test_which_invalid_cases_of_hl7_pass() -> None:
    """ "report how many of the invalid ones are caught and, by name, which are not and why"."""
    passed = {case["name"] for case in cases() if case["errors"] and verdict(case) is True}
    assert passed == set().union(*UNSEEN.values())


def test_the_definitions_state_their_source() -> None:
    """ "official HL7 definition tables (CC0), with licence and version stated"."""
    assert json.loads(gzip.decompress(DATA.read_bytes()))["source"] == "HL7 FHIR R4 4.0.1, CC0-1.0"
