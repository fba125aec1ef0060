"""A completed study meets the active rules: jobs, and one Decision that keeps each rule's reason. Subscriber of study.completed.

A result makes the rules that ask for results look again. What rules saw is kept with what they said.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache, partial
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from ai.eligibility import StudyFacts
from ai.facts import FACTS, studies_results, study_facts
from ai.governance.recalls import recall_words, recalls_standing
from ai.governance.terms import NOT_ACCEPTED, terms_are_accepted
from ai.models import Connection, Decision, Job, Recall, Result, RuleSet, Stage
from ai.routing.choose import Choice, RouteBook, choices_sent
from ai.routing.sets import ruleset_active
from ai.selectors import NO_RULE, NOT_ROUTED
from imaging.models import Study
from imaging.selectors import study_get, study_origin, study_priors
from journal.faults import fault
from journal.outbox import NewEvent, events_publish
from journal.trace import trace_id_current
from journal.types import Event
from journal.wall.ids import id_new
from journal.wall.scope import tenant_id_current
from journal.wall.tasks import task_send

JOB_TASK = "ai.tasks.job_run_task"  # by path: a service does not import the doors above it
STAT_QUEUE = "stat"  # the same worker's; nothing waits in it behind what is not urgent
PRIORS_AWAITED = timedelta(days=7)  # an earlier study that comes later changes nothing any more
NO_MATCH = "no rule matched"
SWITCHED_OFF, IN_TEST = "the platform is switched off", "the platform is in test: a person sends, study by study"


def study_route(*, event: Event) -> None:
    """Rules -> jobs, once per (study, version, connection, algorithm): a replay makes nothing new."""
    study = study_get(study_id=event.ids["study_id"])
    version = event.ids["version"]
    if study.is_from_ai or study.version != version:
        return  # AI's own objects never start routing; a later version has an event of its own
    if Decision.objects.filter(study=study, study_version=version).exists():
        return
    row = Decision(study=study, study_version=version, created_at=timezone.now())
    if origin := study_origin(study=study):
        row.summary = NOT_ROUTED[origin]
        row.save(force_insert=True)
        return
    rules, facts = ruleset_active(), study_facts(study=study)
    choices = _choices(rules, facts)
    _decision_fill(row, rules, facts, choices)
    row.save(force_insert=True)
    _jobs_make(study, choices)
    fault("routing.before_commit")


def result_route(*, event: Event) -> None:
    """Subscriber of result.received: rules that ask for results look at the study again."""
    result = Result.objects.select_related("job").get(id=event.ids["result_id"])
    rules = ruleset_active()
    if rules is None or not any(_asks_results(rule) for rule in rules.rules):
        return
    study = study_get(study_id=result.job.study_id)
    row = Decision.objects.select_for_update().filter(study=study, study_version=study.version).exclude(facts=None).first()
    if row is None or study.version != result.job.study_version:
        return
    facts = replace(FACTS.validate_python(row.facts), results=studies_results(studies=[study]).get(study.id, frozenset()))
    choices = _choices(rules, facts)
    _decision_fill(row, rules, facts, choices)
    row.save(update_fields=["ruleset", "matched", "summary", "outcomes", "facts"])
    _jobs_make(study, [choice for choice in choices if _asks_results(choice.rule)])


def prior_route(*, event: Event) -> None:
    """Subscriber of study.completed: a study that came may be the earlier one that others were waiting for.

    Later studies of the same patient are looked at again with what the rules saw then and the earlier studies that are here now;
    what has begun to match is sent. Under other rules than those that decided nothing is done.
    """
    came = study_get(study_id=event.ids["study_id"])
    rules = ruleset_active()
    if came.is_from_ai or rules is None:
        return
    rows = Decision.objects.select_for_update(of=("self",)).filter(
        study__patient_id=came.patient_id, study__study_date__gt=came.study_date, ruleset=rules.number,
        created_at__gte=timezone.now() - PRIORS_AWAITED,
    )  # fmt: skip
    waiting = [row for row in rows.exclude(facts=None).select_related("study__patient").order_by("id") if came.study_date]
    here = study_priors(studies=[row.study for row in waiting])
    for row in waiting:
        facts, priors = FACTS.validate_python(row.facts), here[row.study_id]
        if row.study_version != row.study.version or (facts.priors, facts.days_since_prior) == (priors.count, priors.days):
            continue
        sent = {one["rule"] for one in row.outcomes if one["is_match"]}
        facts = replace(facts, priors=priors.count, days_since_prior=priors.days)
        choices = _choices(rules, facts)
        begun = [choice for choice in choices if choice.rule["id"] not in sent and choice.is_match]
        if begun:
            _decision_fill(row, rules, facts, choices)
            row.save(update_fields=["ruleset", "matched", "summary", "outcomes", "facts"])
            _jobs_make(row.study, begun)


def _asks_results(rule: Any) -> bool:
    return any(condition["fact"] == "result" for condition in rule["conditions"])


@lru_cache(maxsize=256)
def _book(tenant_id: int, ruleset_id: int) -> RouteBook:
    """Of a version that was activated, which never changes."""
    return RouteBook(RuleSet.objects.get(id=ruleset_id).rules)


def _choices(rules: RuleSet | None, facts: StudyFacts) -> list[Choice]:
    if rules is None or not rules.rules:
        return []
    return choices_staged(_book(tenant_id_current(), rules.id).choices(facts))


def choices_staged(choices: Sequence[Choice]) -> list[Choice]:
    """A yes becomes a no where the platform is off, in test, gone, without its terms, or the algorithm is recalled. In a scope."""
    hold, found = holds_read(), []
    for choice in choices:
        reason = hold(choice.rule) if choice.is_match else ""
        found.append(replace(choice, is_match=False, reason=reason, series_id=None) if reason else choice)
    return found


def holds_read() -> Callable[[Mapping[str, Any]], str]:
    """Rule -> why the hospital lets nothing go there now, by its connections and recalls as they are. In a scope: two queries."""
    rows, recalls = {row.platform: row for row in Connection.objects.all()}, recalls_standing()
    return lambda rule: stage_refusal(rows.get(rule["platform"]), recalls.get((rule["platform"], rule["algorithm"])))


def stage_refusal(connection: Connection | None, recall: Recall | None = None) -> str:
    """Why the hospital lets nothing go there now; "" where it does."""
    if connection is None:
        return "the platform is not connected"
    if not connection.is_enabled:
        return SWITCHED_OFF
    if recall is not None:
        return recall_words(recall)
    if not terms_are_accepted(connection):
        return NOT_ACCEPTED
    return IN_TEST if connection.stage == Stage.TEST else ""


def _decision_fill(row: Decision, rules: RuleSet | None, facts: StudyFacts, choices: Sequence[Choice]) -> None:
    sent = choices_sent(choices)
    row.ruleset, row.matched = rules.number if rules else 0, len(sent)
    row.facts, row.outcomes = FACTS.dump_python(facts, mode="json"), [outcome_data(choice) for choice in choices]
    row.summary = summary_words(choices)


def summary_words(choices: Sequence[Choice]) -> str:
    """Why nothing is sent, for the worklist; "" where something is."""
    if any(choice.is_match for choice in choices):
        return ""
    if not choices:
        return NO_RULE
    labels = [choice.reason for choice in choices if choice.is_label]  # the rule said yes: nearest to being sent
    reasons = list(dict.fromkeys(labels or [choice.reason for choice in choices]))
    return "; ".join(reasons[:3])[:300]


def outcome_data(choice: Choice) -> dict[str, Any]:
    """As a Decision keeps it and a dry run shows it."""
    data: dict[str, Any] = {
        "rule": choice.rule["id"], "name": choice.rule["name"], "is_match": choice.is_match, "reason": choice.reason[:300],
    }  # fmt: skip
    if choice.series_id is not None:
        data["series"] = choice.series_id
    if reasons := choice.explain():
        data["series_reasons"] = [
            {"series": one.series_id, "is_chosen": one.is_chosen, "reason": one.reason} for one in reasons[:100]
        ]
    return data


def _jobs_make(study: Study, choices: Sequence[Choice]) -> None:
    now, sent = timezone.now(), choices_sent(choices)
    connections = {row.platform: row for row in Connection.objects.filter(platform__in={choice.rule["platform"] for choice in sent})}
    jobs = []
    for choice in sent:
        connection = connections[choice.rule["platform"]]
        jobs.append(
            Job(
                id=id_new(), study=study, study_version=study.version, connection=connection, algorithm=choice.rule["algorithm"],
                series=choice.series_id, is_stat=choice.rule.get("is_stat", False), stage=connection.stage, rule=choice.rule["id"],
                trace_id=trace_id_current(), created_at=now, due_at=now,
            )  # fmt: skip
        )
    jobs_start(jobs)


def jobs_start(jobs: Sequence[Job]) -> list[int]:
    """Insert them where they are new and get them going. Returns the ids of those that were."""
    Job.objects.bulk_create(jobs, ignore_conflicts=True)
    # A replay makes no rows: then the ids are not those that stand, and there is nothing to tell.
    rows = dict(Job.objects.filter(id__in=[job.id for job in jobs]).values_list("id", "is_stat"))
    made = list(rows)
    events_publish(events=[NewEvent(name="job.changed", ids={"job_id": i}, trace_id=trace_id_current()) for i in made])
    tenant_id, nudge = tenant_id_current(), import_string(JOB_TASK)
    for job_id in made:
        # Only a hint: the sweep finds a row whose message was lost.
        queue = STAT_QUEUE if rows[job_id] else None
        transaction.on_commit(partial(task_send, nudge, queue=queue, tenant_id=tenant_id, job_id=job_id), robust=True)
    return made
