"""Commitment requests as rows: made once for each transaction, claimed, released, ended, sent again.

`due_at` is the lease: whoever moves it into the future under a claim of its own owns the request until then.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import orjson
from django.db import IntegrityError, connection, transaction
from django.db.models import Count, Sum
from django.utils import timezone
from django.utils.module_loading import import_string

from imaging.models import CommitmentRequest, Node, WorkItem
from journal.audit import Actor, audit_record
from journal.outbox import lease_end
from journal.wall.ids import id_new
from journal.wall.scope import tenant_id_current
from journal.wall.tasks import task_send

COMMITMENT_TASK = "imaging.tasks.commitment_run_task"  # by path: a service does not import the doors above it
OPEN_CAP = 1_000  # of one node, not answered yet
OPEN_REFERENCES_CAP = 1_000_000
RESOURCE_LIMITATION = 0x0213
ITEM_KIND = "commitment"

State = CommitmentRequest.State


class CommitmentRefused(Exception):
    """A request that gets no row; `status` is that of the N-ACTION-RSP, the text is ours and goes to the peer."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment


def commitment_request(
    *, actor: Actor, node: Node, called_ae: str, transaction_uid: str, references: Mapping[str, Sequence[str]], trace_id: str,
) -> CommitmentRequest:
    """Write down what a node asks for; the same again is the row that is there, reported once more. Raises CommitmentRefused.

    References are SOP class -> SOP instances, each once. A transaction UID that was used for other references gets
    a row of its own, whose answer is a failure of each reference (0131, PS3.4 J.3.3).
    """
    in_order = {sop_class: sorted(uids) for sop_class, uids in references.items()}
    digest = hashlib.sha256(orjson.dumps(in_order, option=orjson.OPT_SORT_KEYS)).hexdigest()
    same = CommitmentRequest.objects.filter(node_ae=node.ae_title, transaction_uid=transaction_uid)
    there = same.filter(digest=digest).defer("references").first()
    if there is not None:
        return _again(there, references)
    _room_check(node)
    now = timezone.now()
    row = CommitmentRequest(
        id=id_new(), node=node, node_ae=node.ae_title, called_ae=called_ae, transaction_uid=transaction_uid, digest=digest,
        is_duplicate=same.exists(), references=dict(references), trace_id=trace_id, created_at=now, due_at=now,
        number_of_references=sum(len(uids) for uids in references.values()),
    )  # fmt: skip
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:  # it came twice at once
        return same.get(digest=digest)
    audit_record(
        actor=actor, action="dicom.commit", object_type="CommitmentRequest", object_id=str(row.id),
        detail={"node": str(node.id), "instances": row.number_of_references},
    )  # fmt: skip
    commitment_nudge(row.id)
    return row


def _room_check(node: Node) -> None:
    """Raises CommitmentRefused when a node has asked for too much that is not answered yet."""
    waiting = CommitmentRequest.objects.filter(node=node).exclude(state=State.DONE)
    found = waiting.aggregate(requests=Count("id"), references=Sum("number_of_references"))
    if found["requests"] >= OPEN_CAP or (found["references"] or 0) >= OPEN_REFERENCES_CAP:
        raise CommitmentRefused(RESOURCE_LIMITATION, "too many requests wait for their answer")


def _again(row: CommitmentRequest, references: Mapping[str, Sequence[str]]) -> CommitmentRequest:
    """A node that asks once more has not got our answer: it is checked anew, for objects may have come."""
    if row.state != State.WAITING:
        _reopen(row, references=dict(references))
    return row


def _reopen(row: CommitmentRequest, **facts: Any) -> bool:
    now = timezone.now()
    count = CommitmentRequest.objects.filter(id=row.id).exclude(state=State.WAITING).update(
        state=State.WAITING, failures=None, attempts=0, last_error="", due_at=now, ended_at=None, **facts
    )
    WorkItem.objects.filter(kind=ITEM_KIND, unique_on=str(row.id), resolved_at=None).update(
        resolved_at=now, resolution="sent again", resolved_by="system:commitment"
    )
    commitment_nudge(row.id)
    return bool(count)


def commitment_resend(*, actor: Actor, row: CommitmentRequest) -> bool:
    """Check and report once more what was given up. False when it is on its way, or was told."""
    if row.state != State.DEAD or not _reopen(row):
        return False
    audit_record(actor=actor, action="commitment.resend", object_type="CommitmentRequest", object_id=str(row.id))
    return True


def commitment_nudge(request_id: int) -> None:
    """Only a hint: the sweep finds a row whose message was lost."""
    task = import_string(COMMITMENT_TASK)
    transaction.on_commit(partial(task_send, task, tenant_id=tenant_id_current(), request_id=request_id), robust=True)


def commitment_claim(request_id: int) -> CommitmentRequest | None:
    """Take the lease of a due request: one conditional UPDATE, so two workers never both get it."""
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE imaging_commitmentrequest SET due_at = %s, claim = %s "
            "WHERE tenant_id = %s AND id = %s AND due_at <= %s AND state = 'waiting'",
            [lease_end(now), id_new(), tenant_id_current(), request_id, now],
        )
        if cursor.rowcount != 1:
            return None
    return CommitmentRequest.objects.select_related("node").get(id=request_id)


def commitment_renew(row: CommitmentRequest) -> bool:
    """Keep the lease. False when it is no longer ours."""
    return _mine(row, due_at=lease_end(timezone.now()))


def commitment_release(row: CommitmentRequest, *, wait_seconds: float, **facts: Any) -> bool:
    """Give the lease back until the next step."""
    return _mine(row, due_at=timezone.now() + timedelta(seconds=wait_seconds), **facts)


def commitment_done(row: CommitmentRequest) -> bool:
    """The node knows. What it asked about goes, what failed stays: a node that asks again brings its references along."""
    failures = row.failures or {}
    is_ours = _mine(row, state=State.DONE, due_at=None, ended_at=timezone.now(), last_error="", references={})
    if is_ours:
        audit_record(
            actor=Actor(name="system:commitment"), action="commitment.report", object_type="CommitmentRequest",
            object_id=str(row.id),
            detail={"instances": row.number_of_references - len(failures), "failures": len(failures)},
        )  # fmt: skip
    return is_ours


def commitment_give_up(row: CommitmentRequest, *, words: str) -> bool:
    """A dead letter: kept, and visible as a work item until it is sent again."""
    now = timezone.now()
    is_ours = _mine(row, state=State.DEAD, due_at=None, ended_at=now, last_error=words[:200])
    if is_ours:
        reason = f"a node could not be told that its objects are safe here: {words}"[:200]
        item, is_new = WorkItem.objects.get_or_create(
            kind=ITEM_KIND, unique_on=str(row.id), defaults={"reason": reason, "created_at": now}
        )
        if not is_new:  # sent again, and once more in vain
            WorkItem.objects.filter(id=item.id).update(reason=reason, created_at=now, resolved_at=None, resolution="")
    return is_ours


def _mine(row: CommitmentRequest, **facts: Any) -> bool:
    return bool(CommitmentRequest.objects.filter(id=row.id, claim=row.claim, state=State.WAITING).update(**facts))
