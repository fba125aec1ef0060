"""FHIRPath Patch (FHIR R4 3.1.0.6.2): add, insert, delete, replace and move, one operation at a time."""

from collections.abc import Callable
from typing import Any

from fhirapi.patch.elements import members
from fhirapi.patch.jsonpatch import PatchError
from fhirapi.patch.paths import Spot, Step, choice_of, path_read, spots_find

Json = dict[str, Any]
Parts = dict[str, Json]


def fhirpath_patch_apply(resource: Json, parameter: Json) -> Json:
    """The resource after one `operation` parameter; it is changed in place."""
    parts = _parts(parameter, "operation")
    kind = parts.get("type", {}).get("valueCode")
    if kind not in OPERATIONS:
        raise PatchError("type is none of add, insert, delete, replace, move.", status=400)
    steps = path_read(parts.get("path", {}).get("valueString"))
    OPERATIONS[kind](resource, steps, parts)
    return resource


def _add(resource: Json, steps: list[Step], parts: Parts) -> None:
    spot = _one(resource, steps)
    name = parts.get("name", {}).get("valueString")
    if not isinstance(name, str) or not isinstance(spot.value, dict):
        raise PatchError("add needs a name, and a path to an element that can have members.")
    _attach(spot.value, spot.kind, name, _value_part(parts))


def _insert(resource: Json, steps: list[Step], parts: Parts) -> None:
    parent, name, items = _list(resource, steps)
    index = _number(parts, "index")
    if index > len(items):
        raise PatchError("index is beyond the list.")
    part = _value_part(parts)
    value, sibling = _value(part, members(parent.kind).get(name, (True, "", ""))[1])
    items.insert(index, value)
    others = parent.value.get(f"_{name}")
    if isinstance(others, list) or sibling:
        others = parent.value.setdefault(f"_{name}", [None] * (len(items) - 1))
        others.insert(index, sibling)
    parent.value[name] = items


def _delete(resource: Json, steps: list[Step], parts: Parts) -> None:
    spots = spots_find(resource, steps)
    if len(spots) > 1:
        raise PatchError("path names several elements.")
    if not spots:  # nothing to do is done (the R4 tests do not agree that it fails)
        return
    spot = spots[0]
    if spot.value is resource:
        raise PatchError("a patch cannot delete the resource.")
    if isinstance(spot.key, str):
        spot.parent.pop(f"_{spot.key}", None)
    else:
        others = _others(resource, spot.parent)
        if others is not None and spot.key < len(others):
            others.pop(spot.key)
    spot.parent.pop(spot.key)
    _prune(resource)


def _replace(resource: Json, steps: list[Step], parts: Parts) -> None:
    spot = _one(resource, steps)
    part = _value_part(parts)
    value, sibling = _value(part, spot.kind)
    if isinstance(spot.key, int):
        spot.parent[spot.key] = value
        others = _others(resource, spot.parent)
        if others is not None and spot.key < len(others):
            others[spot.key] = sibling
        return
    if spot.value is resource:
        raise PatchError("a patch cannot replace the whole resource.")
    for key in (spot.key, f"_{spot.key}"):
        spot.parent.pop(key, None)
    # A choice may get a value of another of its types.
    _choice_set(spot, part, value, sibling)


def _choice_set(spot: Spot, part: Json, value: Any, sibling: Any) -> None:
    key = str(spot.key)
    value_key = next((name for name in part if name.startswith("value")), "value")
    base = members(spot.owner).get(key, (False, "", ""))[2]
    name = choice_of(spot.owner, base, value_key) if base else key
    spot.parent[name] = value
    if sibling is not None:
        spot.parent[f"_{name}"] = sibling


def _move(resource: Json, steps: list[Step], parts: Parts) -> None:
    parent, name, items = _list(resource, steps)
    source, destination = _number(parts, "source"), _number(parts, "destination")
    if source >= len(items) or destination >= len(items):
        raise PatchError("source or destination is beyond the list.")
    for one in (items, parent.value.get(f"_{name}")):
        if isinstance(one, list) and len(one) > max(source, destination):
            one.insert(destination, one.pop(source))


OPERATIONS: dict[str, Callable[[Json, list[Step], Parts], None]] = {
    "add": _add, "insert": _insert, "delete": _delete, "replace": _replace, "move": _move,
}  # fmt: skip


def _parts(parameter: Json, name: str) -> Parts:
    parts = parameter.get("part")
    if parameter.get("name") != name or not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise PatchError(f"every parameter must be named {name} and have parts.", status=400)
    return {str(part.get("name")): part for part in parts}


def _value_part(parts: Parts) -> Json:
    if "value" not in parts:
        raise PatchError("value is missing.", status=400)
    return parts["value"]


def _number(parts: Parts, name: str) -> int:
    number = parts.get(name, {}).get("valueInteger")
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise PatchError(f"{name} is no index.", status=400)
    return number


def _one(resource: Json, steps: list[Step]) -> Spot:
    spots = spots_find(resource, steps)
    if len(spots) != 1:
        raise PatchError("path names no element." if not spots else "path names several elements.")
    return spots[0]


def _list(resource: Json, steps: list[Step]) -> tuple[Spot, str, list[Any]]:
    """The element that has the list, the list's name and its items."""
    if len(steps) < 2 or steps[-1].argument is not None or steps[-1].name.endswith("()"):
        raise PatchError("path must end with the name of a list.", status=400)
    parent, name = _one(resource, steps[:-1]), steps[-1].name
    if not isinstance(parent.value, dict):
        raise PatchError("path names no list.")
    items = parent.value.get(name, [])
    if not isinstance(items, list) or not members(parent.kind).get(name, (True, "", ""))[0]:
        raise PatchError("path names no list.")
    return parent, name, items


def _value(part: Json, kind: str) -> tuple[Any, Any]:
    """(value, its primitive's extensions) of a part: a typed value, a resource, or an anonymous element made of parts."""
    if isinstance(part.get("part"), list):
        made: Json = {}
        for one in part["part"]:
            if not isinstance(one, dict) or not isinstance(one.get("name"), str):
                raise PatchError("a part of the value has no name.", status=400)
            _attach(made, kind, one["name"], one)
        return made, None
    if "resource" in part:
        return part["resource"], None
    keys = [key for key in part if key.startswith("value")]
    if len(keys) != 1:
        raise PatchError("value must be one value.", status=400)
    return part[keys[0]], part.get(f"_{keys[0]}")


def _attach(node: Json, kind: str, name: str, part: Json) -> None:
    """Give an element a member: at the end of a list, or where there is none yet."""
    value_key = next((key for key in part if key.startswith("value")), "value")
    name = choice_of(kind, name, value_key)
    repeats, child, choice = members(kind).get(name, (isinstance(node.get(name), list), "", ""))
    value, sibling = _value(part, child)
    if not repeats:
        if name in node or (choice and any(members(kind).get(key, (0, 0, ""))[2] == choice for key in node)):
            raise PatchError("there is a value at that path already.")
        node[name] = value
        if sibling is not None:
            node[f"_{name}"] = sibling
        return
    items = node.setdefault(name, [])
    if not isinstance(items, list):
        raise PatchError("there is no list at that path.")
    items.append(value)
    others = node.get(f"_{name}")
    if isinstance(others, list) or sibling is not None:
        node.setdefault(f"_{name}", [None] * (len(items) - 1)).append(sibling)


def _others(node: Any, items: list[Any]) -> list[Any] | None:
    """The list of primitive extensions beside this list of primitives."""
    if isinstance(node, dict):
        for name, value in node.items():
            if value is items:
                found = node.get(f"_{name}")
                return found if isinstance(found, list) else None
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        found = _others(child, items)
        if found is not None:
            return found
    return None


def _prune(node: Any) -> bool:
    """Drop what a deletion left empty (FHIR R4 2.6.2). True when nothing is left of this one."""
    if isinstance(node, dict):
        for name in [name for name, value in node.items() if _prune(value)]:
            del node[name]
        return not node
    if isinstance(node, list):
        node[:] = [item for item in node if not (isinstance(item, dict | list) and _prune(item))]
        return not any(item is not None for item in node)
    return False
