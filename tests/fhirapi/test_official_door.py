"""HL7's own examples through the door: written, read back number by number, and as XML."""

import json
import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from fhirapi.interactions import is_writable
from fhirapi.registry import TYPES
from fhirapi.store import resources_put
from fhirapi.views.formats import FHIR_XML
from fhirapi.xmlformat import xml_read, xml_write
from tests.conftest import Hospital
from tests.fhirapi.official import official_examples
from tests.fhirapi.test_audit_events import Auditor
from tests.fhirapi.writing import FHIR_JSON, Writer, entry


def told(text: str) -> str:
    """The members in their order, numbers as they are written; id, version and time are ours, and the type comes first."""
    found: dict[str, Any] = json.loads(text, parse_float=str, parse_int=str)
    head = {"resourceType": found.pop("resourceType")}
    if head["resourceType"] == "Subscription":  # its status is ours, and what its headers hold is not shown (docs/subscriptions.md)
        found = {name: value for name, value in found.items() if name not in {"status", "error"}}
        found["channel"].pop("header", None)
    found.pop("id", None)
    meta = {name: value for name, value in found.pop("meta", {}).items() if name not in {"versionId", "lastUpdated"}}
    return json.dumps(head | {"meta": meta} | found)


def pages(fhir: Writer, query: str, **headers: str) -> Iterator[Any]:
    while query:
        response = fhir.get(query, **headers)
        assert response.status_code == 200, response.content[:500]
        yield response
        query = next((link["url"] for link in fhir.get(query).json()["link"] if link["relation"] == "next"), "")


def test_every_official_example_comes_back(mercy: Hospital) -> None:
    """ "round trip: PUT each example of our types, GET, compare" (research 6): nothing is lost, added or rounded, in JSON and as XML."""
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
    for path, text in zip(paths, sent, strict=True):
        read = fhir.get(path, accept=FHIR_JSON)
        is_same = told(read.content.decode()) == told(text)  # apart from the assertion: a difference of such texts takes minutes
        assert is_same, path
    types = groupby(sorted(paths), key=lambda path: path.partition("/")[0])
    assert sum(put_back(fhir, list(several)) for _, several in types) == len(sent)


# As our XML writes them; a Bundle among the examples has entries of its own, so those go back one by one.
ENTRY = re.compile(r'<fullUrl value="[^"]*/(\w+/[^"/]+)"/>(<resource>.*?</resource>)<search><mode value="match"/></search>', re.DOTALL)
HEAD = re.compile(r"<meta>.*?(?=<entry>)", re.DOTALL)
REQUEST = r'\2<request><method value="PUT"/><url value="\1"/></request>'


def put_back(fhir: Writer, paths: list[str]) -> int:
    """Read all of a type as XML and write the same XML: nothing has changed, so no version is made. How many there were."""
    rtype = paths[0].partition("/")[0]
    if rtype in {"Bundle", "Binary"}:  # and Binary is asked for by itself to be FHIR
        answers = [fhir.put(path, fhir.get(path, accept=FHIR_XML).content, media=FHIR_XML) for path in paths]
        told_of = [(str(answer.status_code), answer["etag"]) for answer in answers]
    else:
        told_of = []
        for page in pages(fhir, f"{rtype}?_count=100", accept=FHIR_XML):
            xml = HEAD.sub('<type value="transaction"/>', ENTRY.sub(REQUEST, page.content.decode()), count=1)
            answer = fhir.post("", xml, media=FHIR_XML)
            assert answer.status_code == 200, answer.content[:500]
            told_of += [(one["response"]["status"], one["response"]["etag"]) for one in answer.json()["entry"]]
    assert set(told_of) == {("200", 'W/"1"')}, rtype
    return len(told_of)


def test_what_the_hub_writes_comes_back_too(mercy: Hospital) -> None:
    """ "ImagingStudy and AuditEvent through the store's service": as they were put, in JSON and as XML."""
    fhir = Auditor(mercy)
    sent = [json.loads(text) for text in official_examples().values() if not is_writable(json.loads(text)["resourceType"])]
    sent = [one for one in sent if one["resourceType"] in TYPES]
    assert {one["resourceType"] for one in sent} == {"ImagingStudy", "AuditEvent"}
    with mercy.scope():
        resources_put(resources=sent)
    for resource in sent:
        path = f"{resource['resourceType']}/{resource['id']}"
        is_same = told(fhir.get(path).content.decode()) == told(json.dumps(resource))
        assert is_same, path
        is_same = told(xml_read(fhir.get(path, accept=FHIR_XML).content)) == told(json.dumps(resource))
        assert is_same, path
        assert fhir.put(path, resource).status_code == 405, path


PARAMETERS = """{"resourceType": "Parameters", "id": "p", "parameter": [
    {"name": "exact", "valueDecimal": 1.00}, {"name": "none", "_valueString": {"extension": [{"url": "http://x.org", "valueCode": "a"}]}},
    {"name": "parts", "part": [{"name": "r", "resource": {"resourceType": "Patient", "id": "in"}}, {"name": "d", "valueDate": "2026"}]}
]}"""


def test_parameters_are_looked_at(mercy: Hospital) -> None:
    """ "Parameters (never stored, only an operation's body)": looked at by $validate in JSON and as XML, and not taken."""
    fhir = Writer(mercy)

    def severities(body: str | bytes, media: str) -> set[str]:
        answer = fhir.post("Parameters/$validate", body, media=media)
        assert answer.status_code == 200, answer.content
        return {issue["severity"] for issue in answer.json()["issue"]}

    assert told(xml_read(xml_write(PARAMETERS))) == told(PARAMETERS)
    wrong = PARAMETERS.replace('"2026"', '"2026-13"')
    for media, write in ((FHIR_JSON, str), (FHIR_XML, xml_write)):
        assert severities(write(PARAMETERS), media) <= {"information", "warning"}
        assert "error" in severities(write(wrong), media)
    assert fhir.post("Parameters", PARAMETERS).status_code == 404
