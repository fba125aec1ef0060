"""The gate: every answer, by poll, hook or DICOM, ends here. Foreign or malformed answers are kept in quarantine, never delivered."""

import logging
import math
from dataclasses import asdict
from typing import Any

from django.utils import timezone

from ai.contract import Answer, PlatformError, platforms
from ai.models import Job, Result
from imaging.models import Series
from imaging.selectors import slices_of
from journal.faults import fault
from journal.outbox import event_publish

log = logging.getLogger(__name__)


def result_receive(*, job_id: int, payload: dict[str, Any]) -> None:
    """Take a platform's answer for a job that waits for one. A second answer changes nothing; a wrong one is kept in quarantine."""
    job = Job.objects.select_for_update(of=("self",)).select_related("connection", "study").get(id=job_id)
    if job.state != Job.State.SENT:
        return
    try:
        answer = platforms()[job.connection.platform].parse(payload)
        gate_check(job=job, answer=answer)
    except PlatformError as error:  # a wrong shape, or the gate's own no
        _end(job, Job.State.QUARANTINED, error.user_message)
        event_publish(name="job.changed", ids={"job_id": job_id})
        Result.objects.get_or_create(
            job=job, defaults={"payload": payload, "is_analysable": False, "received_at": timezone.now()}
        )
        return
    is_analysable = answer.not_analysable is None
    result = Result.objects.create(job=job, payload=asdict(answer), is_analysable=is_analysable, received_at=timezone.now())
    reason = "" if answer.not_analysable is None else answer.not_analysable.text
    _end(job, Job.State.DONE if is_analysable else Job.State.NOT_ANALYSABLE, reason)
    event_publish(name="result.received", ids={"result_id": result.id})
    fault("results.before_commit")


class GateError(PlatformError):
    """The answer does not belong to what was sent, or says what an answer must not say."""

    def __init__(self, user_message: str) -> None:
        super().__init__(user_message, is_permanent=True)


def gate_check(*, job: Job, answer: Answer) -> None:
    """Same study, same series, only instances that were sent, the algorithm that was asked, finite numbers. Raises GateError."""
    series = Series.objects.get(id=job.series)
    sent = {item.sop_instance_uid for item in slices_of(series_id=series.id)}
    checks = (
        (answer.study_uid == job.study.study_uid, "the answer names another study"),
        (answer.series_uid == series.series_uid, "the answer names another series"),
        (bool(answer.sop_uids) and set(answer.sop_uids) <= sent, "the answer refers to images that were not sent"),
        (answer.algorithm.name == job.algorithm, "the answer comes from another algorithm"),
        (all(math.isfinite(m.value) for m in answer.measurements), "a value of the answer is no number"),
        ((answer.not_analysable is None) == bool(answer.measurements), "the answer says both something and nothing"),
    )
    for is_right, words in checks:
        if not is_right:
            raise GateError(words)


def _end(job: Job, state: str, reason: str) -> None:
    Job.objects.filter(id=job.id).update(state=state, reason=reason[:300], due_at=None, ended_at=timezone.now())
