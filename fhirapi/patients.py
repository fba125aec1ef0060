"""Patients as people look for them, by the beginning of a name or a number; and the patient of a study. In a scope."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from fhirapi.outcomes import FhirError
from fhirapi.search.pages import resource_search
from fhirapi.search.query import query_parse
from fhirapi.sources import hospital_read
from fhirapi.store import Document, ResourceGoneError, resource_read
from fhirapi.validation import ID
from journal.wall.scope import tenant_id_current

SHOWN = 20
TEXT_CHARS = 100


@dataclass(frozen=True, kw_only=True)
class PatientFacts:
    """What tells people apart. Texts of FHIR as they are: a date of birth is `yyyy-mm-dd` or less of it."""

    fhir_id: str
    name: str
    birth_date: str
    gender: str
    number: str


def patients_find(*, text: str) -> list[PatientFacts]:
    """At most SHOWN: those whose names or numbers fit, or without a text the latest. Without those that were merged into others."""
    text = text.strip()[:TEXT_CHARS].replace("\0", "")
    wanted = text.replace("\\", "\\\\").replace(",", "\\,").replace("$", "\\$").replace("|", "\\|")
    asked: Sequence[list[tuple[str, str]]] = [[("name", wanted)], [("identifier", wanted)]] if text else [[("_sort", "-_lastUpdated")]]
    found: dict[str, PatientFacts] = {}
    for pairs in asked:
        query = query_parse(
            tenant_id=tenant_id_current(), rtype="Patient", pairs=[*pairs, ("_count", str(2 * SHOWN))], base="",
            zone=lambda: hospital_read().zone, is_strict=True,
        ).query  # fmt: skip
        for document in resource_search(query=query).matches:
            if (facts := _facts(document)) is not None:
                found.setdefault(facts.fhir_id, facts)
    return list(found.values())[:SHOWN]


def patient_facts(*, fhir_id: str) -> PatientFacts | None:
    """None where there is none, or one that was merged into another."""
    document = _read("Patient", fhir_id)
    return _facts(document) if document is not None else None


def study_patient(*, study: str) -> str:
    """The id of the Patient of an ImagingStudy; "" while that is not there."""
    document = _read("ImagingStudy", study)
    reference = orjson.loads(document.content).get("subject", {}).get("reference", "") if document else ""
    return str(reference).removeprefix("Patient/") if str(reference).startswith("Patient/") else ""


def _read(rtype: str, fhir_id: str) -> Document | None:
    if not ID.fullmatch(fhir_id):
        return None
    try:
        return resource_read(rtype=rtype, fhir_id=fhir_id)
    except (ResourceGoneError, FhirError):
        return None


def _facts(document: Document) -> PatientFacts | None:
    patient: dict[str, Any] = orjson.loads(document.content)
    if any(link.get("type") == "replaced-by" for link in patient.get("link", [])):
        return None
    names, numbers = patient.get("name", []), patient.get("identifier", [])
    return PatientFacts(
        fhir_id=document.fhir_id, name=_name(names[0]) if names else "", birth_date=patient.get("birthDate", ""),
        gender=patient.get("gender", ""), number=next((str(one["value"]) for one in numbers if one.get("value")), ""),
    )  # fmt: skip


def _name(name: dict[str, Any]) -> str:
    if name.get("text"):
        return str(name["text"])
    return ", ".join(part for part in (name.get("family", ""), " ".join(filter(None, name.get("given", [])))) if part)
