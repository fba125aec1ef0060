"""What we hold and how it is found: the resource types with HL7's official search parameters (fhirapi/definitions).

Indexing, search, the CapabilityStatement and docs/conformance/fhir.md all follow this list.
"""

import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

HL7 = "http://hl7.org/fhir"
BY_PARAMETER = f"{HL7}/SearchParameter"
DEFINITIONS = Path(__file__).with_name("definitions")

# How few resources one value usually finds. A search drives from the lowest rank and filters by the rest.
ONE, FEW, SOME, MANY = range(4)
KIND_RANKS = {"reference": FEW, "token": MANY}
RANKS = {"identifier": ONE, "result": ONE, "target": ONE, "code": SOME, "performer": MANY, "device": MANY, "agent": MANY}
# The parameter whose date a type's resources are ordered by where no order is asked for.
MAIN_DATES = {
    "ImagingStudy": "started", "DiagnosticReport": "date", "Observation": "date", "Provenance": "recorded", "Encounter": "date",
    "MedicationRequest": "authoredon", "ServiceRequest": "authored", "Condition": "recorded-date", "AllergyIntolerance": "date",
    "Procedure": "date", "DocumentReference": "date", "Media": "created", "Task": "authored-on", "AuditEvent": "date",
    "List": "date", "Consent": "date", "Bundle": "timestamp",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One kind of value that a resource is found by. `key` is the branch of a search expression that it stands for."""

    key: str
    kind: str  # of search: token, reference, string, date, quantity, uri, special, pair
    ftype: str
    system: str = ""  # of a bare code, from its required binding


@dataclass(frozen=True, kw_only=True)
class Param:
    """A search parameter: the branches that its values stand in, and the official definition it follows."""

    name: str
    kind: str  # as in FHIR's SearchParamType
    definition: str
    keys: tuple[str, ...]
    rank: int = MANY
    system: str = ""  # where all its values are bare codes of this system
    targets: tuple[str, ...] = ()
    components: tuple[str, ...] = ()  # of a composite: names of parameters
    is_patient: bool = False  # answered by the compartment column: exact, since a wrong patient is the worst answer


@dataclass(frozen=True, kw_only=True)
class ResourceType:
    """`number` is what rows hold: never change or reuse one. `date` is the parameter that the default order follows."""

    name: str
    number: int
    params: tuple[Param, ...]
    leaves: tuple[Leaf, ...] = ()
    date: str = ""
    compartment: tuple[str, ...] = ()  # parameters that put a resource into a patient's compartment

    @cached_property
    def by_name(self) -> dict[str, Param]:
        return {param.name: param for param in self.params}

    @cached_property
    def systems(self) -> dict[str, str]:
        """Branch -> the system that its bare codes imply."""
        return {leaf.key: leaf.system for leaf in self.leaves if leaf.ftype == "code" and leaf.system}

    @cached_property
    def identifiers(self) -> frozenset[str]:
        return frozenset(leaf.key for leaf in self.leaves if leaf.ftype == "Identifier")

    @cached_property
    def patient_key(self) -> str:
        """The branch that the compartment column holds."""
        return next((param.keys[0] for param in self.params if param.is_patient), "")

    @cached_property
    def date_keys(self) -> tuple[str, ...]:
        return self.by_name[self.date].keys if self.date else ()


def _type(name: str, number: int, found: dict[str, Any], compartment: list[str]) -> ResourceType:
    leaves = tuple(Leaf(**dict(zip(("key", "kind", "ftype", "system"), row, strict=False))) for row in found["leaves"])
    return ResourceType(
        name=name, number=number, leaves=leaves, date=MAIN_DATES.get(name, ""), compartment=tuple(compartment),
        params=tuple(_param(entry, leaves) for entry in found["params"]),
    )  # fmt: skip


def _param(entry: dict[str, Any], leaves: tuple[Leaf, ...]) -> Param:
    mine = [leaf for leaf in leaves if leaf.key in entry["keys"]]
    systems = {leaf.system if leaf.ftype == "code" else "" for leaf in mine}
    return Param(
        name=entry["name"], kind=entry["kind"], definition=entry["definition"], keys=tuple(entry["keys"]),
        rank=RANKS.get(entry["name"], KIND_RANKS.get(entry["kind"], SOME)), system=systems.pop() if len(systems) == 1 else "",
        targets=tuple(entry.get("targets", ())), components=tuple(entry.get("components", ())),
        is_patient=entry.get("isSingle", False),
    )  # fmt: skip


_NUMBERS: dict[str, int] = json.loads((DEFINITIONS / "types.json").read_text(encoding="utf-8"))
_DATA = json.loads((DEFINITIONS / "parameters.json").read_text(encoding="utf-8"))
TYPES: dict[str, ResourceType] = {
    name: _type(name, number, _DATA["types"][name], _DATA["compartment"].get(name, [])) for name, number in _NUMBERS.items()
}
# What `:in` knows: value set -> (system, code) of its codes. Those of required bindings; LOINC and SNOMED CT are not held.
VALUE_SETS: dict[str, tuple[tuple[str, str], ...]] = {
    url: tuple((system, code) for system, codes in systems.items() for code in codes)
    for url, systems in _DATA["valueSets"].items()
}
NAMES = {entry.number: entry.name for entry in TYPES.values()}

COMMON = (  # every type has these; (name, kind, definition)
    ("_id", "token", f"{BY_PARAMETER}/Resource-id"),
    ("_lastUpdated", "date", f"{BY_PARAMETER}/Resource-lastUpdated"),
)
PREFIXES = ("eq", "ne", "gt", "ge", "lt", "le", "sa", "eb", "ap")
COUNT_DEFAULT, COUNT_MAX, OR_MAX = 50, 500, 50


@cache
def compartment_keys(*rtypes: str) -> tuple[str, ...]:
    """The branches by which resources of these types, or of all, belong to a patient (CompartmentDefinition/patient)."""
    asked = [TYPES[name] for name in rtypes] if rtypes else TYPES.values()
    return tuple(sorted({key for rtype in asked for name in rtype.compartment for key in rtype.by_name[name].keys}))
