"""Transfers as rows: asked for, claimed, renewed, ended. The API, the portal and `run` call it.

`due_at` is the lease: whoever moves it into the future under a claim of its own owns the transfer until then. A worker that
dies leaves a row that becomes due, and the next one goes on from what the rows say.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from imaging.header import uid_is_valid
from imaging.models import Node, Study, Transfer, TransferStudy
from journal.audit import Actor, audit_record
from journal.outbox import lease_end
from journal.trace import trace_new
from journal.wall.ids import id_new
from journal.wall.scope import tenant_id_current
from journal.wall.tasks import task_send

TRANSFER_TASK = "imaging.tasks.transfer_run_task"  # by path: a service does not import the doors above it
STUDIES_CAP = 1_000  # named in one transfer; more is a migration
FAILED_KEPT = 100
MIGRATE_DAYS = 366 * 150
_MODALITY = re.compile(r"[A-Z0-9_ ]{1,16}")
OPEN = (Transfer.State.QUEUED, Transfer.State.RUNNING)


class TransferError(Exception):
    """A transfer cannot be asked for like that. The text is ours and names the field."""

    def __init__(self, field: str, words: str) -> None:
        super().__init__(words)
        self.field = field


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast, and at which hours of the hospital's day. None: no limit."""

    objects_per_minute: int | None = None
    studies_per_minute: int | None = None
    hour_from: int | None = None
    hour_to: int | None = None

    def check(self) -> None:
        for name in ("objects_per_minute", "studies_per_minute"):
            rate = getattr(self, name)
            if rate is not None and not 1 <= rate <= 1_000_000:
                raise TransferError(name, "a rate is 1 to 1000000 a minute")
        hours = (self.hour_from, self.hour_to)
        if (hours[0] is None) != (hours[1] is None):
            raise TransferError("hour_from", "give both hours or none")
        if hours[0] is not None and hours[1] is not None and not (0 <= hours[0] <= 23 and 0 <= hours[1] <= 24 and hours[0] != hours[1]):
            raise TransferError("hour_from", "hours are 0 to 24, and not the same")


def transfer_create(
    *, actor: Actor, node: Node, kind: str, study_uids: Sequence[str] = (), query: dict[str, Any] | None = None, method: str = "",
    pace: Pace | None = None, unique_on: str = "",
) -> Transfer:
    """Ask for a transfer; the same `unique_on` again gives the one that is there. Raises TransferError.

    pull and send name studies; migrate has a query of `from` and `to` (YYYYMMDD) and `modalities`; priors of `study`.
    """
    pace = pace or Pace()
    pace.check()
    if kind not in Transfer.Kind.values:
        raise TransferError("kind", f"a transfer is {', '.join(Transfer.Kind.values)}")
    if not node.host or not node.port:
        raise TransferError("node", "the node has no host and port")
    if kind in {Transfer.Kind.PULL, Transfer.Kind.SEND}:
        study_uids, query = _study_uids_check(study_uids, kind), {}
    elif kind == Transfer.Kind.MIGRATE:
        study_uids, query = (), _query_check(query or {})
    if method and method not in Node.RetrieveBy.values:
        raise TransferError("method", "retrieve by move or get")
    now = timezone.now()
    transfer = Transfer(
        id=id_new(), kind=kind, node=node, node_ae=node.ae_title, query=query or {}, studies=len(study_uids),
        method="" if kind == Transfer.Kind.SEND else method or node.retrieve_by, created_by=actor.name, trace_id=trace_new(),
        created_at=now, changed_at=now, due_at=now, **vars(pace),
    )  # fmt: skip
    transfer.unique_on = unique_on or str(transfer.id)
    there = Transfer.objects.filter(unique_on=transfer.unique_on).first()
    if there is not None:
        return there
    transfer.save(force_insert=True)
    TransferStudy.objects.bulk_create(
        [TransferStudy(transfer=transfer, study_uid=uid, created_at=now) for uid in study_uids]
    )
    audit_record(
        actor=actor, action=f"transfer.{kind}", object_type="Transfer", object_id=str(transfer.id),
        detail={"node": str(node.id), "studies": len(study_uids)},
    )  # fmt: skip
    transfer_nudge(transfer.id)
    return transfer


def transfer_nudge(transfer_id: int) -> None:
    """Only a hint: the sweep finds a row whose message was lost."""
    task = import_string(TRANSFER_TASK)
    transaction.on_commit(partial(task_send, task, tenant_id=tenant_id_current(), transfer_id=transfer_id), robust=True)


def _study_uids_check(uids: Sequence[str], kind: str) -> list[str]:
    found = list(dict.fromkeys(uids))
    if not 1 <= len(found) <= STUDIES_CAP:
        raise TransferError("study_uids", f"1 to {STUDIES_CAP} studies")
    if not all(uid_is_valid(uid) for uid in found):
        raise TransferError("study_uids", "a Study Instance UID is not a UID")
    if kind == Transfer.Kind.SEND and Study.objects.filter(study_uid__in=found).count() != len(found):
        raise TransferError("study_uids", "a study is not in this archive")
    return found


def _query_check(query: dict[str, Any]) -> dict[str, Any]:
    try:
        first, last = date_read(str(query.get("from", ""))), date_read(str(query.get("to", "")))
    except ValueError:
        raise TransferError("query", "a migration goes from a day to a day: from and to as YYYYMMDD") from None
    if not 0 <= (last - first).days <= MIGRATE_DAYS:
        raise TransferError("query", "the days of a migration are in the wrong order, or too many")
    modalities = [str(m).strip().upper() for m in query.get("modalities") or []]
    if len(modalities) > 20 or not all(_MODALITY.fullmatch(m) for m in modalities):
        raise TransferError("query", "modalities are like CT, MR")
    return {"from": f"{first:%Y%m%d}", "to": f"{last:%Y%m%d}", "modalities": modalities}


def date_read(text: str) -> date:
    """YYYYMMDD or YYYY-MM-DD. Raises ValueError."""
    plain = text.replace("-", "")
    if len(plain) != 8 or not plain.isdigit():
        raise ValueError("no date")
    return date(int(plain[:4]), int(plain[4:6]), int(plain[6:]))


def transfer_cancel(*, actor: Actor, transfer: Transfer) -> bool:
    """End it; what has come stays. The worker that has it stops within a second. False when it had ended already."""
    now = timezone.now()
    count = Transfer.objects.filter(id=transfer.id, state__in=OPEN).update(
        state=Transfer.State.CANCELLED, due_at=None, ended_at=now, changed_at=now, remaining=0
    )
    if count:
        audit_record(actor=actor, action="transfer.cancel", object_type="Transfer", object_id=str(transfer.id))
    return bool(count)


def transfer_retry(*, actor: Actor, transfer: Transfer) -> bool:
    """Go on with one that failed or was cancelled: only what is missing is asked for. False when it has not ended, or is whole."""
    now = timezone.now()
    if transfer.node_id is None or transfer.state not in {Transfer.State.FAILED, Transfer.State.CANCELLED}:
        return False
    failed = TransferStudy.objects.filter(transfer=transfer, state=TransferStudy.State.FAILED)
    again = list(failed.values_list("completed", "failed", "warned"))
    failed.update(state=TransferStudy.State.WAITING, attempts=0, asked_at=None, position=0, completed=0, failed=0, warned=0, reason="")
    Transfer.objects.filter(id=transfer.id).update(
        state=Transfer.State.QUEUED, due_at=now, ended_at=None, changed_at=now, attempts=0, last_error="", failed_uids=[],
        studies_failed=0, completed=max(transfer.completed - sum(row[0] for row in again), 0),
        failed=max(transfer.failed - sum(row[1] for row in again), 0),
        warned=max(transfer.warned - sum(row[2] for row in again), 0),
    )  # fmt: skip
    audit_record(actor=actor, action="transfer.retry", object_type="Transfer", object_id=str(transfer.id))
    transfer_nudge(transfer.id)
    return True


def transfer_claim(transfer_id: int) -> Transfer | None:
    """Take the lease of a due transfer: one conditional UPDATE, so two workers never both get it."""
    now, claim = timezone.now(), id_new()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE imaging_transfer SET due_at = %s, claim = %s, state = 'running' "
            "WHERE tenant_id = %s AND id = %s AND due_at <= %s AND state IN ('queued', 'running')",
            [lease_end(now), claim, tenant_id_current(), transfer_id, now],
        )
        if cursor.rowcount != 1:
            return None
    return Transfer.objects.select_related("node").get(id=transfer_id)


def transfer_renew(transfer: Transfer, **facts: Any) -> bool:
    """Keep the lease and tell how far we are. False when it is no longer ours: cancelled, or taken by another worker."""
    now = timezone.now()
    mine = Transfer.objects.filter(id=transfer.id, claim=transfer.claim, state=Transfer.State.RUNNING)
    return bool(mine.update(due_at=lease_end(now), changed_at=now, **facts))


def transfer_release(transfer: Transfer, *, wait_seconds: float, **facts: Any) -> bool:
    """Give the lease back until the next step."""
    now = timezone.now()
    mine = Transfer.objects.filter(id=transfer.id, claim=transfer.claim, state=Transfer.State.RUNNING)
    return bool(mine.update(due_at=now + timedelta(seconds=wait_seconds), changed_at=now, **facts))


def transfer_end(transfer: Transfer, *, state: str, **facts: Any) -> bool:
    now = timezone.now()
    mine = Transfer.objects.filter(id=transfer.id, claim=transfer.claim, state=Transfer.State.RUNNING)
    return bool(mine.update(state=state, due_at=None, ended_at=now, changed_at=now, remaining=0, **facts))


def window_wait(transfer: Transfer, *, now: datetime, zone: str) -> float:
    """Seconds until the hours come in which this transfer may work; 0 when they are now."""
    first, last = transfer.hour_from, transfer.hour_to
    if first is None or last is None:
        return 0.0
    local = now.astimezone(ZoneInfo(zone))
    is_open = first <= local.hour < last if first < last else local.hour >= first or local.hour < last
    if is_open:
        return 0.0
    opens = local.replace(hour=first, minute=0, second=0, microsecond=0)
    if opens <= local:
        opens += timedelta(days=1)
    return max((opens - local).total_seconds(), 1.0)
