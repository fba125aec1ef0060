"""The operations of the server (FHIR R4 3.2): which there are, and how their Parameters are read and written.

The CapabilityStatement and the views follow `OPERATIONS`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fhirapi.interactions import is_writable
from fhirapi.outcomes import FhirError

DEFINITIONS = "http://hl7.org/fhir/OperationDefinition"
PARTS_MAX = 100
Pairs = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """`rtypes` are the types that have it, None for all."""

    name: str
    definition: str
    rtypes: frozenset[str] | None = None
    is_system: bool = False
    is_writing: bool = False


BULK = "http://hl7.org/fhir/uv/bulkdata"
BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition"
OPERATIONS = (
    Operation(name="export", definition=f"{BULK}/OperationDefinition/export", rtypes=frozenset(), is_system=True),
    Operation(name="export", definition=f"{BULK}/OperationDefinition/patient-export", rtypes=frozenset({"Patient"})),
    Operation(name="export", definition=f"{BULK}/OperationDefinition/group-export", rtypes=frozenset({"Group"})),
    Operation(name="everything", definition=f"{DEFINITIONS}/Patient-everything", rtypes=frozenset({"Patient"})),
    Operation(name="match", definition=f"{DEFINITIONS}/Patient-match", rtypes=frozenset({"Patient"})),
    Operation(name="meta", definition=f"{DEFINITIONS}/Resource-meta", is_system=True),
    Operation(name="meta-add", definition=f"{DEFINITIONS}/Resource-meta-add", is_writing=True),
    Operation(name="meta-delete", definition=f"{DEFINITIONS}/Resource-meta-delete", is_writing=True),
    Operation(name="status", definition=f"{BACKPORT}/backport-subscription-status", rtypes=frozenset({"Subscription"})),
    Operation(name="events", definition=f"{BACKPORT}/backport-subscription-events", rtypes=frozenset({"Subscription"})),
    Operation(name="validate", definition=f"{DEFINITIONS}/Resource-validate"),
)


def operations(rtype: str) -> list[Operation]:
    """Those of a type and its resources; of the whole system for ""."""
    if not rtype:
        return [one for one in OPERATIONS if one.is_system]
    return [
        one for one in OPERATIONS if (one.rtypes is None or rtype in one.rtypes) and (not one.is_writing or is_writable(rtype))
    ]


def parameters_read(tree: Any) -> list[tuple[str, Any]]:
    """(name, value) of each parameter, parts of parts left out. Raises FhirError 400 for what is no Parameters."""
    parts = tree.get("parameter", []) if isinstance(tree, dict) and tree.get("resourceType") == "Parameters" else None
    if not isinstance(parts, list):
        raise FhirError(400, "The body must be one Parameters.", code="structure")
    if len(parts) > PARTS_MAX:
        raise FhirError(413, f"Parameters has at most {PARTS_MAX} parameters here.")
    return [_part(part) for part in parts]


def _part(part: Any) -> tuple[str, Any]:
    if not isinstance(part, dict) or not isinstance(part.get("name"), str):
        raise FhirError(400, "A parameter has no name.", code="structure")
    values = [value for key, value in part.items() if key == "resource" or key.startswith("value")]
    if len(values) != 1:
        raise FhirError(400, "A parameter must have one value or one resource.", code="structure")
    return part["name"], values[0]


def parameter_pairs(tree: Any) -> Pairs:
    """The parameters as a query would have them: for operations that take nothing but simple values."""
    found = []
    for name, value in parameters_read(tree):
        if isinstance(value, dict | list):
            raise FhirError(400, "A parameter of this operation is not of a simple type.", code="structure")
        found.append((name, str(value).lower() if isinstance(value, bool) else str(value)))
    return found


def parameter_one(parameters: Sequence[tuple[str, Any]], name: str) -> Any:
    """The value of a parameter that may be there once, or None. Raises FhirError 400 for more."""
    values = [value for key, value in parameters if key == name]
    if len(values) > 1:
        raise FhirError(400, f"{name} is there more than once.", code="value")
    return values[0] if values else None


def returned(*, name: str, value: Any) -> dict[str, Any]:
    """An operation's one answer, `return`, as Parameters; `name` is the member of its type. Nothing is no parameter (2.6.2)."""
    return {"resourceType": "Parameters"} | ({"parameter": [{"name": "return", name: value}]} if value else {})
