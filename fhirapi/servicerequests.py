"""A ServiceRequest for imaging that a client writes is an order: on the scanner's worklist when the write is answered.

Imaging is what carries an accession number (an identifier of type ACSN, or of our number space), or is of category imaging and has a
number to be found by. What cannot be ordered so is stored all the same, and is a work item with the reason.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import orjson
from django.utils import timezone

from fhirapi.asking import Asking, asking_of, order_facts, patient_facts
from fhirapi.registry import TYPES
from fhirapi.resources.parts import Json
from fhirapi.sources import PatientRow, hospital_read, patients_named
from fhirapi.store import rows_read
from imaging.describe import PatientFacts
from imaging.models import Order, Patient, WorkItem
from imaging.orders import OrderError, order_upsert, orders_withdraw
from journal.audit import Actor

RTYPE, KIND = "ServiceRequest", "order-incomplete"


def requests_hear(*, actor: Actor, resources: Sequence[Json], deleted: Iterable[str] = ()) -> None:
    """ServiceRequests as they are now, and ids of those that were deleted, in the scope and transaction of the write.

    Two statements for any number of them that order nothing; an order each for those that do.
    """
    hospital = hospital_read()
    asked = [one for resource in resources if (one := asking_of(resource=resource, hospital=hospital))]
    silent = {resource["id"] for resource in resources} - {one.fhir_id for one in asked}
    orders_withdraw(actor=actor, ehr_ids=[*silent, *deleted])
    if not asked:
        return
    people, told = _people(asked)
    for one in asked:
        try:
            facts = _person(one, people) or patient_facts(one=one, record=told.get(one.subject, {}), hospital=hospital)
            order = order_upsert(actor=actor, facts=order_facts(one=one, patient=facts, hospital=hospital))
        except OrderError as error:
            orders_withdraw(actor=actor, ehr_ids=[one.fhir_id])
            _doubt(one.fhir_id, f"a ServiceRequest for imaging cannot be a worklist entry: {error}")
            continue
        orders_withdraw(actor=actor, ehr_ids=[one.fhir_id], keep=order.id)
        _name(order, one, told)
        _doubt_end(one.fhir_id)


def _people(asked: Sequence[Asking]) -> tuple[dict[str, PatientRow], dict[str, Json]]:
    """By the id of their Patient: those whom we know, and what the store says of the others."""
    ids = sorted({one.subject for one in asked if one.subject})
    people = {row.fhir_id: row for row in patients_named(fhir_ids=ids)} if ids else {}
    number = TYPES["Patient"].number
    open_keys = [(number, fhir_id) for fhir_id in ids]
    rows = rows_read(keys=open_keys, is_content_wanted=True) if open_keys else {}
    return people, {fhir_id: orjson.loads(row.content) for (_, fhir_id), row in rows.items()}


def _person(one: Asking, people: Mapping[str, PatientRow]) -> PatientFacts | None:
    row = people.get(one.subject)
    if row is None:
        return None
    return PatientFacts(issuer=row.issuer, patient_id=row.patient_id, name=row.name, birth_date=row.birth_date, sex=row.sex)


def _name(order: Order, one: Asking, told: Mapping[str, Json]) -> None:
    """A person whom nobody had told of before is called as the EHR calls them: one Patient, not two."""
    fhir_id = one.subject
    row = Patient.objects.filter(id=order.patient_id, ehr_id="").values_list("uuid", flat=True).first()
    if row is None or fhir_id not in told or fhir_id == str(row):
        return
    if not rows_read(keys=[(TYPES["Patient"].number, str(row))]) and not Patient.objects.filter(ehr_id=fhir_id).exists():
        Patient.objects.filter(id=order.patient_id).update(ehr_id=fhir_id)


def _unique(fhir_id: str) -> str:
    return "request-" + hashlib.sha256(fhir_id.encode()).hexdigest()[:40]


def _doubt(fhir_id: str, reason: str) -> None:
    values = {"reason": reason[:200], "resolved_at": None, "resolution": "", "resolved_by": ""}
    WorkItem.objects.update_or_create(
        kind=KIND, unique_on=_unique(fhir_id), defaults=values, create_defaults={**values, "created_at": timezone.now()}
    )


def _doubt_end(fhir_id: str) -> None:
    rows = WorkItem.objects.filter(kind=KIND, unique_on=_unique(fhir_id), resolved_at=None)
    rows.update(resolved_at=timezone.now(), resolution="matched", resolved_by="system:fhir")
