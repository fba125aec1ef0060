"""A Patient has two masters (DESIGN section 2): where an EHR's words differ from DICOM's, somebody must look. One work item a person."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import orjson
from django.utils import timezone

from fhirapi.index.values import normalized
from fhirapi.registry import TYPES
from fhirapi.resources import patient
from fhirapi.resources.parts import Json
from fhirapi.sources import PatientRow, hospital_read, patients_named
from fhirapi.store import ResourceGoneError, resource_read, rows_read
from imaging.models import WorkItem

KIND = "patient-differs"
WORDS = {"name": "the name", "birthDate": "the birth date", "gender": "the sex"}


def differences_note(*, people: Sequence[PatientRow], hospital: UUID) -> None:
    """Compare these people, whom REST has written, with what their images say. Constant statements, none for nobody."""
    if not people:
        return
    number = TYPES["Patient"].number
    rows = rows_read(keys=[(number, one.fhir_id) for one in people], is_content_wanted=True)
    told = {fhir_id: orjson.loads(row.content) for (_, fhir_id), row in rows.items()}
    items = [
        WorkItem(kind=KIND, reason=reason, patient_id=one.id, unique_on=f"patient-{one.id}", created_at=timezone.now())
        for one in people
        if (reason := _reason(told.get(one.fhir_id, {}), patient.to_fhir(patient=one, hospital=hospital)))
    ]
    WorkItem.objects.bulk_create(items, ignore_conflicts=True)


def differences_look(*, fhir_ids: Sequence[str]) -> None:
    """`differences_note` for Patients that a client has just written: those among them whom we know from images."""
    people = patients_named(fhir_ids=fhir_ids) if fhir_ids else []
    if people:
        differences_note(people=people, hospital=hospital_read().uuid)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the store says of a person, in DICOM's words: to be shown beside what the images say."""

    name: str
    birth_date: str
    sex: str


def record_told(*, fhir_id: str) -> Told | None:
    """The current Patient of this id; None where it is gone."""
    try:
        document = resource_read(rtype="Patient", fhir_id=fhir_id)
    except ResourceGoneError:
        return None
    if document is None:
        return None
    found = orjson.loads(document.content)
    name: Json = next(iter(found.get("name", ())), {})
    sexes = {gender: sex for sex, gender in patient.GENDERS.items()}
    return Told(
        name="^".join((name.get("family", ""), " ".join(name.get("given", ())))).strip("^"),
        birth_date=found.get("birthDate", "").replace("-", ""),
        sex=sexes.get(found.get("gender", ""), ""),
    )


def _reason(told: Json, received: Json) -> str:
    """In our words, without a value; "" where the two agree or one of them says nothing."""
    differ = [
        words for name, words in WORDS.items() if told.get(name) and received.get(name) and IS_OTHER[name](told, received)
    ]
    return f"the EHR's record and the images differ: {', '.join(differ)}" if differ else ""


def _is_other_name(told: Json, received: Json) -> bool:
    """Family and first given name, where both have them; one of several names that agrees is agreement."""
    pairs = [(one, other) for one in told["name"] for other in received["name"]]
    return not any(
        _agrees(one.get("family", ""), other.get("family", "")) and _agrees(_given(one), _given(other)) for one, other in pairs
    )


def _given(name: Json) -> str:
    return str(next(iter(name.get("given", ())), ""))


def _agrees(one: str, other: str) -> bool:
    return not (one and other) or normalized(one) == normalized(other)


def _is_other_day(told: Json, received: Json) -> bool:
    days = sorted((told["birthDate"], received["birthDate"]), key=len)
    return not days[1].startswith(days[0])


def _is_other_gender(told: Json, received: Json) -> bool:
    return told["gender"] != received["gender"] and "unknown" not in {told["gender"], received["gender"]}


IS_OTHER = {"name": _is_other_name, "birthDate": _is_other_day, "gender": _is_other_gender}
