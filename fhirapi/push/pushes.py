"""Pushes as rows: made in the transaction that writes a report's resources, claimed, ended, asked for again.

One report goes to one server in order: while an older version is on its way a newer one waits, and what was not sent yet when a newer
came is not sent any more.
"""

import random
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone
from django.utils.module_loading import import_string

from fhirapi.models import EhrAttempt, EhrPush, EhrServer
from fhirapi.store import Stored
from journal.audit import Actor, audit_record
from journal.outbox import lease_end
from journal.trace import trace_id_current, trace_new
from journal.wall.ids import id_new
from journal.wall.scope import tenant_id_current
from journal.wall.tasks import task_send

TASK = "fhirapi.tasks.ehr_push_run_task"  # by path: what is below the doors does not import them
MAX_ATTEMPTS = 12  # an hour and a half with the longest waits
LONGEST_WAIT = 900  # units of MEDHUB_BACKOFF_UNIT_SECONDS
LONGEST_ASKED = 3600.0  # of a Retry-After
MAX_MILLISECONDS = 2**31 - 1
State = EhrPush.State
WAITING = (State.QUEUED, State.FAILED)


def pushes_make(*, stored: Sequence[Stored]) -> None:
    """A row for each report version that was written and each server that gets them. In the projection's transaction."""
    reports = [one for one in stored if one.rtype == "DiagnosticReport" and one.is_changed]
    servers = list(EhrServer.objects.filter(is_enabled=True).order_by("id").values_list("id", flat=True)) if reports else []
    if not servers:
        return
    now, trace_id = timezone.now(), trace_id_current() or trace_new()
    older = EhrPush.objects.filter(server_id__in=servers, report__in=[one.fhir_id for one in reports], state__in=WAITING)
    older.update(state=State.SUPERSEDED, due_at=None, ended_at=now, words="a newer version came before it was sent")
    rows = [
        EhrPush(server_id=server_id, report=one.fhir_id, version=one.version, trace_id=trace_id, created_at=now, due_at=now)
        for one in reports
        for server_id in servers
    ]
    EhrPush.objects.bulk_create(rows, ignore_conflicts=True)
    for row in rows:
        push_nudge(push_id=row.id)


def push_nudge(*, push_id: int) -> None:
    """Only a hint: the sweep finds a row whose message was lost."""
    transaction.on_commit(partial(task_send, import_string(TASK), tenant_id=tenant_id_current(), push_id=push_id), robust=True)


def push_claim(*, push_id: int) -> EhrPush | None:
    """Take the lease of a due push: one conditional UPDATE. None also while an older version is on its way."""
    now, claim = timezone.now(), id_new()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE fhirapi_ehrpush p SET due_at = %s, claim = %s, attempts = attempts + 1, state = 'sending' "
            "WHERE tenant_id = %s AND id = %s AND due_at <= %s AND state IN ('queued', 'failed', 'sending') AND NOT EXISTS ("
            "SELECT FROM fhirapi_ehrpush o WHERE o.tenant_id = p.tenant_id AND o.server_id = p.server_id AND o.report = p.report "
            "AND o.version < p.version AND o.state = 'sending')",
            [lease_end(now), claim, tenant_id_current(), push_id, now],
        )
        if cursor.rowcount != 1:
            return None
    row: EhrPush = EhrPush.objects.select_related("server").get(id=push_id)
    newer = EhrPush.objects.filter(server_id=row.server_id, report=row.report, version__gt=row.version)
    if newer.exclude(state=State.SUPERSEDED).exists():
        _move(row, state=State.SUPERSEDED, words="a newer version came before it was sent")
        return None
    if not row.server.is_enabled:
        _move(row, state=State.DEAD, words="the server is switched off")
        return None
    if row.attempts > MAX_ATTEMPTS:  # each time the worker died over it
        _move(row, state=State.DEAD, words="given up: no attempt came to an end")
        return None
    return row


def push_renew(row: EhrPush) -> bool:
    return _mine(row, due_at=lease_end(timezone.now()))


def push_yield(row: EhrPush, *, wait: float) -> None:
    """No thread was free for it: as if it had not been claimed."""
    _mine(row, state=State.QUEUED, attempts=row.attempts - 1, due_at=timezone.now() + timedelta(seconds=wait))


def push_done(row: EhrPush, *, status: int, words: str, began: float) -> None:
    if _move(row, state=State.DELIVERED, words=words):
        _attempt_keep(row, is_good=True, status=status, words=words, began=began)
    _next_nudge(row)


def push_fail(
    row: EhrPush, *, words: str, began: float, is_permanent: bool, status: int = 0, asked: float | None = None
) -> float | None:
    """Back off with jitter, not before what Retry-After asks for, or end it. The seconds to wait; None when it is over, or not ours."""
    if is_permanent or row.attempts >= MAX_ATTEMPTS:
        if _move(row, state=State.DEAD, words=words):
            _attempt_keep(row, is_good=False, status=status, words=words, began=began)
        _next_nudge(row)
        return None
    longest = min(2**row.attempts, LONGEST_WAIT) * settings.MEDHUB_BACKOFF_UNIT_SECONDS
    wait = max(float(longest * random.uniform(0.5, 1)), min(asked or 0.0, LONGEST_ASKED))  # noqa: S311 no secret
    if not _mine(row, state=State.FAILED, due_at=timezone.now() + timedelta(seconds=wait), words=words[:300]):
        return None
    _attempt_keep(row, is_good=False, status=status, words=words, began=began)
    _next_nudge(row)
    return wait


def _next_nudge(row: EhrPush) -> None:
    """A newer version may have waited for this one."""
    waiting = EhrPush.objects.filter(server_id=row.server_id, report=row.report, version__gt=row.version, state__in=WAITING)
    for push_id in waiting.values_list("id", flat=True):
        push_nudge(push_id=push_id)


def _mine(row: EhrPush, **facts: Any) -> bool:
    """Change it if the lease is still ours."""
    return bool(EhrPush.objects.filter(id=row.id, claim=row.claim, state=State.SENDING).update(**facts))


def _move(row: EhrPush, *, state: str, words: str) -> bool:
    return _mine(row, state=state, words=words[:300], due_at=None, ended_at=timezone.now())


def _attempt_keep(row: EhrPush, *, is_good: bool, status: int, words: str, began: float) -> None:
    milliseconds = min(int((time.monotonic() - began) * 1000), MAX_MILLISECONDS)
    EhrAttempt.objects.create(push=row, is_good=is_good, status=status, words=words[:300], milliseconds=milliseconds, at=timezone.now())


def is_resendable(row: EhrPush) -> bool:
    """Not while it is on its way, and never over a newer version."""
    newer = EhrPush.objects.filter(server_id=row.server_id, report=row.report, version__gt=row.version)
    return row.state in {State.DELIVERED, State.DEAD, State.SUPERSEDED} and not newer.exists()


def push_resend(*, actor: Actor, row: EhrPush) -> bool:
    """Once more, from the start; earlier attempts stay on record. False for one that is on its way, or that a newer version replaced."""
    if not is_resendable(row):
        return False
    again = EhrPush.objects.filter(id=row.id, state=row.state).update(
        state=State.QUEUED, attempts=0, words="", due_at=timezone.now(), ended_at=None
    )
    if again:
        audit_record(actor=actor, action="ehr.resend", object_type="EhrPush", object_id=str(row.id))
        push_nudge(push_id=row.id)
    return bool(again)


def push_get(*, push_id: int) -> EhrPush | None:
    found: EhrPush | None = EhrPush.objects.select_related("server").filter(id=push_id).first()
    return found


def pushes_page(*, before: int = 0, size: int = 50, states: Sequence[str] = (), server_id: int = 0) -> list[EhrPush]:
    """Newest first, of all states and servers or of these."""
    rows = EhrPush.objects.select_related("server").order_by("-id")
    rows = rows.filter(id__lt=before) if before else rows
    rows = rows.filter(server_id=server_id) if server_id else rows
    return list((rows.filter(state__in=list(states)) if states else rows)[:size])


def pushes_stuck() -> list[EhrPush]:
    """Those that a person must look at: dead, and no newer version of the report went that way. Newest first, at most 200."""
    newer = EhrPush.objects.filter(server_id=OuterRef("server_id"), report=OuterRef("report"), version__gt=OuterRef("version"))
    dead = EhrPush.objects.select_related("server").filter(state=State.DEAD)
    return list(dead.exclude(Exists(newer)).order_by("-id")[:200])


def push_attempts(*, row: EhrPush) -> list[EhrAttempt]:
    """Newest first, the last hundred."""
    return list(EhrAttempt.objects.filter(push=row).order_by("-id")[:100])
