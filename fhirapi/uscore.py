"""US Core 6.1.0, for hospitals that switched it on: which resource may name which profile. A claim that does not hold is none.

Each check is the profile's cardinalities and invariants that FHIR itself does not ask for; the rest was checked as FHIR.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fhirapi.resources.parts import LOINC, TERMINOLOGY, UCUM, Json

PROFILES = "http://hl7.org/fhir/us/core/StructureDefinition"
SUPPORTED = {
    "Patient": f"{PROFILES}/us-core-patient",
    "Observation": f"{PROFILES}/us-core-observation-clinical-result",
    "DiagnosticReport": f"{PROFILES}/us-core-diagnosticreport-note",
}
NOTE_CATEGORIES = {"LP29684-5", "LP29708-2", "LP7839-6"}
CLINICAL_CATEGORIES = {"imaging"}  # the only one that we write
DATED = {"partial", "preliminary", "final", "amended", "corrected", "appended"}
By = Mapping[str, Json]  # "Type/id" -> what it is


def profiles_claim(*, resources: Sequence[Json], patients: By) -> list[Json]:
    """The same resources, those that satisfy their profile with its name. `patients` are those who are not among them."""
    known: dict[str, Json] = {**_named(resources), **patients}
    return [_claimed(resource) if is_conformant(resource=resource, known=known) else resource for resource in resources]


def is_conformant(*, resource: Json, known: By) -> bool:
    """`known` holds what the resource refers to: a profile asks for it to conform as well."""
    check = CHECKS.get(resource["resourceType"])
    return check is not None and check(resource, known)


def _named(resources: Sequence[Json]) -> dict[str, Json]:
    return {f"{one['resourceType']}/{one['id']}": one for one in resources}


def _claimed(resource: Json) -> Json:
    return resource | {"meta": resource.get("meta", {}) | {"profile": [SUPPORTED[resource["resourceType"]]]}}


def _is_patient(patient: Json, known: By) -> bool:
    """identifier 1..* with system and value, name 1..* with family or given (us-core-6), gender 1..1."""
    identifiers, names = patient.get("identifier", ()), patient.get("name", ())
    return bool(
        identifiers
        and all(one.get("system") and one.get("value") for one in identifiers)
        and names
        and all(one.get("family") or one.get("given") for one in names)
        and patient.get("gender")
    )


def _is_observation(observation: Json, known: By) -> bool:
    """A clinical category; a date to the day (us-core-1); a value or why not (us-core-2); UCUM (us-core-3); a US Core patient."""
    date = observation.get("effectiveDateTime", "")
    quantity = observation.get("valueQuantity", {})
    has_value = any(name.startswith("value") for name in observation)
    return bool(
        _codes(observation, f"{TERMINOLOGY}/observation-category") & CLINICAL_CATEGORIES
        and (not date or len(date) >= 10)
        and (has_value or {"component", "hasMember", "dataAbsentReason"} & observation.keys())
        and (not quantity.get("code") or quantity.get("system") == UCUM)
        and _leads(observation.get("subject"), known, "Patient")
    )


def _is_report(report: Json, known: By) -> bool:
    """A category of notes; effective and issued once there is a report (us-core-8, us-core-9); patient and results conform."""
    is_dated = len(report.get("effectiveDateTime", "")) >= 10 and bool(report.get("issued"))
    return bool(
        _codes(report, LOINC) & NOTE_CATEGORIES
        and (report["status"] not in DATED or is_dated)
        and _leads(report.get("subject"), known, "Patient")
        and all(_leads(one, known, "Observation") for one in report.get("result", ()))
        and all(_is_organization(known.get(one.get("reference", ""), {})) for one in report.get("performer", ()))
    )


def _is_organization(organization: Json) -> bool:
    return organization.get("resourceType") == "Organization" and "active" in organization and bool(organization.get("name"))


def _leads(reference: Any, known: By, rtype: str) -> bool:
    target = known.get((reference or {}).get("reference", ""), {})
    return target.get("resourceType") == rtype and is_conformant(resource=target, known=known)


def _codes(resource: Json, system: str) -> set[str]:
    codings = [coding for concept in resource.get("category", ()) for coding in concept.get("coding", ())]
    return {coding.get("code", "") for coding in codings if coding.get("system") == system}


CHECKS: dict[str, Callable[[Json, By], bool]] = {
    "Patient": _is_patient,
    "Observation": _is_observation,
    "DiagnosticReport": _is_report,
}
