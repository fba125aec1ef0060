"""A person who decided about a report -> Practitioner: the name that stands behind it, of this hospital alone."""

from uuid import UUID

from fhirapi.resources.parts import Json, id_of, text_of, urn_identifier


def practitioner_id(*, hospital: UUID, by_id: str) -> str:
    """Of the same person another one in each hospital: nobody is followed from one to the other."""
    return id_of("practitioner", hospital, by_id)


def to_fhir(*, hospital: UUID, by_id: str, name: str) -> Json:
    fhir_id = practitioner_id(hospital=hospital, by_id=by_id)
    return {
        "resourceType": "Practitioner",
        "id": fhir_id,
        "identifier": [urn_identifier(fhir_id)],
        "active": True,
        "name": [{"use": "usual", "text": text_of(name)}],
    }
