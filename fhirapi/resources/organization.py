"""The maker of an algorithm -> Organization: who answers for an AI result (R4's performer cannot be a Device)."""

from fhirapi.resources.parts import OURS, Json, id_of, text_of


def organization_id(*, name: str) -> str:
    return id_of("organization", name)


def to_fhir(*, name: str) -> Json:
    return {
        "resourceType": "Organization",
        "id": organization_id(name=name),
        "identifier": [{"system": f"{OURS}/sid/manufacturer", "value": text_of(name)}],
        "active": True,
        "name": text_of(name),
    }
