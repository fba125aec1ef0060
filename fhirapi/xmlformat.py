"""FHIR XML from and to FHIR JSON text (FHIR R4 2.6.1): numbers and strings stay as they are written, either way.

Read by expat with document types refused, so that nothing outside the body is fetched and no entity expands.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from fhirapi.definitions.elements import Member, Shape, resource_names, shape
from fhirapi.validation import InvalidResourceError, Issue

FHIR = "http://hl7.org/fhir"
XHTML = "http://www.w3.org/1999/xhtml"
VOID = {"br", "col", "hr", "img"}
XML = "http://www.w3.org/XML/1998/namespace"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
BODY_MAX = 32 * 1024 * 1024
DEPTH_MAX = 128  # an element of XML for each object and each list member of JSON's 64

NUMBERS = frozenset({"decimal", "integer", "unsignedInt", "positiveInt"})
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 2.2
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
_ESCAPED = re.compile('[&<>"\t\n\r]')


class Number(str):
    """A JSON number as it was written: 1.00 is not 1.0."""


# JSON to XML


def xml_write(text: str) -> bytes:
    """A valid resource's JSON text as XML, its elements in the order of their definition."""
    out = ['<?xml version="1.0" encoding="UTF-8"?>']
    resource = json.loads(text, parse_float=Number, parse_int=Number)
    _resource_write(resource, out, f' xmlns="{FHIR}"')
    return "".join(out).encode()


def _resource_write(node: dict[str, Any], out: list[str], namespace: str = "") -> None:
    name = node["resourceType"]
    out.append(f"<{name}{namespace}>")
    _members_write(node, shape(name), out)
    out.append(f"</{name}>")


def _members_write(node: dict[str, Any], rule: Shape, out: list[str]) -> None:
    attributes = _attributes(rule)
    for member in rule.order:
        value, sibling = node.get(member.name), node.get(f"_{member.name}") if member.is_primitive else None
        if member.name in attributes or (value is None and sibling is None):
            continue
        values = value if isinstance(value, list) else [value]
        siblings = sibling if isinstance(sibling, list) else [sibling]
        for index in range(max(len(values), len(siblings))):
            _member_write(member, _at(values, index), _at(siblings, index), out)


def _at(values: list[Any], index: int) -> Any:
    return values[index] if index < len(values) else None


def _attributes(rule: Shape) -> tuple[str, ...]:
    """An element's id, and an extension's url, are attributes; a resource's id is an element."""
    if rule.kind == "resource":
        return ()
    return ("id", "url") if rule.name == "Extension" else ("id",)


def _member_write(member: Member, value: Any, sibling: Any, out: list[str]) -> None:
    name = member.name
    if member.kind == "xhtml":
        out.append(value)  # well-formed and its own namespace: else it would not be stored
    elif member.kind == "Resource":
        out.append(f"<{name}>")
        _resource_write(value, out)
        out.append(f"</{name}>")
    elif member.is_primitive:
        given = "" if value is None else f' value="{_escape(_literal(value))}"'
        _object_write(name, sibling or {}, shape("Element"), given, out)
    else:
        _object_write(name, value, shape(member.kind), "", out)


def _object_write(name: str, node: dict[str, Any], rule: Shape, given: str, out: list[str]) -> None:
    attributes = "".join(f' {key}="{_escape(node[key])}"' for key in _attributes(rule) if key in node)
    start = len(out)
    out.append(f"<{name}{attributes}{given}>")
    _members_write(node, rule, out)
    if len(out) == start + 1:
        out[start] = f"<{name}{attributes}{given}/>"
    else:
        out.append(f"</{name}>")


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _escape(text: str, *, keep: str = "") -> str:
    return _ESCAPED.sub(lambda found: found[0] if found[0] in keep else _ESCAPES[found[0]], _NO_XML.sub("\ufffd", text))


# XML to JSON


@dataclass(slots=True)
class Node:
    """An element as it was parsed. `raw` is the source of a narrative's div."""

    name: str
    attributes: dict[str, str]
    children: list["Node"] = field(default_factory=list)
    raw: str = ""


class _Refused(Exception):
    """The document is no FHIR XML; carries why, in our words."""


class _Reader:
    """Builds the tree. A div is taken as its bytes stand, or written anew where they lean on prefixes of the document."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.root: Node | None = None
        self.open: list[Node] = []
        self.div_depth = 0
        self.div_start = 0
        self.div: list[str] = []
        self.parser = parser = expat.ParserCreate("UTF-8", " ")
        parser.buffer_text = True
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.text
        parser.StartDoctypeDeclHandler = self.doctype

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if self.div_depth or name == f"{XHTML} div":
            self.start_in_div(name, attributes)
            return
        namespace, _, local = name.rpartition(" ")
        if namespace != FHIR:
            raise _Refused("has an element outside FHIR's namespace")
        node = Node(local, {key: value for key, value in attributes.items() if not key.startswith(XSI)})
        if self.open:
            self.open[-1].children.append(node)
        else:
            self.root = node
        self.open.append(node)
        if len(self.open) > DEPTH_MAX:
            raise _Refused("is nested too deep")

    def start_in_div(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        if namespace != XHTML:
            raise _Refused("has an element in a narrative that is no XHTML")
        if not self.div_depth:
            self.div_start = self.parser.CurrentByteIndex
            self.div = []
            attributes = {"xmlns": XHTML} | attributes
        self.div_depth += 1
        if self.div_depth > DEPTH_MAX:
            raise _Refused("is nested too deep")
        given = (f' {key.replace(f"{XML} ", "xml:")}="{_escape(value)}"' for key, value in attributes.items())
        self.div.append(f"<{local}{''.join(given)}>")

    def end(self, name: str) -> None:
        if not self.div_depth:
            self.open.pop()
            return
        local = name.rpartition(" ")[2]
        if local in VOID and self.div[-1].startswith(f"<{local}"):  # to a browser `<br></br>` is two
            self.div[-1] = f"{self.div[-1][:-1]}/>"
        else:
            self.div.append(f"</{local}>")
        self.div_depth -= 1
        if not self.div_depth:
            if not self.open:
                raise _Refused("has no resource at its root")
            stop = self.data.index(b">", self.parser.CurrentByteIndex) + 1
            raw = self.data[self.div_start : stop].decode()
            self.open[-1].children.append(Node("div", {}, raw=raw if _is_xhtml(raw) else "".join(self.div)))

    def text(self, data: str) -> None:
        if self.div_depth:
            self.div.append(_escape(data, keep='\t\n"'))
        elif not data.isspace():
            raise _Refused("has text where FHIR has elements only")

    def doctype(self, *_: object) -> None:
        raise _Refused("may not have a document type")


def _is_xhtml(raw: str) -> bool:
    """This source means the same standing alone: a div with a namespace of its own and no prefix from outside."""
    names: list[str] = []
    parser = expat.ParserCreate("UTF-8", " ")
    parser.StartElementHandler = lambda name, attributes: names.append(name)
    try:
        parser.Parse(raw.encode(), True)
    except expat.ExpatError:
        return False
    return raw.startswith("<div") and all(name.startswith(f"{XHTML} ") for name in names)


def xml_read(data: bytes) -> str:
    """A resource's XML as JSON text. Raises InvalidResourceError; whether the resource is valid is told by its validation."""
    if len(data) > BODY_MAX:
        raise _error("The body is too large", code="too-long", is_unreadable=True)
    reader = _Reader(data)
    try:
        reader.parser.Parse(data, True)
    except _Refused as refused:
        raise _error(f"The body {refused}", is_unreadable=True) from None
    except (expat.ExpatError, ValueError):
        raise _error("The body is no well-formed XML in UTF-8", is_unreadable=True) from None
    if reader.root is None or reader.root.name not in resource_names():
        raise _error("The body is no resource of FHIR R4", is_unreadable=True)
    return _json(_resource_read(reader.root, reader.root.name))


def _resource_read(node: Node, place: str) -> dict[str, Any]:
    if node.name not in resource_names():
        raise _error(f"{place} is no resource of FHIR R4", place)
    return {"resourceType": node.name} | _members_read(node, shape(node.name), place)


def _members_read(node: Node, rule: Shape, place: str, allowed: tuple[str, ...] = ()) -> dict[str, Any]:
    """The members of an object: its attributes, then its elements by name, each a list until it is known to be single."""
    attributes = _attributes(rule)
    found: dict[str, Any] = {key: node.attributes[key] for key in attributes if key in node.attributes}
    if node.attributes.keys() - set(attributes) - set(allowed):
        raise _error(f"{place} has an attribute that FHIR R4 does not define there", place)
    named: dict[str, list[Node]] = {}
    for child in node.children:
        if child.name not in rule.members or child.name in attributes or child.name.startswith("_"):
            raise _error(f"{place} has an element that FHIR R4 does not define there", place)
        named.setdefault(child.name, []).append(child)
    for member in rule.order:
        if children := named.get(member.name):
            found |= _member_read(member, children, f"{place}.{member.element}")
    return found


def _member_read(member: Member, children: list[Node], place: str) -> dict[str, Any]:
    if not member.is_list and len(children) > 1:
        raise _error(f"{place} may not repeat", place)
    places = [f"{place}[{index}]" if member.is_list else place for index in range(len(children))]
    if member.is_primitive:
        pairs = [_primitive_read(member, child, at) for child, at in zip(children, places, strict=True)]
        for pair, at in zip(pairs, places, strict=True):
            if pair == (None, {}):
                raise _error(f"{at} has neither a value nor children (ele-1)", at, code="invariant")
        columns = {member.name: [pair[0] for pair in pairs], f"_{member.name}": [pair[1] or None for pair in pairs]}
        return {
            name: values if member.is_list else values[0]
            for name, values in columns.items()
            if any(value is not None for value in values)
        }
    values = [_value_read(member, child, at) for child, at in zip(children, places, strict=True)]
    return {member.name: values if member.is_list else values[0]}


def _value_read(member: Member, node: Node, place: str) -> dict[str, Any]:
    if member.kind != "Resource":
        return _members_read(node, shape(member.kind), place)
    if len(node.children) != 1 or node.attributes:
        raise _error(f"{place} must hold one resource", place)
    return _resource_read(node.children[0], place)


def _primitive_read(member: Member, node: Node, place: str) -> tuple[Any, dict[str, Any]]:
    """Its value, None where there is none, and what stands beside it: id and extensions."""
    if member.kind == "xhtml":
        return node.raw or None, {}
    beside = _members_read(node, shape("Element"), place, ("value",))
    text = node.attributes.get("value")
    if text is None:
        return None, beside
    if member.kind == "boolean" and text in {"true", "false"}:
        return text == "true", beside
    if member.kind in NUMBERS and _NUMBER.fullmatch(text):
        return Number(text), beside
    if member.kind == "boolean" or member.kind in NUMBERS:
        raise _error(f"{place} is no valid {member.kind}", place, code="value")
    return text, beside


def _json(node: Any) -> str:
    if isinstance(node, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_json(value)}" for key, value in node.items()) + "}"
    if isinstance(node, list):
        return "[" + ",".join(map(_json, node)) + "]"
    if isinstance(node, Number):
        return str(node)
    return json.dumps(node, ensure_ascii=False)


def _error(text: str, place: str = "", *, code: str = "structure", is_unreadable: bool = False) -> InvalidResourceError:
    severity = "fatal" if is_unreadable else "error"
    issue = Issue(severity=severity, code=code, diagnostics=text, expression=place)
    return InvalidResourceError(text, issues=(issue,), is_unreadable=is_unreadable)
