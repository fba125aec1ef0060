"""Orders and their scheduled steps, as a FHIR, HL7 or command door hands them over. What a modality worklist answers from.

Idempotent by issuer and accession number: what an order says now replaces what it said before.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from django.utils import timezone
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.uid import generate_uid

from imaging.describe import PatientFacts
from imaging.header import uid_is_valid
from imaging.models import Order, Patient, ScheduledStep, WorkItem
from imaging.people import Person, person_resolve
from imaging.query import fold, moments
from imaging.query.attributes import EXTRA_CHARS, Attribute, extra_name
from imaging.worklist.attributes import ACCESSION_ISSUER, ORDER_ATTRIBUTES, STEP_ATTRIBUTES, STEPS
from journal.audit import Actor, audit_record
from journal.outbox import event_publish

STEPS_CAP = 100
ITEMS_CAP = 20
LISTED = frozenset((
    ScheduledStep.Status.SCHEDULED, ScheduledStep.Status.ARRIVED, ScheduledStep.Status.READY, ScheduledStep.Status.STARTED,
))
CHARS = {"AE": 16, "CS": 16, "DA": 8, "DS": 16, "LO": 64, "PN": 324, "SH": 16, "TM": 16, "UI": 64, "US": 5, "UT": 64}
_MANY_LINES = frozenset(("LT", "UT"))


class OrderError(Exception):
    """An order cannot be like that. The text is ours and names the field, never a value."""

    def __init__(self, field: str, words: str) -> None:
        super().__init__(f"{field}: {words}")
        self.field = field


@dataclass(frozen=True, kw_only=True)
class StepFacts:
    """One Scheduled Procedure Step. Date and time are the hospital's own, as DA and TM; other attributes by DICOM keyword."""

    modality: str
    step_id: str = ""
    station: str = ""  # AE title
    start_date: str = ""
    start_time: str = ""
    performer: str = ""
    description: str = ""
    location: str = ""
    status: str = "SCHEDULED"
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class OrderFacts:
    """What an order says. `steps` None leaves those that are there; other attributes of PS3.4 table K.6-1 by DICOM keyword."""

    accession_number: str
    patient: PatientFacts
    issuer: str = ""
    status: str = "active"
    procedure_id: str = ""
    description: str = ""
    study_uid: str = ""
    referrer: str = ""
    requester: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    steps: Sequence[StepFacts] | None = None
    ehr_id: str = ""  # of the ServiceRequest that the EHR wrote


def order_upsert(*, actor: Actor, facts: OrderFacts) -> Order:
    """Write an order down, in the scope of the caller. Raises OrderError.

    The patient is found or made by (issuer, PatientID); another person under a number that is taken stays another person, with
    a work item. Publishes `order.changed` when anything did.
    """
    _check(facts)
    person = person_resolve(patient=facts.patient)
    _blanks_fill(person, facts.patient)
    order, is_new = Order.objects.get_or_create(
        issuer=facts.issuer, accession_number=facts.accession_number, defaults={"patient_id": person.id}
    )
    order = Order.objects.select_for_update(of=("self",)).get(id=order.id)
    is_changed = _order_write(order, facts, person) | is_new
    is_changed |= _steps_write(order, facts.steps)
    if person.is_conflict:
        reason = "an order names another person under a PatientID that was taken: kept as two patients"
        WorkItem.objects.get_or_create(
            kind="patient-conflict", unique_on=f"order-{order.id}",
            defaults={"reason": reason, "created_at": timezone.now(), "patient_id": person.id},
        )  # fmt: skip
    if is_changed:
        audit_record(
            actor=actor, action="order.create" if is_new else "order.update", object_type="Order", object_id=str(order.id)
        )
        event_publish(name="order.changed", ids={"order_id": order.id})
    return order


def orders_withdraw(*, actor: Actor, ehr_ids: Sequence[str], keep: int = 0) -> None:
    """Orders of ServiceRequests that order nothing any more, or another number: revoked. One statement where there is none."""
    held = Order.objects.select_for_update(of=("self",)).filter(ehr_id__in=[one for one in ehr_ids if one]).exclude(id=keep)
    for order in held.exclude(status__in=[Order.Status.REVOKED, Order.Status.ENTERED_IN_ERROR]).order_by("id"):
        _fields_write(order, {"status": Order.Status.REVOKED}, is_stamped=True)
        _steps_write(order, None)
        audit_record(actor=actor, action="order.update", object_type="Order", object_id=str(order.id))
        event_publish(name="order.changed", ids={"order_id": order.id})


def _blanks_fill(person: Person, facts: PatientFacts) -> None:
    """Same person, and the order states what no image did: an empty field states nothing."""
    row = Patient.objects.get(id=person.id)
    given = {name: getattr(facts, name) for name in ("birth_date", "sex") if getattr(facts, name) and not getattr(row, name)}
    if given:
        Patient.objects.filter(id=row.id).update(**given)


def _order_write(order: Order, facts: OrderFacts, person: Person) -> bool:
    return _fields_write(order, {
        "patient_id": person.id, "status": facts.status, "procedure_id": facts.procedure_id or facts.accession_number,
        "description": facts.description, "study_uid": facts.study_uid or order.study_uid or str(generate_uid(prefix=None)),
        "referrer": facts.referrer, "requester": facts.requester, "ehr_id": facts.ehr_id or order.ehr_id,
        "extra": _extra(facts.attributes, ORDER_ATTRIBUTES),
        "accession_key": fold.text_fold(facts.accession_number),
        "procedure_id_key": fold.text_fold(facts.procedure_id or facts.accession_number),
        "referrer_key": fold.name_key(facts.referrer), "requester_key": fold.name_key(facts.requester),
    }, is_stamped=True)  # fmt: skip


def _fields_write(row: Order | ScheduledStep, fields: Mapping[str, Any], *, is_stamped: bool = False) -> bool:
    """Save what differs. Returns whether anything did."""
    changed = {name: value for name, value in fields.items() if getattr(row, name) != value}
    if not changed:
        return False
    if is_stamped:
        changed["changed_at"] = timezone.now()
    for name, value in changed.items():
        setattr(row, name, value)
    row.save(update_fields=[name.removesuffix("_id") if name == "patient_id" else name for name in changed])
    return True


def _steps_write(order: Order, steps: Sequence[StepFacts] | None) -> bool:
    """The steps of an order become these; of None, only whether they are listed may change."""
    there = {step.step_id: step for step in ScheduledStep.objects.filter(order=order)}
    is_active = order.status == Order.Status.ACTIVE
    if steps is None:
        is_listed = {step: is_active and step.status in LISTED for step in there.values()}
        return any([_fields_write(step, {"is_listed": listed}) for step, listed in is_listed.items()])
    is_changed, new = False, []
    for number, facts in enumerate(steps, start=1):
        step_id = facts.step_id or str(number)
        fields = _step_fields(facts, is_active=is_active)
        step = there.pop(step_id, None)
        if step is None:
            new.append(ScheduledStep(order=order, step_id=step_id, **fields))
        else:
            is_changed |= _fields_write(step, fields)
    ScheduledStep.objects.bulk_create(new)
    if there:
        ScheduledStep.objects.filter(id__in=[step.id for step in there.values()]).delete()
    return is_changed or bool(new) or bool(there)


def _step_fields(facts: StepFacts, *, is_active: bool) -> dict[str, Any]:
    return {
        "modality": facts.modality, "station": facts.station, "start_date": facts.start_date, "start_time": facts.start_time,
        "performer": facts.performer, "description": facts.description, "location": facts.location, "status": facts.status,
        "extra": _extra(facts.attributes, STEP_ATTRIBUTES), "station_key": fold.text_fold(facts.station),
        "started_key": moments.started_key(facts.start_date, facts.start_time), "time_key": moments.time_key(facts.start_time),
        "performer_key": fold.name_key(facts.performer), "is_listed": is_active and facts.status in LISTED,
    }  # fmt: skip


# --- what an order may say ---------------------------------------------------------------------------------------------------

_ORDER_VRS = {
    "accession_number": "SH", "issuer": "UT", "status": "LO", "procedure_id": "SH", "description": "LO", "study_uid": "UI",
    "referrer": "PN", "requester": "PN",
}  # fmt: skip
_PATIENT_VRS = {"issuer": "LO", "patient_id": "LO", "name": "PN", "birth_date": "DA", "sex": "CS"}
_STEP_VRS = {
    "modality": "CS", "step_id": "SH", "station": "AE", "status": "CS", "start_date": "DA", "start_time": "TM",
    "performer": "PN", "description": "LO", "location": "SH",
}  # fmt: skip


def _check(facts: OrderFacts) -> None:
    """Raises OrderError."""
    for name, vr in _ORDER_VRS.items():
        _text_check(name, getattr(facts, name), vr)
    for name, vr in _PATIENT_VRS.items():
        _text_check(f"patient.{name}", getattr(facts.patient, name), vr)
    for name, text in (("accession_number", facts.accession_number), ("patient.patient_id", facts.patient.patient_id)):
        if not text:
            raise OrderError(name, "is missing")
    if facts.status not in Order.Status.values:
        raise OrderError("status", f"is one of {', '.join(Order.Status.values)}")
    if len(facts.steps or ()) > STEPS_CAP:
        raise OrderError("steps", f"are at most {STEPS_CAP}")
    numbers = [step.step_id or str(number) for number, step in enumerate(facts.steps or (), start=1)]
    if len(set(numbers)) != len(numbers):
        raise OrderError("step_id", "names one step of an order only")
    for step in facts.steps or ():
        _step_check(step)


def _step_check(step: StepFacts) -> None:
    for name, vr in _STEP_VRS.items():
        _text_check(f"step.{name}", getattr(step, name), vr)
    if not step.modality:
        raise OrderError("step.modality", "is missing")
    if step.status not in ScheduledStep.Status.values:
        raise OrderError("step.status", f"is one of {', '.join(ScheduledStep.Status.values)}")
    if step.start_time and not step.start_date:
        raise OrderError("step.start_date", "is missing beside a time")


def _text_check(name: str, text: Any, vr: str) -> None:
    """A value as PS3.5 table 6.2-1 wants it, for one value only. Raises OrderError."""
    if not isinstance(text, str):
        raise OrderError(name, "is a text")
    if len(text) > CHARS.get(vr, EXTRA_CHARS):
        raise OrderError(name, f"has at most {CHARS.get(vr, EXTRA_CHARS)} characters ({vr})")
    if "\\" in text or any(not char.isprintable() and not (char in "\r\n\t" and vr in _MANY_LINES) for char in text):
        raise OrderError(name, "has a backslash or a control character")
    if text != text.strip():
        raise OrderError(name, "has spaces around it")
    is_fit, words = _FORMS.get(vr, (None, ""))
    if text and is_fit is not None and not is_fit(text):
        raise OrderError(name, words)


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) <= 0xFFFF


def _is_decimal(text: str) -> bool:
    try:
        return text.isascii() and float(text) - float(text) == 0
    except ValueError:
        return False


_FORMS: dict[str, tuple[Callable[[str], bool], str]] = {
    "DA": (lambda text: len(text) == 8 and bool(moments.date_key(text)), "is a day as YYYYMMDD"),
    "TM": (lambda text: ":" not in text and bool(moments.time_key(text)), "is a time as HHMMSS"),
    "CS": (
        lambda text: all(char.isascii() and (char.isupper() or char.isdigit() or char in " _") for char in text),
        "has capital letters, digits, spaces and _ (CS)",
    ),
    "AE": (str.isascii, "is an AE title"),
    "UI": (uid_is_valid, "is not a UID"),
    "US": (_is_whole, "is a number (US)"),
    "DS": (_is_decimal, "is a number (DS)"),
}


def _extra(given: Mapping[str, Any], known: Mapping[int, Attribute]) -> str:
    """Attributes by keyword to what rows keep, by tag. Raises OrderError for one that is not of the table."""
    found: dict[str, Any] = {}
    for keyword, value in sorted(given.items()):
        attribute = known.get(tag_for_keyword(keyword) or 0)
        if attribute is None or not attribute.is_extra or attribute.tag in {STEPS, ACCESSION_ISSUER}:
            raise OrderError("attributes", "has a keyword that is none of an order's or step's other attributes")
        if value in ("", None, []):
            continue
        if attribute.vr == "SQ":
            found[extra_name(attribute.tag)] = _items(keyword, value, attribute)
            continue
        text = str(value) if attribute.vr in {"US", "DS"} else value
        _text_check(keyword, text, attribute.vr)
        found[extra_name(attribute.tag)] = text
    return orjson.dumps(found, option=orjson.OPT_SORT_KEYS).decode() if found else ""


def _items(keyword: str, value: Any, attribute: Attribute) -> list[dict[str, str]]:
    """A sequence: a list of items, each by keyword."""
    known = {keyword_for_tag(tag): (tag, vr) for tag, vr in attribute.items}
    if not isinstance(value, list) or len(value) > ITEMS_CAP:
        raise OrderError(keyword, f"is a list of at most {ITEMS_CAP} items")
    items = []
    for item in value:
        if not isinstance(item, dict) or not item or not set(item) <= set(known):
            raise OrderError(keyword, f"has items of {', '.join(known)}")
        for name, text in item.items():
            _text_check(name, text, known[name][1])
        items.append({extra_name(known[name][0]): text for name, text in sorted(item.items())})
    return items
