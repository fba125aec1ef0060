"""The last check before the store: what we emit must be FHIR. Called by the store for each resource it writes.

R4B models know structure but take any code and empty members, so the official R4 schema's codes and formats are checked as well.
`fhir-r4.schema.json` is HL7's fhir.schema.json 4.0.1 (CC0), cut down to the types we hold and without its descriptions.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

from fhirapi.registry import TYPES

ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")  # FHIR R4 2.24.0.1, type id
SCHEMA = Path(__file__).with_name("fhir-r4.schema.json")
JSON_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "number": (int, float), "boolean": (bool,)}


class InvalidResourceError(Exception):
    """A resource of ours is no FHIR. `user_message` names type and place, never a value."""

    def __init__(self, user_message: str) -> None:
        super().__init__(user_message)
        self.user_message = user_message


@cache
def _model(rtype: str) -> Any:
    return get_fhir_model_class(rtype)


@cache
def _definitions() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))["definitions"]
    return found


@cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def models_warm() -> None:
    """Load what checking needs: the first use of each model costs a worker up to 35 ms."""
    _definitions()
    for rtype in TYPES:
        _model(rtype)


def resource_check(*, resource: dict[str, Any]) -> None:
    """Raise InvalidResourceError unless this is a valid resource of a type we hold, with an id of its own."""
    rtype = resource.get("resourceType", "")
    if rtype not in TYPES:
        raise InvalidResourceError("not a type that is held here")
    if not ID.fullmatch(str(resource.get("id", ""))):  # the R4B models take any id, or none
        raise InvalidResourceError(f"{rtype}.id is no FHIR id")
    try:
        _model(rtype).model_validate(resource)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors(include_input=False, include_url=False)[0]["loc"])
        raise InvalidResourceError(f"{rtype} is not valid at {place or 'its root'}") from None
    _node_check(resource, _definitions()[rtype], rtype)


def _node_check(node: Any, rule: dict[str, Any], place: str) -> None:
    """One value against its rule in the official schema, and what it holds against theirs."""
    if "$ref" in rule:
        rule = _definitions()[rule["$ref"].rpartition("/")[2]]
    if isinstance(node, list) and "items" in rule:
        if not node:
            raise InvalidResourceError(f"{place} is empty")
        for item in node:
            _node_check(item, rule["items"], place)
    elif isinstance(node, dict) and "properties" in rule:
        if not node:
            raise InvalidResourceError(f"{place} is empty")
        for name, value in node.items():
            _node_check(value, rule["properties"].get(name, {}), f"{place}.{name}")
    elif not _is_value(node, rule):
        raise InvalidResourceError(f"{place} is not what FHIR R4 allows there")


def _is_value(node: Any, rule: dict[str, Any]) -> bool:
    if node is None or "properties" in rule or "items" in rule:
        return False
    if "enum" in rule and node not in rule["enum"]:
        return False
    wanted = JSON_TYPES.get(rule.get("type", ""))
    if wanted and (not isinstance(node, wanted) or (isinstance(node, bool) and bool not in wanted)):
        return False
    return "pattern" not in rule or not isinstance(node, str) or bool(_pattern(rule["pattern"]).search(node))
