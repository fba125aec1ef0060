"""The invariants of FHIR R4 4.0.1 for the types held and the data types they use, by hand from their FHIRPath.

Key, words and severity come from the definitions; here stands only how each is decided. A function gets the object and the
resource that contained references of it mean. What it is given may be malformed: the walk takes its TypeError for "said already".
"""

import base64
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import orjson

from fhirapi.definitions.elements import definitions, shape

Node = dict[str, Any]
Check = Callable[[Node, Node], bool]

ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
NAME = re.compile(r"[A-Z][A-Za-z0-9_]{0,254}")
UCUM = "http://unitsofmeasure.org"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"


@dataclass(frozen=True, kw_only=True, slots=True)
class Invariant:
    """One rule of the specification and how it is decided: `check(node, root)` is true when it is kept."""

    key: str
    severity: str
    human: str
    check: Check


def _has(node: Node, *names: str) -> bool:
    """Any of these elements exists, if only by its extensions."""
    return any(name in node or f"_{name}" in node for name in names)


def _has_choice(node: Node, name: str) -> bool:
    """The element of value[x] form exists in whatever type."""
    return any(key.startswith((name, f"_{name}")) for key in node)


def _list(node: Node, name: str) -> list[Any]:
    found = node.get(name)
    return found if isinstance(found, list) else []


def _with(name: str, needed: str) -> Check:
    """`name` only together with `needed`."""
    return lambda node, root: not _has(node, name) or _has(node, needed)


def _not_both(name: str, other: str) -> Check:
    return lambda node, root: not (_has(node, name) and _has(node, other))


def _one_of(*names: str) -> Check:
    return lambda node, root: _has(node, *names)


def _either(name: str, other: str) -> Check:
    return lambda node, root: _has(node, name) != _has(node, other)


def _not_negative(name: str) -> Check:
    return lambda node, root: name not in node or node[name] >= 0


def _is_distinct(values: Iterable[Any]) -> bool:
    found = list(values)
    return len(found) == len(set(found))


def _has_coding(concept: Any, system: str, *codes: str) -> bool:
    return isinstance(concept, dict) and any(
        coding.get("system") == system and coding.get("code") in codes for coding in _list(concept, "coding")
    )


def _is_in_order(start: Any, end: Any) -> bool:
    """start <= end as FHIRPath has it: what both are precise about decides, and an undecided comparison is not true."""
    if start is None or end is None:
        return True
    if "T" in start and "T" in end:
        return _moment(start) <= _moment(end)
    length = min(len(start.partition("T")[0]), len(end.partition("T")[0]))
    return bool(start[:length] < end[:length] or start == end)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace(":60", ":59", 1) if text[17:19] == "60" else text)


def _is_range(node: Node, root: Node) -> bool:
    low, high = node.get("low", {}), node.get("high", {})
    unit = ("system", "code") if "code" in low or "code" in high else ("unit",)
    if "value" not in low or "value" not in high or any(low.get(part) != high.get(part) for part in unit):
        return True
    return bool(low["value"] <= high["value"])


def _is_ratio(node: Node, root: Node) -> bool:
    has_both = _has(node, "numerator") and _has(node, "denominator")
    return has_both or (not _has(node, "numerator", "denominator") and _has(node, "extension"))


def _is_measure(node: Node, root: Node) -> bool:
    """The common part of age-1, cnt-3 and dis-1."""
    return (_has(node, "code") or not _has(node, "value")) and node.get("system", UCUM) == UCUM


def _is_age(node: Node, root: Node) -> bool:
    return _is_measure(node, root) and ("value" not in node or node["value"] > 0)


def _is_count(node: Node, root: Node) -> bool:
    return _is_measure(node, root) and node.get("code", "1") == "1" and float(node.get("value", 0)).is_integer()


def _is_duration(node: Node, root: Node) -> bool:
    return not _has(node, "code") or (node.get("system") == UCUM and _has(node, "value"))


def _has_when(node: Node, root: Node) -> bool:
    when = _list(node, "when")
    return not _has(node, "offset") or (bool(when) and not {"C", "CM", "CD", "CV"} & set(when))


def _is_trigger(node: Node, root: Node) -> bool:
    kind = node.get("type", "")
    return (
        (kind != "named-event" or _has(node, "name"))
        and (kind != "periodic" or _has_choice(node, "timing"))
        and (not kind.startswith("data-") or _has(node, "data"))
    )


def _is_parameter(node: Node, root: Node) -> bool:
    return [_has(node, "part"), _has_choice(node, "value"), _has(node, "resource")].count(True) == 1


# Resources


def _contained(node: Node) -> list[Node]:
    return [item for item in _list(node, "contained") if isinstance(item, dict)]


def _is_referred(node: Node, root: Node) -> bool:
    """dom-3: each contained resource is pointed at from somewhere in here, or points at what contains it."""
    items = _contained(node)
    if not items:
        return True
    anchors = _anchors(node)
    return all(f"#{item.get('id')}" in anchors or "#" in _anchors(item) for item in items)


def _anchors(node: Any) -> set[str]:
    """Every reference, uri or canonical in here that stays in the resource."""
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        return set().union(*map(_anchors, node))
    return {node} if isinstance(node, str) and node.startswith("#") else set()


def _has_own_component(node: Node, root: Node) -> bool:
    if not _has_choice(node, "value") or "component" not in node:
        return False
    own = _codings(node)
    return any(not own.isdisjoint(_codings(part)) for part in _list(node, "component"))


def _codings(node: Node) -> set[bytes]:
    """The codings of `code`, each as a text to compare by."""
    return {
        orjson.dumps(coding, default=float, option=orjson.OPT_SORT_KEYS) for coding in _list(node.get("code", {}), "coding")
    }


def _is_abated_right(node: Node, root: Node) -> bool:
    status = (f"{TERMINOLOGY}/condition-clinical", "resolved", "remission", "inactive")
    return not _has_choice(node, "abatement") or _has_coding(node.get("clinicalStatus"), *status)


def _is_wrong_condition(node: Node) -> bool:
    return _has_coding(node.get("verificationStatus"), f"{TERMINOLOGY}/condition-ver-status", "entered-in-error")


def _is_wrong_allergy(node: Node) -> bool:
    return _has_coding(node.get("verificationStatus"), f"{TERMINOLOGY}/allergyintolerance-verification", "entered-in-error")


def _is_problem_without_status(node: Node, root: Node) -> bool:
    problems = (
        item for item in _list(node, "category") if _has_coding(item, f"{TERMINOLOGY}/condition-category", "problem-list-item")
    )
    return not _has(node, "clinicalStatus") and not _is_wrong_condition(node) and any(problems)


def _privacy(code: str) -> Check:
    # The system is HL7's own placeholder, in the published expression.
    return lambda node, root: _has(node, "patient") or not _has_coding(node.get("scope"), "something", code)


def _is_home(item: Any) -> bool:
    return isinstance(item, dict) and item.get("use") == "home"


# Bundles

REQUESTS = frozenset({"batch", "transaction", "history"})
RESPONSES = frozenset({"batch-response", "transaction-response", "history"})


def _entries_have(name: str, types: frozenset[str]) -> Check:
    return lambda node, root: all(_has(entry, name) == (node.get("type") in types) for entry in _list(node, "entry"))


def _is_distinct_bundle(node: Node, root: Node) -> bool:
    return node.get("type") == "history" or _is_distinct(
        (entry["fullUrl"], entry.get("resource", {}).get("meta", {}).get("versionId"))
        for entry in _list(node, "entry")
        if "fullUrl" in entry
    )


def _starts_with(kind: str, rtype: str) -> Check:
    return lambda node, root: (
        node.get("type") != kind or [e.get("resource", {}).get("resourceType") for e in _list(node, "entry")[:1]] == [rtype]
    )


def _is_document(needed: Callable[[Node], bool]) -> Check:
    return lambda node, root: node.get("type") != "document" or needed(node)


# Rules without a key


def _has_distinct_contained(node: Node, root: Node) -> bool:
    return _is_distinct(item["id"] for item in _contained(node) if "id" in item)


def _is_size_right(node: Node, root: Node) -> bool:
    """FHIR R4 2.24.0.7: the bytes before base64."""
    if "size" not in node or "data" not in node:
        return True
    return bool(len(base64.b64decode(node["data"])) == node["size"])


CHECKS: dict[tuple[str, str], Check] = {
    ("Extension", "ext-1"): lambda node, root: _has(node, "extension") != _has_choice(node, "value"),
    ("Quantity", "qty-3"): _with("code", "system"),
    ("SimpleQuantity", "sqty-1"): lambda node, root: not _has(node, "comparator"),
    ("Age", "age-1"): _is_age,
    ("Count", "cnt-3"): _is_count,
    ("Distance", "dis-1"): _is_measure,
    ("Duration", "drt-1"): _is_duration,
    ("Range", "rng-2"): _is_range,
    ("Ratio", "rat-1"): _is_ratio,
    ("Period", "per-1"): lambda node, root: _is_in_order(node.get("start"), node.get("end")),
    ("Attachment", "att-1"): _with("data", "contentType"),
    ("ContactPoint", "cpt-2"): _with("value", "system"),
    ("Expression", "exp-1"): _one_of("expression", "reference"),
    ("DataRequirement.codeFilter", "drq-1"): _either("path", "searchParam"),
    ("DataRequirement.dateFilter", "drq-2"): _either("path", "searchParam"),
    ("Timing.repeat", "tim-1"): _with("duration", "durationUnit"),
    ("Timing.repeat", "tim-2"): _with("period", "periodUnit"),
    ("Timing.repeat", "tim-4"): _not_negative("duration"),
    ("Timing.repeat", "tim-5"): _not_negative("period"),
    ("Timing.repeat", "tim-6"): _with("periodMax", "period"),
    ("Timing.repeat", "tim-7"): _with("durationMax", "duration"),
    ("Timing.repeat", "tim-8"): _with("countMax", "count"),
    ("Timing.repeat", "tim-9"): _has_when,
    ("Timing.repeat", "tim-10"): _not_both("timeOfDay", "when"),
    ("TriggerDefinition", "trd-1"): lambda node, root: not (_has(node, "data") and _has_choice(node, "timing")),
    ("TriggerDefinition", "trd-2"): _with("condition", "data"),
    ("TriggerDefinition", "trd-3"): _is_trigger,
    ("DomainResource", "dom-2"): lambda node, root: not any(_has(item, "contained") for item in _contained(node)),
    ("DomainResource", "dom-3"): _is_referred,
    ("DomainResource", "dom-4"): lambda node, root: not any(
        _has(item.get("meta", {}), "versionId", "lastUpdated") for item in _contained(node)
    ),
    ("DomainResource", "dom-5"): lambda node, root: not any(_has(item.get("meta", {}), "security") for item in _contained(node)),
    ("DomainResource", "dom-6"): lambda node, root: node is not root or "div" in node.get("text", {}),
    ("AllergyIntolerance", "ait-1"): lambda node, root: _is_wrong_allergy(node) or _has(node, "clinicalStatus"),
    ("AllergyIntolerance", "ait-2"): lambda node, root: not (_is_wrong_allergy(node) and _has(node, "clinicalStatus")),
    ("AuditEvent.entity", "sev-1"): _not_both("name", "query"),
    ("Condition", "con-3"): lambda node, root: not _is_problem_without_status(node, root),
    ("Condition", "con-4"): _is_abated_right,
    ("Condition", "con-5"): lambda node, root: not (_is_wrong_condition(node) and _has(node, "clinicalStatus")),
    ("Condition.evidence", "con-2"): _one_of("code", "detail"),
    ("Condition.stage", "con-1"): _one_of("summary", "assessment"),
    ("Consent", "ppc-1"): _one_of("policy", "policyRule"),
    ("Consent", "ppc-2"): _privacy("patient-privacy"),
    ("Consent", "ppc-3"): _privacy("research"),
    ("Consent", "ppc-4"): _privacy("adr"),
    ("Consent", "ppc-5"): _privacy("treatment"),
    ("Group", "grp-1"): lambda node, root: not _has(node, "member") or node.get("actual") is True,
    ("List", "lst-1"): _not_both("emptyReason", "entry"),
    ("List", "lst-2"): lambda node, root: (
        node.get("mode") == "changes" or not any(_has(entry, "deleted") for entry in _list(node, "entry"))
    ),
    ("List", "lst-3"): lambda node, root: (
        node.get("mode") == "working" or not any(_has(entry, "date") for entry in _list(node, "entry"))
    ),
    ("Observation", "obs-6"): lambda node, root: not (_has(node, "dataAbsentReason") and _has_choice(node, "value")),
    ("Observation", "obs-7"): lambda node, root: not _has_own_component(node, root),
    ("Observation.referenceRange", "obs-3"): _one_of("low", "high", "text"),
    ("Organization", "org-1"): _one_of("identifier", "name"),
    ("Organization.address", "org-2"): lambda node, root: not any(map(_is_home, _list(node, "address"))),
    ("Organization.telecom", "org-3"): lambda node, root: not any(map(_is_home, _list(node, "telecom"))),
    ("Parameters.parameter", "inv-1"): _is_parameter,
    ("Patient.contact", "pat-1"): _one_of("name", "telecom", "address", "organization"),
    ("ServiceRequest", "prr-1"): _with("orderDetail", "code"),
    ("Task", "inv-1"): lambda node, root: _is_in_order(node.get("authoredOn"), node.get("lastModified")),
    ("Bundle", "bdl-1"): lambda node, root: not _has(node, "total") or node.get("type") in {"searchset", "history"},
    ("Bundle", "bdl-2"): lambda node, root: (
        node.get("type") == "searchset" or not any(_has(entry, "search") for entry in _list(node, "entry"))
    ),
    ("Bundle", "bdl-3"): _entries_have("request", REQUESTS),
    ("Bundle", "bdl-4"): _entries_have("response", RESPONSES),
    ("Bundle", "bdl-7"): _is_distinct_bundle,
    ("Bundle", "bdl-9"): _is_document(lambda node: _has(node.get("identifier", {}), "system") and _has(node["identifier"], "value")),
    ("Bundle", "bdl-10"): _is_document(lambda node: "timestamp" in node),
    ("Bundle", "bdl-11"): _starts_with("document", "Composition"),
    ("Bundle", "bdl-12"): _starts_with("message", "MessageHeader"),
    ("Bundle.entry", "bdl-5"): _one_of("resource", "request", "response"),
    ("Bundle.entry", "bdl-8"): lambda node, root: "/_history/" not in node.get("fullUrl", ""),
    ("CapabilityStatement", "cpb-0"): lambda node, root: bool(NAME.fullmatch(node.get("name", "X"))),
    ("CapabilityStatement", "cpb-1"): _one_of("rest", "messaging", "document"),
    ("CapabilityStatement", "cpb-2"): _one_of("description", "software", "implementation"),
    ("CapabilityStatement", "cpb-3"): lambda node, root: (
        node.get("kind") == "instance" or not any(_has(item, "endpoint") for item in _list(node, "messaging"))
    ),
    ("CapabilityStatement", "cpb-7"): lambda node, root: _is_distinct(
        (item.get("profile"), item.get("mode")) for item in _list(node, "document")
    ),
    ("CapabilityStatement", "cpb-14"): lambda node, root: node.get("kind") != "instance" or _has(node, "implementation"),
    ("CapabilityStatement", "cpb-15"): lambda node, root: (
        node.get("kind") != "capability" or (_has(node, "software") and not _has(node, "implementation"))
    ),
    ("CapabilityStatement", "cpb-16"): lambda node, root: (
        node.get("kind") != "requirements" or not _has(node, "software", "implementation")
    ),
    ("CapabilityStatement.rest", "cpb-9"): lambda node, root: _is_distinct(
        item.get("type") for item in _list(node, "resource")
    ),
    ("CapabilityStatement.rest.resource", "cpb-12"): lambda node, root: _is_distinct(
        item.get("name") for item in _list(node, "searchParam")
    ),
}  # fmt: skip

# What the text of the specification demands without giving it a key.
RULES: dict[str, tuple[tuple[str, Check], ...]] = {
    "DomainResource": (("has two contained resources of one id", _has_distinct_contained),),
    "Attachment": (("says another size than its data has", _is_size_right),),
    "Bundle.entry": (
        ("has a fullUrl that is no absolute URL", lambda node, root: bool(ABSOLUTE.match(node.get("fullUrl", "urn:")))),
    ),
}

# Decided in passing by the walk, which knows more than the object alone.
WALKED = frozenset({"ele-1", "ref-1", "txt-1", "txt-2"})


@cache
def invariants_of(name: str, with_warnings: bool) -> tuple[Invariant, ...]:
    """The invariants of a type, its bases and its elements (org-2 is told at Organization.address, and decided one level up)."""
    rule = shape(name)
    elements = {f"{name}.{member.element}" for member in rule.order}
    found = []
    for path, key, severity, human, _ in definitions()["invariants"]:
        check = CHECKS.get((path, key))
        is_of = path in rule.bases or (path in elements and not _is_type(path))
        if check and is_of and (severity == "error" or with_warnings):
            found.append(Invariant(key=key, severity=severity, human=human, check=check))
    for base in rule.bases:
        found += [Invariant(key="", severity="error", human=human, check=check) for human, check in RULES.get(base, ())]
    return tuple(found)


def _is_type(path: str) -> bool:
    """A backbone element has an object of its own, at which its rules are decided."""
    return path in definitions()["types"]
