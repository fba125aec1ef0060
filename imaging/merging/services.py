"""Two patients are one person, and taking that back: studies, orders and with them reports move in one transaction.

What each said of itself stays as received. IHE PAM ITI-30 (A40): the surviving number is used from now on, and who comes under the
other one is found under it.
"""

from collections.abc import Iterable, Sequence

from django.utils import timezone

from imaging.describe import PatientFacts, instance_describe
from imaging.header import HeaderError
from imaging.matching import studies_rematch
from imaging.models import Instance, Order, Patient, PatientMerge, Study, WorkItem
from imaging.people import is_same_person, person_resolve
from imaging.storage import StoreAwayError, object_path
from journal.audit import Actor, audit_record
from journal.faults import fault
from journal.outbox import NewEvent, event_publish, events_publish

LATER_CAP = 500  # studies that came after a merge and are asked, at its undoing, whose number they carry


class MergeRefused(Exception):
    """The two cannot be made one, or two again. The text says why, without a value, and may be shown."""

    def __init__(self, user_message: str) -> None:
        super().__init__(user_message)
        self.user_message = user_message


def patient_merge(
    *, actor: Actor, surviving: PatientFacts, gone: PatientFacts, origin: str, message: bytes = b""
) -> PatientMerge | None:
    """`gone` is the person `surviving`, in the scope and transaction of the caller. The survivor is made where it is not there.

    `message`: the received bytes that say so, kept. None when nobody has the number of `gone`, or it is the survivor's already.
    Raises MergeRefused.
    """
    second = patient_find(facts=gone)
    if second is None:
        return None
    first = patient_find(facts=surviving)
    first_id = first.id if first is not None else person_resolve(patient=surviving).id
    return patients_merge(actor=actor, surviving_id=first_id, gone_id=second.id, origin=origin, message=message)


def patients_merge(*, actor: Actor, surviving_id: int, gone_id: int, origin: str, message: bytes = b"") -> PatientMerge | None:
    """`patient_merge` by rows. Either may have been merged before: then its survivor stands for it."""
    # In the order of ids, so that two merges of the same pair wait for each other instead of for ever.
    rows = {row.id: row for row in Patient.objects.select_for_update(of=("self",)).filter(id__in=[surviving_id, gone_id]).order_by("id")}
    if len(rows) < 2 and surviving_id != gone_id:
        raise MergeRefused("one of the two patients is not there any more")
    first, second = (rows[number].merged_into_id or number for number in (surviving_id, gone_id))
    if first == second:
        return None
    if rows[gone_id].merged_into_id is not None:
        raise MergeRefused("this number was merged into another one already: undo that first")
    studies = list(Study.objects.select_for_update(of=("self",)).filter(patient_id=second).order_by("id"))
    orders = list(Order.objects.select_for_update(of=("self",)).filter(patient_id=second).order_by("id"))
    people = list(Patient.objects.filter(merged_into_id=second).values_list("id", flat=True))
    merge = PatientMerge.objects.create(
        gone_id=second, surviving_id=first, origin=origin, message=message, studies=_ids(studies), orders=_ids(orders), people=people,
        merged_by=actor.name, merged_at=timezone.now(),
    )  # fmt: skip
    Patient.objects.filter(id__in=[second, *people]).update(merged_into_id=first)
    _move(studies, orders, to=first)
    _tell(second, first, studies, orders)
    # The same question about the same person was asked for each of the studies.
    same = WorkItem.objects.filter(kind="patient-conflict", key="", patient_id=second, resolved_at=None)
    same.update(resolved_at=timezone.now(), resolution="merge", resolved_by="system:merge")
    audit_record(
        actor=actor, action="patient.merge", object_type="PatientMerge", object_id=str(merge.id),
        detail={"studies": len(studies), "orders": len(orders), "origin": origin},
    )  # fmt: skip
    fault("merge.before_commit")
    return merge


def patient_merge_undo(*, actor: Actor, merge_id: int) -> PatientMerge | None:
    """The two are two again: what moved goes back, and what has come since under the number of the one who was gone goes with it.

    None when there is no such merge; one that was undone already stays as it is. Raises MergeRefused.
    """
    merge: PatientMerge | None = PatientMerge.objects.select_for_update(of=("self",)).filter(id=merge_id).first()
    if merge is None or merge.undone_at is not None:
        return merge
    if PatientMerge.objects.filter(gone_id=merge.surviving_id, undone_at=None).exists():
        raise MergeRefused("the surviving patient was merged into a third one since: undo that first")
    gone = Patient.objects.select_for_update(of=("self",)).get(id=merge.gone_id)
    there = Study.objects.select_for_update(of=("self",)).filter(patient_id=merge.surviving_id)
    studies = list(there.filter(id__in=merge.studies).order_by("id"))
    since = there.filter(first_received_at__gte=merge.merged_at).exclude(id__in=merge.studies).order_by("id")
    people = [gone, *Patient.objects.filter(id__in=merge.people)]
    studies += [study for study in since[:LATER_CAP] if _is_of(study, people)]
    wanted = {*merge.orders, *(study.order_id for study in studies if study.order_id)}
    orders = list(
        Order.objects.select_for_update(of=("self",)).filter(patient_id=merge.surviving_id, id__in=wanted).order_by("id")
    )
    Patient.objects.filter(id=gone.id).update(merged_into_id=None)
    Patient.objects.filter(id__in=merge.people).update(merged_into_id=gone.id)
    _move(studies, orders, to=gone.id)
    merge.undone_at, merge.undone_by = timezone.now(), actor.name
    merge.save(update_fields=["undone_at", "undone_by"])
    _tell(gone.id, merge.surviving_id, studies, orders)
    audit_record(
        actor=actor, action="patient.merge.undo", object_type="PatientMerge", object_id=str(merge.id),
        detail={"studies": len(studies), "orders": len(orders)},
    )  # fmt: skip
    fault("merge.before_undone")
    return merge


def patient_find(*, facts: PatientFacts) -> Patient | None:
    """The row of a number. One that was given without an issuer is meant as well, where no other has the number."""
    rows = list(Patient.objects.filter(patient_id=facts.patient_id, variant="").exclude(patient_id=""))
    exact = next((row for row in rows if row.issuer == facts.issuer), None)
    if exact is not None or not rows:
        return exact
    near = [row for row in rows if not (row.issuer and facts.issuer) and is_same_person(row, facts)]
    return near[0] if len(near) == 1 else None


def _ids(rows: Iterable[Study | Order]) -> list[int]:
    return [row.id for row in rows]


def _move(studies: Sequence[Study], orders: Sequence[Order], *, to: int) -> None:
    now = timezone.now()
    Study.objects.filter(id__in=_ids(studies)).update(patient_id=to)
    Order.objects.filter(id__in=_ids(orders)).update(patient_id=to, changed_at=now)
    for row in (*studies, *orders):
        row.patient_id = to
    studies_rematch(studies=studies)


def _tell(gone_id: int, into_id: int, studies: Sequence[Study], orders: Sequence[Order]) -> None:
    events_publish(events=[
        *(NewEvent(name="order.changed", ids={"order_id": order.id}, trace_id="") for order in orders),
        *(NewEvent(name="study.changed", ids={"study_id": study.id}, trace_id=study.trace_id) for study in studies),
    ])  # fmt: skip
    event_publish(name="patient.merged", ids={"patient_id": gone_id, "into_id": into_id})


def _is_of(study: Study, people: Sequence[Patient]) -> bool:
    """Do the images of a study carry the number of one of these? What cannot be read now stays where it is."""
    key = Instance.objects.filter(study_id=study.id).order_by("id").values_list("key", flat=True).first()
    try:
        facts = instance_describe(object_path(key)).patient if key else None
    except (HeaderError, StoreAwayError, OSError):
        return False
    return facts is not None and any(facts.patient_id == one.patient_id and facts.issuer in {"", one.issuer} for one in people)
