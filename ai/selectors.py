"""Reading what AI did: states for the worklist, reports for a study, what is stuck. A constant number of queries whatever the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from ai.models import Connection, Decision, Exchange, Job, Report, Result, Stage
from ai.readers import Reader, reports_shown
from imaging.models import Study


@dataclass(frozen=True)
class AiState:
    """How far AI is with a study: a kind for the eye, a key for the words, and why not."""

    kind: str  # ok, wait, bad, note, off
    key: str
    reason: str = ""


NO_RULE = "no rule is active"
NOT_ROUTED = {"priors": "a prior: pulled for comparison", "migrate": "migrated from another archive"}
HIDDEN = (Stage.TEST, Stage.SHADOW)  # measured, and shown to nobody who reads
STATES = {
    Job.State.QUEUED: ("wait", "submitted"),
    Job.State.SENT: ("wait", "running"),
    Job.State.DONE: ("ok", "done"),
    Job.State.NOT_ANALYSABLE: ("note", "not_analysable"),
    Job.State.REFUSED: ("note", "refused"),
    Job.State.FAILED: ("bad", "failed"),
    Job.State.QUARANTINED: ("bad", "quarantined"),
    Job.State.CANCELLED: ("off", "cancelled"),
}
WORST_FIRST = [
    Job.State.FAILED, Job.State.QUARANTINED, Job.State.SENT, Job.State.QUEUED, Job.State.REFUSED, Job.State.NOT_ANALYSABLE,
    Job.State.CANCELLED, Job.State.DONE,
]  # fmt: skip


def ai_states(*, studies: Sequence[Study]) -> dict[int, AiState]:
    """The AI column of a page of the worklist, by study id: two queries."""
    versions = {study.id: study.version for study in studies}
    jobs: dict[int, list[tuple[str, str]]] = {}
    rows = Job.objects.filter(study_id__in=versions).exclude(stage__in=HIDDEN)
    for study_id, version, state, reason in rows.values_list("study_id", "study_version", "state", "reason"):
        if version == versions[study_id]:
            jobs.setdefault(study_id, []).append((state, reason))
    rows = Decision.objects.filter(study_id__in=versions).values_list("study_id", "study_version", "summary")
    reasons = {study_id: summary for study_id, version, summary in rows if version == versions[study_id]}
    return {study.id: _state(study, jobs.get(study.id, []), reasons.get(study.id)) for study in studies}


def _state(study: Study, jobs: list[tuple[str, str]], reason: str | None) -> AiState:
    if study.state != Study.State.COMPLETE:
        return AiState("wait", "waiting")
    if jobs:
        state, reason = min(jobs, key=lambda job: WORST_FIRST.index(Job.State(job[0])))
        return AiState(*STATES[Job.State(state)], reason)
    return AiState("wait", "routing") if reason is None else AiState("note", "not_eligible", reason)


def reports_of(*, study_id: int, reader: Reader) -> list[Report]:
    """The newest version of each report of a study; older versions stay in the history."""
    return reports_of_studies(study_ids=[study_id], reader=reader).get(study_id, [])


def reports_of_studies(*, study_ids: Sequence[int], reader: Reader) -> dict[int, list[Report]]:
    """The same by study id, in the order in which the reports began: one query."""
    newest: dict[object, Report] = {}
    rows = reports_shown(Report.objects.filter(study_id__in=study_ids), reader).select_related("connection", "study")
    for report in rows.order_by("version", "id"):
        newest[report.uuid] = report
    found: dict[int, list[Report]] = {}
    for report in newest.values():
        found.setdefault(report.study_id, []).append(report)
    return found


def decision_of(*, study: Study) -> Decision | None:
    """What the rules said of the study's newest version; without the facts that they saw."""
    return Decision.objects.filter(study=study, study_version=study.version).defer("facts").first()


def jobs_stuck() -> list[Job]:
    """What somebody should look at: given up, refused, or kept by the gate."""
    states = [Job.State.FAILED, Job.State.REFUSED, Job.State.QUARANTINED]
    return list(Job.objects.filter(state__in=states).select_related("study", "connection").order_by("-id")[:200])


@dataclass(frozen=True)
class JobPage:
    """A page of jobs and the id that the next one begins behind; 0 on the last page."""

    jobs: list[Job]
    older: int


def jobs_page(*, before: int = 0, size: int = 50, state: str = "", platform: str = "") -> JobPage:
    """Newest first, by keyset."""
    rows = Job.objects.select_related("connection", "study")
    if before:
        rows = rows.filter(id__lt=before)
    if state:
        rows = rows.filter(state=state)
    if platform:
        rows = rows.filter(connection__platform=platform)
    found = list(rows.order_by("-id")[: size + 1])
    return JobPage(jobs=found[:size], older=found[size - 1].id if len(found) > size else 0)


def job_get(*, job_uuid: UUID) -> Job | None:
    return Job.objects.select_related("connection", "study").filter(uuid=job_uuid).first()


def exchanges_of(*, job_id: int) -> list[Exchange]:
    """The newest two hundred, oldest first."""
    return list(Exchange.objects.filter(job_id=job_id).order_by("-id")[:200])[::-1]


def result_of(*, job_id: int) -> Result | None:
    return Result.objects.filter(job_id=job_id).first()


def connections() -> dict[str, Connection]:
    """By platform."""
    return {one.platform: one for one in Connection.objects.order_by("platform")}


def connection_get(*, platform: str) -> Connection | None:
    return Connection.objects.filter(platform=platform).first()


ConnectionState = Literal["none", "off", "broken", "failing", "unchecked", "on"]


def connection_state(*, connection: Connection | None, now: datetime) -> ConnectionState:
    """broken: it failed again and again and is left alone for a while; failing: its last check did not succeed."""
    if connection is None:
        return "none"
    if not connection.is_enabled:
        return "off"
    if connection.broken_until is not None and connection.broken_until > now:
        return "broken"
    if connection.is_check_good is None:
        return "unchecked"
    return "on" if connection.is_check_good else "failing"
