"""The search cases of Microsoft's end-to-end suite by kind, written anew: all through the real web server, resources and questions.

tests/fhirapi/test_search_cases.py looks at every modifier and prefix in its own world; this table follows the other suite's resources.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest

from tests.conftest import Hospital, hospital_make
from tests.fhirapi.writing import FHIR_JSON, entry
from tests.web import Web

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("fhir-web")]
S1, S2, UCUM = "http://system1", "http://system2", "http://unitsofmeasure.org"


def observation(fhir_id: str, code: str = "o", **more: Any) -> dict[str, Any]:
    coding = {"coding": [{"system": "http://kind", "code": code}]}
    return {"resourceType": "Observation", "id": fhir_id, "status": "final", "code": coding} | more


def patient(fhir_id: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": fhir_id} | more


def concept(*codings: tuple[str, str], text: str = "") -> dict[str, Any]:
    several = [({"system": system} if system else {}) | {"code": code} for system, code in codings]
    return ({"coding": several} if several else {}) | ({"text": text} if text else {})


def quantity(value: float, unit: str, system: str = UCUM) -> dict[str, Any]:
    return {"valueQuantity": {"value": value, "code": unit, "system": system}}


def subject(name: str) -> dict[str, Any]:
    return {"subject": {"reference": f"Patient/{name}"}}


DATES = ("1979-12-31", "1980", "1980-05", "1980-05-11", "1980-05-11T16:32:15Z", "1980-05-11T16:32:15.500Z", "1981-01-01")
WORLD = [
    *(observation(f"d{number}", "date", effectiveDateTime=date) for number, date in enumerate(DATES)),
    observation("dp", "date", effectivePeriod={"start": "1980-05-16", "end": "1980-05-17"}),
    observation("t0", "token", valueCodeableConcept=concept((S1, "code1"))),
    observation("t1", "token", valueCodeableConcept=concept((S2, "code2"))),
    observation("t2", "token", valueCodeableConcept=concept(("", "code2"), text="text2")),
    observation("t3", "token", valueCodeableConcept=concept((S1, "code1"), (S2, "code2"))),
    observation("t4", "token", valueCodeableConcept=concept(("http://a|b", "c,d$e"))),
    observation("q0", "quantity", **quantity(0.002, "unit1", "urn:s1")),
    observation("q1", "quantity", **quantity(1.0, "unit1", "urn:s1")),
    observation("q2", "quantity", **quantity(3.12, "unit1", "urn:s2")),
    observation("q3", "quantity", **quantity(4.0, "unit1", "urn:s1")),
    observation("q4", "quantity", **quantity(5.0, "unit1", "urn:s1")),
    observation("q5", "quantity", **quantity(5.0, "unit2", "urn:s2")),
    observation("q6", "quantity", **quantity(6.0, "unit2", "urn:s2")),
    patient("s0", address=[{"city": "Seattle"}], name=[{"family": "Smith"}]),
    patient("s1", address=[{"city": "Portland"}], name=[{"family": "Williams", "given": ["Al,fred"]}]),
    patient("s2", address=[{"city": "Vancouver"}], name=[{"family": "Ånderson"}]),
    patient("s3", address=[{"city": "Seattle"}], name=[{"family": "Murphy", "given": ["Ann", "Bea"]}], gender="female"),
    patient("s4", address=[{"city": "Montréal"}], name=[{"family": "Muller"}], gender="male"),
    {"resourceType": "Organization", "id": "o1", "name": "One", "partOf": {"reference": "Organization/o2"}},
    {"resourceType": "Organization", "id": "o2", "name": "Two", "address": [{"city": "Redmond"}]},
    {"resourceType": "Practitioner", "id": "dr", "name": [{"family": "House"}]},
    patient("adam", gender="male", name=[{"family": "Adams"}], managingOrganization={"reference": "Organization/o1"},
            generalPractitioner=[{"reference": "Practitioner/dr"}]),
    patient("bob", gender="male", name=[{"family": "Bobson"}], managingOrganization={"reference": "Organization/o2"}),
    *(observation(f"{who}-{kind}", kind, **subject(who)) for who in ("adam", "bob") for kind in ("loinc", "snomed")),
    *({"resourceType": "DiagnosticReport", "id": f"r-{who}-{kind}", "status": "final", "code": concept(("http://kind", kind)),
       **subject(who), "result": [{"reference": f"Observation/{who}-{kind}"}]} for who in ("adam", "bob") for kind in ("loinc", "snomed")),
    {"resourceType": "Endpoint", "id": "e1", "status": "active", "connectionType": {"code": "x"}, "payloadType": [concept(text="any")],
     "address": "http://x.org/1"},
    {"resourceType": "Device", "id": "u1", "url": "http://somewhere.com/test/system"},
    {"resourceType": "Device", "id": "u2", "url": "urn://localhost/test"},
]  # fmt: skip

Q = "Observation?code=quantity&value-quantity="
D = "Observation?code=date&date="
T = "Observation?code=token&value-concept="
CASES = {
    f"{D}1980": "d1 d2 d3 d4 d5 dp",
    f"{D}1980-01": "",
    f"{D}1980-05": "d2 d3 d4 d5 dp",
    f"{D}1980-05-10": "",
    f"{D}1980-05-11": "d3 d4 d5",
    f"{D}1980-05-11T16:32:15Z": "d4 d5",
    f"{D}1980-05-11T16:32:15.500Z": "d5",
    f"{D}1980-05-11T16:32:16Z": "",
    f"{D}ne1980": "d0 d6",
    f"{D}lt1980": "d0",
    f"{D}lt1980-05-11": "d0 d1 d2",
    f"{D}gt1980-05-17": "d1 d2 d6",
    f"{D}ge1980-05-16": "d1 d2 d6 dp",
    f"{D}sa1980": "d6",
    f"{D}eb1980": "d0",
    f"{D}sa1980-05-11": "d6 dp",
    f"{D}le1980": "d0 d1 d2 d3 d4 d5 dp",
    f"{D}ge1980-05&date=lt1980-06": "d1 d2 d3 d4 d5 dp",
    f"{D}1979,1981": "d0 d6",
    f"{D}1980-05-16,1980-05-17": "",
    f"{T}code1": "t0 t3",
    f"{T}code2": "t1 t2 t3",
    f"{T}{S1}|": "t0 t3",
    f"{T}{S1}|code1": "t0 t3",
    f"{T}{S1}|code2": "",
    f"{T}|code2": "t2",
    f"{T}code1,{S2}|code2": "t0 t1 t3",
    f"{T}code1&value-concept=code2": "t3",
    f"{T}http://a\\|b|c\\,d\\$e": "t4",
    f"{T}c\\,d\\$e": "t4",
    f"{T[:-1]}:not=code1": "t1 t2 t4",
    f"{T[:-1]}:not={S2}|code2": "t0 t2 t4",
    f"{T[:-1]}:text=text2": "t2",
    f"{T}a": "",
    f"{Q}1": "q1",
    f"{Q}5": "q4 q5",
    f"{Q}5|urn:s1|unit1": "q4",
    f"{Q}5||unit2": "q5",
    f"{Q}3.12": "q2",
    f"{Q}3.1": "q2",
    f"{Q}3": "q2",
    f"{Q}gt4": "q4 q5 q6",
    f"{Q}ge4|urn:s1|": "q3 q4",
    f"{Q}lt0.01": "q0",
    f"{Q}le1": "q0 q1",
    f"{Q}ne5": "q0 q1 q2 q3 q6",
    f"{Q}sa5.0": "q6",
    f"{Q}eb1.0": "q0",
    f"{Q}ap5": "q4 q5",
    f"{Q}2e-3": "q0",
    f"{Q}gt1&value-quantity=lt5": "q2 q3",
    "Patient?address-city=seattle": "s0 s3",
    "Patient?address-city=sea": "s0 s3",
    "Patient?address-city:exact=Seattle": "s0 s3",
    "Patient?address-city:exact=seattle": "",
    "Patient?address-city:exact=Sea": "",
    "Patient?address-city:contains=land": "s1",
    "Patient?address-city:contains=ATT": "s0 s3",
    "Patient?address-city=montreal": "s4",
    "Patient?address-city=Montréal": "s4",
    "Patient?address-city=portland,vancouver": "s1 s2",
    "Patient?family=anderson": "s2",
    "Patient?given=al\\,fred": "s1",
    "Patient?given=al,fred": "s1",
    "Patient?name=mu": "s3 s4",
    "Patient?name=bea&name=ann": "s3",
    "Patient?name=mu&gender=male": "s4",
    "Observation?subject=Patient/adam": "adam-loinc adam-snomed",
    "Observation?subject=adam": "adam-loinc adam-snomed",
    "Observation?subject:Patient=adam": "adam-loinc adam-snomed",
    "Observation?subject={base}/Patient/adam": "adam-loinc adam-snomed",
    "Observation?subject=Patient/none": "",
    "Patient?organization=o1": "adam",
    "Patient?organization=Organization/o1,Organization/o2": "adam bob",
    "Observation?subject.name=adams&code=loinc": "adam-loinc",
    "DiagnosticReport?subject:Patient.family=bobson": "r-bob-loinc r-bob-snomed",
    "DiagnosticReport?result.code=snomed&subject.gender=male": "r-adam-snomed r-bob-snomed",
    "DiagnosticReport?result.subject=Patient/bob": "r-bob-loinc r-bob-snomed",
    "DiagnosticReport?result.subject:Patient.organization.address-city=redmond": "r-bob-loinc r-bob-snomed",
    "DiagnosticReport?subject:Patient.organization.partof.name=two": "r-adam-loinc r-adam-snomed",
    "DiagnosticReport?result.code=loinc&patient.general-practitioner.name=house": "r-adam-loinc",
    "Patient?_has:Observation:patient:code=loinc": "adam bob",
    "Patient?_has:DiagnosticReport:patient:result.code=loinc&family=adams": "adam",
    "Patient?_has:Observation:patient:_id=bob-loinc": "bob",
    "Organization?_has:Patient:organization:_has:Observation:patient:code=snomed": "o1 o2",
    "Observation?_has:DiagnosticReport:result:code=loinc": "adam-loinc bob-loinc",
    "Device?url=http://somewhere.com/test/system": "u1",
    "Device?url=http://somewhere.com/test": "",
    "Device?url=urn://localhost/test": "u2",
    "Device?url=http://SOMEWHERE.com/test/system": "",
    "Device?url:below=http://somewhere.com": "u1",
    "Endpoint?status:not=active": "",
    "Observation?code-value-concept=token$code1": "t0 t3",
    f"Observation?code-value-concept=http://kind|token${S2}|code2": "t1 t3",
    "Observation?code-value-quantity=quantity$5": "q4 q5",
    "Observation?code-value-quantity=quantity$gt4|urn:s1|unit1": "q4",
    "Observation?code-value-quantity=token$5": "",
    "Observation?code-value-quantity=quantity$lt0.5,quantity$6": "q0 q6",
}
# search -> what comes along
ADAM = "Observation?_id=adam-loinc&_include=Observation:subject"
INCLUDED = {
    ADAM: "adam",
    "DiagnosticReport?code=loinc&_include=DiagnosticReport:patient&_include=DiagnosticReport:result": "adam bob adam-loinc bob-loinc",
    "DiagnosticReport?_id=r-adam-loinc&_include=DiagnosticReport:*": "adam adam-loinc",
    f"{ADAM}&_include:iterate=Patient:organization": "adam o1",
    f"{ADAM}&_include:iterate=Patient:organization&_include:iterate=Organization:partof": "adam o1 o2",
    "Patient?_id=bob&_revinclude=Observation:patient": "bob-loinc bob-snomed",
    "Organization?_id=o2&_revinclude=Patient:organization&_revinclude:iterate=DiagnosticReport:patient": "bob r-bob-loinc r-bob-snomed",
    "Observation?_id=bob-loinc&_revinclude=DiagnosticReport:result&_include=Observation:subject": "bob r-bob-loinc",
    "Patient?family=nobody&_revinclude=Observation:patient": "",
}
SORTED = {
    "Patient?_id=s0,s1,s2,s3&_sort=address-city,_id": "s1 s0 s3 s2",
    "Patient?_id=s0,s1,s2,s3&_sort=-address-city,-_id": "s2 s3 s0 s1",
    "Patient?_id=s0,s1,s3,s4&_sort=family": "s4 s3 s0 s1",
    "Observation?code=quantity&_sort=value-quantity,_id": "q0 q1 q2 q3 q4 q5 q6",
    "Observation?_id=d0,d6,d2&_sort=date": "d0 d2 d6",
    "Observation?_id=d0,d6,d2&_sort=-date": "d6 d2 d0",
    "Observation?code=token&_sort=-_id": "t4 t3 t2 t1 t0",
}


class Asked:
    def __init__(self, client: httpx.Client, base: str) -> None:
        self.client, self.base = client, base

    def __call__(self, search: str, mode: str = "match") -> list[list[str]]:
        """The ids by GET, and by POST _search."""
        rtype, _, query = search.replace("{base}", self.base).partition("?")
        pairs = [tuple(part.split("=", 1)) for part in query.split("&")]
        strict = {"prefer": "handling=strict"}
        got = self.client.get(f"{rtype}?{quote(query, safe='=&:,|')}", headers=strict)
        form = {"content-type": "application/x-www-form-urlencoded"}
        posted = self.client.post(f"{rtype}/_search", content=urlencode(pairs), headers=form | strict)  # type: ignore[arg-type]
        return [_ids(got, mode), _ids(posted, mode)]


def _ids(response: httpx.Response, mode: str) -> list[str]:
    if response.status_code != 200:
        return [f"({response.status_code})"]
    return [one["resource"]["id"] for one in response.json().get("entry", []) if one["search"]["mode"] == mode]


@pytest.fixture(scope="module")
def asked(web: Web) -> Iterator[Asked]:
    hospital: Hospital = hospital_make("cases")
    base = f"{web.address}/t/{hospital.slug}/fhir/r4"
    with httpx.Client(base_url=f"{base}/", headers={**hospital.auth, "content-type": FHIR_JSON}, timeout=30) as client:
        entries = [entry("PUT", f"{one['resourceType']}/{one['id']}", one) for one in WORLD]
        made = client.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": entries})
        assert made.status_code == 200, made.text
        yield Asked(client, base)


def test_what_is_found(asked: Asked) -> None:
    """ "the same cases as Microsoft's search tests, by type", by GET and by POST alike."""
    wrong = {}
    for search, expected in CASES.items():
        got, posted = (sorted(ids) for ids in asked(search))
        if not got == posted == sorted(expected.split()):
            wrong[search] = (got, posted)
    assert wrong == {}
    assert len(CASES) > 90


def test_what_comes_along(asked: Asked) -> None:
    """Microsoft's IncludeSearchTests: each once, and only what is asked for."""
    assert {search: [sorted(ids) for ids in asked(search, "include")] for search in INCLUDED} == {
        search: [sorted(ids.split())] * 2 for search, ids in INCLUDED.items()
    }


def test_in_which_order(asked: Asked) -> None:
    """Microsoft's SortTests."""
    assert {search: asked(search) for search in SORTED} == {search: [ids.split()] * 2 for search, ids in SORTED.items()}
