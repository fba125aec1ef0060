"""Deliveries as rows: made when a report is issued, claimed, renewed, ended, asked for again. The flow, `run`, portal and API call it.

`due_at` is the lease: a worker that dies leaves a row that becomes due, and the next one begins that try anew. What is sent twice is
the same objects, byte for byte.
"""

import random
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from django.utils.module_loading import import_string
from pydicom.uid import generate_uid

from ai.models import REJECTED, DeliveryAttempt, Report, ReportDelivery
from imaging.hl7.destinations import destinations_list
from imaging.models import Node
from journal.audit import Actor, audit_record
from journal.outbox import PermanentError, lease_end
from journal.trace import trace_id_current, trace_new
from journal.types import Event
from journal.wall.ids import id_new
from journal.wall.scope import tenant_id_current
from journal.wall.tasks import task_send

ARCHIVE, PACS_DIMSE, PACS_STOW = "archive", "pacs_dimse", "pacs_stow"
BY = {Node.ResultsBy.DIMSE: PACS_DIMSE, Node.ResultsBy.STOW: PACS_STOW}
ARCHIVE_NAME = "our archive"
ORU = "oru"
DELIVERY_TASK = "ai.tasks.report_delivery_run_task"  # by path: a service does not import the doors above it
MAX_ATTEMPTS = 12  # an hour and a half with the longest waits
MAX_MILLISECONDS = 2**31 - 1
ASKED = "commitment asked"
LONGEST_WAIT = 900  # units of MEDHUB_BACKOFF_UNIT_SECONDS
# An interface engine may be down for a night: its messages wait, and are asked for every minute.
PATIENT = {ORU: (1_500, 60)}  # kind -> most attempts, longest wait
State = ReportDelivery.State


def report_deliver(*, event: Event) -> None:
    """Subscriber of report.issued: a row for our archive and for each node that gets results. Encoding is the worker's."""
    report = Report.objects.filter(id=event.ids["report_id"]).first()
    if report is None:
        raise PermanentError("the report is not there")
    receivers = _receivers(report)
    now = timezone.now()
    _oru_supersede(report)
    for kind, target, name in receivers:
        row, is_new = ReportDelivery.objects.get_or_create(
            report=report, kind=kind, target=target,
            defaults={"target_name": name, "trace_id": trace_id_current() or trace_new(), "created_at": now, "due_at": now},
        )  # fmt: skip
        if is_new:
            _nudge(row.id)


def _receivers(report: Report) -> list[tuple[str, str, str]]:
    """Our archive, the nodes that get results, and of a person's version every node that has an earlier one.

    A rejection goes only to who may have what is rejected. An earlier version that no attempt was made to send is not sent any more.
    """
    found = {(ARCHIVE, ""): ARCHIVE_NAME}
    is_rejected = report.status in REJECTED
    if not is_rejected:
        nodes = Node.objects.exclude(results_as="").order_by("id")
        found |= {(BY[Node.ResultsBy(node.results_by)], str(node.id)): node.ae_title for node in nodes}
    wanted = [one for one in destinations_list() if one.takes_preliminary or report.is_by_person]
    found |= {(ORU, str(one.id)): one.name for one in wanted}
    if report.is_by_person:
        earlier = ReportDelivery.objects.filter(report__uuid=report.uuid, report__version__lt=report.version)
        earlier = earlier.exclude(kind__in=[ARCHIVE, ORU])
        waiting = earlier.filter(state=State.PENDING)
        told = earlier.exclude(state__in=[State.PENDING, State.SUPERSEDED], attempts=0)
        found |= {(kind, target): name for kind, target, name in told.order_by("id").values_list("kind", "target", "target_name")}
        waiting.update(state=State.SUPERSEDED, due_at=None, ended_at=timezone.now(), words="a person decided before it was sent")
    return [(kind, target, name) for (kind, target), name in found.items()]


def _oru_supersede(report: Report) -> None:
    """What still waits of an older version is not sent after a newer one."""
    older = ReportDelivery.objects.filter(report__uuid=report.uuid, report__version__lt=report.version, kind=ORU)
    now, words = timezone.now(), "a newer version is sent in its place"
    older.filter(state=State.PENDING).update(state=State.SUPERSEDED, due_at=None, ended_at=now, words=words)


def _nudge(delivery_id: int) -> None:
    """Only a hint: the sweep finds a row whose message was lost."""
    task = import_string(DELIVERY_TASK)
    transaction.on_commit(partial(task_send, task, tenant_id=tenant_id_current(), delivery_id=delivery_id), robust=True)


def delivery_claim(*, delivery_id: int) -> ReportDelivery | None:
    """Take the lease of a due delivery: one conditional UPDATE, so two workers never both get it. The attempt is counted."""
    now, claim = timezone.now(), id_new()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE ai_reportdelivery SET due_at = %s, claim = %s, attempts = attempts + 1 "
            "WHERE tenant_id = %s AND id = %s AND due_at <= %s AND state IN ('pending', 'stored')",
            [lease_end(now), claim, tenant_id_current(), delivery_id, now],
        )
        if cursor.rowcount != 1:
            return None
    row: ReportDelivery = ReportDelivery.objects.select_related("report__study", "report__connection").get(id=delivery_id)
    if row.state == State.STORED and row.asked_at is not None:
        _overdue(row)
        return None
    if row.attempts > _patience(row)[0]:  # each time the worker died over it
        _move(row, state=State.FAILED, words="given up: no attempt came to an end")
        return None
    return row


def _overdue(row: ReportDelivery) -> None:
    """Asked, and not answered in time: never a success, and an answer that comes later is still taken."""
    hours = settings.MEDHUB_COMMITMENT_HOURS
    _move(row, state=State.OVERDUE, words=f"no answer within {hours:g} h")


def delivery_renew(row: ReportDelivery) -> bool:
    """Keep the lease. False when it is no longer ours, or nothing is left to do but to wait for an answer."""
    mine = ReportDelivery.objects.filter(id=row.id, claim=row.claim, state=row.state, asked_at=None)
    return bool(mine.update(due_at=lease_end(timezone.now())))


def delivery_done(row: ReportDelivery, *, words: str, began: float) -> bool:
    """The receiver has it. `began` is time.monotonic() at the start of the attempt."""
    is_ours = _move(row, state=State.SENT, words=words)
    if is_ours:
        _attempt_keep(row, is_good=True, words=words, began=began)
    return is_ours


def delivery_fail(row: ReportDelivery, *, words: str, began: float, is_permanent: bool) -> float | None:
    """Back off with jitter, or give up with the reason. Returns the seconds to wait; None when it is over, or not ours."""
    most, longest_wait = _patience(row)
    if is_permanent or row.attempts >= most:
        if _move(row, state=State.FAILED, words=words):
            _attempt_keep(row, is_good=False, words=words, began=began)
        return None
    # Half of the wait is chance: deliveries that failed together do not come back together.
    longest = min(2 ** min(row.attempts, 20), longest_wait) * settings.MEDHUB_BACKOFF_UNIT_SECONDS
    wait = float(longest * random.uniform(0.5, 1))  # noqa: S311 no secret
    if not _mine(row, due_at=timezone.now() + timedelta(seconds=wait), words=words[:300]):
        return None
    if row.attempts <= MAX_ATTEMPTS:  # later ones say nothing new
        _attempt_keep(row, is_good=False, words=words, began=began)
    return wait


def _patience(row: ReportDelivery) -> tuple[int, int]:
    return PATIENT.get(row.kind, (MAX_ATTEMPTS, LONGEST_WAIT))


def delivery_stored(row: ReportDelivery, *, words: str, references: Mapping[str, Sequence[str]], began: float) -> bool:
    """The receiver has the bytes, and whoever holds the lease asks it for commitment: a step with attempts of its own."""
    is_ours = _mine(row, state=State.STORED, words=words[:300], references=dict(references), attempts=1)
    if is_ours:
        row.state, row.references, row.attempts = State.STORED, dict(references), 1
        _attempt_keep(row, is_good=True, words=words, began=began)
    return is_ours


def commitment_begin(row: ReportDelivery) -> str:
    """A transaction UID, written down before it is sent: an answer that comes at once finds it. Empty when the lease is lost.

    Each time a new one: whether a question that got no response was taken nobody knows, and a UID may not be used twice (0131).
    """
    uid = generate_uid(prefix=None)
    return str(uid) if _mine(row, transaction_uid=uid) else ""


def commitment_asked(row: ReportDelivery, *, began: float) -> bool:
    """The receiver has taken the question; the row is due again when its answer is overdue. False when it has answered already."""
    now = timezone.now()
    _attempt_keep(row, is_good=True, words=ASKED, began=began)
    due_at = now + timedelta(hours=settings.MEDHUB_COMMITMENT_HOURS)
    return _mine(row, asked_at=now, due_at=due_at, words=ASKED)


def _mine(row: ReportDelivery, **facts: Any) -> bool:
    """Change it if the lease is still ours, and nobody else has moved it on."""
    return bool(ReportDelivery.objects.filter(id=row.id, claim=row.claim, state=row.state).update(**facts))


def _move(row: ReportDelivery, *, state: str, words: str) -> bool:
    return _mine(row, state=state, words=words[:300], due_at=None, ended_at=timezone.now())


def _attempt_keep(row: ReportDelivery, *, is_good: bool, words: str, began: float) -> None:
    attempt_keep(row, is_good=is_good, words=words, milliseconds=(time.monotonic() - began) * 1000)


def attempt_keep(row: ReportDelivery, *, is_good: bool, words: str, milliseconds: float) -> None:
    DeliveryAttempt.objects.create(
        delivery=row, is_good=is_good, words=words[:300], milliseconds=min(int(milliseconds), MAX_MILLISECONDS), at=timezone.now()
    )


def is_resendable(delivery: ReportDelivery) -> bool:
    """Not while it is on its way, and never again once a person has decided otherwise than this version says."""
    if delivery.state == State.PENDING or (delivery.state == State.STORED and delivery.asked_at is None):
        return False
    newer = Report.objects.filter(uuid=delivery.report.uuid, version__gt=delivery.report.version)
    return not newer.filter(is_by_person=True).exists()


def delivery_resend(*, actor: Actor, delivery: ReportDelivery) -> bool:
    """Once more, from the start; earlier attempts stay on record. False for one that a worker has, or will have.

    A transaction of commitment that was open is forgotten: what is answered to it changes nothing any more.
    """
    if not is_resendable(delivery):
        return False
    ended = ReportDelivery.objects.filter(id=delivery.id).exclude(state=State.PENDING)
    again = ended.exclude(state=State.STORED, asked_at=None).update(
        state=State.PENDING, attempts=0, words="", due_at=timezone.now(), ended_at=None, transaction_uid="", references={},
        failures=None, asked_at=None,
    )  # fmt: skip
    if again:
        audit_record(actor=actor, action="delivery.resend", object_type="ReportDelivery", object_id=str(delivery.id))
        _nudge(delivery.id)
    return bool(again)
