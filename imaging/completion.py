"""When is a study complete: quiet time and no association in flight, or the expected count, or force. DESIGN section 3."""

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from imaging.inbox import inbox_watermark
from imaging.models import Association, Study, StudySource
from journal.faults import fault
from journal.outbox import event_publish
from journal.trace import trace
from tenants.selectors import tenant_get

IN_FLIGHT_WAIT_SECONDS = 1.0
BEHIND_WAIT_SECONDS = 0.1  # the index worker is a moment behind


def study_complete(*, study_id: int, is_forced: bool = False) -> bool:
    """Make the next version of a study and say so, if its time has come. Returns whether it did. Idempotent."""
    return study_complete_or_wait(study_id=study_id, is_forced=is_forced) == 0


def study_complete_or_wait(*, study_id: int, is_forced: bool = False) -> float | None:
    """`study_complete`: 0 when it did. Seconds when its time had come while something was on its way: whoever is told asks again
    then, nobody else is told the same. None when there was nothing to do."""
    now = timezone.now()
    study = Study.objects.select_for_update(of=("self",)).filter(id=study_id).first()
    if study is None or study.due_at is None or (study.due_at > now and not is_forced):
        return None
    if not is_forced:
        wait = IN_FLIGHT_WAIT_SECONDS if _is_in_flight(study_id) else BEHIND_WAIT_SECONDS if _is_behind(study) else 0.0
        if wait:
            Study.objects.filter(id=study_id).update(due_at=now + timedelta(seconds=wait))
            return wait
    version = study.version + 1
    Study.objects.filter(id=study_id).update(
        state=Study.State.COMPLETE, version=version, completed_at=now, due_at=None
    )
    with trace(study.trace_id):
        event_publish(name="study.completed", ids={"study_id": study_id, "version": version})
    fault("completion.before_commit")
    return 0.0


def _is_behind(study: Study) -> bool:
    """Does the inbox still hold something that was received within the study's quiet time? It may be an image of this study."""
    watermark = inbox_watermark(tenant_id=study.tenant_id)
    quiet = timedelta(seconds=tenant_get(tenant_id=study.tenant_id).quiet_seconds)
    return watermark is not None and watermark <= study.last_received_at + quiet


def _is_in_flight(study_id: int) -> bool:
    """Is an association open and alive that brought images of this study?"""
    sources = StudySource.objects.filter(study_id=study_id).values("association")
    alive = timezone.now() - timedelta(seconds=settings.MEDHUB_HEARTBEAT_SECONDS)
    return Association.objects.filter(id__in=sources, ended_at=None, seen_at__gt=alive).exists()
