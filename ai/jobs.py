"""The job row is the truth: its state machine, its lease, its clock. Dispatch, results and people's buttons move it here and only here."""

import random
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.utils import timezone

from ai.contract import platforms
from ai.eligibility import StudyFacts, Verdict
from ai.facts import study_facts
from ai.models import Exchange, Job, Workitem
from ai.outgoing import outgoing_drop
from ai.workitems.selectors import Viewer
from ai.workitems.services import workitem_cancel_request
from ai.workitems.states import UpsRefused
from journal.audit import Actor, audit_record
from journal.outbox import event_publish, lease_end
from journal.wall.scope import tenant_id_current
from tenants.services import job_tokens_revoke

MAX_ATTEMPTS = 32  # an hour with the shortest waits, two with the longest: who was down for an hour finds its jobs waiting
ANSWER_WITHIN = timedelta(hours=1)
LONGEST_WAIT = 300  # units of MEDHUB_BACKOFF_UNIT_SECONDS
State = Job.State
# What may become of a job; whatever is not here does not happen.
MOVES: dict[str, frozenset[str]] = {
    State.QUEUED: frozenset({State.SENT, State.REFUSED, State.FAILED, State.CANCELLED}),
    State.SENT: frozenset({State.DONE, State.NOT_ANALYSABLE, State.FAILED, State.QUARANTINED, State.CANCELLED}),
    State.REFUSED: frozenset({State.QUEUED, State.CANCELLED}),
    State.FAILED: frozenset({State.QUEUED, State.CANCELLED}),
    State.QUARANTINED: frozenset({State.QUEUED, State.CANCELLED}),
    State.CANCELLED: frozenset({State.QUEUED}),
    State.DONE: frozenset(),
    State.NOT_ANALYSABLE: frozenset(),
}
OPEN = frozenset({State.QUEUED, State.SENT})


@dataclass(frozen=True, kw_only=True)
class Target:
    """Whom a job goes to."""

    connection_id: int
    platform: str
    is_stat: bool = False


class RequeueRefused(Exception):
    """It cannot be sent like that. `field`: series or algorithm, or empty when it is the job itself."""

    def __init__(self, field: str, user_message: str) -> None:
        super().__init__(user_message)
        self.field, self.user_message = field, user_message


def job_target(*, job_id: int, now: datetime) -> Target | None:
    """Whom a due job goes to; None when there is nothing to do now."""
    rows = Job.objects.filter(id=job_id, state__in=OPEN, due_at__lte=now)
    row = rows.values_list("connection_id", "connection__platform", "is_stat").first()
    return Target(connection_id=row[0], platform=row[1], is_stat=row[2]) if row else None


def job_defer(*, job_id: int, seconds: float) -> bool:
    """A due job that nobody has claimed is due later, untouched. False when somebody has."""
    now = timezone.now()
    return bool(Job.objects.filter(id=job_id, state__in=OPEN, due_at__lte=now).update(due_at=now + timedelta(seconds=seconds)))


def lease_take(*, job_id: int, until: datetime, now: datetime) -> bool:
    """One conditional UPDATE: two workers never both have a job. The attempt is counted."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE ai_job SET due_at = %s, attempts = attempts + 1 "
            "WHERE tenant_id = %s AND id = %s AND due_at <= %s AND state IN ('queued', 'sent')",
            [until, tenant_id_current(), job_id, now],
        )
        return bool(cursor.rowcount == 1)


class JobLease:
    """A lease that was taken, to be kept while a step lasts: whoever sets the row's clock otherwise has ended it."""

    def __init__(self, *, job_id: int, until: datetime) -> None:
        self._job_id, self._until = job_id, until

    def renew(self) -> bool:
        """In a scope. False when it is no longer ours."""
        until = lease_end(timezone.now())
        mine = Job.objects.filter(id=self._job_id, due_at=self._until, state__in=OPEN).update(due_at=until)
        self._until = until
        return bool(mine)


def job_sent(*, job_id: int, remote_id: str, surrogate_uid: str, wait: float) -> None:
    """The platform has it. `wait`: seconds until it is asked, or looked whether something came by itself."""
    now = timezone.now()
    Job.objects.filter(id=job_id, state=State.QUEUED).update(
        state=State.SENT, remote_id=remote_id, surrogate_uid=surrogate_uid, sent_at=now, answer_by=now + ANSWER_WITHIN, attempts=0,
        reason="", due_at=now + timedelta(seconds=wait),
    )  # fmt: skip


def job_asked(*, job_id: int, wait: float) -> None:
    """It still computes."""
    Job.objects.filter(id=job_id, state=State.SENT).update(attempts=0, due_at=timezone.now() + timedelta(seconds=wait))


def job_postpone(*, job_id: int, seconds: float, reason: str) -> None:
    """Later, and not the job's own fault: the attempt is given back."""
    row = Job.objects.get(id=job_id)
    Job.objects.filter(id=job_id, state__in=OPEN).update(
        attempts=max(row.attempts - 1, 0), reason=reason[:300], due_at=timezone.now() + timedelta(seconds=seconds)
    )


def job_end(*, job_id: int, state: str, reason: str = "") -> bool:
    """To an end that the table allows; False when the job was not where it leads from. What was made for it goes, its workitem too."""
    before = [start for start, ends in MOVES.items() if state in ends and start in OPEN]
    moved = Job.objects.filter(id=job_id, state__in=before).update(
        state=state, reason=reason[:300], due_at=None, ended_at=timezone.now()
    )
    if moved:
        outgoing_drop(tenant_id=tenant_id_current(), job_id=job_id)
        uuid = Job.objects.values_list("uuid", flat=True).get(id=job_id)
        job_tokens_revoke(tenant_id=tenant_id_current(), job=uuid)
        _workitems_withdraw(job_id)
    return bool(moved)


def job_kept_back(*, job_id: int) -> str:
    """Why the gate keeps its answer back; empty when it doesn't. Nothing of the answer is in the words."""
    return Job.objects.filter(id=job_id, state=Job.State.QUARANTINED).values_list("reason", flat=True).first() or ""


def job_fail(*, job_id: int, reason: str, is_permanent: bool) -> float | None:
    """Back off with jitter, or give up with the reason; a job that was given up shows in the portal with resend."""
    job = Job.objects.get(id=job_id)
    if is_permanent or job.attempts >= MAX_ATTEMPTS:
        if job_end(job_id=job_id, state=State.FAILED, reason=reason):
            event_publish(name="job.changed", ids={"job_id": job_id})
        return None
    # Half of the wait is chance: jobs that failed together do not come back together.
    longest = min(2**job.attempts, LONGEST_WAIT) * settings.MEDHUB_BACKOFF_UNIT_SECONDS
    wait = float(longest * random.uniform(0.5, 1))  # noqa: S311 no secret
    Job.objects.filter(id=job_id, state__in=OPEN).update(
        reason=reason[:300], due_at=timezone.now() + timedelta(seconds=wait)
    )
    return wait


def job_resend(*, job_id: int) -> bool:
    """From the start; the platform sees the same idempotency key. False for a job that is open, or done."""
    before = [start for start, ends in MOVES.items() if State.QUEUED in ends]
    again = Job.objects.filter(id=job_id, state__in=before).update(
        state=State.QUEUED, attempts=0, reason="", due_at=timezone.now(), ended_at=None, remote_id="", answer_by=None
    )
    if again:
        event_publish(name="job.changed", ids={"job_id": job_id})
    return bool(again)


def job_requeue(*, job_id: int, series_id: int, algorithm: str, actor: Actor) -> Job:
    """A job that ended without an answer, edited: another series of its study, another algorithm of its platform. Returns the queued one.

    It is a new question, so it has a new uuid: keys and surrogates come from it, and a late answer to the old one finds nobody.
    Raises RequeueRefused, also for what the algorithm's label does not cover.
    """
    job: Job = Job.objects.select_for_update(of=("self",)).select_related("connection", "study__patient").get(id=job_id)
    if State.QUEUED not in MOVES[job.state]:
        raise RequeueRefused("", "the job is open or has its answer")
    if job.study.version != job.study_version:
        raise RequeueRefused("", "the study has changed since: its newer version has jobs of its own")
    other = {"study": job.study, "study_version": job.study_version, "connection": job.connection, "algorithm": algorithm}
    if algorithm != job.algorithm and Job.objects.filter(**other).exists():
        raise RequeueRefused("algorithm", "that algorithm has a job for this study already")
    verdict = _series_verdict(job, study_facts(study=job.study), series_id, algorithm)
    if not verdict.is_eligible:
        raise RequeueRefused("algorithm", verdict.reason)
    audit_record(
        actor=actor, action="job.requeue", object_type="Job", object_id=str(job.uuid),
        detail={"algorithm": algorithm, "series": str(series_id), "was": f"{job.algorithm} {job.series or ''}".strip()},
    )  # fmt: skip
    _workitems_withdraw(job_id)
    asked = {"series": verdict.series.id if verdict.series else None, "due_at": timezone.now()}
    if algorithm == job.algorithm:
        Job.objects.filter(id=job_id).update(
            uuid=uuid.uuid4(), state=State.QUEUED, attempts=0, reason="", ended_at=None, remote_id="", answer_by=None, sent_at=None,
            surrogate_uid="", input_sha256="", version_said="", **asked,
        )  # fmt: skip
        job.refresh_from_db()
    else:
        Job.objects.filter(id=job_id).update(state=State.CANCELLED, reason=f"sent again as {algorithm}", due_at=None)
        event_publish(name="job.changed", ids={"job_id": job_id})
        job = Job(**other, **asked, trace_id=job.trace_id, created_at=timezone.now())
        job.save(force_insert=True)
    event_publish(name="job.changed", ids={"job_id": job.id})
    return job


def _series_verdict(job: Job, facts: StudyFacts, series_id: int, algorithm: str) -> Verdict:
    """Of this one series, as if the study had no other."""
    chosen = tuple(one for one in facts.series if one.id == series_id)
    if not chosen:
        raise RequeueRefused("series", "the study has no such series")
    alone = replace(facts, series=chosen, modalities=frozenset({chosen[0].modality}))
    return platforms()[job.connection.platform].accepts(alone, algorithm)


def _workitems_withdraw(job_id: int) -> None:
    """The question leaves our worklist: at once, or by asking whoever has claimed it, once."""
    rows = Workitem.objects.filter(job_id=job_id, cancel_request__isnull=True)
    rows = rows.exclude(state__in=[Workitem.State.COMPLETED, Workitem.State.CANCELED])
    for uid in list(rows.values_list("workitem_uid", flat=True)):
        with suppress(UpsRefused):
            workitem_cancel_request(
                viewer=Viewer(), workitem_uid=uid, dataset={}, requesting_ae="", actor=Actor(name="system:jobs")
            )


def exchange_keep(*, job_id: int, kind: str, is_good: bool, words: str, began: float) -> None:
    """A conversation that was; `began` is time.monotonic() at its start."""
    Exchange.objects.create(
        job_id=job_id, kind=kind, is_good=is_good, words=words[:300], milliseconds=int((time.monotonic() - began) * 1000),
        at=timezone.now(),
    )  # fmt: skip
