"""The FHIRPath that a FHIRPath Patch may name an element by (FHIR R4 3.1.0.6.2): places in a resource, not values.

Members, choices, `[i]`, `first()`, `last()`, `where(a.b = 'x' and ...)`, `ofType(T)`, `as(T)` and `extension('url')`; the rest of FHIRPath
finds values that are no place, so a patch could not change them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fhirapi.patch.elements import members
from fhirapi.patch.jsonpatch import PatchError

TOKEN = re.compile(
    r"\s*(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)|`(?P<quoted>[^`]+)`|'(?P<text>(?:[^'\\]|\\.)*)'|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<sign>!=|[.\[\]()=]))"
)
LENGTH_MAX = 2000


@dataclass(frozen=True, kw_only=True)
class Spot:
    """Where an element stands: `parent[key]`, of this type as far as it is known, a member of an element of type `owner`."""

    parent: Any
    key: str | int
    kind: str
    owner: str = ""

    @property
    def value(self) -> Any:
        return self.parent[self.key]


@dataclass(frozen=True, kw_only=True)
class Step:
    """A member, an index or a call. `argument` is a text, a number or a list of comparisons."""

    name: str
    argument: Any = None


@dataclass(frozen=True, kw_only=True)
class Test:
    """`path = literal` of a where(); `is_not` for !=."""

    path: tuple[str, ...]
    literal: Any
    is_not: bool


def path_read(text: Any) -> list[Step]:
    """The steps of a path. Raises PatchError 400 for what is no path, or more FHIRPath than a place needs."""
    if not isinstance(text, str) or not text.strip() or len(text) > LENGTH_MAX:
        raise PatchError("path is missing or too long.", status=400)
    return _Reader(text).steps()


def spots_find(resource: dict[str, Any], steps: list[Step]) -> list[Spot]:
    """Every element that the path names. The resource itself is `root["resource"]` of a holder."""
    kind = str(resource.get("resourceType", ""))
    spots = [Spot(parent={"resource": resource}, key="resource", kind=kind)]
    if steps and steps[0] in (Step(name=kind), Step(name="Resource"), Step(name="DomainResource")):
        steps = steps[1:]
    for step in steps:
        spots = list(_next(spots, step))
    return spots


def choice_of(kind: str, name: str, value_key: str) -> str:
    """The JSON name of a member: itself, or the choice that the type of the value (`valueQuantity`) makes of it."""
    known = members(kind)
    chosen = name + value_key.removeprefix("value")
    return chosen if name not in known and chosen in known else name


class _Reader:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        place = 0
        text = text.rstrip()
        while place < len(text):
            found = TOKEN.match(text, place)
            if not found or not found.lastgroup:
                raise PatchError("path is not understood.", status=400)
            kind = "name" if found.lastgroup == "quoted" else found.lastgroup
            self.tokens.append((kind, found[found.lastgroup]))
            place = found.end()

    def steps(self) -> list[Step]:
        steps = [self.step()]
        while self.tokens:
            if self.tokens[0] == ("sign", "["):
                self.take("sign", "[")
                steps.append(Step(name="[]", argument=int(float(self.take("number")))))
                self.take("sign", "]")
            else:
                self.take("sign", ".")
                steps.append(self.step())
        return steps

    def step(self) -> Step:
        name = self.take("name")
        if not self.tokens or self.tokens[0] != ("sign", "("):
            return Step(name=name)
        self.take("sign", "(")
        argument: Any = None
        if name == "where":
            argument = self.tests()
        elif name in {"ofType", "as"}:
            argument = self.take("name")
        elif name == "extension":
            argument = _text(self.take("text"))
        elif name not in {"first", "last", "single"}:
            raise PatchError("path calls a function that names no place.", status=400)
        self.take("sign", ")")
        return Step(name=f"{name}()", argument=argument)

    def tests(self) -> list[Test]:
        tests = [self.test()]
        while self.tokens and self.tokens[0] == ("name", "and"):
            self.take("name")
            tests.append(self.test())
        return tests

    def test(self) -> Test:
        path = [self.take("name")]
        while self.tokens and self.tokens[0] == ("sign", "."):
            self.take("sign", ".")
            path.append(self.take("name"))
        sign = self.take("sign")
        if sign not in {"=", "!="}:
            raise PatchError("path compares otherwise than by = and !=.", status=400)
        return Test(path=tuple(path), literal=self.literal(), is_not=sign == "!=")

    def literal(self) -> Any:
        kind, text = self.tokens.pop(0) if self.tokens else ("", "")
        if kind == "text":
            return _text(text)
        if kind == "number":
            return float(text)
        if kind == "name" and text in {"true", "false"}:
            return text == "true"
        raise PatchError("path compares with something that is no literal.", status=400)

    def take(self, kind: str, text: str = "") -> str:
        if not self.tokens or self.tokens[0][0] != kind or (text and self.tokens[0][1] != text):
            raise PatchError("path is not understood.", status=400)
        return self.tokens.pop(0)[1]


def _text(escaped: str) -> str:
    return re.sub(r"\\(.)", r"\1", escaped)


def _next(spots: list[Spot], step: Step) -> Iterator[Spot]:
    if step.name == "[]":
        yield from spots[step.argument : step.argument + 1] if step.argument >= 0 else ()
    elif step.name in {"first()", "single()"}:
        yield from spots[:1] if step.name == "first()" or len(spots) < 2 else _several()
    elif step.name == "last()":
        yield from spots[-1:]
    elif step.name == "where()":
        yield from (spot for spot in spots if all(_holds(spot, test) for test in step.argument))
    elif step.name == "extension()":
        found = (place for spot in spots for place in _children(spot, "extension"))
        yield from (place for place in found if isinstance(place.value, dict) and place.value.get("url") == step.argument)
    elif step.name in {"ofType()", "as()"}:
        yield from (spot for spot in spots if _is_of_type(spot, step.argument))
    else:
        yield from (place for spot in spots for place in _children(spot, step.name))


def _several() -> list[Spot]:
    raise PatchError("path names several elements.")


def _children(spot: Spot, name: str) -> Iterator[Spot]:
    node = spot.value
    if not isinstance(node, dict):
        return
    known = members(spot.kind)
    for key in [name] if name in node else [key for key in node if _is_choice(key, name, known)]:
        kind = known.get(key, (False, "", ""))[1]
        value = node[key]
        if kind in {"Resource", ""} and isinstance(value, dict):
            kind = str(value.get("resourceType", kind))
        if isinstance(value, list):
            yield from (Spot(parent=value, key=index, kind=_kind_of(item, kind), owner=spot.kind) for index, item in enumerate(value))
        else:
            yield Spot(parent=node, key=key, kind=kind, owner=spot.kind)


def _kind_of(item: Any, kind: str) -> str:
    return str(item.get("resourceType", kind)) if isinstance(item, dict) else kind


def _is_choice(key: str, name: str, known: dict[str, tuple[bool, str, str]]) -> bool:
    return key in known and known[key][2] == name


def _is_of_type(spot: Spot, wanted: str) -> bool:
    """By the name of the choice: `valueQuantity` is a Quantity, `deceasedBoolean` a boolean."""
    return str(spot.key).lower().endswith(wanted.lower()) if isinstance(spot.key, str) else spot.kind == wanted


def _holds(spot: Spot, test: Test) -> bool:
    places = [spot]
    for name in test.path:
        places = [place for one in places for place in _children(one, name)]
    values = [place.value for place in places]
    if not values:  # FHIRPath 5.2.1: a comparison with nothing is no match
        return False
    is_equal = len(values) == 1 and isinstance(values[0], bool) == isinstance(test.literal, bool) and values[0] == test.literal
    return is_equal != test.is_not
