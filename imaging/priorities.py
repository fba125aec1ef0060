"""What is read first: people's priority (of the order, or set here), then AI's flag. A flag raises; only a person takes it away.

Both are kept on the study, with the rank that they make and since when: what was raised a week ago stands in its place by time again.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.utils import timezone

from imaging.models import Order, Priority, Study
from imaging.selectors import order_priority
from journal.audit import Actor, audit_record

RAISED_FOR = timedelta(days=7)
BY_ORDER = "order"
# RequestedProcedurePriority (PS3.3 C.4.11) and the words of FHIR and HL7 for the same
ORDERED = {
    "STAT": Priority.STAT, "HIGH": Priority.URGENT, "URGENT": Priority.URGENT, "ASAP": Priority.URGENT, "ROUTINE": Priority.ROUTINE,
    "MEDIUM": Priority.ROUTINE, "LOW": Priority.ROUTINE,
}  # fmt: skip
WEIGHTS = {Priority.STAT.value: 4, Priority.URGENT.value: 2}
FIELDS = ["priority", "priority_by", "priority_at", "is_flagged", "rank", "raised_at"]


def rank_of(study: Study) -> int:
    return WEIGHTS.get(str(study.priority), 0) + int(study.is_flagged)


def _ranked(study: Study, now: datetime) -> None:
    rank = rank_of(study)
    if rank > study.rank:
        study.raised_at = now
    study.rank = rank


def study_priority_set(*, study_uuid: UUID, priority: str, actor: Actor) -> Study | None:
    """By a person; empty gives it back to its order. None where there is no such study. Raises ValueError for no priority."""
    if priority and priority not in Priority.values:
        raise ValueError(priority)
    study = Study.objects.select_for_update(of=("self",)).select_related("order").filter(uuid=study_uuid).first()
    if study is None:
        return None
    now, before = timezone.now(), study.priority
    study.priority, study.priority_by, study.priority_at = priority, actor.name[:64], now
    if not priority:
        _take(study, study.order, now)
    _ranked(study, now)
    if study.rank:
        study.raised_at = now  # asked for again, its week begins again
    study.save(update_fields=FIELDS)
    audit_record(
        actor=actor, action="study.priority", object_type="Study", object_id=str(study.uuid),
        detail={"before": before, "after": study.priority},
    )  # fmt: skip
    return study


def study_flag_set(*, study_id: int, is_flagged: bool) -> None:
    """AI's wish that it be read first, or a person's word on it."""
    study = Study.objects.select_for_update(of=("self",)).filter(id=study_id).first()
    if study is None or study.is_flagged == is_flagged:
        return
    study.is_flagged = is_flagged
    _ranked(study, timezone.now())
    study.save(update_fields=["is_flagged", "rank", "raised_at"])


def order_priorities_take(*, studies: Sequence[tuple[Study, Order | None]]) -> None:
    """What their orders say, where no person has said otherwise. The rows are locked by who calls."""
    now, changed = timezone.now(), []
    for study, order in studies:
        if study.priority_by not in ("", BY_ORDER):
            continue
        before = (study.priority, study.priority_by)
        _take(study, order, now)
        if (study.priority, study.priority_by) != before:
            _ranked(study, now)
            changed.append(study)
    Study.objects.bulk_update(changed, FIELDS)


def _take(study: Study, order: Order | None, now: datetime) -> None:
    said = ORDERED.get(order_priority(order.extra)) if order is not None else None
    study.priority, study.priority_by = (said.value, BY_ORDER) if said else ("", "")
    study.priority_at = now if said else None
