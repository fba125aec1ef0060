"""Whether a resource is FHIR R4, and if not, why: structure, formats, required codes, references, narrative and invariants by
HL7's definitions (walk.py), then the R4B models of fhir.resources. Called by the store for each resource that it writes.
"""

from typing import Any

from fhirapi.definitions.elements import shapes_load
from fhirapi.registry import TYPES
from fhirapi.validation.issues import InvalidResourceError, Issue
from fhirapi.validation.models import model_issues, models_load
from fhirapi.validation.primitives import ID
from fhirapi.validation.walk import Walk

__all__ = [
    "ID",
    "InvalidResourceError",
    "Issue",
    "bundle_check",
    "models_warm",
    "resource_check",
    "resource_validate",
]


def models_warm() -> None:
    """Load what checking needs: the first use of each model costs a worker up to 35 ms."""
    shapes_load(TYPES)
    models_load()


def resource_check(*, resource: dict[str, Any]) -> None:
    """Raise InvalidResourceError unless this is a valid resource of a type we hold, with an id of its own."""
    rtype = resource.get("resourceType")
    if not isinstance(rtype, str) or rtype not in TYPES:
        raise InvalidResourceError("not a type that is held here")
    if not isinstance(fhir_id := resource.get("id"), str) or not ID.fullmatch(fhir_id):
        raise InvalidResourceError(f"{rtype}.id is no FHIR id")
    issues = _issues(resource)
    if issues:
        raise InvalidResourceError(issues[0].diagnostics, issues=tuple(issues))


def bundle_check(*, bundle: dict[str, Any]) -> None:
    """Raise InvalidResourceError unless the Bundle itself is valid; the resources in its entries are checked as they are stored."""
    walk = _walk(bundle, Walk(is_shell=True))
    if walk.issues:
        raise InvalidResourceError(walk.issues[0].diagnostics, issues=tuple(walk.issues))


def resource_validate(*, resource: Any) -> list[Issue]:
    """Every problem of a resource of any R4 type, warnings included. Never raises."""
    return _issues(resource, with_warnings=True)


def _issues(resource: Any, *, with_warnings: bool = False) -> list[Issue]:
    walk = _walk(resource, Walk(with_warnings=with_warnings))
    if walk.is_beyond_models or any(issue.is_error for issue in walk.issues):
        return walk.issues
    return walk.issues + model_issues(resource, types=walk.types, has_model_fault=walk.has_model_fault)


def _walk(resource: Any, walk: Walk) -> Walk:
    try:
        walk.resource(resource, None)
    except RecursionError:
        walk.issues = [Issue(severity="error", code="too-long", diagnostics="The resource is nested too deep")]
    return walk
