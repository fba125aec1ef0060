"""Branches of search expressions -> straight Python source. Part of parameters_make.py.

Branches that begin alike are walked together; types come from the StructureDefinitions, so `value[x]` becomes its keys.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# What an untyped choice also allows, and no value of such a search could meet (FHIR R4 3.1.1.4.7 to 3.1.1.4.12).
UNSEARCHABLE = {("date", "Age"), ("date", "Range"), ("date", "string"), ("reference", "Attachment")}


@dataclass(frozen=True, kw_only=True)
class Branch:
    """`steps` are element names, `as(Type)` and `where(system='x')`; `special` names what is written by hand."""

    key: str
    kind: str
    steps: tuple[str, ...]
    special: str = ""


@dataclass
class _Node:
    """A place in the tree of steps: the branches that end here and those that go on."""

    ends: list[Branch] = field(default_factory=list)
    steps: dict[str, "_Node"] = field(default_factory=dict)


class Schema:
    """Elements and required bindings of the official definitions."""

    def __init__(self, package: Path) -> None:
        self._package = package
        self._elements: dict[str, dict[str, dict[str, Any]]] = {}
        self._systems: dict[str, str] = {}
        self._includes: dict[str, list[dict[str, Any]]] = {}
        self.bound: set[str] = set()  # value sets that required bindings of searched elements name
        for path in package.glob("ValueSet-*.json"):
            value_set = json.loads(path.read_text(encoding="utf-8"))
            includes = value_set.get("compose", {}).get("include", [])
            if value_set.get("url"):
                self._includes[value_set["url"]] = includes
            if value_set.get("url") and len(includes) == 1 and includes[0].get("system"):
                self._systems[value_set["url"]] = includes[0]["system"]

    def element(self, type_path: str, name: str) -> tuple[str, dict[str, Any]] | None:
        """(path of the element, its definition) of a member of a type or backbone element; `name` may be a choice's stem."""
        root = type_path.split(".")[0]
        elements = self._load(root)
        for path in (f"{type_path}.{name}", f"{type_path}.{name}[x]"):
            if path in elements:
                found = elements[path]
                if reference := found.get("contentReference"):
                    return reference.lstrip("#"), elements[reference.lstrip("#")]
                return path, found
        return None

    def is_single(self, rtype: str, steps: tuple[str, ...]) -> bool:
        """Whether a plain path of one step can hold no more than one value."""
        found = self.element(rtype, steps[0]) if len(steps) == 1 else None
        return found is not None and found[1]["max"] == "1"

    def types(self, definition: dict[str, Any]) -> list[str]:
        """Type codes; FHIRPath's System types of ids and urls are strings here."""
        codes = [one["code"] for one in definition["type"]]
        return ["string" if code.startswith("http://hl7.org/fhirpath/") else code for code in codes]

    def system(self, definition: dict[str, Any]) -> str:
        """The code system that a required binding implies, if it is one."""
        binding = definition.get("binding", {})
        if binding.get("strength") != "required":
            return ""
        url = binding.get("valueSet", "").split("|")[0]
        self.bound.add(url)
        return self._systems.get(url, "")

    def value_sets(self) -> dict[str, dict[str, list[str]]]:
        """The bound value sets whose codes are all known: URL -> system -> codes."""
        systems = {}
        for path in self._package.glob("CodeSystem-*.json"):
            code_system = json.loads(path.read_text(encoding="utf-8"))
            if code_system.get("content") == "complete" and code_system.get("url"):
                systems[code_system["url"]] = _codes(code_system.get("concept", []))
        found = {}
        for url in sorted(self.bound):
            includes = self._includes.get(url, [])
            if includes and all("filter" not in one and ("concept" in one or one.get("system") in systems) for one in includes):
                found[url] = {
                    one["system"]: _codes(one["concept"]) if "concept" in one else systems[one["system"]] for one in includes
                }
        return found

    def summary(self, rtype: str) -> tuple[dict[str, Any], list[str], dict[str, str]]:
        """(members of a summary, with those of backbone elements below them; members that every resource must have;
        member -> the choice it is one of).
        """
        elements = self._load(rtype)
        tops = {path.split(".")[1]: one for path, one in elements.items() if path.count(".") == 1}
        choices = {
            name[:-3] + code[0].upper() + code[1:]: name[:-3]
            for name, one in tops.items() if name.endswith("[x]") for code in self.types(one)
        }  # fmt: skip
        mandatory = [name.removesuffix("[x]") for name, one in tops.items() if one["min"] > 0]
        return self._summary(elements, rtype), mandatory, choices

    def _summary(self, elements: dict[str, dict[str, Any]], parent: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path, one in elements.items():
            if not path.startswith(f"{parent}.") or path.count(".") != parent.count(".") + 1:
                continue
            if not (one.get("isSummary") or one["min"] > 0):
                continue
            name, below = path.rsplit(".", 1)[1], self._summary(elements, path)
            if name.endswith("[x]"):
                found |= {name[:-3] + code[0].upper() + code[1:]: {} for code in self.types(one)}
            else:
                found[name] = below
        return found

    def _load(self, name: str) -> dict[str, dict[str, Any]]:
        if name not in self._elements:
            path = self._package / f"StructureDefinition-{name}.json"
            snapshot = json.loads(path.read_text(encoding="utf-8"))["snapshot"]["element"]
            self._elements[name] = {element["path"]: element for element in snapshot}
        return self._elements[name]


def _codes(concepts: list[dict[str, Any]]) -> list[str]:
    """A hierarchy's codes in one list."""
    return [code for concept in concepts for code in (concept["code"], *_codes(concept.get("concept", [])))]


class _Writer:
    """The source of one type's function and the leaves that it numbers."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.lines: list[str] = []
        self.leaves: list[list[str]] = []
        self._names = 0

    def name(self) -> str:
        self._names += 1
        return f"v{self._names}"

    def leaf(self, branch: Branch, ftype: str, system: str = "") -> int:
        leaf = [branch.key, branch.kind, ftype, *([system] if system else [])]
        if leaf not in self.leaves:
            self.leaves.append(leaf)
        return self.leaves.index(leaf)

    def line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def walk(self, node: _Node, var: str, type_path: str, depth: int) -> None:
        """Everything below one object held in `var`."""
        for step, below in node.steps.items():
            if step.startswith("where("):
                wanted = step[len("where(system='") : -2]
                self.line(depth, f'if {var}.get("system") == "{wanted}":')
                self._value(below, var, type_path, depth + 1, {})
                continue
            self._member(step, below, var, type_path, depth)

    def _member(self, step: str, below: _Node, var: str, type_path: str, depth: int) -> None:
        found = self.schema.element(type_path, step)
        if found is None:
            raise ValueError(f"{type_path} has no {step}")
        path, definition = found
        is_choice = path.endswith("[x]")
        is_list = definition["max"] != "1"
        for ftype in self.schema.types(definition):
            wanted = _of_type(below, ftype) if is_choice else below
            if not wanted.steps and all((branch.kind, ftype) in UNSEARCHABLE for branch in wanted.ends):
                continue
            key = step + ftype[0].upper() + ftype[1:] if is_choice else step
            inside = path if ftype in {"BackboneElement", "Element"} else ftype
            name = self.name()
            self.line(depth, f'if ({name} := {var}.get("{key}")) is not None:')
            if is_list:
                item = self.name()
                self.line(depth + 1, f"for {item} in {name}:")
                self._value(wanted, item, inside, depth + 2, definition)
            else:
                self._value(wanted, name, inside, depth + 1, definition)

    def _value(self, node: _Node, var: str, inside: str, depth: int, definition: dict[str, Any]) -> None:
        for branch in node.ends:
            system = self.schema.system(definition) if inside == "code" else ""
            self.line(depth, f"found.append(({self.leaf(branch, inside, system)}, {var}))")
        self.walk(node, var, inside, depth)

    def special(self, branch: Branch) -> None:
        if branch.special == "isDeceased":
            number = self.leaf(branch, "boolean")
            self.line(1, f'found.append(({number}, bool(r.get("deceasedBoolean") or r.get("deceasedDateTime"))))')
        else:
            number = self.leaf(branch, "Reference")
            self.line(1, 'first = (r.get("entry") or [{}])[0].get("resource")')
            self.line(1, 'if first is not None and first.get("id"):')
            self.line(2, f'found.append(({number}, {{"reference": first["resourceType"] + "/" + first["id"]}}))')


def _of_type(node: _Node, ftype: str) -> _Node:
    """What of a choice's branches goes with one of its types: those cast to it, and those that take any."""
    found = _Node(ends=list(node.ends))
    for step, below in node.steps.items():
        if step.startswith("as("):
            if step[3:-1].lower() == ftype.lower():
                found.ends += below.ends
                found.steps |= below.steps
        else:
            found.steps[step] = below
    return found


def accessors_source(*, schema: Schema, rtype: str, branches: list[Branch]) -> tuple[str, list[list[str]]]:
    """The function's source and its leaves: [branch key, kind of search, FHIR type, implied system]."""
    root = _Node()
    writer = _Writer(schema)
    for branch in branches:
        node = root
        for step in branch.steps:
            node = node.steps.setdefault(step, _Node())
        if not branch.special:
            node.ends.append(branch)
    writer.line(0, "def values(r: dict[str, Any]) -> list[tuple[int, Any]]:")
    writer.line(1, "found: list[tuple[int, Any]] = []")
    writer.walk(root, "r", rtype, 1)
    for branch in branches:
        if branch.special:
            writer.special(branch)
    writer.line(1, "return found")
    return "\n".join(writer.lines) + "\n", writer.leaves
