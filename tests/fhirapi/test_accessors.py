"""The generated accessors against an engine that shares no code with them: fhirpathpy, on HL7's own examples."""

import json
import re
from collections import defaultdict
from functools import cache
from typing import Any

import fhirpathpy
import pytest
from fhirpathpy.models import models

from fhirapi.definitions.accessors import ACCESSORS
from fhirapi.index.indexed import resource_index
from fhirapi.registry import DEFINITIONS, TYPES
from tests.fhirapi.official import official_examples

PARAMETERS = json.loads((DEFINITIONS / "parameters.json").read_text(encoding="utf-8"))["types"]


@cache
def compiled(expression: str) -> Any:
    return fhirpathpy.compile(expression, models["r4"])


def engine_expression(text: str) -> str:
    """What the engine takes: it has no resolve(), and `as` on repeats means ofType (R4 wrote it before the two differed)."""
    text = re.sub(r"\.where\(resolve\(\) is \w+\)", "", text)
    text = re.sub(r"^(Domain)?Resource\b", "", text).lstrip(".") or text
    text = re.sub(r"\((\S+) as (\w+)\)", r"\1.ofType(\2)", text)
    return re.sub(r"\.as\((\w+)\)", r".ofType(\1)", text)


def plain(values: list[Any]) -> list[str]:
    return sorted(json.dumps(value, sort_keys=True, default=float) for value in values)


def of_type(rtype: str) -> list[dict[str, Any]]:
    return [resource for text in official_examples().values() if (resource := json.loads(text))["resourceType"] == rtype]


# Values that an expression yields and no search of that kind can meet (definitions/accessors_make.py).
UNSEARCHABLE = {("Procedure", "date"), ("AllergyIntolerance", "onset"), ("Consent", "source-reference")}


@pytest.mark.parametrize("rtype", TYPES)
def test_accessors_find_what_fhirpath_finds(rtype: str) -> None:
    """ "compiled from the official SearchParameter definitions": each expression on each example yields the same values."""
    compared = 0
    for resource in of_type(rtype):
        found: dict[str, list[Any]] = defaultdict(list)
        for number, value in ACCESSORS[rtype](resource):
            found[PARAMETERS[rtype]["leaves"][number][0]].append(value)
        for param in PARAMETERS[rtype]["params"]:
            if param["kind"] == "composite" or (rtype, param["name"]) == ("ImagingStudy", "instance") or rtype == "Bundle":
                continue
            expected = [
                value for text in param["expression"].split(" | ") for value in compiled(engine_expression(text))(resource)
            ]
            ours = [value for key in param["keys"] for value in found[key]]
            if (rtype, param["name"]) in UNSEARCHABLE:
                assert set(plain(ours)) <= set(plain(expected))
                continue
            assert plain(ours) == plain(expected), (resource["id"], param["name"])
            compared += len(ours)
    assert compared or rtype in {"Binary", "Bundle"}


def test_bundles_are_found_by_their_first_entry() -> None:
    """Bundle.composition and Bundle.message: `Bundle.entry[0].resource`."""
    bundle = {
        "resourceType": "Bundle", "type": "document",
        "entry": [{"resource": {"resourceType": "Composition", "id": "c1"}}, {"resource": {"resourceType": "Patient", "id": "p"}}],
    }  # fmt: skip
    leaf = next(n for n, leaf in enumerate(PARAMETERS["Bundle"]["leaves"]) if leaf[0] == "Bundle.entry.resource")
    assert (leaf, {"reference": "Composition/c1"}) in ACCESSORS["Bundle"](bundle)


def test_every_example_is_indexed() -> None:
    """No official example stops the index, and a second look finds the same."""
    for text in official_examples().values():
        resource = json.loads(text)
        first = resource_index(tenant_id=1, resource=resource)
        assert first == resource_index(tenant_id=1, resource=resource)
        assert first.digest != resource_index(tenant_id=2, resource=resource).digest or not first.tokens
