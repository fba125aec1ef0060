"""Which Patient row an object belongs to. Two people under one number stay two people, with a work item."""

import hashlib
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from imaging.describe import InstanceFacts, PatientFacts
from imaging.models import Patient
from imaging.query.fold import name_fold, text_fold
from journal.wall.arrays import rows_insert

Key = tuple[str, str, str]  # issuer, patient id, variant


@dataclass(frozen=True)
class Person:
    """The row chosen for one object; `is_conflict` when the key was somebody else's before."""

    id: int
    is_conflict: bool


def _plain(name: str) -> str:
    """A name for comparison: the first group, without case, accents and empty components."""
    text = unicodedata.normalize("NFKD", name.split("=")[0]).casefold()
    return "^".join("".join(c for c in part if c.isalnum()) for part in text.split("^")).rstrip("^")


def is_same_person(a: PatientFacts | Patient, b: PatientFacts | Patient) -> bool:
    """Nothing that both state differs: name and birth date (an empty one states nothing)."""
    pairs = ((_plain(a.name), _plain(b.name)), (a.birth_date, b.birth_date))
    return all(x == y for x, y in pairs if x and y)


def is_near(a: PatientFacts | Patient, b: PatientFacts | Patient) -> bool:
    """One number, and one of the two does not say who gave it, as most images do not: who else could be meant? Both state one name,
    and no birth date differs. Never a reason to make two rows one.
    """
    is_open = a.patient_id == b.patient_id != "" and not (a.issuer and b.issuer)
    return is_open and bool(_plain(a.name)) and _plain(a.name) == _plain(b.name) and is_same_person(a, b)


def _variant(patient: PatientFacts, study_uid: str) -> str:
    """For an object without a PatientID the study stands in: unidentified people are never merged."""
    if patient.patient_id:
        return ""
    return "study-" + hashlib.sha256(study_uid.encode()).hexdigest()[:40]


def _conflict_variant(patient: PatientFacts) -> str:
    return "person-" + hashlib.sha256(f"{_plain(patient.name)}|{patient.birth_date}".encode()).hexdigest()[:40]


def _patient_new(patient: PatientFacts, *, variant: str) -> Patient:
    alphabetic, ideographic, phonetic = name_fold(patient.name)
    return Patient(
        issuer=patient.issuer, patient_id=patient.patient_id, variant=variant, name=patient.name,
        birth_date=patient.birth_date, sex=patient.sex, extra=patient.extra, name_key=alphabetic,
        name_ideographic_key=ideographic, name_phonetic_key=phonetic, patient_id_key=text_fold(patient.patient_id),
    )  # fmt: skip


def patients_resolve(*, objects: Iterable[InstanceFacts]) -> dict[str, Person]:
    """Find or make the patients of these objects, in the scope and transaction of the caller. Keyed by SOP Instance UID."""
    return _people_resolve({facts.sop_instance_uid: (facts.patient, _variant(facts.patient, facts.study_uid)) for facts in objects})


def person_resolve(*, patient: PatientFacts) -> Person:
    """Find or make the one whom an order names, by the same rules. A PatientID must be there."""
    return _people_resolve({"": (patient, "")})[""]


def person_tell(*, patient_id: int, facts: PatientFacts) -> None:
    """The hospital's own word about somebody of whom there are no images: what it states takes the place of what was there."""
    alphabetic, ideographic, phonetic = name_fold(facts.name)
    named = {
        "name": facts.name, "name_key": alphabetic, "name_ideographic_key": ideographic, "name_phonetic_key": phonetic,
    } if facts.name else {}  # fmt: skip
    given = {name: getattr(facts, name) for name in ("birth_date", "sex") if getattr(facts, name)}
    Patient.objects.filter(id=patient_id).update(**named, **given)


def _people_resolve(wanted: Mapping[str, tuple[PatientFacts, str]]) -> dict[str, Person]:
    """The index worker and orders may make the same person at once: who comes second takes the row of the first."""
    numbers = {patient.patient_id for patient, _ in wanted.values()}
    while True:
        rows = {(p.issuer, p.patient_id, p.variant): p for p in Patient.objects.filter(patient_id__in=numbers)}
        new: dict[Key, Patient] = {}
        found: dict[str, tuple[Key, bool]] = {}
        for name, (patient, variant) in wanted.items():
            key = (patient.issuer, patient.patient_id, variant)
            first = rows.get(key) or new.get(key)
            is_conflict = first is not None and not is_same_person(first, patient)
            if is_conflict:
                key = (patient.issuer, patient.patient_id, _conflict_variant(patient))
            if key not in rows and key not in new:
                new[key] = _patient_new(patient, variant=key[2])
            found[name] = (key, is_conflict)
        if _all_made(new.values()):
            return {name: _person((rows | new)[key], is_conflict) for name, (key, is_conflict) in found.items()}


def _person(row: Patient, is_conflict: bool) -> Person:
    """A person whom somebody merged into another one is that one from then on."""
    if row.merged_into_id:
        return Person(id=row.merged_into_id, is_conflict=False)
    return Person(id=row.id, is_conflict=is_conflict)


def _all_made(new: Collection[Patient]) -> bool:
    """A conflicting insert waits until the other transaction has ended; then its row is seen the next time round."""
    if not new:
        return True
    rows_insert(list(new), is_conflict_ignored=True)
    return Patient.objects.filter(id__in=[patient.id for patient in new]).count() == len(new)
