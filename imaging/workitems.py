"""What a person decides about a work item. Every decision is audited, repeated without harm, and removes nothing at once.

Bytes that nobody wants stay MEDHUB_DISCARD_DAYS under their item before `item_purge` removes them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from imaging.describe import InstanceFacts, instance_describe
from imaging.filing import Batch, Described, Stored, batch_write, instance_replace, instances_known, use_adjust
from imaging.header import HeaderError
from imaging.inbox import InboxObject
from imaging.matching import ANOTHER
from imaging.matching import KINDS as ORDER_KINDS
from imaging.merging.services import MergeRefused, patients_merge
from imaging.models import Instance, Order, Patient, Series, Study, Upload, WorkItem
from imaging.orderfix import order_named, orders_offered, study_order_choose
from imaging.people import Person
from imaging.querytags.known import tags_declared
from imaging.scrub import OK, Held, digest_compare, result_write
from imaging.storage import StoreAwayError, object_delete, object_path
from imaging.storage.files import file_path
from journal.audit import Actor, audit_record
from journal.wall.scope import tenant_id_current
from tenants.selectors import tenant_get


class DecisionRefused(Exception):
    """This cannot be decided so; the text says why and may be shown."""

    def __init__(self, user_message: str) -> None:
        super().__init__(user_message)
        self.user_message = user_message


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Who decides, and the order that was chosen, by the id of its ServiceRequest."""

    actor: Actor
    order: str = ""


@dataclass(frozen=True)
class Action:
    """One way out of a work item."""

    name: str
    apply: Callable[[WorkItem, Decision], None]
    is_discarding: bool = False  # the bytes aside are not wanted: they go after their time
    needs_note: bool = False
    needs_order: bool = False  # one of `orders_offered` must be chosen


def actions_of(item: WorkItem) -> list[Action]:
    """What may be decided about an item, the way that changes nothing first."""
    if item.resolved_at is not None:
        return []
    if item.kind in {"duplicate", "duplicate-replaced"}:
        return [Action("keep", _nothing, is_discarding=True), Action("use_other", _other_use)]
    if item.kind == "patient-conflict" and not item.key:
        return [Action("keep_two", _nothing), Action("merge", _patients_merge)]
    if item.kind == "patient-conflict":
        return [Action("discard", _nothing, is_discarding=True, needs_note=True), Action("accept", _aside_accept)]
    if item.kind in {"series-conflict", "unreadable"}:
        return [Action("discard", _nothing, is_discarding=True, needs_note=True)]
    if item.kind == "damaged":
        return [Action("recheck", _recheck), Action("dismiss", _nothing, needs_note=True)]
    if item.kind in ORDER_KINDS and item.study is not None:
        merge = [Action("merge", _order_patient_merge)] if item.kind == ANOTHER else []
        return [Action("dismiss", _nothing), *merge, Action("match", _order_match, needs_order=True)]
    return [Action("dismiss", _nothing)]


def item_resolve(*, item_id: int, action: str, actor: Actor, note: str = "", order: str = "") -> WorkItem | None:
    """Decide. None when there is no such item. The same decision again changes nothing.

    Raises DecisionRefused: no such way out, decided otherwise already, or the facts changed meanwhile.
    """
    item: WorkItem | None = WorkItem.objects.select_for_update(of=("self",)).filter(id=item_id).first()
    if item is None:
        return None
    if item.resolved_at is not None:
        if item.resolution == action:
            return item
        raise DecisionRefused("somebody has decided this already")
    chosen = next((one for one in actions_of(item) if one.name == action), None)
    if chosen is None:
        raise DecisionRefused("this item has no such way out")
    if chosen.needs_note and not note.strip():
        raise DecisionRefused("say why")
    chosen.apply(item, Decision(actor=actor, order=order))
    _item_close(item, chosen.name, actor=actor, note=note)
    if (chosen.is_discarding or chosen.name == "use_other") and item.key and settings.MEDHUB_DISCARD_DAYS > 0:
        item.due_at = timezone.now() + timedelta(days=settings.MEDHUB_DISCARD_DAYS)
    item.save()
    return item


def _item_close(item: WorkItem, resolution: str, *, actor: Actor, note: str = "") -> None:
    item.resolved_at, item.resolution = timezone.now(), resolution
    item.resolved_by, item.note = actor.name, note.strip()[:200]
    item.save()
    audit_record(
        actor=actor, action=f"workitem.{resolution}", object_type="WorkItem", object_id=str(item.id), detail={"kind": item.kind},
    )  # fmt: skip


def item_purge(*, item_id: int) -> bool:
    """Remove the bytes of a decided item whose time has come; the item stays and says so. Raises StoreAwayError."""
    now = timezone.now()
    item = WorkItem.objects.select_for_update(of=("self",)).filter(id=item_id, due_at__lte=now).exclude(key="").first()
    if item is None or item.resolved_at is None:
        return False
    if not Instance.objects.filter(key=item.key).exists():  # never what a row points at
        object_delete(item.key)
        Upload.objects.filter(key=item.key).delete()
        use_adjust(size=-item.size, objects=-1)
    audit_record(
        actor=Actor(name="system:purge"), action="workitem.purge", object_type="WorkItem", object_id=str(item.id),
        detail={"kind": item.kind, "bytes": item.size},
    )  # fmt: skip
    item.key, item.due_at = "", None
    item.save(update_fields=["key", "due_at"])
    return True


# --- the ways out ------------------------------------------------------------------------------------------------------


def _nothing(item: WorkItem, decision: Decision) -> None:
    """What is stored stays as it is."""


def _described(item: WorkItem) -> Described:
    """The bytes aside, read again. Raises DecisionRefused."""
    try:
        facts = instance_describe(object_path(item.key), tags=tags_declared(tenant_id=tenant_id_current()))
    except (HeaderError, StoreAwayError, OSError) as error:
        raise DecisionRefused(f"the object cannot be read now ({type(error).__name__})") from error
    return Described(_arrival_of(item), facts, item.sha256, item.size)


def _arrival_of(item: WorkItem) -> InboxObject:
    """As it came: the file's name is the id that it got then."""
    arrived = int(item.key.rpartition("/")[2].removesuffix(".dcm"))
    return InboxObject(
        tenant_id=tenant_id_current(), instance_id=arrived, source=0, trace_id=item.study.trace_id if item.study else "",
        path=file_path(item.key),
    )  # fmt: skip


def _other_use(item: WorkItem, decision: Decision) -> None:
    """The bytes aside take the place of the stored ones, which from now on lie under this item."""
    d = _described(item)
    stored = instances_known([d.facts.sop_instance_uid]).get(d.facts.sop_instance_uid)
    if stored is None or stored.id != item.instance_id:
        raise DecisionRefused("the stored object is not there any more")
    study = _study_locked(stored.study_id)
    if (d.facts.study_uid, d.facts.series_uid) != (study.study_uid, stored.series_uid):
        raise DecisionRefused("the other object belongs to another study or series and cannot take this place")
    key = item.key
    item.key, item.size, item.sha256, item.dataset_sha256 = stored.key, stored.size, stored.sha256, stored.dataset_sha256
    _write(d, study, key=key, in_place_of=stored)


def _aside_accept(item: WorkItem, decision: Decision) -> None:
    """The object joins the study that it names; the study's patient stays as it is."""
    d = _described(item)
    if instances_known([d.facts.sop_instance_uid]):
        raise DecisionRefused("an object with this SOP Instance UID is stored by now")
    found = Study.objects.filter(study_uid=d.facts.study_uid).first()
    if found is None:
        raise DecisionRefused("its study is not there any more")
    if Series.objects.filter(series_uid=d.facts.series_uid).exclude(study_id=found.id).exists():
        raise DecisionRefused("its series belongs to another study")
    key, size = item.key, item.size
    item.key = ""
    _write(d, _study_locked(found.id), key=key)
    use_adjust(size=-size, objects=-1)  # counted once already, when it was put aside


def _study_locked(study_id: int) -> Study:
    study: Study = Study.objects.select_for_update(of=("self",)).get(id=study_id)
    return study


def _write(d: Described, study: Study, *, key: str, in_place_of: Stored | None = None) -> None:
    """Through the index worker's own statements: counts, quiet time, the next version and its events follow."""
    batch = Batch(
        studies={d.facts.study_uid: study}, people={d.facts.sop_instance_uid: Person(study.patient_id, False)},
        tags=tags_declared(tenant_id=tenant_id_current()),
    )  # fmt: skip
    if in_place_of is None:
        batch.kept.append((d, key))
    else:
        instance_replace(d, in_place_of, key=key)
        batch.revised.append(d)
    if not d.facts.is_derived:
        batch.changed.add(study.id)
    batch_write(batch, quiet=tenant_get(tenant_id=tenant_id_current()).quiet_seconds)


def _patients_merge(item: WorkItem, decision: Decision) -> None:
    """The two are one person: every study and order of the second goes to the first, and later images follow."""
    second = Patient.objects.filter(id=item.patient_id).first()
    if second is None or second.merged_into_id is not None:
        raise DecisionRefused("this person was merged already")
    first = Patient.objects.filter(issuer=second.issuer, patient_id=second.patient_id, variant="").exclude(id=second.id).first()
    if first is None:
        raise DecisionRefused("the other person is not there any more")
    _merge(decision.actor, surviving_id=first.id, gone_id=second.id)


def _order_patient_merge(item: WorkItem, decision: Decision) -> None:
    """The patient of the order and the patient of the images are one person: the order's number is used from now on."""
    study = _study_locked(item.study_id or 0)
    orders = Order.objects.filter(accession_number=study.accession_number).exclude(status=Order.Status.ENTERED_IN_ERROR)
    people = {order.patient_id for order in orders if not study.accession_issuer or order.issuer in {"", study.accession_issuer}}
    if len(people) != 1:
        raise DecisionRefused("it is not one order any more that has the accession number of this study")
    _merge(decision.actor, surviving_id=people.pop() or 0, gone_id=study.patient_id)


def _merge(actor: Actor, *, surviving_id: int, gone_id: int) -> None:
    try:
        if patients_merge(actor=actor, surviving_id=surviving_id, gone_id=gone_id, origin="item") is None:
            raise DecisionRefused("the two are one patient already")
    except MergeRefused as error:
        raise DecisionRefused(error.user_message) from error


def _order_match(item: WorkItem, decision: Decision) -> None:
    """Somebody knows which order of this patient asked for the study."""
    study = _study_locked(item.study_id or 0)
    order = order_named(name=decision.order, orders=orders_offered(study=study))
    if order is None:
        raise DecisionRefused("choose one of the orders of this patient")
    study_order_choose(study=study, order=order)
    # Both questions about this study's order are answered.
    same = WorkItem.objects.filter(kind__in=ORDER_KINDS, study_id=study.id, resolved_at=None).exclude(id=item.id)
    same.update(resolved_at=timezone.now(), resolution="match", resolved_by=decision.actor.name)


def _recheck(item: WorkItem, decision: Decision) -> None:
    """Somebody brought the bytes back, from a backup or a replaced disk: read them again."""
    instance = item.instance
    if instance is None:
        raise DecisionRefused("what was damaged is not kept any more")
    held = Held(instance.id, False, instance.key, instance.size, instance.sha256)
    try:
        result = digest_compare(held)
    except StoreAwayError as error:
        raise DecisionRefused("the object store is away") from error
    if result != OK:
        raise DecisionRefused("the bytes are still not those that were received")
    result_write(held, result)


# --- what the page shows -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """What one of two objects or people says about itself. Values of the object: only for those who may see them."""

    name: str
    patient_id: str
    birth_date: str
    sex: str
    study_description: str = ""
    study_date: str = ""
    series_description: str = ""
    number: int | None = None
    size: int | None = None


def sides_of(item: WorkItem) -> tuple[Side | None, Side | None]:
    """(what is stored, the other one), as far as each can be read."""
    if item.kind == "patient-conflict" and not item.key:
        second = item.patient
        first = None
        if second is not None:
            first = Patient.objects.filter(issuer=second.issuer, patient_id=second.patient_id, variant="").exclude(id=second.id).first()
        return _person_side(first), _person_side(second)
    if item.kind == ANOTHER and item.study is not None:
        orders = Order.objects.select_related("patient").filter(accession_number=item.study.accession_number)
        order = orders.exclude(patient_id=item.study.patient_id).first()
        return _person_side(item.study.patient), _person_side(order.patient if order else None)
    if item.kind == "patient-differs":  # the EHR's side is in the FHIR store, above us
        return _person_side(item.patient), None
    if item.kind == "patient-conflict":
        return _study_side(item.study) if item.study else None, _object_side(item.key, item.size)
    stored = _object_side(item.instance.key, item.instance.size) if item.instance else None
    return stored, _object_side(item.key, item.size) if item.key else None


def _person_side(patient: Patient | None) -> Side | None:
    if patient is None:
        return None
    return Side(name=patient.name, patient_id=patient.patient_id, birth_date=patient.birth_date, sex=patient.sex)


def _study_side(study: Study) -> Side:
    patient = study.patient
    return Side(
        name=patient.name, patient_id=patient.patient_id, birth_date=patient.birth_date, sex=patient.sex,
        study_description=study.description, study_date=study.study_date,
    )  # fmt: skip


def _object_side(key: str, size: int) -> Side | None:
    path = object_path(key)
    try:
        facts: InstanceFacts = instance_describe(path)
    except (HeaderError, OSError):
        return None
    return Side(
        name=facts.patient.name, patient_id=facts.patient.patient_id, birth_date=facts.patient.birth_date, sex=facts.patient.sex,
        study_description=facts.study_description, study_date=facts.study_date, series_description=facts.series_description,
        number=facts.number, size=size,
    )  # fmt: skip


