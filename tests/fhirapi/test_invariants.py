"""Each invariant of FHIR R4 that is decided here: a resource that keeps it, and one that breaks it and nothing else."""

from typing import Any

import pytest

from fhirapi.definitions.elements import definitions, shape
from fhirapi.definitions.elements_make import HELD
from fhirapi.validation import resource_validate
from fhirapi.validation.invariants import CHECKS, WALKED

UCUM = "http://unitsofmeasure.org"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
XHTML = 'xmlns="http://www.w3.org/1999/xhtml"'

Json = dict[str, Any]


def concept(system: str, code: str) -> Json:
    return {"coding": [{"system": f"{TERMINOLOGY}/{system}", "code": code}]}


def observation(**values: Any) -> Json:
    return {"resourceType": "Observation", "status": "final", "code": {"text": "x"}} | values


def quantity(**values: Any) -> Json:
    return observation(valueQuantity=values)


def extension(**value: Any) -> Json:
    return observation(extension=[{"url": "http://example.org/x", **value}])


def patient(**values: Any) -> Json:
    return {"resourceType": "Patient"} | values


def repeat(**values: Any) -> Json:
    return observation(valueString="x", effectiveTiming={"repeat": values})


def trigger(**values: Any) -> Json:
    return extension(valueTriggerDefinition=values)


def data_requirement(name: str, **values: Any) -> Json:
    return extension(valueDataRequirement={"type": "Patient", name: [values]})


def narrative(div: str) -> Json:
    return patient(text={"status": "generated", "div": div})


def holding(**contained: Any) -> Json:
    """A resource that contains another one and points at it."""
    return observation(subject={"reference": "#p"}, contained=[patient(id="p") | contained])


def allergy(**values: Any) -> Json:
    return {"resourceType": "AllergyIntolerance", "patient": {"reference": "Patient/1"}} | values


def condition(**values: Any) -> Json:
    return {"resourceType": "Condition", "subject": {"reference": "Patient/1"}} | values


def consent(code: str = "x", **values: Any) -> Json:
    scope = {"coding": [{"system": "something", "code": code}]}
    policy = {"policyRule": {"text": "x"}}
    return {"resourceType": "Consent", "status": "draft", "scope": scope, "category": [{"text": "x"}]} | policy | values


def group(**values: Any) -> Json:
    return {"resourceType": "Group", "type": "person", "actual": True} | values


def listing(**values: Any) -> Json:
    return {"resourceType": "List", "status": "current", "mode": "working"} | values


def task(**values: Any) -> Json:
    return {"resourceType": "Task", "status": "draft", "intent": "order"} | values


def audit(**values: Any) -> Json:
    return {
        "resourceType": "AuditEvent", "type": {"code": "rest"}, "recorded": "2026-01-01T00:00:00Z",
        "source": {"observer": {"display": "x"}},
        "agent": [{"requestor": True}], "entity": [values],
    }  # fmt: skip


def order(**values: Any) -> Json:
    base = {"resourceType": "ServiceRequest", "status": "draft", "intent": "order", "subject": {"reference": "Patient/1"}}
    return base | {"orderDetail": [{"text": "x"}]} | values


def parameter(**values: Any) -> Json:
    return {"resourceType": "Parameters", "parameter": [{"name": "x", **values}]}


def bundle(kind: str, *entries: Json, **values: Any) -> Json:
    return {"resourceType": "Bundle", "type": kind} | ({"entry": list(entries)} if entries else {}) | values


def document(**values: Any) -> Json:
    composition = {
        "resourceType": "Composition", "status": "final", "type": {"text": "x"}, "date": "2026", "author": [{"display": "x"}], "title": "x",
    }  # fmt: skip
    base = {"identifier": {"system": "a:b", "value": "1"}, "timestamp": "2026-01-01T00:00:00Z"}
    return {k: v for k, v in (bundle("document", {"resource": composition}) | base | values).items() if v is not None}


MESSAGE = {"resourceType": "MessageHeader", "eventUri": "a:b", "source": {"endpoint": "a:b"}}


def capability(kind: str = "requirements", **values: Any) -> Json:
    base = {
        "resourceType": "CapabilityStatement", "status": "draft", "date": "2026", "kind": kind, "fhirVersion": "4.0.1", "format": ["json"],
        "rest": [{"mode": "server"}], "description": "x",
    }  # fmt: skip
    return {k: v for k, v in (base | values).items() if v is not None}


RESPONSE = {"status": "200"}
REQUEST = {"method": "POST", "url": "Patient"}
CREATED = {"resource": patient(), "request": REQUEST, "response": RESPONSE}
SOFTWARE, IMPLEMENTATION = {"name": "x"}, {"description": "x"}
REST = {"type": "Patient", "interaction": [{"code": "read"}]}
PARAM = {"name": "a", "type": "token"}
NEVER, ENTERED = (
    concept("condition-ver-status", "entered-in-error"),
    concept("allergyintolerance-verification", "entered-in-error"),
)
ACTIVE, RESOLVED = concept("condition-clinical", "active"), concept("condition-clinical", "resolved")
ALLERGIC = concept("allergyintolerance-clinical", "active")
MILLIGRAM = {"value": 1, "system": UCUM, "code": "mg"}
ORGANIZATION = {"resourceType": "Organization", "name": "x"}

# (where, key, a resource that keeps it, one that breaks it)
TABLE: list[tuple[str, str, Json, Json]] = [
    ("Element", "ele-1", patient(name=[{"id": "a", "family": "x"}]), patient(name=[{"id": "a"}])),
    ("Extension", "ext-1", extension(valueCode="x"), extension()),
    ("Extension", "ext-1", extension(extension=[{"url": "a", "valueCode": "x"}]),
     extension(valueCode="x", extension=[{"url": "a", "valueCode": "x"}])),
    ("Quantity", "qty-3", quantity(value=1, system=UCUM, code="mg"), quantity(value=1, code="mg")),
    ("SimpleQuantity", "sqty-1", observation(valueRange={"low": {"value": 1}}),
     observation(valueRange={"low": {"value": 1, "comparator": "<"}})),
    ("Age", "age-1", extension(valueAge={"value": 1, "system": UCUM, "code": "a"}),
     extension(valueAge={"value": 0, "system": UCUM, "code": "a"})),
    ("Age", "age-1", extension(valueAge={"unit": "x"}), extension(valueAge={"value": 1, "system": "a:b", "code": "a"})),
    ("Count", "cnt-3", extension(valueCount={"value": 2, "system": UCUM, "code": "1"}),
     extension(valueCount={"value": 2.5, "system": UCUM, "code": "1"})),
    ("Distance", "dis-1", extension(valueDistance={"value": 2, "system": UCUM, "code": "m"}), extension(valueDistance={"value": 2})),
    ("Duration", "drt-1", extension(valueDuration={"value": 2, "system": UCUM, "code": "h"}),
     extension(valueDuration={"system": UCUM, "code": "h"})),
    ("Range", "rng-2", observation(valueRange={"low": MILLIGRAM, "high": MILLIGRAM}),
     observation(valueRange={"low": MILLIGRAM | {"value": 2}, "high": MILLIGRAM})),
    ("Ratio", "rat-1", observation(valueRatio={"numerator": MILLIGRAM, "denominator": MILLIGRAM}),
     observation(valueRatio={"numerator": MILLIGRAM})),
    ("Period", "per-1", observation(effectivePeriod={"start": "2026-01-01T10:00:00+02:00", "end": "2026-01-01T09:00:00Z"}),
     observation(effectivePeriod={"start": "2026-01-02", "end": "2026-01-01T23:00:00Z"})),
    ("Period", "per-1", observation(effectivePeriod={"start": "2026", "end": "2026"}),
     observation(effectivePeriod={"start": "2026", "end": "2026-05"})),
    ("Attachment", "att-1", patient(photo=[{"contentType": "image/png", "data": "AAAA"}]), patient(photo=[{"data": "AAAA"}])),
    ("ContactPoint", "cpt-2", patient(telecom=[{"system": "phone", "value": "1"}]), patient(telecom=[{"value": "1"}])),
    ("Expression", "exp-1", extension(valueExpression={"language": "text/cql", "reference": "a:b"}),
     extension(valueExpression={"language": "text/cql"})),
    ("DataRequirement.codeFilter", "drq-1", data_requirement("codeFilter", path="a"),
     data_requirement("codeFilter", path="a", searchParam="b")),
    ("DataRequirement.dateFilter", "drq-2", data_requirement("dateFilter", path="a"), data_requirement("dateFilter", valueDateTime="2026")),
    ("Timing.repeat", "tim-1", repeat(duration=1, durationUnit="h"), repeat(duration=1)),
    ("Timing.repeat", "tim-2", repeat(period=1, periodUnit="h"), repeat(period=1)),
    ("Timing.repeat", "tim-4", repeat(duration=0, durationUnit="h"), repeat(duration=-1, durationUnit="h")),
    ("Timing.repeat", "tim-5", repeat(period=0, periodUnit="h"), repeat(period=-1, periodUnit="h")),
    ("Timing.repeat", "tim-6", repeat(period=1, periodMax=2, periodUnit="h"), repeat(periodMax=2)),
    ("Timing.repeat", "tim-7", repeat(duration=1, durationMax=2, durationUnit="h"), repeat(durationMax=2)),
    ("Timing.repeat", "tim-8", repeat(count=1, countMax=2), repeat(countMax=2)),
    ("Timing.repeat", "tim-9", repeat(offset=1, when=["HS"]), repeat(offset=1, when=["CM"])),
    ("Timing.repeat", "tim-10", repeat(timeOfDay=["10:00:00"]), repeat(timeOfDay=["10:00:00"], when=["HS"])),
    ("TriggerDefinition", "trd-1", trigger(type="periodic", timingDate="2026"),
     trigger(type="periodic", timingDate="2026", data=[{"type": "Patient"}])),
    ("TriggerDefinition", "trd-2", trigger(type="data-added", data=[{"type": "Patient"}], condition={"language": "a", "expression": "b"}),
     trigger(type="named-event", name="x", condition={"language": "text/cql", "expression": "b"})),
    ("TriggerDefinition", "trd-3", trigger(type="named-event", name="x"), trigger(type="named-event")),
    ("Narrative.div", "txt-1", narrative(f"<div {XHTML}>x</div>"), narrative(f"<div {XHTML}>x<embed/></div>")),
    ("Narrative.div", "txt-2", narrative(f'<div {XHTML}><img src="a"/></div>'), narrative(f"<div {XHTML}> </div>")),
    ("Reference", "ref-1", holding(), observation(subject={"reference": "#p"})),
    ("DomainResource", "dom-2", holding(), holding(contained=[patient(id="q", managingOrganization={"reference": "#"})])),
    ("DomainResource", "dom-3", holding(), observation(contained=[patient(id="p")])),
    ("DomainResource", "dom-4", holding(meta={"source": "a:b"}), holding(meta={"versionId": "1"})),
    ("DomainResource", "dom-5", holding(meta={"tag": [{"code": "x"}]}), holding(meta={"security": [{"code": "x"}]})),
    ("DomainResource", "dom-6", narrative(f"<div {XHTML}>x</div>"), patient()),
    ("AllergyIntolerance", "ait-1", allergy(clinicalStatus=ALLERGIC), allergy()),
    ("AllergyIntolerance", "ait-2", allergy(verificationStatus=ENTERED), allergy(verificationStatus=ENTERED, clinicalStatus=ALLERGIC)),
    ("AuditEvent.entity", "sev-1", audit(name="x"), audit(name="x", query="AAAA")),
    ("Condition", "con-3", condition(clinicalStatus=ACTIVE, category=[concept("condition-category", "problem-list-item")]),
     condition(category=[concept("condition-category", "problem-list-item")])),
    ("Condition", "con-4", condition(clinicalStatus=RESOLVED, abatementString="x"), condition(clinicalStatus=ACTIVE, abatementString="x")),
    ("Condition", "con-5", condition(verificationStatus=NEVER), condition(verificationStatus=NEVER, clinicalStatus=ACTIVE)),
    ("Condition.evidence", "con-2", condition(evidence=[{"code": [{"text": "x"}]}]), condition(evidence=[{"id": "a", "extension": [
        {"url": "a:b", "valueCode": "x"}]}])),
    ("Condition.stage", "con-1", condition(stage=[{"summary": {"text": "x"}}]), condition(stage=[{"type": {"text": "x"}}])),
    ("Consent", "ppc-1", consent(), {key: value for key, value in consent().items() if key != "policyRule"}),
    ("Consent", "ppc-2", consent("patient-privacy", patient={"reference": "Patient/1"}), consent("patient-privacy")),
    ("Consent", "ppc-3", consent("research", patient={"reference": "Patient/1"}), consent("research")),
    ("Consent", "ppc-4", consent("adr", patient={"reference": "Patient/1"}), consent("adr")),
    ("Consent", "ppc-5", consent("treatment", patient={"reference": "Patient/1"}), consent("treatment")),
    ("Group", "grp-1", group(member=[{"entity": {"reference": "Patient/1"}}]),
     group(actual=False, member=[{"entity": {"reference": "Patient/1"}}])),
    ("List", "lst-1", listing(emptyReason={"text": "x"}), listing(emptyReason={"text": "x"}, entry=[{"item": {"display": "x"}}])),
    ("List", "lst-2", listing(mode="changes", entry=[{"item": {"display": "x"}, "deleted": True}]),
     listing(entry=[{"item": {"display": "x"}, "deleted": True}])),
    ("List", "lst-3", listing(entry=[{"item": {"display": "x"}, "date": "2026"}]),
     listing(mode="changes", entry=[{"item": {"display": "x"}, "date": "2026"}])),
    ("Observation", "obs-6", observation(dataAbsentReason={"text": "x"}), observation(dataAbsentReason={"text": "x"}, valueString="x")),
    ("Observation", "obs-7", observation(code=concept("a", "b"), component=[{"code": concept("a", "b")}]),
     observation(code=concept("a", "b"), component=[{"code": concept("a", "b")}], valueString="x")),
    ("Observation.referenceRange", "obs-3", observation(referenceRange=[{"text": "x"}]),
     observation(referenceRange=[{"type": {"text": "x"}}])),
    ("Organization", "org-1", ORGANIZATION, {"resourceType": "Organization", "active": True}),
    ("Organization.address", "org-2", ORGANIZATION | {"address": [{"use": "work"}]}, ORGANIZATION | {"address": [{"use": "home"}]}),
    ("Organization.telecom", "org-3", ORGANIZATION | {"telecom": [{"use": "work"}]}, ORGANIZATION | {"telecom": [{"use": "home"}]}),
    ("Parameters.parameter", "inv-1", parameter(valueCode="x"), parameter(valueCode="x", resource=patient())),
    ("Parameters.parameter", "inv-1", parameter(part=[{"name": "y", "resource": patient()}]), parameter(part=[{"name": "y"}])),
    ("Patient.contact", "pat-1", patient(contact=[{"name": {"text": "x"}}]), patient(contact=[{"gender": "male"}])),
    ("ServiceRequest", "prr-1", order(code={"text": "x"}), order()),
    ("Task", "inv-1", task(authoredOn="2026-01-01", lastModified="2026-01-01"), task(authoredOn="2026-01-02", lastModified="2026-01-01")),
    ("Bundle", "bdl-1", bundle("searchset", total=1), bundle("collection", total=1)),
    ("Bundle", "bdl-2", bundle("searchset", {"resource": patient(), "search": {"mode": "match"}}),
     bundle("collection", {"resource": patient(), "search": {"mode": "match"}})),
    ("Bundle", "bdl-3", bundle("batch", {"resource": patient(), "request": REQUEST}), bundle("batch", {"resource": patient()})),
    ("Bundle", "bdl-3", bundle("history", CREATED), bundle("collection", {"resource": patient(), "request": REQUEST})),
    ("Bundle", "bdl-4", bundle("batch-response", {"response": RESPONSE}), bundle("batch-response", {"resource": patient()})),
    ("Bundle", "bdl-5", bundle("collection", {"resource": patient()}), bundle("collection", {"fullUrl": "urn:x"})),
    ("Bundle", "bdl-7", bundle("history", CREATED | {"fullUrl": "urn:x"}, CREATED | {"fullUrl": "urn:x"}),
     bundle("collection", {"fullUrl": "urn:x", "resource": patient()}, {"fullUrl": "urn:x", "resource": patient()})),
    ("Bundle.entry", "bdl-8", bundle("collection", {"fullUrl": "http://a.b/Patient/1", "resource": patient()}),
     bundle("collection", {"fullUrl": "http://a.b/Patient/1/_history/1", "resource": patient()})),
    ("Bundle", "bdl-9", document(), document(identifier=None)),
    ("Bundle", "bdl-10", document(), document(timestamp=None)),
    ("Bundle", "bdl-11", document(), document(entry=[{"resource": patient()}])),
    ("Bundle", "bdl-12", bundle("message", {"resource": MESSAGE}), bundle("message", {"resource": patient()})),
    ("CapabilityStatement", "cpb-0", capability(name="Hub"), capability(name="a hub")),
    ("CapabilityStatement", "cpb-1", capability(), capability(rest=None)),
    ("CapabilityStatement", "cpb-2", capability(), capability(description=None)),
    ("CapabilityStatement", "cpb-3", capability(messaging=[{"documentation": "x"}]),
     capability(messaging=[{"endpoint": [{"protocol": {"code": "http"}, "address": "a:b"}]}])),
    ("CapabilityStatement", "cpb-7", capability(document=[{"mode": "producer", "profile": "a:b"}]),
     capability(document=[{"mode": "producer", "profile": "a:b"}, {"mode": "producer", "profile": "a:b"}])),
    ("CapabilityStatement", "cpb-14", capability("instance", implementation=IMPLEMENTATION), capability("instance")),
    ("CapabilityStatement", "cpb-15", capability("capability", software=SOFTWARE), capability("capability")),
    ("CapabilityStatement", "cpb-16", capability(), capability(software=SOFTWARE)),
    ("CapabilityStatement.rest", "cpb-9", capability(rest=[{"mode": "server", "resource": [REST]}]),
     capability(rest=[{"mode": "server", "resource": [REST, REST]}])),
    ("CapabilityStatement.rest.resource", "cpb-12", capability(rest=[{"mode": "server", "resource": [REST | {"searchParam": [PARAM]}]}]),
     capability(rest=[{"mode": "server", "resource": [REST | {"searchParam": [PARAM, PARAM]}]}])),
]  # fmt: skip


def broken(resource: Json) -> set[str]:
    """The keys of the invariants that this resource breaks; anything else that is wrong with it stands there in its words."""
    found = set()
    for issue in resource_validate(resource=resource):
        words = issue.diagnostics
        key = words.partition(" breaks ")[2].partition(":")[0] or words.partition("(")[2].partition(")")[0] or words
        found.add(key)
    return found - {"dom-6"}


@pytest.mark.parametrize(("key", "kept", "breach"), [row[1:] for row in TABLE], ids=[f"{row[0]}-{row[1]}" for row in TABLE])
def test_an_invariant(key: str, kept: Json, breach: Json) -> None:
    """ "invariants table test: for each one a passing and a failing resource"."""
    if key == "dom-6":
        assert [len(resource_validate(resource=resource)) for resource in (kept, breach)] == [0, 1]
    else:
        assert (broken(kept), broken(breach)) == (set(), {key})


def reachable() -> set[str]:
    """The types held and all types, data types and backbone elements that they use."""
    todo, seen = list(HELD), {"Resource"}
    while todo:
        if (name := todo.pop()) not in seen and name in definitions()["types"]:
            seen.add(name)
            todo += [member.kind for member in shape(name).members.values()] + list(shape(name).bases)
    return seen


def test_each_error_invariant_is_decided() -> None:
    """ "each error invariant is either implemented or on a short list with its reason": the list is empty, warnings included."""
    wanted = set()
    for path, key, *_ in definitions()["invariants"]:
        owner = path if path in definitions()["types"] else path.rpartition(".")[0]
        if owner in reachable() and key not in WALKED and not path.endswith(".extension"):
            wanted.add((path, key))
    assert wanted == set(CHECKS)
    assert {key for _, key in wanted} | WALKED == {row[1] for row in TABLE}
