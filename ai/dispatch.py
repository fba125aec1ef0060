"""A job's way to its platform and the question whether the answer is there. Short scopes; the network is never inside one.

`due_at` is the lease: whoever moves it into the future owns the job until then. A worker that dies leaves a row that becomes due.
A step holds one of its platform's lanes (ai.lanes) while it runs; without a free one the job is looked at again later.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from django.utils import timezone

from ai import breaker, jobs, results
from ai.connections import connection_settings
from ai.contract import Handle, Payload, Platform, PlatformError, Ways, platforms
from ai.governance.disclosures import disclosure_taken
from ai.governance.recalls import recall_words, recalls_standing
from ai.governance.terms import NOT_ACCEPTED, terms_are_accepted
from ai.handles import Sending, handle_asked, handle_make, sending_read
from ai.lanes import LANES
from ai.models import Job
from ai.returned.gathering import answer_gather
from ai.room.rooms import room_of
from ai.ways import platform_ways
from billing.entitlements import entitlement_check
from journal.faults import fault
from journal.leases import Lease
from journal.outbox import event_publish, lease_end
from journal.trace import trace
from journal.wall.scope import tenant_scope
from tenants.egress import EgressFailed, EgressRefused

log = logging.getLogger(__name__)

POLL_SECONDS = (0.1, 0.2, 0.3, 0.5, 1, 2, 5)


@dataclass(frozen=True)
class Claim:
    """A job whose lease we hold, with everything its next step needs."""

    sending: Sending
    is_sent: bool
    is_calling: bool  # the platform, in this step
    age_seconds: float
    lease: jobs.JobLease

    @property
    def platform(self) -> Platform:
        return platforms()[self.sending.connection.platform]


def job_run(*, tenant_id: int, job_id: int) -> float | None:
    """Take a job one step further: send it, or ask for its answer. Returns seconds until it should run again, or None."""
    with tenant_scope(tenant_id):
        target = jobs.job_target(job_id=job_id, now=timezone.now())
    if target is None:
        return None
    with LANES.lane(connection_id=target.connection_id, platform=target.platform, is_stat=target.is_stat) as wait:
        if not wait:
            return _step(tenant_id, job_id)
    with tenant_scope(tenant_id):
        return wait if jobs.job_defer(job_id=job_id, seconds=wait) else None


def _step(tenant_id: int, job_id: int) -> float | None:
    with tenant_scope(tenant_id):
        claim = _claim(job_id)
    if not isinstance(claim, Claim):
        return claim
    with trace(claim.sending.trace_id), Lease(tenant_id=tenant_id, renew=claim.lease.renew):
        began = time.monotonic()
        try:
            wait = _ask(tenant_id, claim) if claim.is_sent else _send(tenant_id, claim)
        except (PlatformError, EgressRefused, EgressFailed) as error:
            is_permanent = isinstance(error, EgressRefused) or (isinstance(error, PlatformError) and error.is_permanent)
            with tenant_scope(tenant_id):
                jobs.exchange_keep(
                    job_id=job_id, kind="ask" if claim.is_sent else "send", is_good=False, words=error.user_message, began=began
                )
                if claim.is_calling and not is_permanent:
                    breaker.failure_count(connection_id=claim.sending.connection.id)
                return jobs.job_fail(job_id=job_id, reason=error.user_message, is_permanent=is_permanent)
    return wait


def _claim(job_id: int) -> Claim | float | None:
    """The claim; or seconds until it is worth another look; or None when there is nothing to do."""
    now = timezone.now()
    until = lease_end(now)
    if not jobs.lease_take(job_id=job_id, until=until, now=now):
        return None
    job = Job.objects.select_related("connection", "study__patient").get(id=job_id)
    if job.attempts > jobs.MAX_ATTEMPTS:  # each time the worker died over it, or met what nobody thought of
        if jobs.job_end(job_id=job_id, state=Job.State.FAILED, reason="given up: no worker came to the end of this step"):
            event_publish(name="job.changed", ids={"job_id": job_id})
        return None
    if job.state == Job.State.QUEUED and (reason := _refusal(job)):
        jobs.job_end(job_id=job_id, state=Job.State.REFUSED, reason=reason)
        event_publish(name="job.changed", ids={"job_id": job_id})
        return None
    is_sent, is_calling = job.state == Job.State.SENT, _is_calling(job)
    if is_calling and (wait := breaker.wait_seconds(connection=job.connection, now=now)) is not None:
        # Its own queue stands still: the attempt is not counted, and nobody else's job waits behind it.
        jobs.job_postpone(job_id=job_id, seconds=wait, reason="waiting: the platform does not answer")
        return wait
    lease = jobs.JobLease(job_id=job_id, until=until)
    return Claim(sending_read(job), is_sent, is_calling, (now - (job.sent_at or now)).total_seconds(), lease)


def _is_calling(job: Job) -> bool:
    """Whether the next step calls the platform. One that does not never waits for the circuit breaker, and closes it for nobody."""
    platform, values = platforms()[job.connection.platform], job.connection.settings
    if job.state == Job.State.SENT:
        return not platform.is_pushed(values)
    is_wording = any(one.name == job.algorithm and one.role == "wording" for one in platform.card.algorithms)
    return not is_wording and not platform.is_laid_out(values)  # a draft is asked for by the next step only


def _refusal(job: Job) -> str:
    if not entitlement_check():
        return "AI dispatch is paused for this hospital"
    if not job.connection.is_enabled:
        return "the connection is switched off"
    if not terms_are_accepted(job.connection):
        return NOT_ACCEPTED
    return recall_words(recalls_standing().get((job.connection.platform, job.algorithm)))


@contextmanager
def _ways(claim: Claim) -> Iterator[tuple[dict[str, str], Ways]]:
    sending = claim.sending
    values = connection_settings(sending.connection)
    room = room_of(
        connection=sending.connection, platform=claim.platform, values=values, job_id=sending.job_id, job_uuid=sending.job_uuid
    )
    with (
        TemporaryDirectory() as folder,
        platform_ways(claim.platform, values, folder=Path(folder), tenant_id=sending.connection.tenant_id, room=room) as ways,
    ):
        yield values, ways


def _send(tenant_id: int, claim: Claim) -> float | None:
    """De-identify, keep the way back and what is disclosed, then send: in this order, so that no byte is ahead of its record."""
    began = time.monotonic()
    handle = handle_make(tenant_id=tenant_id, sending=claim.sending)
    if handle is None:  # nothing to word yet
        with tenant_scope(tenant_id):
            jobs.job_postpone(job_id=claim.sending.job_id, seconds=2, reason="waiting for the findings that it shall word")
        return 2.0
    fault("dispatch.before_send")
    with _ways(claim) as (values, ways):
        remote_id = claim.platform.send(handle, values, ways)
    fault("dispatch.after_send")
    wait = POLL_SECONDS[0]
    with tenant_scope(tenant_id):
        _heard(claim)
        words = f"{len(handle.files)} objects" if handle.files else "findings without identity"
        jobs.exchange_keep(job_id=claim.sending.job_id, kind="send", is_good=True, words=words, began=began)
        jobs.job_sent(job_id=claim.sending.job_id, remote_id=remote_id, surrogate_uid=handle.study_uid, wait=wait)
        disclosure_taken(job_uuid=claim.sending.job_uuid)
        event_publish(name="job.changed", ids={"job_id": claim.sending.job_id})
    return wait


def _ask(tenant_id: int, claim: Claim) -> float | None:
    with tenant_scope(tenant_id):
        handle = handle_asked(sending=claim.sending)
    if claim.age_seconds > jobs.ANSWER_WITHIN.total_seconds():
        raise PlatformError("no answer within an hour", is_permanent=True)
    began = time.monotonic()
    with _ways(claim) as (values, ways):
        if claim.platform.is_pushed(values):
            with tenant_scope(tenant_id):
                payload = answer_gather(job_id=claim.sending.job_id, connection_id=claim.sending.connection.id, sent=handle.sent)
        else:
            payload = claim.platform.poll(claim.sending.remote_id, handle, values, ways)
            payload = payload and results.answer_fresh(tenant_id=tenant_id, job_id=claim.sending.job_id, payload=payload)
        if payload is not None:
            _received(tenant_id, claim, handle, payload, began)
            return None
    wait = next((step for step in POLL_SECONDS if claim.age_seconds < step * 4), POLL_SECONDS[-1])
    with tenant_scope(tenant_id):
        jobs.job_asked(job_id=claim.sending.job_id, wait=wait)
        _heard(claim)
    return wait


def _heard(claim: Claim) -> None:
    """The platform did its part of this step, if it had one."""
    if claim.is_calling:
        breaker.success_note(connection_id=claim.sending.connection.id)


def _received(tenant_id: int, claim: Claim, handle: Handle, payload: Payload, began: float) -> None:
    with tenant_scope(tenant_id):
        jobs.exchange_keep(job_id=claim.sending.job_id, kind="ask", is_good=True, words=f"answer as {payload.kind}", began=began)
        _heard(claim)
    results.result_take(tenant_id=tenant_id, job_id=claim.sending.job_id, payload=payload, sent=handle.sent)


def job_cancel(*, tenant_id: int, job_id: int) -> bool:
    """A person's word that nobody waits any more; the platform is told where it has a word for it. False when it had ended."""
    with tenant_scope(tenant_id):
        job = Job.objects.select_related("connection", "study__patient").filter(id=job_id).first()
        if job is None or not jobs.job_end(job_id=job_id, state=Job.State.CANCELLED, reason="cancelled by a person"):
            return False
        event_publish(name="job.changed", ids={"job_id": job_id})
        lease = jobs.JobLease(job_id=job_id, until=timezone.now())  # of a job that has ended: there is nothing to keep
        claim = Claim(sending_read(job), job.state == Job.State.SENT, is_calling=True, age_seconds=0, lease=lease)
    if claim.is_sent:
        began = time.monotonic()
        try:
            with _ways(claim) as (values, ways):
                claim.platform.cancel(claim.sending.remote_id, values, ways)
            words, is_good = "told that nobody waits", True
        except (PlatformError, EgressRefused, EgressFailed) as error:
            words, is_good = error.user_message, False
        with tenant_scope(tenant_id):
            jobs.exchange_keep(job_id=job_id, kind="cancel", is_good=is_good, words=words, began=began)
    return True
