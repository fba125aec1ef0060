"""The CapabilityStatement, generated from the registry that the views and the index follow: it cannot claim more than they do."""

from typing import Any

from fhirapi.registry import COMMON, TYPES, ResourceType

PUBLISHED = "2026-11-25"  # of this shape of the API; change it with the registry
SECURITY = "A bearer token of the hospital in the Authorization header (RFC 6750), made by its administrator."
CHECKED = "Resources are written by this server from DICOM and AI results, checked against FHIR, and read only over REST."


def capability_statement(*, base: str) -> dict[str, Any]:
    """What this hospital's endpoint does."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": PUBLISHED,
        "publisher": "MedicalCloudAIHub",
        "kind": "instance",
        "software": {"name": "MedicalCloudAIHub"},
        "implementation": {"description": "FHIR endpoint of one hospital", "url": base},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [
            {
                "mode": "server",
                "documentation": CHECKED,
                "security": {"description": SECURITY},
                "resource": [_resource(rtype, base) for rtype in TYPES.values()],
            }
        ],
    }


def includes(rtype: ResourceType) -> list[str]:
    return [f"{rtype.name}:{param.name}" for param in rtype.params if param.kind == "reference"]


def _resource(rtype: ResourceType, base: str) -> dict[str, Any]:
    # A definition of our own is published here, an official one at HL7.
    own = [
        (param.name, param.kind, param.definition if "://" in param.definition else f"{base}/{param.definition}")
        for param in rtype.params
    ]
    found: dict[str, Any] = {
        "type": rtype.name,
        "interaction": [{"code": "read"}, {"code": "search-type"}],
        "versioning": "versioned",
        "readHistory": False,
        "searchParam": [{"name": n, "type": t, "definition": d} for n, t, d in [*COMMON, *own]],
    }
    if paths := includes(rtype):
        found["searchInclude"] = paths
    return found
