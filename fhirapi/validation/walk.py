"""One pass over a parsed resource by its element definitions: structure, cardinality, formats, required bindings, references,
invariants. Finds every problem, raises nothing, and names each place by its FHIRPath.
"""

import re
from functools import cache
from typing import Any

from fhirapi.definitions.elements import Member, Shape, codes_of, resource_names, shape
from fhirapi.validation.invariants import Invariant, invariants_of
from fhirapi.validation.issues import Issue
from fhirapi.validation.models import is_model_fault
from fhirapi.validation.narrative import narrative_problem
from fhirapi.validation.primitives import CHECKS, OPEN_CODES
from fhirapi.validation.references import Scope, reference_problem

ISSUES_MAX = 100  # an answer's size is bounded whatever was sent
NAME = re.compile(r"_?[A-Za-z][A-Za-z0-9_]{0,40}")  # what could be an element; anything else is not repeated in an answer
CODED = frozenset({"CodeableConcept", "Coding"})
JSON_WORDS = {str: "a string", bool: "true or false", int: "a whole number", float: "a number"}

# A place is (place of the parent, element, index or -1): made in passing, and put into words only when there is a problem.
Place = tuple[Any, str, int]


def place_text(place: Place | None) -> str:
    """FHIRPath of a place (FHIR R4 2.28.1, OperationOutcome.issue.expression)."""
    parts = []
    while place:
        place, name, index = place
        parts.append(name if index < 0 else f"{name}[{index}]")
    return ".".join(reversed(parts))


class Walk:
    """The walk through one resource. `is_shell` leaves out the resources inside a Bundle or Parameters."""

    def __init__(self, *, is_shell: bool = False, with_warnings: bool = False) -> None:
        self.issues: list[Issue] = []
        self.with_warnings = with_warnings
        self.is_shell = is_shell
        self.types: set[str] = set()  # of all resources that were met
        self.has_model_fault = False
        self.is_beyond_models = False  # they take no required choice that is there by its reason alone

    def add(self, code: str, place: Place, text: str, *, severity: str = "error") -> None:
        if len(self.issues) < ISSUES_MAX:
            path = place_text(place)
            self.issues.append(Issue(severity=severity, code=code, diagnostics=f"{path} {text}", expression=path))

    def resource(self, node: Any, place: Place | None, scope: Scope | None = None) -> None:
        """A resource: on its own, contained, or in an entry of a Bundle or a parameter."""
        rtype = node.get("resourceType") if isinstance(node, dict) else None
        at = place or (None, rtype if isinstance(rtype, str) and rtype in resource_names() else "Resource", -1)
        if not isinstance(node, dict):
            self.add("structure", at, "must be an object")
        elif not isinstance(rtype, str) or rtype not in resource_names():
            self.add("structure", at, "has no resourceType of FHIR R4")
        else:
            self.types.add(rtype)
            self.node(node, shape(rtype), at, Scope.enter(node, scope))

    def node(self, node: dict[str, Any], rule: Shape, place: Place, scope: Scope) -> None:
        """An object against the members of its type."""
        members = rule.members
        for key, value in node.items():
            member = members.get(key)
            if member is None:
                if key != "resourceType" or rule.kind != "resource":
                    at = (place, key, -1) if NAME.fullmatch(key) else place
                    self.add(
                        "structure", at, "is not defined by FHIR R4 there" if at != place else "has a member without a name"
                    )
            elif member.is_list:
                self.many(node, value, member, place, scope)
            elif member.is_primitive:
                self.primitive(value, member, (place, member.element, -1))
            else:
                self.one(node, value, member, (place, member.element, -1), scope)
        self.presence(node, rule, place)
        for invariant in invariants_of(rule.name, self.with_warnings):
            self.invariant(invariant, node, place, scope)

    def presence(self, node: dict[str, Any], rule: Shape, place: Place) -> None:
        keys = node.keys()
        for element, names in rule.required:
            if keys.isdisjoint(names):
                self.add("required", (place, element, -1), "is required")
        for element, names in rule.choices:
            if not keys.isdisjoint(names) and len({key.removeprefix("_") for key in keys & names}) > 1:
                self.add("structure", (place, element, -1), "has more than one type of value")

    def many(self, node: dict[str, Any], values: Any, member: Member, place: Place, scope: Scope) -> None:
        """A repeating element; nulls only keep a value and its extensions in step (FHIR R4 2.6.2.2)."""
        at = (place, member.element, -1)
        if type(values) is not list:
            self.add("structure", at, "must be a list")
            return
        if not values:
            self.add("structure", at, "is an empty list")
            return
        other: Any = None
        if member.is_primitive or member.is_sibling:
            other = node.get(member.name[1:] if member.is_sibling else f"_{member.name}")
        for index, value in enumerate(values):
            at = (place, member.element, index)
            if value is None and (member.is_primitive or member.is_sibling):
                if not (type(other) is list and index < len(other) and other[index] is not None):
                    self.add("structure", at, "is null without a value or extension beside it")
            elif member.is_primitive:
                self.primitive(value, member, at)
            else:
                partner = other[index] if type(other) is list and index < len(other) else None
                self.one(node, value, member, at, scope, has_value=partner is not None)

    def primitive(self, value: Any, member: Member, place: Place) -> None:
        types, check = CHECKS[member.kind]
        # A float may be of a class that remembers how it was written; a bool is never a number.
        if type(value) not in types and not (isinstance(value, float) and float in types):
            self.add("structure", place, f"must be {JSON_WORDS[types[-1]]}")
        elif not check(value):
            self.add("value", place, f"is no valid {member.kind}")
        elif member.codes and not _is_code(value, member.codes):
            self.add("code-invalid", place, "has a code outside its required value set")
        elif member.kind == "xhtml" and (problem := narrative_problem(value)):
            self.add("invariant", place, problem)

    def one(
        self, parent: dict[str, Any], node: Any, member: Member, place: Place, scope: Scope, *, has_value: bool = False
    ) -> None:
        """A complex element, a resource within, or the `_name` beside a primitive."""
        kind = member.kind
        if kind == "Resource":
            if not self.is_shell:
                self.resource(node, place, scope.inside(member.element))
            return
        if type(node) is not dict:
            self.add("structure", place, "must be an object")
            return
        if member.is_sibling:
            has_value = has_value or (not member.is_list and parent.get(member.name[1:]) is not None)
            self.is_beyond_models |= not has_value and member.name != f"_{member.element}"
        self.has_model_fault |= member.element == "value" and is_model_fault(member.name)
        if node.keys() <= {"id"} and not (has_value and node):
            self.add("invariant", place, "has neither a value nor children (ele-1)")
            return
        self.node(node, shape(kind), place, scope)
        if kind == "Reference" and (problem := reference_problem(node, member.targets, scope)):
            self.add("value", (place, "reference", -1), problem)
        elif member.codes and kind in CODED and not _is_coded(node, kind, member.codes):
            self.add("code-invalid", place, "has no code of its required value set")

    def invariant(self, rule: Invariant, node: dict[str, Any], place: Place, scope: Scope) -> None:
        try:
            is_kept = rule.check(node, scope.root)
        except (TypeError, ValueError, AttributeError, KeyError, IndexError):
            return  # the node is malformed, which its own issue says already
        if not is_kept:
            text = f"breaks {rule.key}: {rule.human}" if rule.key else rule.human
            self.add("invariant", place, text, severity=rule.severity)


@cache
def _codes(name: str) -> frozenset[str]:
    return frozenset().union(*codes_of(name).values())


def _is_code(value: str, name: str) -> bool:
    return bool(OPEN_CODES[name].fullmatch(value)) if name in OPEN_CODES else value in _codes(name)


def _is_coded(node: dict[str, Any], kind: str, name: str) -> bool:
    """A Coding, or one Coding of a CodeableConcept, is in the value set (FHIR R4 4.1.5.1)."""
    codings = [node] if kind == "Coding" else node.get("coding", [])
    if not isinstance(codings, list):
        return True  # its own issue says so
    if not codings:
        return "extension" in node  # the reason why there is no code
    allowed = codes_of(name)
    return any(
        isinstance(coding, dict)
        and isinstance(system := coding.get("system"), str)
        and isinstance(code := coding.get("code"), str)
        and code in allowed.get(system, ())
        for coding in codings
    )
