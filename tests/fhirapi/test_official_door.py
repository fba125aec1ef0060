"""HL7's own examples through the door: written, read back number by number, and as XML."""

import json
from typing import Any

import pytest

from fhirapi.interactions import is_writable
from fhirapi.views.formats import FHIR_XML
from tests.conftest import Hospital
from tests.fhirapi.official import official_examples
from tests.fhirapi.writing import FHIR_JSON, Writer, entry

pytestmark = pytest.mark.database


def told(text: str) -> dict[str, Any]:
    """Numbers as they are written; id, version and time are ours."""
    found: dict[str, Any] = json.loads(text, parse_float=str, parse_int=str)
    found.pop("id", None)
    meta = {name: value for name, value in found.pop("meta", {}).items() if name not in {"versionId", "lastUpdated"}}
    return found | ({"meta": meta} if meta else {})


def test_every_official_example_comes_back(mercy: Hospital) -> None:
    """ "round trip: PUT each example of our types, GET, compare" (research 6): nothing is lost, added or rounded."""
    fhir = Writer(mercy)
    sent = [text for text in official_examples().values() if is_writable(json.loads(text)["resourceType"])]
    assert len(sent) > 300
    paths: list[str] = []
    for start in range(0, len(sent), 200):
        part = sent[start : start + 200]
        posts = [json.dumps(entry("POST", json.loads(text)["resourceType"]))[:-1] + f', "resource": {text}}}' for text in part]
        response = fhir.post("", '{"resourceType":"Bundle","type":"transaction","entry":[' + ",".join(posts) + "]}")
        assert response.status_code == 200, response.content[:500]
        paths += ["/".join(one["response"]["location"].split("/")[-4:-2]) for one in response.json()["entry"]]
    for number, (path, text) in enumerate(zip(paths, sent, strict=True)):
        read = fhir.get(path, accept=FHIR_JSON)
        assert told(read.content.decode()) == told(text), path
        if number % 10 == 0:
            xml = fhir.get(path, accept=FHIR_XML)
            assert fhir.put(path, xml.content, media=FHIR_XML)["ETag"] == 'W/"1"', path
