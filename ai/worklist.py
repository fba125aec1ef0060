"""What AI says of each row of the worklist: one state a study, its flag, and filters for both in the database's words."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from django.db.models import Exists, OuterRef, Q

from ai.contract import platforms
from ai.flags import TAKEN_BACK
from ai.models import Connection, Decision, Job, Report, Result, Stage
from ai.readers import Reader
from ai.results import STAND_IN
from ai.routing.live import SWITCHED_OFF
from ai.selectors import NO_RULE
from imaging.models import Study

LATE_AFTER = timedelta(minutes=10)  # of a job that is still open
State = Job.State
OPEN = (State.QUEUED, State.SENT)
# key -> kind for the eye; in this order one job speaks for a study that has several
KINDS = {
    "failed": "bad", "quarantined": "bad", "late": "note", "running": "wait", "submitted": "wait", "off": "off", "refused": "note",
    "not_analysable": "note", "cancelled": "off", "done": "ok",
}  # fmt: skip
ORDER = list(KINDS)
KEYS = {
    State.FAILED: "failed", State.QUARANTINED: "quarantined", State.SENT: "running", State.QUEUED: "submitted",
    State.REFUSED: "refused", State.NOT_ANALYSABLE: "not_analysable", State.CANCELLED: "cancelled", State.DONE: "done",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class AiRow:
    """The AI cell. `since`: when an open job began to wait; `flags`: who asks for the study to be read first."""

    kind: str
    key: str
    reason: str = ""
    since: datetime | None = None
    done: int = 0
    jobs: int = 0
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _JobFacts:
    key: str
    reason: str
    since: datetime | None
    can_flag: bool


def ai_rows(*, studies: Sequence[Study], reader: Reader, now: datetime) -> dict[int, AiRow]:
    """By study id, for this reader: what is in shadow is shown to nobody here, a pilot to its readers. Four statements at most."""
    versions = {study.id: study.version for study in studies}
    connections = {row.id: row for row in Connection.objects.defer("secrets", "pseudonyms", "settings")}
    shown = _shown(reader, connections.values())
    jobs: dict[int, list[_JobFacts]] = {}
    done, has_hidden = {}, set()
    rows = Job.objects.filter(study_id__in=versions).values_list(
        "id", "study_id", "study_version", "connection_id", "algorithm", "stage", "state", "reason", "created_at", "sent_at"
    )
    for job_id, study_id, version, connection_id, algorithm, stage, state, reason, created_at, sent_at in rows:
        if version != versions[study_id]:
            continue
        if (stage, connection_id) not in shown and (stage, None) not in shown:
            has_hidden.add(study_id)
            continue
        connection = connections[connection_id]
        jobs.setdefault(study_id, []).append(_facts(connection, algorithm, state, reason, created_at, sent_at, now))
        if state == State.DONE:
            done[job_id] = study_id, STAND_IN if connection.is_test else connection.name
    flags = _flags(done)
    summaries = _summaries([study.id for study in studies if study.id not in jobs], versions)
    return {
        study.id: _row(study, jobs.get(study.id, []), summaries.get(study.id), study.id in has_hidden, flags.get(study.id, ()))
        for study in studies
    }


def _shown(reader: Reader, connections: Iterable[Connection]) -> set[tuple[str, int | None]]:
    """Stages that this reader sees jobs of; in the pilot by connection."""
    found: set[tuple[str, int | None]] = {(Stage.LIVE, None)}
    if reader.sees_all:
        found.add((Stage.PILOT, None))
    return found | {(Stage.PILOT, row.id) for row in connections if reader.user and reader.user in row.pilot_readers}


def _facts(
    connection: Connection, algorithm: str, state: str, reason: str, created_at: datetime, sent_at: datetime | None, now: datetime
) -> _JobFacts:
    key, since = KEYS[State(state)], None
    if state in OPEN:
        since = sent_at if state == State.SENT and sent_at else created_at
        if not connection.is_enabled and state == State.QUEUED:
            key, reason = "off", SWITCHED_OFF
        elif now - created_at > LATE_AFTER:
            key = "late"
    return _JobFacts(key, reason, since, _can_flag(connection.platform, algorithm))


@lru_cache(maxsize=1024)
def _can_flag(platform: str, algorithm: str) -> bool:
    found = platforms().get(platform)
    return found is not None and any(one.name == algorithm and one.role == "triage" for one in found.card.algorithms)


def _flags(done: Mapping[int, tuple[int, str]]) -> dict[int, tuple[str, ...]]:
    """By study id who flags it, but for what a person has taken back."""
    if not done:
        return {}
    rows = list(Result.objects.filter(job_id__in=done, payload__is_flagged=True).values_list("id", "job_id"))
    if not rows:
        return {}
    taken = set(Report.objects.filter(result_id__in=[one for one, _ in rows], status__in=TAKEN_BACK).values_list("result_id", flat=True))
    found: dict[int, tuple[str, ...]] = {}
    for result_id, job_id in rows:
        if result_id not in taken:
            study_id, name = done[job_id]
            found[study_id] = (*found.get(study_id, ()), name)
    return found


def _summaries(study_ids: Sequence[int], versions: Mapping[int, int]) -> dict[int, str]:
    rows = Decision.objects.filter(study_id__in=study_ids).values_list("study_id", "study_version", "summary")
    return {study_id: summary for study_id, version, summary in rows if version == versions[study_id]}


def _row(study: Study, jobs: list[_JobFacts], summary: str | None, has_hidden: bool, flags: tuple[str, ...]) -> AiRow:
    if study.state != Study.State.COMPLETE:
        return AiRow("wait", "waiting")
    if jobs:
        one = min(jobs, key=lambda job: ORDER.index(job.key))
        done = sum(job.key == "done" for job in jobs)
        key = one.key
        if key == "done":
            key = "flagged" if flags else "not_flagged" if any(job.can_flag for job in jobs) else "done"
        return AiRow(KINDS[one.key], key, one.reason, one.since, done, len(jobs), flags)
    if summary is None:
        return AiRow("wait", "routing")
    if has_hidden:
        return AiRow("off", "hidden")
    return AiRow("off", "off" if SWITCHED_OFF in summary else "not_eligible", summary or NO_RULE)


# What a worklist can be filtered by: a study that has a job like that (of its version, and that the reader is shown).
def _jobs(reader: Reader) -> Q:
    shown = Q(stage=Stage.LIVE)
    if reader.sees_all:
        return shown | Q(stage=Stage.PILOT)
    return shown | Q(stage=Stage.PILOT, connection__pilot_readers__contains=[reader.user]) if reader.user else shown


JOB_STATES: dict[str, tuple[str, ...]] = {
    "running": OPEN, "late": OPEN, "done": (State.DONE,), "failed": (State.FAILED, State.QUARANTINED), "refused": (State.REFUSED,),
    "not_analysable": (State.NOT_ANALYSABLE,),
}  # fmt: skip
AI_FILTERS = ("waiting", *JOB_STATES, "not_eligible", "off")


def ai_where(*, state: str, reader: Reader, now: datetime) -> Q:
    """Of Study. Raises KeyError for no filter."""
    if state == "waiting":
        return ~Q(state=Study.State.COMPLETE)
    every = Job.objects.filter(study_id=OuterRef("id"), study_version=OuterRef("version"))
    if state in ("not_eligible", "off"):
        decisions = Decision.objects.filter(study_id=OuterRef("id"), study_version=OuterRef("version"))
        switched = Q(summary__contains=SWITCHED_OFF)
        return Q(state=Study.State.COMPLETE) & Exists(decisions.filter(switched if state == "off" else ~switched)) & ~Exists(every)
    jobs = every.filter(_jobs(reader), state__in=JOB_STATES[state])
    if state == "late":
        jobs = jobs.filter(created_at__lt=now - LATE_AFTER)
    return Q(state=Study.State.COMPLETE) & Exists(jobs)


def jobs_shown(*, study: Study, reader: Reader) -> list[Job]:
    """The jobs of the study's version that this reader is shown."""
    rows = Job.objects.filter(_jobs(reader), study_id=study.id, study_version=study.version)
    return list(rows.select_related("connection").order_by("id"))
