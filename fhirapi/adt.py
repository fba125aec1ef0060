"""ADT^A01, A04, A08, A31: what the hospital's own system says of a person becomes their Patient, as if the EHR had written it by REST.

The number's row is `imaging.Patient` of (issuer, PatientID); DICOM stays as received, and where images say otherwise a work item asks.
"""

from datetime import datetime
from typing import Any

import hl7
from django.utils import timezone

from fhirapi.jsontext import json_load
from fhirapi.registry import TYPES
from fhirapi.resources import patient
from fhirapi.resources.parts import TERMINOLOGY, Json, coding, concept, date_of, filled, number_space
from fhirapi.sources import HospitalRow, hospital_read, patients_read
from fhirapi.store import rows_read
from fhirapi.validation.issues import InvalidResourceError
from fhirapi.writing.writes import Change, change_write
from imaging.describe import PatientFacts
from imaging.hl7.errors import MessageRefused
from imaging.hl7.reading import Told, is_null, moment_of, patient_facts, repetitions, value_of
from imaging.models import Patient, Study
from imaging.people import person_resolve, person_tell
from journal.audit import Actor
from tenants.models import Hl7Source

USES = {"L": "official", "D": "usual", "M": "maiden", "N": "nickname", "A": "anonymous"}  # table 0200
ADDRESS_USES = {"H": "home", "B": "work", "O": "work", "C": "temp", "BA": "old"}  # table 0190
TELECOM = {"FX": "fax", "Internet": "email", "X.400": "email", "BP": "pager", "CP": "phone", "PH": "phone"}  # table 0202
MARITAL = {"M", "S", "D", "W", "A", "T", "P", "I", "C", "L"}
GENDERS = {"M": "male", "F": "female", "O": "other", "A": "other", "U": "unknown", "N": "other"}
NULLS = {7: "birthDate", 8: "gender", 11: "address", 16: "maritalStatus", 29: "deceased", 30: "deceased"}
MOST = 20  # repetitions of a field


def patient_message_take(*, actor: Actor, told: Told, source: Hl7Source, body: bytes) -> None:
    """An older word than the newest that was taken changes nothing. Raises MessageRefused."""
    found = told.segments("PID")
    if not found:
        raise MessageRefused("PID", "is not there")
    pid, hospital = found[0], hospital_read()
    facts = patient_facts(pid)
    person = _person(facts)
    at = moment_of(told.value("EVN", 2), zone=hospital.zone) or moment_of(told.value("MSH", 7), zone=hospital.zone)
    at = min(at, timezone.now()) if at else None  # a clock that is ahead is not newer than what follows
    if at and person.told_at and at < person.told_at:
        return
    row = patients_read(patient_ids=[person.id])[person.id]
    key = (TYPES["Patient"].number, row.fhir_id)
    held = rows_read(keys=[key], is_content_wanted=True).get(key)
    base: Json = json_load(held.content.encode()) if held else patient.to_fhir(patient=row, hospital=hospital.uuid)
    resource = _merged(_emptied(base, pid), _said(pid, hospital), _identifiers(pid, hospital))
    try:
        change_write(change=Change(rtype="Patient", fhir_id=row.fhir_id, resource=resource))
    except InvalidResourceError as error:
        raise MessageRefused("PID", error.user_message) from None
    _tell(person, facts, at)


def _person(facts: PatientFacts) -> Patient:
    """The owner of the number, whatever images called them."""
    owner = Patient.objects.filter(issuer=facts.issuer, patient_id=facts.patient_id, variant="").first()
    owner = owner or Patient.objects.get(id=person_resolve(patient=facts).id)
    locked: Patient = Patient.objects.select_for_update(of=("self",)).get(id=owner.id)
    if locked.merged_into_id is not None:
        raise MessageRefused("PID-3", "names a number that was merged into another one")
    return locked


def _tell(person: Patient, facts: PatientFacts, at: datetime | None) -> None:
    """Of whom there are no images yet, the worklist says what the hospital says; else the row stays as the images have it."""
    if at:
        Patient.objects.filter(id=person.id).update(told_at=at)
    if not Study.objects.filter(patient_id=person.id).exists():
        person_tell(patient_id=person.id, facts=facts)


def _emptied(base: Json, pid: hl7.Segment) -> Json:
    """Without what PID says is no more; a number or name is never taken away so."""
    gone = tuple(name for field, name in NULLS.items() if is_null(pid, field))
    kept = {name: value for name, value in base.items() if not (gone and name.lstrip("_").startswith(gone))}
    uses = {use for field, use in ((13, "home"), (14, "work")) if is_null(pid, field)}
    telecom = [one for one in kept.get("telecom", ()) if one.get("use") not in uses]
    return {name: value for name, value in kept.items() if name != "telecom"} | ({"telecom": telecom} if telecom else {})


def _merged(base: Json, said: Json, identifiers: list[Json]) -> Json:
    """What PID says takes the place of what was said before; what it does not speak of stays."""
    kept = {name: value for name, value in base.items() if name not in {"meta", "text"}}
    if {"deceasedBoolean", "deceasedDateTime"} & set(said):
        kept = {name: value for name, value in kept.items() if not name.startswith("deceased")}
    known = {(one.get("system"), one.get("value")) for one in kept.get("identifier", ())}
    more = [one for one in identifiers if (one.get("system"), one["value"]) not in known]
    return kept | said | ({"identifier": [*kept.get("identifier", ()), *more]} if more else {})


def _said(pid: hl7.Segment, hospital: HospitalRow) -> Json:
    died, is_dead = moment_of(value_of(pid, 29), zone=hospital.zone), value_of(pid, 30).upper()
    marital = value_of(pid, 16).upper()
    return filled({
        "name": [name for n in _all(pid, 5) if (name := _name(pid, n))],
        "gender": GENDERS.get(value_of(pid, 8).upper(), ""),
        "birthDate": date_of(value_of(pid, 7)[:8]),
        "address": [address for n in _all(pid, 11) if (address := _address(pid, n))],
        "telecom": [one for field, use in ((13, "home"), (14, "work")) for n in _all(pid, field) if (one := _telecom(pid, field, n, use))],
        "maritalStatus": concept(coding(f"{TERMINOLOGY}/v3-MaritalStatus", marital)) if marital in MARITAL else {},
        "deceasedDateTime": died.isoformat() if died else "",
        "deceasedBoolean": None if died or is_dead not in {"Y", "N"} else is_dead == "Y",
    })  # fmt: skip


def _all(pid: hl7.Segment, field: int) -> range:
    return range(1, min(repetitions(pid, field), MOST) + 1)


def _name(pid: hl7.Segment, n: int) -> Json:
    family, given, middle, suffix, prefix = (value_of(pid, 5, part, repetition=n) for part in range(1, 6))
    return filled({
        "use": USES.get(value_of(pid, 5, 7, repetition=n), "official" if n == 1 else ""),
        "text": " ".join(part for part in (prefix, given, middle, family, suffix) if part), "family": family,
        "given": [part for part in (given, middle) if part], "prefix": [prefix] if prefix else [], "suffix": [suffix] if suffix else [],
    }) if family or given else {}  # fmt: skip


def _address(pid: hl7.Segment, n: int) -> Json:
    street = value_of(pid, 11, 1, repetition=n)
    line = [part for part in (street, value_of(pid, 11, 2, repetition=n)) if part]
    city, state, code, country = (value_of(pid, 11, part, repetition=n) for part in range(3, 7))
    found = filled({"line": line, "city": city, "state": state, "postalCode": code, "country": country})
    return found and filled({"use": ADDRESS_USES.get(value_of(pid, 11, 7, repetition=n), "")}) | found


def _telecom(pid: hl7.Segment, field: int, n: int, use: str) -> Json:
    kind, mail, whole = (value_of(pid, field, part, repetition=n) for part in (3, 4, 1))
    parts = [value_of(pid, field, part, repetition=n) for part in (5, 6, 7)]
    value = mail or whole or value_of(pid, field, 12, repetition=n) or " ".join(filter(None, parts))
    return filled({"system": "email" if mail else TELECOM.get(kind, "phone"), "value": value, "use": use}) if value else {}


def _identifiers(pid: hl7.Segment, hospital: HospitalRow) -> list[Json]:
    found: list[Any] = []
    for n in _all(pid, 3):
        number, issuer, kind = (value_of(pid, 3, part, repetition=n) for part in (1, 4, 5))
        issuer = issuer or value_of(pid, 3, 4, repetition=n, sub=2)
        system = number_space(hospital=hospital.uuid, kind="patient-id", issuer=issuer)
        kinds = concept(coding(f"{TERMINOLOGY}/v2-0203", kind)) if kind.isalnum() else {}
        if number:
            found.append(filled({"type": kinds, "system": system, "value": number}))
    return found
