"""The cases of the known end-to-end suites, by kind of parameter: one world, one line a case."""

from typing import Any
from urllib.parse import quote

import pytest

from fhirapi.store import resources_put
from tests.conftest import Hospital
from tests.fhirapi.conftest import Fhir

UCUM, LOINC, SCT = "http://unitsofmeasure.org", "http://loinc.org", "http://snomed.info/sct"
CONDITION = "http://terminology.hl7.org/CodeSystem/condition-clinical"


def concept(code: str, system: str = LOINC, **more: Any) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code} | ({"display": more["display"]} if "display" in more else {})]} | (
        {"text": more["text"]} if "text" in more else {}
    )


def observation(fhir_id: str, patient: str, code: str, date: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation", "id": fhir_id, "status": "final", "code": concept(code), "effectiveDateTime": date,
        "subject": {"reference": f"Patient/{patient}"},
    } | more  # fmt: skip


def kilos(value: float, **more: Any) -> dict[str, Any]:
    return {"valueQuantity": {"value": value, "unit": "kilo", "system": UCUM, "code": "kg"} | more}


def component(code: str, value: float, unit: str = "mm[Hg]") -> dict[str, Any]:
    return {"code": concept(code), "valueQuantity": {"value": value, "unit": unit, "system": UCUM, "code": unit}}


def patient(fhir_id: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": fhir_id} | more


V2_TYPE = "http://terminology.hl7.org/CodeSystem/v2-0203"
WORLD: list[dict[str, Any]] = [
    {"resourceType": "Organization", "id": "top", "name": "Mercy Health", "identifier": [{"system": "urn:o", "value": "TOP"}]},
    {"resourceType": "Organization", "id": "ward", "name": "Ward 5", "partOf": {"reference": "Organization/top"}},
    patient(
        "jane", gender="female", birthDate="1970-01-02", active=True, managingOrganization={"reference": "Organization/ward"},
        name=[{"family": "Müller-Süß", "given": ["Jane", "Ann"], "text": "Jane Ann Müller-Süß"}],
        address=[{"line": ["1 Main St"], "city": "Seattle", "state": "WA", "postalCode": "98101", "country": "US", "use": "home"}],
        telecom=[{"system": "phone", "value": "555-1234"}, {"system": "email", "value": "jane@example.org"}],
        identifier=[{"type": concept("MR", V2_TYPE, text="Medical record"), "system": "urn:mrn", "value": "123"}],
        meta={"profile": ["http://x.org/fhir/StructureDefinition/p|1.0"], "source": "urn:src:a/b",
              "tag": [{"system": "urn:tags", "code": "t1"}], "security": [{"system": "urn:sec", "code": "R"}]},
    ),
    patient("john", gender="male", birthDate="1980", name=[{"family": "Smith", "given": ["John"]}], deceasedBoolean=True,
            identifier=[{"system": "urn:mrn", "value": "124"}], managingOrganization={"reference": "Organization/top"}),
    patient("jo", birthDate="1980-05", name=[{"family": "smithson", "given": ["Jo"]}], deceasedDateTime="2020-02-03"),
    patient("kim", gender="other", name=[{"family": "SMITH"}], link=[{"other": {"reference": "Patient/john"}, "type": "seealso"}]),
    observation("w1", "jane", "29463-7", "2026-01-01T10:00:00Z", **kilos(60.0), issued="2026-01-01T10:00:00.000Z",
                category=[concept("vital-signs", "http://terminology.hl7.org/CodeSystem/observation-category", display="Vital Signs")]),
    observation("w2", "jane", "29463-7", "2026-02-01T10:00:00Z", **kilos(60.4), status="amended",
                performer=[{"reference": "Organization/ward"}]),
    observation("w3", "john", "29463-7", "2026-02", **kilos(80), performer=[{"reference": "Practitioner/who"}]),
    observation("g", "john", "29463-7", "2025", valueQuantity={"value": 60, "system": UCUM, "code": "g"}),
    observation("low", "jo", "29463-7", "2024-06-15", valueQuantity={"value": 5, "comparator": "<", "unit": "kg"}),
    observation("bp1", "jane", "85354-9", "2026-03-01T00:00:00+02:00", component=[component("8480-6", 120), component("8462-4", 80)]),
    observation("bp2", "john", "85354-9", "2026-03-02T12:30:00Z", component=[component("8480-6", 80), component("8462-4", 60)]),
    observation("smoke", "jane", "72166-2", "2026-01-05",
                valueCodeableConcept=concept("8517006", SCT, display="Ex-smoker", text="Stopped smoking")),
    observation("words", "jo", "text-1", "2026-01-06", valueString="Nothing of note"),
    {"resourceType": "Observation", "id": "nodate", "status": "final", "code": {"text": "free text only"},
     "subject": {"identifier": {"system": "urn:mrn", "value": "999"}}},
    {"resourceType": "Encounter", "id": "stay", "status": "finished", "class": {"code": "IMP"}, "subject": {"reference": "Patient/jane"},
     "period": {"start": "2026-01-01", "end": "2026-01-10"}, "length": {"value": 9, "unit": "d", "system": UCUM, "code": "d"}},
    {"resourceType": "Encounter", "id": "open", "status": "in-progress", "class": {"code": "IMP"}, "subject": {"reference": "Patient/john"},
     "period": {"start": "2026-02-01"}},
    {"resourceType": "DiagnosticReport", "id": "report", "status": "final", "code": concept("24627-2"),
     "subject": {"reference": "Patient/jane"},
     "result": [{"reference": "Observation/w1"}, {"reference": "Observation/w2"}], "imagingStudy": [{"reference": "ImagingStudy/ct"}]},
    {"resourceType": "DiagnosticReport", "id": "orphan", "status": "partial", "code": concept("1"),
     "subject": {"reference": "Patient/gone"}},
    {"resourceType": "ImagingStudy", "id": "ct", "status": "available", "subject": {"reference": "Patient/jane"}, "started": "2026-01-01"},
    {"resourceType": "Device", "id": "pump", "url": "http://acme.org/devices/pump/7"},
    {"resourceType": "Device", "id": "valve", "url": "http://acme.org/devices"},
    {"resourceType": "Location", "id": "er", "status": "active", "position": {"latitude": 47.6062, "longitude": -122.3321}},
    {"resourceType": "Location", "id": "far", "status": "active", "position": {"latitude": 45.5152, "longitude": -122.6784}},
    {"resourceType": "Group", "id": "cohort", "type": "person", "actual": True, "member": [{"entity": {"reference": "Patient/jane"}}],
     "characteristic": [{"code": concept("a"), "valueBoolean": True, "exclude": False},
                        {"code": concept("b"), "valueCodeableConcept": concept("yes"), "exclude": False}]},
    {"resourceType": "List", "id": "watch", "status": "current", "mode": "working",
     "entry": [{"item": {"reference": "Patient/jane"}}, {"item": {"reference": "Patient/kim"}}, {"item": {"reference": "Observation/w3"}}]},
    {"resourceType": "Condition", "id": "c1", "subject": {"reference": "Patient/jane"}, "code": concept("44054006", SCT),
     "clinicalStatus": concept("active", CONDITION), "onsetAge": {"value": 40, "system": UCUM, "code": "a"}},
    {"resourceType": "Condition", "id": "c2", "subject": {"reference": "Patient/john"}, "code": concept("44054006", SCT),
     "onsetRange": {"low": {"value": 30, "system": UCUM, "code": "a"}, "high": {"value": 35, "system": UCUM, "code": "a"}}},
    {"resourceType": "DocumentReference", "id": "doc", "status": "current", "content": [{"attachment": {"url": "http://x.org/doc/1"}}],
     "relatesTo": [{"code": "replaces", "target": {"reference": "DocumentReference/old"}}]},
]  # fmt: skip

# search -> ids, in any order
CASES = {
    # string: starts with, without case and accents; :exact, :contains; or, and
    "Patient?family=smith": "john jo kim",
    "Patient?family=SMITH": "john jo kim",
    "Patient?family:exact=SMITH": "kim",
    "Patient?family:exact=smith": "",
    "Patient?family:contains=mith": "john jo kim",
    "Patient?family:contains=thso": "jo",
    "Patient?family=mith": "",
    "Patient?family=muller": "jane",
    "Patient?family=müller-süss": "jane",
    "Patient?name=ann": "jane",
    "Patient?name=john,jane": "jane john",
    "Patient?name=jane&name=muller": "jane",
    "Patient?given=jo": "john jo",
    "Patient?address=seattle": "jane",
    "Patient?address-city=Sea": "jane",
    "Patient?address-postalcode=98101": "jane",
    "Patient?name=jane%20ann": "jane",
    "Patient?family:missing=true": "",
    "Observation?value-string=nothing": "words",
    "Patient?family=smi\\,th": "",
    "Organization?name=Mercy": "top",
    # token
    "Patient?gender=female": "jane",
    "Patient?gender=http://hl7.org/fhir/administrative-gender|female": "jane",
    "Patient?gender=http://hl7.org/fhir/administrative-gender|": "jane john kim",
    "Patient?gender=|male": "john",
    "Patient?gender=urn:x|female": "",
    "Patient?gender=Female": "",
    "Patient?gender:not=female": "john jo kim",
    "Patient?gender:not=female,male": "jo kim",
    "Patient?gender:missing=true": "jo",
    "Patient?gender:missing=false": "jane john kim",
    "Patient?gender:in=http://hl7.org/fhir/ValueSet/administrative-gender": "jane john kim",
    "Patient?gender:not-in=http://hl7.org/fhir/ValueSet/administrative-gender": "jo",
    "Patient?active=true": "jane",
    "Patient?active=false": "",
    "Patient?deceased=true": "john jo",
    "Patient?deceased=false": "jane kim",
    "Patient?identifier=123": "jane",
    "Patient?identifier=urn:mrn|": "jane john",
    "Patient?identifier=urn:mrn|123,urn:mrn|124": "jane john",
    "Patient?identifier=|123": "",
    "Patient?identifier:not=123": "john jo kim",
    f"Patient?identifier:of-type={V2_TYPE}|MR|123": "jane",
    f"Patient?identifier:of-type={V2_TYPE}|MR|124": "",
    f"Patient?identifier:of-type={V2_TYPE}|SS|123": "",
    "Patient?identifier:text=medical": "jane",
    "Patient?identifier:text=record": "jane",
    "Patient?email=jane@example.org": "jane",
    "Patient?phone=jane@example.org": "",
    "Patient?telecom=555-1234": "jane",
    "Patient?telecom=phone|555-1234": "jane",
    "Patient?telecom=fax|555-1234": "",
    "Patient?_tag=t1": "jane",
    "Patient?_tag=urn:tags|t1": "jane",
    "Patient?_security=urn:sec|R": "jane",
    "Patient?_tag:not=t1": "john jo kim",
    "Observation?code:text=free": "nodate",
    "Observation?code:text=ree": "",
    "Observation?code:text=text": "nodate",
    "Observation?value-concept=8517006": "smoke",
    "Observation?value-concept:text=ex-smoker": "smoke",
    "Observation?value-concept:text=smoking": "smoke",
    "Observation?category:text=vital": "w1",
    "Observation?combo-code=8480-6": "bp1 bp2",
    "Observation?component-code=8480-6": "bp1 bp2",
    "Observation?code=8480-6": "",
    "Observation?combo-code=85354-9": "bp1 bp2",
    "Condition?clinical-status=active": "c1",
    # uri
    "Patient?_profile=http://x.org/fhir/StructureDefinition/p": "jane",
    "Patient?_profile=http://x.org/fhir/StructureDefinition/p|1.0": "jane",
    "Patient?_profile=http://x.org/fhir/StructureDefinition/q": "",
    "Patient?_source=urn:src:a/b": "jane",
    "Patient?_source=urn:src:a": "",
    "Device?url=http://acme.org/devices": "valve",
    "Device?url:below=http://acme.org/devices": "pump valve",
    "Device?url=http://ACME.org/devices": "",
    "Device?url:above=http://acme.org/devices/pump/7": "pump valve",
    "Device?url:above=http://acme.org/devices": "valve",
    "DocumentReference?location=http://x.org/doc/1": "doc",
    # reference
    "Observation?subject=Patient/john": "w3 g bp2",
    "Observation?subject=john": "w3 g bp2",
    "Observation?subject:Patient=john": "w3 g bp2",
    "Observation?subject=Device/john": "",
    "Observation?subject:Device=john": "",
    "Observation?patient=john": "w3 g bp2",
    "Observation?subject:identifier=urn:mrn|999": "nodate",
    "Observation?subject:identifier=123": "",
    "Observation?patient:missing=true": "",
    "Observation?performer=ward": "w2",
    "Observation?performer=Practitioner/who": "w3",
    "Observation?performer=Organization/who": "",
    "Observation?performer=ward,who": "w2 w3",
    "Observation?performer:missing=false": "w2 w3",
    "Patient?link=john": "kim",
    "DiagnosticReport?imagingStudy=ct": "report",
    "DiagnosticReport?imagingStudy=ImagingStudy/ct": "report",
    "Observation?subject=https://elsewhere.org/Patient/john": "",
    # date: eq is containment
    "Patient?birthdate=1970-01-02": "jane",
    "Patient?birthdate=1970": "jane",
    "Patient?birthdate=1980": "john jo",
    "Patient?birthdate=1980-05": "jo",
    "Patient?birthdate=gt1980": "",
    "Patient?birthdate=ge1980": "john jo",
    "Patient?birthdate=lt1980-05": "jane john",
    "Patient?birthdate=le1980-05": "jane john jo",
    "Patient?birthdate=ne1980": "jane",
    "Patient?birthdate=sa1979": "john jo",
    "Patient?birthdate=eb1980": "jane",
    "Patient?birthdate=ge1970&birthdate=lt1971": "jane",
    "Patient?death-date=2020-02-03": "jo",
    "Observation?date=2026-02": "w2 w3 bp1",
    "Observation?date=2026-02-01": "w2",
    "Observation?date=2026-02-01T10:00:00Z": "w2",
    "Observation?date=2026-02-01T11:00:00%2B01:00": "w2",
    "Observation?date=2026-02-01T10:00Z": "w2",
    "Observation?date=2026-02-01T10:00:01Z": "",
    "Observation?date=gt2026-02-01T10:00:00Z": "w3 bp1 bp2",
    "Observation?date=2026": "w1 w2 w3 bp1 bp2 smoke words",
    "Observation?date=2025": "g",
    "Observation?date=2025-06": "",
    "Observation?date=ge2025-06": "w1 w2 w3 g bp1 bp2 smoke words",
    "Observation?date=sa2025": "w1 w2 w3 bp1 bp2 smoke words",
    "Observation?date=eb2025": "low",
    "Observation?date=lt2025-02": "g low",
    "Observation?date:missing=true": "nodate",
    "Observation?date=2026-02-28T16:00:00": "bp1",  # the hospital's clock, Chicago
    "Encounter?date=2026-01": "stay",
    "Encounter?date=2026-01-05": "",
    "Encounter?date=ge2026-01-05": "stay open",
    "Encounter?date=gt2026-01-10": "open",
    "Encounter?date=lt2026-01-05": "stay",
    "Encounter?date=eb2026-01-11": "stay",
    "Encounter?date=sa2026-01-15": "open",
    "Encounter?date=ge2030": "open",
    "Encounter?date=eb2030": "stay",
    # quantity
    "Observation?value-quantity=60": "w1 w2 g",
    "Observation?value-quantity=60.0": "w1 g",
    "Observation?value-quantity=60.4": "w2",
    f"Observation?value-quantity=60|{UCUM}|kg": "w1 w2",
    f"Observation?value-quantity=60|{UCUM}|g": "g",
    "Observation?value-quantity=60||kg": "w1 w2",
    "Observation?value-quantity=60||kilo": "w1 w2",
    f"Observation?value-quantity=gt60|{UCUM}|kg": "w2 w3",
    f"Observation?value-quantity=ge60|{UCUM}|kg": "w1 w2 w3",
    "Observation?value-quantity=lt60": "low",
    "Observation?value-quantity=le60||kg": "w1 low",
    f"Observation?value-quantity=ne60|{UCUM}|kg": "w3",
    "Observation?value-quantity=ap62||kg": "w1 w2",
    "Observation?value-quantity=sa60||kg": "w2 w3",
    "Observation?value-quantity=6e1": "w1 w2 g",
    "Observation?value-quantity=60,80": "w1 w2 g w3",
    "Observation?value-quantity=60|urn:other|kg": "",
    "Observation?component-value-quantity=120": "bp1",
    "Observation?combo-value-quantity=80": "w3 bp1 bp2",
    "Encounter?length=9||d": "stay",
    "Encounter?length=gt1||d": "stay",
    "Condition?onset-age=40||a": "c1",
    "Condition?onset-age=ge32": "c1 c2",
    "Condition?onset-age=lt35||a": "c2",
    "Condition?onset-age=sa36": "c1",
    # composite
    "Observation?code-value-quantity=29463-7$60": "w1 w2 g",
    f"Observation?code-value-quantity={LOINC}|29463-7$gt60|{UCUM}|kg": "w2 w3",
    "Observation?code-value-quantity=85354-9$80": "",
    f"Observation?component-code-value-quantity={LOINC}|8480-6$gt100": "bp1",
    "Observation?component-code-value-quantity=8480-6$80": "bp2",
    "Observation?component-code-value-quantity=8462-4$80": "bp1",
    "Observation?component-code-value-quantity=8462-4$80,8480-6$80": "bp1 bp2",
    "Observation?combo-code-value-quantity=29463-7$80": "w3",
    "Observation?combo-code-value-quantity=8480-6$lt100": "bp2",
    "Observation?code-value-concept=72166-2$8517006": "smoke",
    f"Observation?code-value-concept=72166-2${SCT}|8517006": "smoke",
    "Observation?code-value-concept=29463-7$8517006": "",
    "Observation?code-value-string=text-1$nothing": "words",
    "Group?characteristic-value=a$true": "cohort",
    "Group?characteristic-value=b$true": "",
    f"Group?characteristic-value={LOINC}|b$yes": "cohort",
    "Group?characteristic-value=a$yes": "",
    "DocumentReference?relationship=replaces$DocumentReference/old": "doc",
    "DocumentReference?relationship=appends$DocumentReference/old": "",
    "DocumentReference?relationship=replaces$old": "doc",
    # near
    "Location?near=47.61|-122.33|5|km": "er",
    "Location?near=47.61|-122.33|300|km": "er far",
    "Location?near=47.61|-122.33|100|mi": "er",
    # chaining and _has
    "Observation?subject:Patient.name=smith": "w3 g bp2 low words",
    "Observation?subject.name=müller": "w1 w2 bp1 smoke",
    "Observation?patient.identifier=urn:mrn|124": "w3 g bp2",
    "Observation?patient.gender=female&code=85354-9": "bp1",
    "Observation?patient._id=jo": "low words",
    "Observation?patient.organization.name=ward": "w1 w2 bp1 smoke",
    "Observation?patient.organization.partof.name=mercy": "w1 w2 bp1 smoke",
    "DiagnosticReport?result.value-quantity=60.4": "report",
    "DiagnosticReport?result.code:not=29463-7": "",
    "DiagnosticReport?patient.gender:missing=true": "",
    "DiagnosticReport?subject:Patient.birthdate=1970": "report",
    "Patient?_has:Observation:patient:code=85354-9": "jane john",
    "Patient?_has:Observation:subject:value-quantity=gt70": "john",
    "Patient?_has:DiagnosticReport:patient:result.value-quantity=60.4": "jane",
    "Patient?_has:Group:member:type=person": "jane",
    "Observation?_has:DiagnosticReport:result:status=final": "w1 w2",
    "Organization?_has:Patient:organization:_has:Observation:patient:code=72166-2": "ward",
    "Patient?_has:Patient:link:gender=other": "john",
    "Patient?_has:Observation:patient:code=none": "",
    "Patient?_has:Observation:patient:code=85354-9&gender=male": "john",
    # _list, _id, several at once
    "Patient?_list=watch": "jane kim",
    "Observation?_list=watch": "w3",
    "Patient?_list=none": "",
    "Patient?_list=watch&gender=other": "kim",
    "Patient?_id=jane,john,none": "jane john",
    "Patient?_id=jane&gender=male": "",
    "Observation?code=29463-7&status=amended": "w2",
    "Observation?code=29463-7&subject=jane&date=ge2026-01-15": "w2",
    "Observation?status:not=final": "w2",
    "Patient": "jane john jo kim",
}


@pytest.fixture
def filled(mercy: Hospital) -> Fhir:
    with mercy.scope():
        resources_put(resources=WORLD)
    return Fhir(mercy)


def test_cases(filled: Fhir) -> None:
    """ "token, string, reference, date, number, quantity, uri, composite; modifiers ...; prefixes; chaining, `_has`, `_list`"."""
    wrong = {}
    for search, expected in CASES.items():
        rtype, _, query = search.partition("?")
        response = filled.get(f"{rtype}?{quote(query, safe='=&%:,')}", prefer="handling=strict")
        found = [entry["resource"]["id"] for entry in response.json().get("entry", []) if "id" in entry["resource"]]
        if response.status_code != 200 or sorted(found) != sorted(expected.split()):
            wrong[search] = (response.status_code, found)
    assert wrong == {}


def test_counts_agree(filled: Fhir) -> None:
    """ "`_total`, `_summary=count`": the same number, however it is asked for."""
    for search, expected in CASES.items():
        rtype, _, query = search.partition("?")
        bundle = filled.search(rtype, f"{quote(query, safe='=&%:,')}&_summary=count")
        assert bundle["total"] == len(expected.split()), search
        assert "entry" not in bundle
