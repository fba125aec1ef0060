"""The operation $validate (FHIR R4, operation resource-validate): always an OperationOutcome, never a refusal."""

from typing import Any

from fhirapi.validation import Issue, resource_validate

MODES = frozenset({"create", "update", "delete", "profile"})
ALL_OK = Issue(severity="information", code="informational", diagnostics="Nothing was found that FHIR R4 does not allow.")
PROFILES = Issue(
    severity="warning", code="not-supported", diagnostics="Profiles are not held here; this was checked against FHIR R4 alone."
)


def validate_operation(*, resource: Any, mode: str = "", rtype: str = "", has_profile: bool = False) -> dict[str, Any]:
    """The outcome for a resource, or for Parameters that hold `resource`, `mode` and `profile`. The caller answers 200.

    `rtype` is the type of the address, `has_profile` says that the address named a profile.
    """
    issues: list[Issue] = [PROFILES] if has_profile else []
    if isinstance(resource, dict) and resource.get("resourceType") == "Parameters":
        found = _parameters(resource)
        if "resource" in found or {"mode", "profile"} & found.keys():
            mode = mode or str(found.get("mode", ""))
            issues += [PROFILES] if "profile" in found else []
            resource = found.get("resource")
    if mode and mode not in MODES:
        issues.append(
            Issue(severity="error", code="code-invalid", diagnostics="mode is none of create, update, delete, profile")
        )
    issues += _needs(resource, mode)
    if rtype and isinstance(resource, dict) and resource.get("resourceType", rtype) != rtype:
        issues.append(Issue(severity="error", code="invalid", diagnostics="The resource is not of the type of the address"))
    if resource is not None:
        issues += resource_validate(resource=resource)
    issues.sort(key=lambda issue: not issue.is_error)
    if not any(issue.severity in {"error", "fatal", "warning"} for issue in issues):
        issues.append(ALL_OK)
    return {"resourceType": "OperationOutcome", "issue": [issue.to_fhir() for issue in issues]}


def _parameters(resource: dict[str, Any]) -> dict[str, Any]:
    parts = resource.get("parameter")
    found: dict[str, Any] = {}
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict) and isinstance(name := part.get("name"), str):
            values = [value for key, value in part.items() if key == "resource" or key.startswith("value")]
            found[name] = values[0] if values else None
    return found


def _needs(resource: Any, mode: str) -> list[Issue]:
    """A delete may come without a resource; an update is of a resource with an id."""
    if resource is None:
        return (
            []
            if mode == "delete"
            else [Issue(severity="error", code="required", diagnostics="There is no resource to validate")]
        )
    if mode == "update" and isinstance(resource, dict) and "id" not in resource:
        return [Issue(severity="error", code="required", diagnostics="An update needs the resource's id")]
    return []
