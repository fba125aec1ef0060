"""The CapabilityStatement, generated from the registry and the interactions that the views follow: it cannot claim more than they do."""

from collections.abc import Mapping, Sequence
from typing import Any

from fhirapi.interactions import GUARDED, HUB_ONLY, PATCHES, SYSTEM, WRITING, interactions
from fhirapi.operations.known import BULK, operations
from fhirapi.registry import COMMON, TYPES, ResourceType
from fhirapi.subscriptions.topics import SUBSCRIPTION_PROFILE, TOPIC_EXTENSION, TOPICS

PUBLISHED = "2026-11-30"  # of this shape of the API; change it with the registry
SECURITY = "A bearer token of the hospital in the Authorization header (RFC 6750), made by its administrator."
CHECKED = (
    "Every resource is checked against FHIR before it is stored; the client's JSON is what is stored and served. What this server "
    "made from DICOM and AI results is read-only over REST, except Patient and Organization, which a client may take over."
)
SUBSCRIBED = "rest-hook only. status is this server's: a client asks for requested or off. What headers hold is not shown again."
SERVICES = "http://terminology.hl7.org/CodeSystem/restful-security-service"
HUB_WRITES = "Written by this server alone."
GUARD = " For those who may read the audit trail."


def capability_statement(*, base: str, formats: Sequence[str], profiles: Mapping[str, str]) -> dict[str, Any]:
    """What this hospital's endpoint does. `formats` are the content types that the door speaks, `profiles` are by type."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": PUBLISHED,
        "publisher": "MedicalCloudAIHub",
        "kind": "instance",
        "instantiates": [f"{BULK}/CapabilityStatement/bulk-data"],
        "software": {"name": "MedicalCloudAIHub"},
        "implementation": {"description": "FHIR endpoint of one hospital", "url": base},
        "fhirVersion": "4.0.1",
        "format": list(formats),
        "patchFormat": list(PATCHES),
        "rest": [
            {
                "mode": "server",
                "documentation": CHECKED,
                "security": {
                    "service": [{"coding": [{"system": SERVICES, "code": "SMART-on-FHIR"}], "text": "SMART Backend Services"}],
                    "description": SECURITY,
                },
                "resource": [_resource(rtype, base) | _profiles(rtype, profiles) for rtype in TYPES.values()],
                "interaction": [{"code": code} for code in SYSTEM],
                "operation": _operations(""),
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
    codes = interactions(rtype.name)
    found: dict[str, Any] = {
        "type": rtype.name,
        "interaction": [{"code": code} for code in codes],
        "versioning": "versioned-update" if "update" in codes else "versioned",
        "readHistory": "vread" in codes,
        "conditionalRead": "full-support",
    }
    if rtype.name == "Subscription":
        found["extension"] = [{"url": TOPIC_EXTENSION, "valueCanonical": one.canonical} for one in TOPICS.values()]
        found["documentation"] = SUBSCRIBED
        found["supportedProfile"] = [SUBSCRIPTION_PROFILE]
    if rtype.name in HUB_ONLY:
        found["documentation"] = HUB_WRITES + (GUARD if rtype.name in GUARDED else "")
    if set(WRITING) <= set(codes):
        found |= {"updateCreate": True, "conditionalCreate": True, "conditionalUpdate": True, "conditionalDelete": "single"}
    found["searchParam"] = [{"name": n, "type": t, "definition": d} for n, t, d in [*COMMON, *own]]
    if paths := includes(rtype):
        found["searchInclude"] = paths
    return found | {"operation": _operations(rtype.name)}


def _profiles(rtype: ResourceType, profiles: Mapping[str, str]) -> dict[str, list[str]]:
    return {"supportedProfile": [profiles[rtype.name]]} if rtype.name in profiles else {}


def _operations(rtype: str) -> list[dict[str, str]]:
    return [{"name": one.name, "definition": one.definition} for one in operations(rtype)]
