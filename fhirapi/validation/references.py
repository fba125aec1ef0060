"""References: how they are written, what they may point at, and that contained resources are there (FHIR R4 2.3.0)."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from fhirapi.definitions.elements import resource_names

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:\S+")


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a walk stands: the resource that contained references mean, and whether it stands in another one."""

    root: dict[str, Any]
    contained: dict[str, str]  # id -> type
    is_contained: bool = False
    is_conditional: bool = False  # in a Bundle of requests, Type?search stands for a reference (FHIR R4 3.1.0.11.3)

    @classmethod
    def enter(cls, node: dict[str, Any], outer: "Scope | None") -> "Scope":
        if outer is not None and outer.is_contained:
            return outer
        is_conditional = outer is not None and outer.is_conditional
        return cls(node, _contained(node), is_conditional=is_conditional)

    def inside(self, element: str) -> "Scope":
        """The scope of the resources in this element of the current one."""
        if element == "contained":
            return Scope(self.root, self.contained, is_contained=True, is_conditional=self.is_conditional)
        is_conditional = self.is_conditional or self.root.get("type") in ("batch", "transaction")
        return Scope(self.root, {}, is_conditional=is_conditional)


def _contained(node: dict[str, Any]) -> dict[str, str]:
    items = node.get("contained")
    if type(items) is not list:
        return {}
    return {str(item.get("id")): str(item.get("resourceType")) for item in items if isinstance(item, dict) and "id" in item}


@cache
def _literal() -> re.Pattern[str]:
    names = "|".join(sorted(resource_names()))
    return re.compile(rf"(https?://[^\s?#]+/)?({names})/[A-Za-z0-9\-.]{{1,64}}(?:/_history/[A-Za-z0-9\-.]{{1,64}})?")


@cache
def _query() -> re.Pattern[str]:
    names = "|".join(sorted(resource_names()))
    return re.compile(rf"({names})\?\S+")


def reference_problem(node: dict[str, Any], targets: frozenset[str], scope: Scope) -> str:
    """What is wrong with this Reference, in words that follow the element's name; empty when nothing is."""
    value, stated = node.get("reference"), node.get("type")
    if not isinstance(value, str) or not value:  # by identifier or display only, or malformed and told so already
        return _target_problem(stated if isinstance(stated, str) else "", targets)
    if value.startswith("#"):
        if value == "#" and scope.is_contained:
            return ""
        if value[1:] not in scope.contained:
            return "points at a contained resource that is not there (ref-1)"
        rtype = scope.contained[value[1:]]
    elif (found := _literal().fullmatch(value)) or (scope.is_conditional and (found := _query().fullmatch(value))):
        rtype = found[found.lastindex or 1]
    elif _ABSOLUTE.fullmatch(value):
        return ""
    else:
        return "is no valid reference"
    if isinstance(stated, str) and stated in resource_names() and stated != rtype:
        return "has another type than it says beside it"
    return _target_problem(rtype, targets)


def _target_problem(rtype: str, targets: frozenset[str]) -> str:
    if rtype in resource_names() and targets and rtype not in targets:
        return "points at a type that may not stand there"
    return ""
