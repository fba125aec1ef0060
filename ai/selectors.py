"""Reading what AI did: states for the worklist, reports for a study, what is stuck. A constant number of queries whatever the page."""

from collections.abc import Sequence
from dataclasses import dataclass

from ai.models import Decision, Job, Report, Rule
from imaging.models import Study


@dataclass(frozen=True)
class AiState:
    """How far AI is with a study: a kind for the eye, a key for the words, and why not."""

    kind: str  # ok, wait, bad, note
    key: str
    reason: str = ""


NO_RULE = "no rule is active"
NOT_ROUTED = {"priors": "a prior: pulled for comparison", "migrate": "migrated from another archive"}
ALONE = {NO_RULE, *NOT_ROUTED.values()}  # said without a rule, and all there is to say
STATES = {
    Job.State.QUEUED: ("wait", "submitted"),
    Job.State.SENT: ("wait", "running"),
    Job.State.DONE: ("ok", "done"),
    Job.State.NOT_ANALYSABLE: ("note", "not_analysable"),
    Job.State.REFUSED: ("note", "refused"),
    Job.State.FAILED: ("bad", "failed"),
    Job.State.QUARANTINED: ("bad", "quarantined"),
}
WORST_FIRST = [
    Job.State.FAILED, Job.State.QUARANTINED, Job.State.SENT, Job.State.QUEUED, Job.State.REFUSED, Job.State.NOT_ANALYSABLE,
    Job.State.DONE,
]  # fmt: skip


def ai_states(*, studies: Sequence[Study]) -> dict[int, AiState]:
    """The AI column of a page of the worklist, by study id: two queries."""
    versions = {study.id: study.version for study in studies}
    jobs: dict[int, list[tuple[str, str]]] = {}
    for study_id, version, state, reason in Job.objects.filter(study_id__in=versions).values_list(
        "study_id", "study_version", "state", "reason"
    ):
        if version == versions[study_id]:
            jobs.setdefault(study_id, []).append((state, reason))
    reasons: dict[int, list[str]] = {}
    rows = Decision.objects.filter(study_id__in=versions, is_match=False).order_by("id")
    for study_id, version, rule, reason in rows.values_list("study_id", "study_version", "rule_id", "reason"):
        if version == versions[study_id] and (rule is not None or reason in ALONE):
            reasons.setdefault(study_id, []).append(reason)
    return {study.id: _state(study, jobs.get(study.id, []), reasons.get(study.id, [])) for study in studies}


def _state(study: Study, jobs: list[tuple[str, str]], reasons: list[str]) -> AiState:
    if study.state != Study.State.COMPLETE:
        return AiState("wait", "waiting")
    if jobs:
        state, reason = min(jobs, key=lambda job: WORST_FIRST.index(Job.State(job[0])))
        return AiState(*STATES[Job.State(state)], reason)
    if reasons:
        return AiState("note", "not_eligible", "; ".join(reasons))
    return AiState("wait", "routing")


def reports_of(*, study_id: int) -> list[Report]:
    """The newest version of each report of a study; older versions stay in the history."""
    newest: dict[object, Report] = {}
    for report in Report.objects.filter(study_id=study_id).select_related("connection").order_by("version"):
        newest[report.uuid] = report
    return list(newest.values())


def decisions_of(*, study: Study) -> list[Decision]:
    return list(Decision.objects.filter(study=study, study_version=study.version).select_related("rule").order_by("id"))


def jobs_stuck() -> list[Job]:
    """What somebody should look at: given up, refused, or kept by the gate."""
    states = [Job.State.FAILED, Job.State.REFUSED, Job.State.QUARANTINED]
    return list(Job.objects.filter(state__in=states).select_related("study", "connection").order_by("-id")[:200])


def rules() -> list[Rule]:
    return list(Rule.objects.select_related("connection").order_by("position", "id"))
