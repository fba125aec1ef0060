"""imaging.Patient -> Patient: the projection of (issuer, PatientID) until an EHR takes over (DESIGN section 2)."""

from uuid import UUID

from fhirapi.resources.parts import (
    HL7,
    TERMINOLOGY,
    Json,
    coding,
    concept,
    date_of,
    filled,
    name_parts,
    number_space,
    text_of,
)
from fhirapi.sources import PatientRow

GENDERS = {"M": "male", "F": "female", "O": "other"}  # PS3.3 C.7.1.1; anything else that was sent is "unknown"
REPRESENTATION = f"{HL7}/StructureDefinition/iso21090-EN-representation"
GROUPS = ("ABC", "IDE", "SYL")  # alphabetic, ideographic, phonetic: the order of PS3.5 6.2.1.1


def to_fhir(*, patient: PatientRow, hospital: UUID, replaced_by: str = "") -> Json:
    """`replaced_by`: somebody decided that this one is that one."""
    sex = text_of(patient.sex).upper()
    return filled({
        "resourceType": "Patient",
        "id": patient.fhir_id,
        "identifier": _identifiers(patient, hospital),
        "name": _names(text_of(patient.name)),
        "gender": GENDERS.get(sex, "unknown") if sex else "",
        "birthDate": date_of(patient.birth_date),
        "active": False if replaced_by else None,
        "link": [{"other": {"reference": f"Patient/{replaced_by}"}, "type": "replaced-by"}] if replaced_by else [],
    })  # fmt: skip


def _identifiers(patient: PatientRow, hospital: UUID) -> list[Json]:
    value, issuer = text_of(patient.patient_id), text_of(patient.issuer)
    if not value:
        return []
    identifier = {
        # A second person under the same number: both are found by it, and neither is called the owner's usual one.
        "use": "temp" if patient.variant else "usual",
        "type": concept(coding(f"{TERMINOLOGY}/v2-0203", "MR", "Medical record number")),
        "system": number_space(hospital=hospital, kind="patient-id", issuer=issuer),
        "value": value,
    }
    if issuer:
        identifier["assigner"] = {"display": issuer}
    return [identifier]


def _names(person_name: str) -> list[Json]:
    """One HumanName a group; the representation is named once there is more than the alphabetic one."""
    groups = [group.strip() for group in person_name.split("=")[:3]]
    is_plain = not any(groups[1:])
    return [
        _name(group, "" if is_plain else representation)
        for group, representation in zip(groups, GROUPS, strict=False)
        if group.strip("^ ")
    ]


def _name(group: str, representation: str) -> Json:
    family, given, middle, prefix, suffix = name_parts(group)
    # In ideographic and phonetic writing the family name comes first.
    order = (prefix, given, middle, family, suffix) if representation in {"", "ABC"} else (family, given, middle)
    return filled({
        "extension": [{"url": REPRESENTATION, "valueCode": representation}] if representation else [],
        "use": "official",
        "text": " ".join(part for part in order if part),
        "family": family,
        "given": [part for part in (given, middle) if part],
        "prefix": [prefix] if prefix else [],
        "suffix": [suffix] if suffix else [],
    })  # fmt: skip
