"""`_summary` and `_elements`: parts of stored resources (FHIR R4 3.1.1.5.8, 3.1.1.5.9), numbers as they were written."""

import json
import re
import secrets
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from fhirapi.registry import DEFINITIONS
from fhirapi.store import Document

ALWAYS = {"resourceType", "id", "meta"}
SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}


@dataclass(frozen=True, kw_only=True)
class Form:
    """How much of each match is wanted; nothing said means all of it."""

    summary: str = ""  # true, text or data
    elements: tuple[str, ...] = ()


@cache
def _definitions() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEFINITIONS / "parameters_summary.json").read_text(encoding="utf-8"))
    return found


def document_form(*, document: Document, form: Form) -> Document:
    """The document with what is wanted, marked as SUBSETTED; itself where everything is."""
    if not (form.summary or form.elements):
        return document
    # Numbers travel as texts with a mark that nobody can have written, so 1.00 stays 1.00.
    mark = secrets.token_hex(16)
    resource = json.loads(document.content, parse_float=lambda text: mark + text, parse_int=lambda text: mark + text)
    wanted = _wanted(document.rtype, form, resource)
    meta = resource.get("meta", {})
    tags = [tag for tag in meta.get("tag", ()) if tag.get("code") != SUBSETTED["code"]]
    wanted["meta"] = meta | {"tag": [*tags, SUBSETTED]}
    text = json.dumps(wanted, ensure_ascii=False, separators=(",", ":"))
    return replace(document, content=re.sub(f'"{mark}([^"]*)"', r"\1", text))


def _wanted(rtype: str, form: Form, resource: dict[str, Any]) -> dict[str, Any]:
    definition = _definitions()[rtype]
    if form.summary == "data":
        return {name: value for name, value in resource.items() if name != "text"}
    if form.summary == "true" and not form.elements:
        return _summarized(resource, definition["summary"]) | {"resourceType": rtype}
    names = {*ALWAYS, *(form.elements or ("text",)), *definition["mandatory"]}
    # `value` names valueQuantity as well, and each element the extensions beside it.
    return {
        name: value
        for name, value in resource.items()
        if (plain := name.lstrip("_")) in names or definition["choices"].get(plain) in names
    }


def _summarized(node: dict[str, Any], rule: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in node.items():
        below = rule.get(name.lstrip("_"))
        if below is None:
            continue
        if not below:
            found[name] = value
        elif isinstance(value, list):
            found[name] = [_summarized(item, below) for item in value]
        else:
            found[name] = _summarized(value, below)
    return found
