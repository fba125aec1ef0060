"""Versions of a hospital's rules: one active, at most one draft, all others kept as they were. In a scope.

A draft is a copy that is edited as a whole; its `revision` makes the second of two editors notice. Activating is one step, with who
and when.
"""

import uuid
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils import timezone

from ai.contract import platforms
from ai.models import Connection, RuleSet
from ai.routing.rules import RuleError, conditions_check
from ai.routing.vocabulary import SERIES
from journal.audit import Actor, audit_record

MAX_RULES = 200
KEYS = {"id", "name", "platform", "algorithm", "conditions", "series", "is_stat"}
State = RuleSet.State


class RuleSetRefused(Exception):
    """It cannot be saved or activated like that. `problems`: by the rule's place, from 0; -1 for the set as a whole."""

    def __init__(self, problems: dict[int, str], *, is_stale: bool = False) -> None:
        super().__init__("; ".join(problems.values()))
        self.problems, self.is_stale = problems, is_stale


@dataclass(frozen=True, kw_only=True)
class RuleData:
    """One rule as data, whole and checked."""

    id: str
    name: str
    platform: str
    algorithm: str
    conditions: list[dict[str, Any]]
    series: list[dict[str, Any]]
    is_stat: bool


def rules_read(raw: Any) -> list[RuleData]:
    """Raises RuleSetRefused with a problem for each rule that has one."""
    if not isinstance(raw, list) or len(raw) > MAX_RULES:
        raise RuleSetRefused({-1: f"rules are a list of at most {MAX_RULES}"})
    found: list[RuleData] = []
    problems: dict[int, str] = {}
    for place, one in enumerate(raw):
        try:
            rule = _rule(one)
        except RuleError as error:
            problems[place] = str(error)
            continue
        if any(rule.name.casefold() == other.name.casefold() for other in found):
            problems[place] = "another rule has this name"
        if any(rule.id == other.id for other in found):
            problems[place] = "another rule has this id"
        found.append(rule)
    if problems:
        raise RuleSetRefused(problems)
    return found


def _rule(one: Any) -> RuleData:
    if not isinstance(one, dict) or set(one) - KEYS:
        raise RuleError(f"a rule has {', '.join(sorted(KEYS))}")
    name = one.get("name")
    if not isinstance(name, str) or not 0 < len(name.strip()) <= 80:
        raise RuleError("a rule has a name of at most 80 characters")
    platform = platforms().get(one.get("platform") if isinstance(one.get("platform"), str) else "")  # type: ignore[arg-type]
    if platform is None:
        raise RuleError("no platform of that name")
    if one.get("algorithm") not in {card.name for card in platform.card.algorithms}:
        raise RuleError(f"{platform.card.name} has no algorithm of that name")
    conditions, series = one.get("conditions", []), one.get("series", [])
    conditions_check(conditions)
    conditions_check(series, facts=SERIES)
    if not isinstance(one.get("is_stat", False), bool):
        raise RuleError("is_stat is true or false")
    try:
        key = str(uuid.UUID(one["id"])) if one.get("id") else str(uuid.uuid4())
    except (ValueError, TypeError, AttributeError):
        raise RuleError("the id of a rule is a UUID, or left out") from None
    return RuleData(
        id=key, name=name.strip(), platform=platform.card.slug, algorithm=one["algorithm"], conditions=conditions, series=series,
        is_stat=one.get("is_stat", False),
    )  # fmt: skip


def ruleset_draft(*, actor: Actor) -> RuleSet:
    """The draft; a copy of the active rules where there is none."""
    found = RuleSet.objects.filter(state=State.DRAFT).first()
    try:
        return found or _draft_make(RuleSet.objects.filter(state=State.ACTIVE).first(), actor)
    except RuleSetRefused:  # somebody has just made one
        made: RuleSet = RuleSet.objects.get(state=State.DRAFT)
        return made


def ruleset_save(*, rules: Any, revision: int, note: str = "", actor: Actor) -> RuleSet:
    """Replace the draft's rules. `revision`: the one that was read; 0 where no draft was. Raises RuleSetRefused."""
    data = [vars(rule) for rule in rules_read(rules)]
    draft = RuleSet.objects.select_for_update().filter(state=State.DRAFT).first()
    if (draft.revision if draft else 0) != revision:
        raise RuleSetRefused({-1: "the draft was changed meanwhile: read it again"}, is_stale=True)
    draft = draft or _draft_make(RuleSet.objects.filter(state=State.ACTIVE).first(), actor)
    draft.rules, draft.note, draft.revision = data, note[:200], draft.revision + 1
    draft.changed_by, draft.changed_at = actor.name[:64], timezone.now()
    draft.save(update_fields=["rules", "note", "revision", "changed_by", "changed_at"])
    return draft


def ruleset_activate(*, revision: int, actor: Actor) -> RuleSet:
    """The draft becomes what studies are routed by, from the next one on. Raises RuleSetRefused."""
    draft = RuleSet.objects.select_for_update().filter(state=State.DRAFT).first()
    if draft is None:
        raise RuleSetRefused({-1: "there is no draft to activate"})
    if draft.revision != revision:
        raise RuleSetRefused({-1: "the draft was changed meanwhile: read it again"}, is_stale=True)
    rules_read(draft.rules)  # the vocabulary may have changed since it was saved
    missing = unconnected(draft.rules)
    if missing:
        raise RuleSetRefused(missing)
    now = timezone.now()
    RuleSet.objects.filter(state=State.ACTIVE).update(state=State.RETIRED, retired_at=now)
    draft.state, draft.activated_by, draft.activated_at = State.ACTIVE, actor.name[:64], now
    draft.save(update_fields=["state", "activated_by", "activated_at"])
    _activated(draft, actor)
    return draft


def ruleset_publish(*, rules: Any, actor: Actor) -> RuleSet:
    """Make these the active rules at once, beside whatever draft there is. Raises RuleSetRefused."""
    data = [vars(rule) for rule in rules_read(rules)]
    if missing := unconnected(data):
        raise RuleSetRefused(missing)
    now, name, before = timezone.now(), actor.name[:64], ruleset_active()
    RuleSet.objects.filter(state=State.ACTIVE).update(state=State.RETIRED, retired_at=now)
    made: RuleSet = RuleSet.objects.create(
        number=_number_next(), state=State.ACTIVE, rules=data, based_on=before.number if before else 0, created_by=name, created_at=now,
        changed_by=name, changed_at=now, activated_by=name, activated_at=now,
    )  # fmt: skip
    _activated(made, actor)
    return made


def _activated(rules: RuleSet, actor: Actor) -> None:
    audit_record(
        actor=actor, action="rules.activate", object_type="RuleSet", object_id=str(rules.number),
        detail={"rules": len(rules.rules), "before": rules.based_on},
    )  # fmt: skip


def _number_next() -> int:
    return (RuleSet.objects.aggregate(last=Max("number"))["last"] or 0) + 1


def unconnected(rules: Sequence[dict[str, Any]]) -> dict[int, str]:
    """Rules whose platform the hospital has no connection to, by place."""
    known = set(Connection.objects.values_list("platform", flat=True))
    cards = platforms()
    return {
        place: f"{cards[rule['platform']].card.name} is not connected yet"
        for place, rule in enumerate(rules)
        if rule["platform"] not in known and rule["platform"] in cards
    }


def ruleset_revert(*, number: int, actor: Actor) -> RuleSet | None:
    """A draft with an older version's rules, in place of the present draft; None where there is no such version."""
    source = RuleSet.objects.filter(number=number).exclude(state=State.DRAFT).first()
    if source is None:
        return None
    ruleset_discard(actor=actor)
    return _draft_make(source, actor)


def ruleset_discard(*, actor: Actor) -> bool:
    """Forget the draft. False where there is none."""
    draft = RuleSet.objects.filter(state=State.DRAFT).first()
    if draft is None:
        return False
    audit_record(actor=actor, action="rules.discard", object_type="RuleSet", object_id=str(draft.number))
    draft.delete()
    return True


def _draft_make(source: RuleSet | None, actor: Actor) -> RuleSet:
    """Raises RuleSetRefused where somebody makes one at this moment."""
    now, name = timezone.now(), actor.name[:64]
    try:
        with transaction.atomic():
            made: RuleSet = RuleSet.objects.create(
                number=_number_next(), rules=deepcopy(source.rules) if source else [], based_on=source.number if source else 0,
                created_by=name, created_at=now, changed_by=name, changed_at=now,
            )  # fmt: skip
    except IntegrityError:
        raise RuleSetRefused({-1: "the draft was changed meanwhile: read it again"}, is_stale=True) from None
    audit_record(actor=actor, action="rules.draft", object_type="RuleSet", object_id=str(made.number))
    return made


def ruleset_active() -> RuleSet | None:
    found: RuleSet | None = RuleSet.objects.filter(state=State.ACTIVE).first()
    return found


def ruleset_get(*, number: int) -> RuleSet | None:
    found: RuleSet | None = RuleSet.objects.filter(number=number).first()
    return found


def ruleset_draft_get() -> RuleSet | None:
    found: RuleSet | None = RuleSet.objects.filter(state=State.DRAFT).first()
    return found


def rulesets_page(*, before: int = 0, size: int = 50) -> list[RuleSet]:
    """Versions that are or were active, newest first; without their rules."""
    rows = RuleSet.objects.exclude(state=State.DRAFT).order_by("-number")
    return list((rows.filter(number__lt=before) if before else rows).defer("rules")[:size])
