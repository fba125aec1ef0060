"""The recall switch: an algorithm gets nothing new, and reports of it are flagged wherever they are read. A person's step, both ways.

No status of a report is changed by it: what a report says stays what was said, and a person decides what becomes of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from uuid import UUID

from django.db.models import Max
from django.utils import timezone

from ai.contract import platforms
from ai.models import Connection, Recall, Report, Stage
from journal.audit import Actor, audit_record
from journal.outbox import NewEvent, events_publish
from journal.trace import trace_id_current

LONGEST = 200


class RecallRefused(Exception):
    """`field`: reason, version, or empty when it is the algorithm itself."""

    def __init__(self, field: str, user_message: str) -> None:
        super().__init__(user_message)
        self.field, self.user_message = field, user_message


@dataclass(frozen=True, kw_only=True)
class Flag:
    """What a reader of a report must be told: since when its algorithm is recalled, and why."""

    uuid: UUID
    since: datetime
    reason: str
    is_lifted: bool  # new runs are allowed again; this report stays flagged


def recall_start(*, platform: str, algorithm: str, reason: str, version: str = "", actor: Actor) -> Recall:
    """Stop it, from now on. Raises RecallRefused: unknown, without a reason, or it is recalled already."""
    if not _is_known(platform, algorithm):
        raise RecallRefused("", "no algorithm of that name")
    Connection.objects.select_for_update().filter(platform=platform).first()  # two people at once: the second is told
    words = " ".join(reason.split())
    if not words:
        raise RecallRefused("reason", "a recall needs its reason: readers of the reports will see it")
    if len(words) > LONGEST:
        raise RecallRefused("reason", f"at most {LONGEST} characters")
    if Recall.objects.filter(platform=platform, algorithm=algorithm, lifted_at=None).exists():
        raise RecallRefused("", "it is recalled already")
    row = Recall(
        platform=platform, algorithm=algorithm, version=version.strip()[:64], reason=words, by=actor.name[:64], at=timezone.now()
    )
    row.save(force_insert=True)
    audit_record(
        actor=actor, action="recall.start", object_type="Recall", object_id=str(row.uuid),
        detail={"platform": platform, "algorithm": algorithm, "version": row.version},
    )  # fmt: skip
    _reports_tell(row)
    return row


def recall_lift(*, recall: Recall, reason: str, are_reports_cleared: bool, actor: Actor) -> Recall:
    """New runs are allowed again. Reports stay flagged unless a person says that they were right after all. Raises RecallRefused."""
    row = Recall.objects.select_for_update().get(id=recall.id)
    words = " ".join(reason.split())
    if row.lifted_at is not None:
        raise RecallRefused("", "it is lifted already")
    if not words or len(words) > LONGEST:
        raise RecallRefused("reason", f"lifting needs its reason, at most {LONGEST} characters")
    row.lifted_by, row.lifted_at, row.lifted_reason, row.is_cleared = actor.name[:64], timezone.now(), words, are_reports_cleared
    row.save(update_fields=["lifted_by", "lifted_at", "lifted_reason", "is_cleared"])
    audit_record(
        actor=actor, action="recall.lift", object_type="Recall", object_id=str(row.uuid),
        detail={"platform": row.platform, "algorithm": row.algorithm, "cleared": str(are_reports_cleared).lower()},
    )  # fmt: skip
    if are_reports_cleared:
        _reports_tell(row)
    return row


def recall_by_uuid(*, uuid: UUID) -> Recall | None:
    return Recall.objects.filter(uuid=uuid).first()


def recalls_standing() -> dict[tuple[str, str], Recall]:
    """What gets nothing new: by platform and algorithm."""
    return {(one.platform, one.algorithm): one for one in Recall.objects.filter(lifted_at=None)}


def recalls_of(*, platform: str = "", algorithm: str = "") -> list[Recall]:
    """Newest first, those that were lifted as well."""
    rows = Recall.objects.order_by("-id")
    if platform:
        rows = rows.filter(platform=platform, algorithm=algorithm)
    return list(rows[:200])


def recall_words(recall: Recall | None) -> str:
    """Why nothing is sent; "" where nothing stands in the way."""
    return f"recalled by the hospital: {recall.reason}" if recall else ""


def report_flags(*, report_ids: Sequence[int]) -> dict[int, tuple[Flag, ...]]:
    """Flags by the id of a report version; only those that have any. One query while nothing is recalled, else two."""
    recalls = list(Recall.objects.filter(is_cleared=False).order_by("id"))
    return _flags(recalls, Report.objects.filter(id__in=report_ids)) if recalls and report_ids else {}


def _flags(recalls: Sequence[Recall], reports: Iterable[Report]) -> dict[int, tuple[Flag, ...]]:
    names = (
        "id", "connection__platform", "algorithm", "content__algorithm__version", "issued_at", "result__job__connection__platform",
        "result__job__algorithm",
    )  # fmt: skip
    found: dict[int, tuple[Flag, ...]] = {}
    for report_id, platform, algorithm, version, issued_at, by_platform, by_algorithm in reports.values_list(*names):  # type: ignore[attr-defined]
        # A draft of an impression stands in the report of the algorithm that found what it words: both may be recalled.
        makers = {(platform, algorithm): version, (by_platform, by_algorithm): version if by_algorithm == algorithm else None}
        flags = tuple(_flag(one) for one in recalls if _is_about(one, makers, issued_at))
        if flags:
            found[report_id] = flags
    return found


def _flag(recall: Recall) -> Flag:
    return Flag(uuid=recall.uuid, since=recall.at, reason=recall.reason, is_lifted=recall.lifted_at is not None)


def _is_about(recall: Recall, makers: Mapping[tuple[str, str], str | None], issued_at: datetime) -> bool:
    """Of this algorithm, of this version, and issued before it was lifted. A version that is not known is not ruled out."""
    if (recall.platform, recall.algorithm) not in makers:
        return False
    said = makers[recall.platform, recall.algorithm]
    is_version = not recall.version or said is None or said == recall.version
    return is_version and (recall.lifted_at is None or issued_at < recall.lifted_at)


def flag_words(flag: Flag, zone: tzinfo) -> str:
    """On page and paper."""
    since = flag.since.astimezone(zone).strftime("%Y-%m-%d %H:%M %Z")
    return f"Recalled: the hospital stopped this algorithm on {since}. {flag.reason}"


def reports_flagged_count(*, recall: Recall) -> int:
    """Report versions that bear its flag now."""
    return 0 if recall.is_cleared else len(_flags([recall], _reports_about(recall)))


def _reports_about(recall: Recall) -> Iterable[Report]:
    job = {"result__job__connection__platform": recall.platform, "result__job__algorithm": recall.algorithm}
    own = Report.objects.filter(connection__platform=recall.platform, algorithm=recall.algorithm)
    return own | Report.objects.filter(**job)


def _reports_tell(recall: Recall) -> None:
    """The EHR reads it too: the newest version of each live report is written anew."""
    rows = _reports_about(recall).filter(stage=Stage.LIVE)  # type: ignore[attr-defined]
    newest = rows.values("uuid").annotate(newest=Max("id")).values_list("newest", flat=True)
    trace_id = trace_id_current()
    events_publish(events=[NewEvent(name="report.flagged", ids={"report_id": one}, trace_id=trace_id) for one in newest])


def _is_known(platform: str, algorithm: str) -> bool:
    found = platforms().get(platform)
    return found is not None and any(one.name == algorithm for one in found.card.algorithms)
