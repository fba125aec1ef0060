"""The elements of every FHIR R4 type as HL7 defines them: what validation walks by and XML is ordered by.

Read once per process from `elements.json.gz` (HL7, CC0-1.0; made by elements_make.py) and shared by forked workers.
"""

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).with_name("elements.json.gz")

_PRIMITIVES = (
    "base64Binary boolean canonical code date dateTime decimal id instant integer markdown oid positiveInt string time unsignedInt "
    "uri url uuid xhtml"
)
PRIMITIVES = frozenset(_PRIMITIVES.split())


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One member of a JSON object. `_name`, beside a primitive, is a member of its own with `is_sibling`."""

    name: str  # as in JSON: valueQuantity
    element: str  # as in FHIRPath: value
    kind: str  # FHIR type: Quantity
    is_list: bool
    is_primitive: bool = False
    is_sibling: bool = False
    codes: str = ""  # the value set of a required binding
    targets: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A type or backbone element: its members in the order of XML, and those that must be there."""

    name: str
    kind: str  # resource, complex-type or backbone
    bases: tuple[str, ...]  # itself and what it specialises
    members: dict[str, Member]
    required: tuple[tuple[str, frozenset[str]], ...]  # element, the members that satisfy it
    choices: tuple[tuple[str, frozenset[str]], ...]  # element of value[x] form, its members
    order: tuple[Member, ...] = field(default=())


@cache
def definitions() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(DATA.read_bytes()))
    return found


@cache
def resource_names() -> frozenset[str]:
    """Every concrete resource type of R4."""
    types = definitions()["types"]
    return frozenset(name for name, entry in types.items() if entry["kind"] == "resource") - {"Resource", "DomainResource"}


@cache
def codes_of(name: str) -> dict[str, frozenset[str]]:
    """A value set expanded: code system -> codes."""
    return {system: frozenset(codes) for system, codes in definitions()["codes"][name].items()}


@cache
def shape(name: str) -> Shape:
    """Raises KeyError for what is no type of R4."""
    entry = definitions()["types"][name]
    members: dict[str, Member] = {}
    required, choices = [], []
    for element in entry["elements"]:
        found = [_member(element, kind) for kind in element["types"]]
        names = frozenset(member.name for member in found)
        is_plain = element["name"] == "id" or (name, element["name"]) == ("Extension", "url")  # strings without extensions
        siblings = {member.name: _sibling(member) for member in found if member.is_primitive and not is_plain}
        names |= {sibling.name for sibling in siblings.values()}
        if element["name"].endswith("[x]"):
            choices.append((found[0].element, names))
        if element["min"]:
            required.append((found[0].element, names))
        for member in found:
            members[member.name] = member
            if sibling := siblings.get(member.name):
                members[sibling.name] = sibling
    return Shape(
        name=name,
        kind=entry["kind"],
        bases=_bases(name),
        members=members,
        required=tuple(required),
        choices=tuple(choices),
        order=tuple(member for member in members.values() if not member.is_sibling),
    )


def shapes_load(names: Iterable[str]) -> None:
    """Make the shapes of these types and of all they hold, so that forked workers share them."""
    todo, seen = list(names), {"Resource", *PRIMITIVES}
    while todo:
        if (name := todo.pop()) not in seen:
            seen.add(name)
            todo += [member.kind for member in shape(name).members.values()]


def _member(element: dict[str, Any], kind: str) -> Member:
    stem = element["name"].removesuffix("[x]")
    name = stem + kind[0].upper() + kind[1:] if element["name"] != stem else stem
    return Member(
        name=name.replace("SimpleQuantity", "Quantity").replace("MoneyQuantity", "Quantity"),
        element=stem,
        kind=kind,
        is_list=element["max"] not in {"0", "1"},  # 0: what SimpleQuantity takes away, its invariant says so
        is_primitive=kind in PRIMITIVES,
        codes=element.get("codes", ""),
        targets=frozenset(element.get("targets", ())),
    )


def _sibling(member: Member) -> Member:
    return Member(name=f"_{member.name}", element=member.element, kind="Element", is_list=member.is_list, is_sibling=True)


def _bases(name: str) -> tuple[str, ...]:
    found = [name]
    types = definitions()["types"]
    while base := types[found[-1]]["base"]:
        found.append(base)
    return tuple(found)
