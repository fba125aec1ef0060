"""Every official example is found by every value that its search parameters name, through the whole search."""

import json
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fhirapi import store
from fhirapi.definitions.accessors import ACCESSORS
from fhirapi.registry import TYPES, Leaf, Param
from fhirapi.search.pages import resource_search
from fhirapi.search.query import query_parse
from tests.conftest import Hospital
from tests.fhirapi.official import official_examples

BASE = "https://medhub.example/t/mercy/fhir/r4"
Pair = tuple[str, str]


def escaped(text: str) -> str:
    for character in "\\,|$":
        text = text.replace(character, f"\\{character}")
    return text


def asked(leaf: Leaf, value: Any) -> Iterator[str]:
    """How a client would ask for a value: written here without the code that indexes."""
    if leaf.kind == "token":
        yield from tokens(leaf.ftype, value)
    elif leaf.kind == "reference":
        text = value if isinstance(value, str) else value.get("reference", "")
        if text and not text.startswith("#"):
            yield escaped(text)
    elif leaf.kind == "string":
        parts = (
            [value]
            if isinstance(value, str)
            else [part for name, part in value.items() if name not in {"use", "type", "period"}]
        )
        yield from (
            escaped(part[:60]).upper() for parts in parts for part in ([parts] if isinstance(parts, str) else parts) if part
        )
    elif leaf.kind == "date":
        yield from dates(value)
    elif leaf.kind == "uri":
        yield escaped(value)
    elif leaf.kind == "quantity" and "value" in value and not value.get("comparator"):
        yield f"{value['value']}"
        yield f"{value['value']}|{escaped(value.get('system', ''))}|{escaped(value.get('code') or value.get('unit', ''))}"
    elif leaf.kind == "special":
        yield f"{value['latitude']}|{value['longitude']}|1|km"


def tokens(ftype: str, value: Any) -> Iterator[str]:
    for one in value.get("coding", []) if ftype == "CodeableConcept" else [value]:
        if not isinstance(one, dict):
            yield escaped(str(one).lower() if isinstance(one, bool) else one)
            continue
        code = one.get("value") if ftype in {"Identifier", "ContactPoint"} else one.get("code")
        if code is None:
            continue
        yield escaped(code)
        if ftype != "ContactPoint":
            yield f"{escaped(one.get('system', ''))}|{escaped(code)}"
            if one.get("system"):
                yield f"{escaped(one['system'])}|"


def dates(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        yield f"ge{value}"
        yield f"ap{value}"
    elif "start" in value:
        yield f"ge{value['start']}"
    elif "end" in value:
        yield f"le{value['end']}"


def questions(resource: dict[str, Any]) -> Iterator[tuple[Param, str]]:
    """(parameter, value) of everything that should find this resource."""
    rtype = TYPES[resource["resourceType"]]
    for number, value in ACCESSORS[rtype.name](resource):
        leaf = rtype.leaves[number]
        for param in rtype.params:
            if leaf.key not in param.keys or param.kind != leaf.kind:
                continue
            for text in asked(leaf, value):
                is_elsewhere = leaf.kind == "reference" and text.partition("/")[0] not in param.targets and "://" not in text
                if not is_elsewhere:
                    yield param, text


@pytest.fixture(scope="module")
def examples() -> list[dict[str, Any]]:
    found = [json.loads(text) for text in official_examples().values()]
    return list({(one["resourceType"], one["id"]): one for one in found}.values())


def found(hospital: Hospital, rtype: str, pairs: list[Pair]) -> list[str]:
    parsed = query_parse(
        tenant_id=hospital.tenant.id,
        rtype=rtype,
        pairs=pairs,
        base=BASE,
        zone=lambda: ZoneInfo("America/Chicago"),
        is_strict=True,
    )
    return [document.fhir_id for document in resource_search(query=parsed.query).matches]


def test_every_example_is_found_by_every_value(mercy: Hospital, examples: list[dict[str, Any]]) -> None:
    """ "every official search parameter of those types": all values of a resource at once, then each parameter by itself."""
    with mercy.scope():
        for start in range(0, len(examples), 50):
            store.resources_put(resources=examples[start : start + 50])
        alone: dict[tuple[str, str], tuple[str, str]] = {}
        for resource in examples:
            rtype, fhir_id = resource["resourceType"], resource["id"]
            pairs = list(dict.fromkeys((param.name, text) for param, text in questions(resource)))
            for name, text in pairs:
                alone.setdefault((rtype, name), (text, fhir_id))
            for place in range(0, len(pairs), 40):
                several = [("_id", fhir_id), *pairs[place : place + 40]]
                if found(mercy, rtype, several) != [fhir_id]:
                    missed = [pair for pair in several if found(mercy, rtype, [("_id", fhir_id), pair]) != [fhir_id]]
                    pytest.fail(f"{rtype}/{fhir_id} is not found by {missed}")
        for (rtype, name), (text, fhir_id) in alone.items():
            assert fhir_id in found(mercy, rtype, [(name, text), ("_count", "500")]), (rtype, name, text)
            assert fhir_id in found(mercy, rtype, [(f"{name}:missing", "false"), ("_count", "500")]), (rtype, name)
            assert fhir_id not in found(mercy, rtype, [(f"{name}:missing", "true"), ("_count", "500")]), (rtype, name)
    assert len(alone) > 250
