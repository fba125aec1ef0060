"""One rule of the draft at a time: put, moved, taken out. For pages, where people work on one card; the draft is still saved as a whole.

Where there is no draft the active rules are what is edited, with revision 0. All raise RuleSetRefused for another revision.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ai.models import RuleSet
from ai.routing.sets import ruleset_active, ruleset_draft_get, ruleset_save
from journal.audit import Actor

Rules = list[dict[str, Any]]


def ruleset_edited() -> tuple[Rules, int]:
    """What an editor works on, and the revision to name when it is saved."""
    draft = ruleset_draft_get()
    found = draft or ruleset_active()
    return (list(found.rules) if found else []), draft.revision if draft else 0


def rule_find(*, rule_id: str) -> dict[str, Any] | None:
    """Of the draft, else of the active rules."""
    rules, _ = ruleset_edited()
    return next((rule for rule in rules if rule["id"] == rule_id), None)


def draft_rule_save(*, rule: Mapping[str, Any], revision: int, actor: Actor) -> RuleSet:
    """In place of the one with its id; at the end where the draft has none of it."""

    def put(rules: Rules) -> Rules:
        if any(one["id"] == rule.get("id") for one in rules):
            return [dict(rule) if one["id"] == rule["id"] else one for one in rules]
        return [*rules, dict(rule)]

    return _changed(put, revision, actor)


def draft_rule_move(*, rule_id: str, step: int, revision: int, actor: Actor) -> RuleSet:
    """Up (-1) or down (1) by one place; at the edge it stays."""

    def move(rules: Rules) -> Rules:
        at = next((place for place, one in enumerate(rules) if one["id"] == rule_id), None)
        to = (at or 0) + step
        if at is None or not 0 <= to < len(rules):
            return rules
        rules = list(rules)
        rules.insert(to, rules.pop(at))
        return rules

    return _changed(move, revision, actor)


def draft_rule_delete(*, rule_id: str, revision: int, actor: Actor) -> RuleSet:
    return _changed(lambda rules: [one for one in rules if one["id"] != rule_id], revision, actor)


def _changed(change: Callable[[Rules], Rules], revision: int, actor: Actor) -> RuleSet:
    draft = ruleset_draft_get()
    rules, _ = ruleset_edited()
    # The revision is checked by who saves, under the row's lock; what was read here is then what is replaced.
    return ruleset_save(rules=change(rules), revision=revision, note=draft.note if draft else "", actor=actor)
