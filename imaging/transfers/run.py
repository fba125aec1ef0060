"""One step of a transfer: list what is to come, or bring or send one study. Called by the task; the network is never in a scope.

What counts as done is what our own rows say: after a pull the node is compared with the archive once more.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.conf import settings
from django.utils import timezone

from imaging.associations import association_end, associations_alive
from imaging.dimse.contract import Admission, StoredObject
from imaging.inbox import inbox_watermark
from imaging.models import Association, Instance, Node, Study, Transfer, TransferStudy
from imaging.scu.association import NotPossibleError, NotReachedError, Peer, address_of, peer_of
from imaging.scu.pull import Plan, pull_plan, study_get, study_move
from imaging.scu.send import study_send
from imaging.selectors import uids_stored
from imaging.storage import object_path
from imaging.transfers.keeper import Keeper
from imaging.transfers.listing import LISTED, studies_list
from imaging.transfers.rows import transfer_claim, transfer_end, transfer_release, window_wait
from journal.audit import Actor, audit_record
from journal.trace import trace
from journal.wall.ids import id_new
from journal.wall.scope import tenant_scope
from tenants.selectors import tenant_get

log = logging.getLogger(__name__)

VERIFY_SECONDS = 0.5  # after a pull: the index worker is usually there by then
STUDY_ATTEMPTS = 3
UNREACHED_ATTEMPTS = 8
UNREACHED_MIGRATING = 100  # an archive that is down for a night is not the end of its migration
WAIT_CAP = 300.0
MESSAGE_CAP = 60.0  # a longer wait is left to the sweep
LISTS = {Transfer.Kind.MIGRATE, Transfer.Kind.PRIORS}


@dataclass
class _Step:
    """What one step works on, read in a scope."""

    transfer: Transfer
    node: Node
    item: TransferStudy | None
    peer: Peer

    @property
    def tenant_id(self) -> int:
        return int(self.transfer.tenant_id)


def transfer_run(*, tenant_id: int, transfer_id: int) -> float | None:
    """Take a transfer one step further. Returns seconds until it should run again, or None when the sweep or nobody should."""
    with tenant_scope(tenant_id):
        transfer = transfer_claim(transfer_id)
        if transfer is None:
            return None
        step, wait = _prepare(transfer)
    if step is None:
        return wait
    with trace(transfer.trace_id):
        try:
            wait = _work(step)
        except NotReachedError as error:
            wait = _unreached(step, error)
        except NotPossibleError as error:
            wait = _impossible(step, error)
    return wait if wait is None or wait <= MESSAGE_CAP else None


def _prepare(transfer: Transfer) -> tuple[_Step | None, float | None]:
    node = transfer.node
    if node is None:
        transfer_end(transfer, state=Transfer.State.FAILED, last_error="the node was deleted")
        return None, None
    wait = window_wait(transfer, now=timezone.now(), zone=tenant_get(tenant_id=int(transfer.tenant_id)).time_zone)
    if wait:
        transfer_release(transfer, wait_seconds=wait, last_error="waits for its hours")
        return None, None
    waiting = TransferStudy.objects.filter(transfer=transfer, state=TransferStudy.State.WAITING)
    now = timezone.now()
    item, is_more = None, False
    for found in waiting.order_by("id")[:20]:
        is_more = True
        if found.asked_at is None or (now - found.asked_at).total_seconds() >= VERIFY_SECONDS:
            item = found
            break
    if item is None and is_more:
        transfer_release(transfer, wait_seconds=VERIFY_SECONDS)
        return None, VERIFY_SECONDS
    if item is None and (transfer.kind not in LISTS or transfer.cursor == LISTED):
        _end(transfer)
        return None, None
    try:
        return _Step(transfer, node, item, peer_of(node)), None
    except NotPossibleError as error:
        transfer_end(transfer, state=Transfer.State.FAILED, last_error=error.user_message)
        return None, None


def _end(transfer: Transfer) -> None:
    if transfer.studies_failed:
        words = transfer.last_error or f"{transfer.studies_failed} of {transfer.studies} studies did not come through"
        transfer_end(transfer, state=Transfer.State.FAILED, last_error=words)
        return
    words = "" if transfer.studies else "the node has nothing that matches"
    transfer_end(transfer, state=Transfer.State.DONE, last_error=words)


def _work(step: _Step) -> float | None:
    if step.item is None:
        with Keeper(step.transfer) as keeper:
            studies_list(transfer=step.transfer, peer=step.peer, go=keeper.go)
        with tenant_scope(step.tenant_id):
            transfer_release(step.transfer, wait_seconds=0, attempts=0, last_error="")
        return 0.0
    if step.transfer.kind == Transfer.Kind.SEND:
        return _send(step, step.item)
    return _pull(step, step.item)


# --- pull ----------------------------------------------------------------------------------------------------------------


def _pull(step: _Step, item: TransferStudy) -> float | None:
    waiting = inbox_watermark(tenant_id=step.tenant_id)
    if item.asked_at is not None and waiting is not None and waiting <= item.asked_at:
        with tenant_scope(step.tenant_id):  # what came is not indexed yet
            transfer_release(step.transfer, wait_seconds=VERIFY_SECONDS)
        return VERIFY_SECONDS
    with tenant_scope(step.tenant_id):
        stored = uids_stored(study_uid=item.study_uid)
    is_get = step.transfer.method == Node.RetrieveBy.GET
    with Keeper(step.transfer, item) as keeper:
        plan = pull_plan(step.peer, study_uid=item.study_uid, stored=stored, is_get=is_get)
        keeper.counts.completed, keeper.counts.failed = plan.expected - plan.missing, 0
        keeper.counts.warned, keeper.counts.remaining = 0, plan.missing
        is_verified = item.asked_at is not None
        if plan.missing and not is_verified:
            with tenant_scope(step.tenant_id):  # before its first image comes: from now on the study has this origin
                if not keeper.save(expected=plan.expected):
                    return None
            began = time.monotonic()
            with _progress_kept(step, keeper):
                _retrieve(step, plan, keeper, is_get=is_get)
            seconds = time.monotonic() - began
    if not plan.missing:
        return _item_end(step, item, keeper, expected=plan.expected)
    if is_verified:
        keeper.counts.failed, keeper.counts.remaining = plan.missing, 0
        keeper.counts.reason = "objects that the node sent did not end in this study here: see Needs attention"
        return _item_again(step, item, keeper, expected=plan.expected)
    if not keeper.go():
        return None
    if keeper.counts.failed or keeper.counts.reason:
        return _item_again(step, item, keeper, expected=plan.expected)
    wait = max(_study_pause(step.transfer, plan.missing, is_get=is_get) - seconds, 0.0)
    with tenant_scope(step.tenant_id):
        keeper.item_save(asked_at=timezone.now(), expected=plan.expected)
        transfer_release(step.transfer, wait_seconds=wait, attempts=0, last_error="", **keeper.facts())
    return wait


def _study_pause(transfer: Transfer, objects: int, *, is_get: bool) -> float:
    """A C-MOVE cannot be slowed down: the pause behind it keeps the rate. Objects of a C-GET wait one by one instead."""
    by_study = 60 / transfer.studies_per_minute if transfer.studies_per_minute else 0.0
    by_object = objects * 60 / transfer.objects_per_minute if transfer.objects_per_minute and not is_get else 0.0
    return max(by_study, by_object)


def _retrieve(step: _Step, plan: Plan, keeper: Keeper, *, is_get: bool) -> None:
    if not is_get:
        study_move(step.peer, plan=plan, counts=keeper.counts, go=keeper.go)
        return
    admission = _admission_open(step)
    keeper.also = lambda: associations_alive(admissions=[admission])
    outcome, stored = "aborted", 0
    try:
        stored = study_get(
            step.peer, plan=plan, counts=keeper.counts, go=keeper.go, admission=admission, pace=keeper.pace
        )
        outcome = "released"
    finally:
        keeper.also = None
        association_end(admission=admission, outcome=outcome, stored=stored)


def _admission_open(step: _Step) -> Admission:
    """A row for the association that we open, so that completion waits for it and the study says where it came from."""
    address, now = address_of(step.peer), timezone.now()
    admission = Admission(
        tenant_id=step.tenant_id, association_id=id_new(), trace_id=step.transfer.trace_id, calling_ae=step.node.ae_title,
        called_ae=step.peer.calling_ae, address=address,
    )  # fmt: skip
    with tenant_scope(step.tenant_id):
        Association.objects.create(
            id=admission.association_id, calling_ae=admission.calling_ae, called_ae=admission.called_ae, address=address,
            started_at=now, seen_at=now, trace_id=admission.trace_id,
        )  # fmt: skip
    return admission


# --- send ----------------------------------------------------------------------------------------------------------------


def _send(step: _Step, item: TransferStudy) -> float | None:
    began = time.monotonic()
    with tenant_scope(step.tenant_id):
        objects = _objects(item, step)
    with Keeper(step.transfer, item) as keeper:
        keeper.counts.remaining = len(objects)
        with _progress_kept(step, keeper):
            study_send(step.peer, objects=objects, counts=keeper.counts, go=keeper.go, pace=keeper.pace)
    if not keeper.go():
        return None
    if keeper.counts.failed:
        return _item_fail(step, item, keeper, keeper.counts.reason)
    wait = max(_study_pause(step.transfer, 0, is_get=True) - (time.monotonic() - began), 0.0)
    return _item_end(step, item, keeper, expected=len(objects), wait=wait)


def _objects(item: TransferStudy, step: _Step) -> list[tuple[int, StoredObject]]:
    study = Study.objects.filter(study_uid=item.study_uid).first()
    if study is None:
        return []
    rows = list(
        Instance.objects.filter(study=study, id__gt=item.position)
        .order_by("id")
        .values_list("id", "sop_class_uid", "sop_instance_uid", "transfer_syntax_uid", "key")
    )
    # Written before a byte leaves: what goes where.
    audit_record(
        actor=Actor(name=step.transfer.created_by or "system:transfer"), action="dicom.send", object_type="Study",
        object_id=str(study.uuid), detail={"node": str(step.node.id), "instances": len(rows)},
    )  # fmt: skip
    return [(i, StoredObject(sop_class, uid, syntax, object_path(key))) for i, sop_class, uid, syntax, key in rows]


@contextmanager
def _progress_kept(step: _Step, keeper: Keeper) -> Iterator[None]:
    """A node that goes away in the middle, but brought us further, is not one that cannot be reached: its count begins anew."""
    before = keeper.counts.completed
    try:
        yield
    except NotReachedError:
        with tenant_scope(step.tenant_id):
            keeper.save()
        if keeper.counts.completed > before:
            step.transfer.attempts = 0
        raise


# --- how a study's step ends -------------------------------------------------------------------------------------------


def _item_end(step: _Step, item: TransferStudy, keeper: Keeper, *, expected: int, wait: float = 0.0) -> float:
    keeper.counts.remaining = 0
    with tenant_scope(step.tenant_id):
        done = step.transfer.studies_done + 1
        if transfer_release(step.transfer, wait_seconds=wait, attempts=0, last_error="", studies_done=done, **keeper.facts()):
            keeper.item_save(state=TransferStudy.State.DONE, expected=expected, reason="")
    return wait


def _item_again(step: _Step, item: TransferStudy, keeper: Keeper, *, expected: int) -> float | None:
    """Some objects are missing: ask for those once more after a while, or say that they don't come."""
    if item.attempts + 1 >= STUDY_ATTEMPTS:
        return _item_fail(step, item, keeper, keeper.counts.reason, expected=expected)
    wait = _backoff(item.attempts + 1)
    with tenant_scope(step.tenant_id):
        facts = keeper.facts()
        if transfer_release(step.transfer, wait_seconds=wait, attempts=0, last_error=keeper.counts.reason[:200], **facts):
            keeper.item_save(attempts=item.attempts + 1, asked_at=None, expected=expected, reason=keeper.counts.reason[:200])
    return wait


def _item_fail(step: _Step, item: TransferStudy, keeper: Keeper, reason: str, *, expected: int = 0) -> float:
    keeper.counts.remaining = 0
    with tenant_scope(step.tenant_id):
        facts = {"studies_failed": step.transfer.studies_failed + 1, "failed_uids": keeper.failed_uids(), **keeper.facts()}
        if transfer_release(step.transfer, wait_seconds=0, attempts=0, last_error=reason[:200], **facts):
            keeper.item_save(state=TransferStudy.State.FAILED, expected=expected, reason=reason[:200])
    return 0.0


def _impossible(step: _Step, error: NotPossibleError) -> float | None:
    """This study does not come, whatever we do; or, without a study, the whole transfer."""
    log.warning("transfer %s: %s", step.transfer.id, error.user_message)
    if step.item is not None:
        keeper = Keeper(step.transfer, step.item)
        return _item_fail(step, step.item, keeper, error.user_message)
    with tenant_scope(step.tenant_id):
        transfer_end(step.transfer, state=Transfer.State.FAILED, last_error=error.user_message[:200])
    return None


def _unreached(step: _Step, error: NotReachedError) -> float | None:
    """The node is away: the transfer waits longer each time, its studies lose nothing."""
    attempts = step.transfer.attempts + 1
    limit = UNREACHED_MIGRATING if step.transfer.kind == Transfer.Kind.MIGRATE else UNREACHED_ATTEMPTS
    log.warning("transfer %s: %s, attempt %s", step.transfer.id, error.hop, attempts)
    with tenant_scope(step.tenant_id):
        if attempts >= limit:
            transfer_end(step.transfer, state=Transfer.State.FAILED, last_error=error.user_message[:200], attempts=attempts)
            return None
        wait = _backoff(attempts)
        transfer_release(
            step.transfer, wait_seconds=wait, attempts=attempts, last_error=error.user_message[:200], remaining=0
        )
    return wait


def _backoff(attempts: int) -> float:
    return float(min(2**attempts, WAIT_CAP) * settings.MEDHUB_BACKOFF_UNIT_SECONDS)
