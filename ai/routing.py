"""Which algorithms a completed study goes to. Subscriber of study.completed; every "no" keeps its reason."""

from dataclasses import dataclass
from functools import partial

from django.db import transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from ai.contract import StudyFacts, platforms
from ai.facts import study_facts
from ai.models import Decision, Job, Rule
from ai.rules import rule_evaluate
from ai.selectors import NO_RULE, NOT_ROUTED
from imaging.models import Study
from imaging.selectors import study_get, study_origin
from journal.faults import fault
from journal.outbox import NewEvent, events_publish
from journal.trace import trace_id_current
from journal.types import Event
from journal.wall.ids import id_new
from journal.wall.scope import tenant_id_current
from journal.wall.tasks import task_send

JOB_TASK = "ai.tasks.job_run_task"  # by path: a service does not import the doors above it


@dataclass(frozen=True)
class Choice:
    """What a rule says about a study; `series_id` is what would be sent."""

    rule: Rule
    is_match: bool
    reason: str
    series_id: int | None = None


def study_choices(*, facts: StudyFacts, rules: list[Rule]) -> list[Choice]:
    """Pure: the live run and the dry run are this one function."""
    choices = []
    for rule in rules:
        outcome = rule_evaluate(conditions=rule.conditions, facts=facts)
        if not outcome.is_match:
            choices.append(Choice(rule, False, outcome.reason))
            continue
        verdict = platforms()[rule.connection.platform].accepts(facts, rule.algorithm)
        series_id = verdict.series.id if verdict.is_eligible and verdict.series else None
        choices.append(Choice(rule, verdict.is_eligible, verdict.reason, series_id))
    return choices


def study_route(*, event: Event) -> None:
    """Rules -> jobs, once per (study, version, connection, algorithm): a replay makes nothing new."""
    study = study_get(study_id=event.ids["study_id"])
    version = event.ids["version"]
    if study.is_from_ai or study.version != version:
        return  # AI's own objects never start routing; a later version has an event of its own
    if origin := study_origin(study=study):
        Decision.objects.bulk_create(
            [Decision(study=study, study_version=version, is_match=False, reason=NOT_ROUTED[origin], created_at=timezone.now())],
            ignore_conflicts=True,
        )
        return
    rules = list(Rule.objects.filter(is_active=True, connection__is_enabled=True).select_related("connection").order_by("position", "id"))
    choices = study_choices(facts=study_facts(study=study), rules=rules)
    _decisions_keep(study, version, choices)
    _jobs_make(study, version, choices)
    fault("routing.before_commit")


def _decisions_keep(study: Study, version: int, choices: list[Choice]) -> None:
    now = timezone.now()
    rows = [
        Decision(
            study=study, study_version=version, rule=choice.rule, rule_version=choice.rule.version,
            is_match=choice.is_match, reason=choice.reason[:300], created_at=now,
        )
        for choice in choices
    ]  # fmt: skip
    if not any(choice.is_match for choice in choices):
        reason = "no rule matched" if choices else NO_RULE
        rows.append(Decision(study=study, study_version=version, is_match=False, reason=reason, created_at=now))
    Decision.objects.bulk_create(rows, ignore_conflicts=True)


def _jobs_make(study: Study, version: int, choices: list[Choice]) -> None:
    now = timezone.now()
    jobs = [
        Job(
            id=id_new(), study=study, study_version=version, connection=choice.rule.connection, algorithm=choice.rule.algorithm,
            series=choice.series_id, trace_id=trace_id_current(), created_at=now, due_at=now,
        )
        for choice in choices
        if choice.is_match
    ]  # fmt: skip
    Job.objects.bulk_create(jobs, ignore_conflicts=True)
    # A replay makes no rows: then the ids are not those that stand, and there is nothing to tell.
    made = Job.objects.filter(id__in=[job.id for job in jobs]).values_list("id", flat=True)
    events_publish(events=[NewEvent(name="job.changed", ids={"job_id": i}, trace_id=trace_id_current()) for i in made])
    tenant_id, nudge = tenant_id_current(), import_string(JOB_TASK)
    for job in jobs:
        # Only a hint: the sweep finds a row whose message was lost.
        transaction.on_commit(partial(task_send, nudge, tenant_id=tenant_id, job_id=job.id), robust=True)
