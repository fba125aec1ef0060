"""A job's way to its platform and the question whether the answer is there. Three short scopes; the network is never inside one.

`due_at` is the lease: whoever moves it into the future owns the job until then. A worker that dies leaves a row that becomes due.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.utils import timezone

from ai import results
from ai.contract import Handle, PlatformError, platforms
from ai.models import Job
from billing.entitlements import entitlement_check
from imaging.models import Series
from imaging.selectors import slices_of
from journal.audit import Actor, audit_record
from journal.faults import fault
from journal.outbox import event_publish, lease_end
from journal.trace import trace
from journal.wall.scope import tenant_id_current, tenant_scope
from tenants.egress import Egress, EgressFailed, EgressRefused

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 10
ANSWER_WITHIN = timedelta(hours=1)
POLL_SECONDS = (0.2, 0.3, 0.5, 1, 2, 5)


@dataclass(frozen=True)
class Claim:
    """A job whose lease we hold, with everything its next step needs."""

    job_id: int
    platform: str
    remote_id: str
    trace_id: str
    age_seconds: float
    handle: Handle | None  # None: it was sent, ask for the answer


def job_run(*, tenant_id: int, job_id: int) -> float | None:
    """Take a job one step further: send it, or ask for its answer. Returns seconds until it should run again, or None."""
    with tenant_scope(tenant_id):
        claim = _claim(job_id)
    if claim is None:
        return None
    with trace(claim.trace_id):
        try:
            if claim.handle is not None:
                return _send(tenant_id, claim, claim.handle)
            return _ask(tenant_id, claim)
        except (PlatformError, EgressRefused, EgressFailed) as error:
            is_permanent = isinstance(error, EgressRefused) or (isinstance(error, PlatformError) and error.is_permanent)
            with tenant_scope(tenant_id):
                return job_fail(job_id=job_id, reason=error.user_message, is_permanent=is_permanent)


def _claim(job_id: int) -> Claim | None:
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE ai_job SET due_at = %s, attempts = attempts + 1 "
            "WHERE tenant_id = %s AND id = %s AND due_at <= %s AND state IN ('queued', 'sent')",
            [lease_end(now), tenant_id_current(), job_id, now],
        )
        if cursor.rowcount != 1:
            return None
    job = Job.objects.select_related("connection", "study").get(id=job_id)
    if job.state == Job.State.QUEUED and (reason := _refusal(job)):
        Job.objects.filter(id=job_id).update(state=Job.State.REFUSED, reason=reason, due_at=None, ended_at=now)
        event_publish(name="job.changed", ids={"job_id": job_id})
        return None
    age = (now - (job.sent_at or now)).total_seconds()
    handle = _handle(job) if job.state == Job.State.QUEUED else None
    return Claim(job_id, job.connection.platform, job.remote_id, job.trace_id, age, handle)


def _refusal(job: Job) -> str:
    if not entitlement_check():
        return "AI dispatch is paused for this hospital"
    if not job.connection.is_enabled:
        return "the connection is switched off"
    return ""


def _handle(job: Job) -> Handle:
    series = Series.objects.get(id=job.series)
    files = [item.path for item in slices_of(series_id=series.id)]
    # Written before a byte leaves: what goes where, under which key.
    audit_record(
        actor=Actor(name="system:dispatch"), action="ai.send", object_type="Study", object_id=str(job.study.uuid),
        detail={"platform": job.connection.platform, "algorithm": job.algorithm, "instances": len(files)},
    )  # fmt: skip
    return Handle(
        idempotency_key=str(job.uuid), algorithm=job.algorithm, study_uid=job.study.study_uid, series_uid=series.series_uid,
        files=files,
    )  # fmt: skip


def connection_settings(platform: str) -> dict[str, str]:
    """The in-house connection's address and key are the install's own; others bring theirs with their issue."""
    if not platforms()[platform].card.is_in_house:
        raise PlatformError("only the in-house connection can send for now", is_permanent=True)
    return {"base_url": settings.QUANTIFY_URL, "api_key": settings.QUANTIFY_KEY}


def _send(tenant_id: int, claim: Claim, handle: Handle) -> float:
    fault("dispatch.before_send")
    remote_id = platforms()[claim.platform].send(handle, connection_settings(claim.platform), Egress())
    fault("dispatch.after_send")
    now = timezone.now()
    with tenant_scope(tenant_id):
        Job.objects.filter(id=claim.job_id, state=Job.State.QUEUED).update(
            state=Job.State.SENT, remote_id=remote_id, sent_at=now, attempts=0, reason="",
            due_at=now + timedelta(seconds=POLL_SECONDS[0]),
        )  # fmt: skip
        event_publish(name="job.changed", ids={"job_id": claim.job_id})
    return POLL_SECONDS[0]


def _ask(tenant_id: int, claim: Claim) -> float | None:
    payload = platforms()[claim.platform].poll(claim.remote_id, connection_settings(claim.platform), Egress())
    if payload is not None:
        with tenant_scope(tenant_id):
            results.result_receive(job_id=claim.job_id, payload=payload)
        return None
    if claim.age_seconds > ANSWER_WITHIN.total_seconds():
        raise PlatformError("no answer within an hour", is_permanent=True)
    wait = next((step for step in POLL_SECONDS if claim.age_seconds < step * 4), POLL_SECONDS[-1])
    with tenant_scope(tenant_id):
        Job.objects.filter(id=claim.job_id, state=Job.State.SENT).update(
            attempts=0, due_at=timezone.now() + timedelta(seconds=wait)
        )
    return wait


def job_fail(*, job_id: int, reason: str, is_permanent: bool) -> float | None:
    """Back off, or give up with the reason; a job that was given up shows in the portal with resend."""
    job = Job.objects.get(id=job_id)
    if is_permanent or job.attempts >= MAX_ATTEMPTS:
        Job.objects.filter(id=job_id).update(
            state=Job.State.FAILED, reason=reason[:300], due_at=None, ended_at=timezone.now()
        )
        event_publish(name="job.changed", ids={"job_id": job_id})
        return None
    wait = float(min(2**job.attempts, 300) * settings.MEDHUB_BACKOFF_UNIT_SECONDS)
    Job.objects.filter(id=job_id).update(reason=reason[:300], due_at=timezone.now() + timedelta(seconds=wait))
    return wait


def job_resend(*, job_id: int) -> None:
    """Send a failed job again from the start; the platform sees the same idempotency key."""
    again = Job.objects.filter(id=job_id, state__in=[Job.State.FAILED, Job.State.REFUSED]).update(
        state=Job.State.QUEUED, attempts=0, reason="", due_at=timezone.now(), ended_at=None
    )
    if again:
        event_publish(name="job.changed", ids={"job_id": job_id})
