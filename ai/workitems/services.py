"""Writing workitems: create, claim, update, complete, cancel. Each is one transaction; states change by conditional UPDATE.

Called by the UPS-RS doors and, for jobs, by `ai.workitems.worklist`. In a scope. Raises UpsRefused with the standard's word.
"""

import hashlib
import hmac
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from ai.models import Connection, Job, Workitem
from ai.workitems import dataset as ds
from ai.workitems.ended import workitem_ended
from ai.workitems.events import Kind, event_tell
from ai.workitems.selectors import Viewer, moment, workitem_get
from ai.workitems.states import (
    ALREADY_CLAIMED,
    DUPLICATE,
    IS_CANCELED,
    NOT_FOUND,
    NOT_SCHEDULED,
    Cancel,
    Lock,
    State,
    UpsRefused,
    Word,
    cancel_check,
    state_check,
    update_check,
)
from ai.workitems.subscriptions import workitem_subscribe_all
from imaging.header import uid_is_valid
from imaging.query.moments import MomentError, datetime_read
from journal.audit import Actor, audit_record
from journal.wall.ids import id_new

CREATED_OTHERWISE = "The UPS was created with modifications"
UPDATED_OTHERWISE = "The UPS was updated with modifications: attributes that are not the performer's to set were left as they are"


class NotYoursError(Exception):
    """The workitem is seen, and somebody else's to perform."""


def dicom_now(now: datetime) -> str:
    return now.strftime("%Y%m%d%H%M%S.%f") + "+0000"


def transaction_digest(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()


def lock_of(item: Workitem, transaction_uid: str) -> Lock:
    digest = transaction_digest(transaction_uid)
    return Lock(is_given=bool(transaction_uid), is_right=hmac.compare_digest(digest, item.transaction_digest))


# --- create ---------------------------------------------------------------------------------------------------------


def workitem_create(
    *, workitem_uid: str, dataset: ds.Dataset, actor: Actor, connection: Connection | None = None, job: Job | None = None
) -> tuple[Workitem, str]:
    """A new workitem, SCHEDULED, and a warning or "". Raises DatasetError, and UpsRefused for a UID that is taken (PS3.4 CC.2.5)."""
    if not uid_is_valid(workitem_uid):
        raise ds.DatasetError("the UID of the workitem is none")
    warning = _creatable(dataset)
    now = timezone.now()
    try:
        with transaction.atomic():
            item = Workitem.objects.create(
                id=id_new(), workitem_uid=workitem_uid, dataset=dataset, job=job, connection=connection, created_at=now,
                changed_at=now, **_columns(dataset),
            )  # fmt: skip
    except IntegrityError:
        raise UpsRefused(DUPLICATE) from None
    audit_record(actor=actor, action="ups.create", object_type="Workitem", object_id=workitem_uid)
    workitem_subscribe_all(item)
    event_tell(item, Kind.STATE)
    if ds.items_of(dataset, ds.STATION) or ds.items_of(dataset, ds.HUMANS):
        event_tell(item, Kind.ASSIGNED)
    return item, warning


def _creatable(dataset: ds.Dataset) -> str:
    """Check what must be there, fill in what may be ours to say, take out what stands in columns."""
    if ds.text_of(dataset, ds.STATE) not in ("", State.SCHEDULED):
        raise UpsRefused(NOT_SCHEDULED)
    if not ds.text_of(dataset, ds.LABEL):
        raise ds.DatasetError("ProcedureStepLabel is missing")
    if ds.text_of(dataset, ds.TRANSACTION) or ds.items_of(dataset, ds.PERFORMED) or ds.items_of(dataset, ds.PROGRESS):
        raise ds.DatasetError("a new workitem has no Transaction UID, progress or performed procedure yet")
    filled = False
    for tag, vr, value in (
        (ds.PRIORITY, "CS", "MEDIUM"), (ds.READINESS, "CS", "READY"), (ds.START, "DT", dicom_now(timezone.now())),
    ):  # fmt: skip
        if not ds.text_of(dataset, tag):
            dataset[tag] = ds.element(vr, value)
            filled = True
    for tag in (ds.SOP_CLASS, ds.SOP_INSTANCE, ds.STATE, ds.TRANSACTION):
        dataset.pop(tag, None)
    return CREATED_OTHERWISE if filled else ""


def _columns(dataset: ds.Dataset) -> dict[str, Any]:
    """What is searched by. Raises DatasetError for values that the standard doesn't have."""
    priority, readiness = ds.text_of(dataset, ds.PRIORITY), ds.text_of(dataset, ds.READINESS)
    if priority not in ds.PRIORITIES:
        raise ds.DatasetError(f"ScheduledProcedureStepPriority is one of {', '.join(ds.PRIORITIES)}")
    if readiness not in ds.READINESSES:
        raise ds.DatasetError(f"InputReadinessState is one of {', '.join(ds.READINESSES)}")
    try:
        at = moment(datetime_read(ds.text_of(dataset, ds.START))[0])
    except MomentError as error:
        raise ds.DatasetError(f"ScheduledProcedureStepStartDateTime: {error}") from None
    texts = {
        "label": ds.text_of(dataset, ds.LABEL), "worklist_label": ds.text_of(dataset, ds.WORKLIST_LABEL),
        "station": ds.code_of(dataset, ds.STATION), "workitem_code": ds.code_of(dataset, ds.WORKITEM_CODE),
        "patient_id": ds.text_of(dataset, ds.PATIENT_ID), "study_uid": ds.text_of(dataset, ds.STUDY),
    }  # fmt: skip
    if any(len(text) > 64 for text in texts.values()):
        raise ds.DatasetError("a label, code or id has more than 64 characters")
    return {"priority": priority, "readiness": readiness, "scheduled_at": at, **texts}


# --- change the state -----------------------------------------------------------------------------------------------


def workitem_state_change(
    *, viewer: Viewer, workitem_uid: str, wanted: str, transaction_uid: str, actor: Actor
) -> Word | None:
    """Claim, complete or cancel, by what is wanted (PS3.18 11.7). A Word where nothing had to be done. Raises DatasetError too."""
    try:
        state = State(wanted)
    except ValueError:
        raise ds.DatasetError("ProcedureStepState is IN PROGRESS, COMPLETED or CANCELED") from None
    if state is State.IN_PROGRESS:
        workitem_claim(viewer=viewer, workitem_uid=workitem_uid, transaction_uid=transaction_uid, actor=actor)
        return None
    return _end(viewer=viewer, workitem_uid=workitem_uid, wanted=state, transaction_uid=transaction_uid, actor=actor)


def workitem_claim(*, viewer: Viewer, workitem_uid: str, transaction_uid: str, actor: Actor) -> None:
    """SCHEDULED -> IN PROGRESS, locked by the Transaction UID. One conditional UPDATE: of two racers one is told that it is too late."""
    item = _found(viewer, workitem_uid)
    state_check(now=State(item.state), wanted=State.IN_PROGRESS, lock=lock_of(item, transaction_uid))
    if not uid_is_valid(transaction_uid):
        raise ds.DatasetError("the Transaction UID is no UID")
    claimed = Workitem.objects.filter(id=item.id, state=State.SCHEDULED.value).update(
        state=State.IN_PROGRESS.value, transaction_digest=transaction_digest(transaction_uid), performer=actor.name,
        changed_at=timezone.now(), version=F("version") + 1,
    )  # fmt: skip
    if not claimed:
        raise UpsRefused(ALREADY_CLAIMED)
    item.refresh_from_db(fields=["state", "version"])
    audit_record(actor=actor, action="ups.claim", object_type="Workitem", object_id=workitem_uid)
    event_tell(item, Kind.STATE)


def workitem_complete(*, viewer: Viewer, workitem_uid: str, transaction_uid: str, actor: Actor) -> Word | None:
    """IN PROGRESS -> COMPLETED; what it must say by then it was told by updates. Its job's results are looked for at once."""
    return _end(viewer=viewer, workitem_uid=workitem_uid, wanted=State.COMPLETED, transaction_uid=transaction_uid, actor=actor)


def workitem_cancel(*, viewer: Viewer, workitem_uid: str, transaction_uid: str, actor: Actor) -> Word | None:
    """IN PROGRESS -> CANCELED, by its performer."""
    return _end(viewer=viewer, workitem_uid=workitem_uid, wanted=State.CANCELED, transaction_uid=transaction_uid, actor=actor)


def _end(*, viewer: Viewer, workitem_uid: str, wanted: State, transaction_uid: str, actor: Actor) -> Word | None:
    item = _found(viewer, workitem_uid, is_locked=True)
    is_complete = wanted is State.CANCELED or ds.completed_check(item.dataset)
    word = state_check(
        now=State(item.state), wanted=wanted, lock=lock_of(item, transaction_uid), is_complete=is_complete
    )
    if word is None:
        _ended(item, wanted, actor)
    return word


def _ended(item: Workitem, state: State, actor: Actor) -> None:
    if state is State.CANCELED:
        ds.canceled_complete(item.dataset, at=dicom_now(timezone.now()))
    _saved(item, state=state.value)
    audit_record(actor=actor, action=f"ups.{state.name.lower()}", object_type="Workitem", object_id=item.workitem_uid)
    event_tell(item, Kind.STATE)
    if item.job_id is not None:
        workitem_ended(job_id=item.job_id)


# --- update, ask to cancel ------------------------------------------------------------------------------------------


def workitem_update(*, viewer: Viewer, workitem_uid: str, dataset: ds.Dataset, transaction_uid: str, actor: Actor) -> str:
    """Set attributes (PS3.18 11.6); returns a warning or "". A performer sets progress and what was performed, nothing else."""
    item = _found(viewer, workitem_uid, is_locked=True)
    update_check(now=State(item.state), lock=lock_of(item, transaction_uid), is_performer=viewer.is_performer)
    dataset.pop(ds.TRANSACTION, None)
    if any(ds.is_fixed(tag) for tag in dataset):
        raise ds.DatasetError("whom it is about, what it belongs to, its UIDs and its state are not set by an update")
    taken = {tag: found for tag, found in dataset.items() if not viewer.is_performer or tag in ds.OF_PERFORMERS}
    before = item.dataset
    item.dataset = {**before, **taken, ds.MODIFIED: ds.element("DT", dicom_now(timezone.now()))}
    _saved(item, **_columns(item.dataset))
    audit_record(actor=actor, action="ups.update", object_type="Workitem", object_id=workitem_uid)
    for kind, tags in (
        (Kind.STATE, (ds.READINESS,)), (Kind.PROGRESS, (ds.PROGRESS,)), (Kind.ASSIGNED, (ds.STATION, ds.HUMANS)),
    ):  # fmt: skip
        if any(before.get(tag) != item.dataset.get(tag) for tag in tags):
            event_tell(item, kind)
    return UPDATED_OTHERWISE if len(taken) < len(dataset) else ""


def workitem_cancel_request(
    *, viewer: Viewer, workitem_uid: str, dataset: ds.Dataset, requesting_ae: str, actor: Actor
) -> Word | None:
    """Ask that it be canceled (PS3.18 11.8): done at once while nobody has claimed it, else its performer is told.

    Of a connection's workitem only the fact is told: a reason in free text may name the patient.
    """
    item = workitem_get(viewer=viewer, workitem_uid=workitem_uid)
    if item is None:
        raise UpsRefused(NOT_FOUND)
    item = Workitem.objects.select_for_update(of=("self",)).get(id=item.id)
    outcome = cancel_check(now=State(item.state))
    if outcome is Cancel.DONE:
        return IS_CANCELED
    if outcome is Cancel.AT_ONCE:
        # (CC.2.2.3) we claim it and cancel it; both are one change
        _ended(item, State.CANCELED, actor)
        return None
    told = ds.shown(dataset, (ds.DISCONTINUED, ds.REASON, ds.CONTACT_URI, ds.CONTACT_NAME)) if item.connection_id is None else {}
    if requesting_ae and item.connection_id is None:
        told[ds.REQUESTING_AE] = ds.element("AE", requesting_ae)
    _saved(item, cancel_request=told)
    audit_record(actor=actor, action="ups.cancel_request", object_type="Workitem", object_id=workitem_uid)
    event_tell(item, Kind.CANCEL)
    return None


def _found(viewer: Viewer, workitem_uid: str, *, is_locked: bool = False) -> Workitem:
    """The workitem, if it is there for this viewer and theirs to perform. Raises UpsRefused, NotYoursError."""
    item = workitem_get(viewer=viewer, workitem_uid=workitem_uid)
    if item is None:
        raise UpsRefused(NOT_FOUND)
    if not viewer.may_perform(item):
        raise NotYoursError
    return Workitem.objects.select_for_update(of=("self",)).get(id=item.id) if is_locked else item


def _saved(item: Workitem, **columns: Any) -> None:
    for name, value in columns.items():
        setattr(item, name, value)
    item.version += 1
    item.changed_at = timezone.now()
    item.save(update_fields=["dataset", "version", "changed_at", *columns])
