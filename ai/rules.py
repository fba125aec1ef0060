"""Routing rules are data over a closed vocabulary: pure evaluation, no database, a reason for every no. Used live and in a dry run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ai.contract import StudyFacts

FACTS: dict[str, Callable[[StudyFacts], Any]] = {
    "modality": lambda facts: facts.modalities,
    "body_part": lambda facts: facts.body_parts,
    "description": lambda facts: facts.description,
    "calling_ae": lambda facts: facts.calling_aes,
    "sex": lambda facts: frozenset({facts.sex} if facts.sex else ()),
    "patient_age_years": lambda facts: facts.patient_age_years,
    "instances": lambda facts: float(sum(series.instances for series in facts.series)),
}
WANTS = {"is": "", "is_not": "anything but ", "contains": "words like ", "at_least": "at least ", "at_most": "at most "}
OPERATORS = set(WANTS)


class RuleError(Exception):
    """A condition outside the vocabulary."""


@dataclass(frozen=True)
class Outcome:
    is_match: bool
    reason: str


def conditions_check(conditions: Sequence[dict[str, Any]]) -> None:
    """Raises RuleError for a fact, an operator or a value that rules don't know."""
    for condition in conditions:
        operators = set(condition) - {"fact"}
        if condition.get("fact") not in FACTS or len(operators) != 1 or not operators <= OPERATORS:
            raise RuleError(f"unknown condition on {condition.get('fact')!r}")
        (operator,) = operators
        value = condition[operator]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_list = isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)
        if not (is_number if operator.startswith("at_") else is_list):
            raise RuleError(f"{operator} of {condition['fact']!r} needs {'a number' if operator.startswith('at_') else 'words'}")


def rule_evaluate(*, conditions: Sequence[dict[str, Any]], facts: StudyFacts) -> Outcome:
    """Do all conditions hold? The first that doesn't gives the reason."""
    for condition in conditions:
        (operator,) = set(condition) - {"fact"}
        found = FACTS[condition["fact"]](facts)
        if not _holds(operator, found, condition[operator]):
            return Outcome(False, _reason(condition["fact"], operator, found, condition[operator]))
    return Outcome(True, "all conditions hold")


def _holds(operator: str, found: Any, wanted: Any) -> bool:
    if operator.startswith("at_"):
        if found is None:
            return False
        return bool(found >= wanted if operator == "at_least" else found <= wanted)
    words = {word.casefold() for word in wanted}
    if operator == "contains":
        return any(word in str(found).casefold() for word in words)
    has_any = bool({str(item).casefold() for item in found} & words)
    return has_any if operator == "is" else not has_any


def _reason(fact: str, operator: str, found: Any, wanted: Any) -> str:
    name, want = fact.replace("_", " "), " or ".join(wanted) if isinstance(wanted, list) else f"{wanted:g}"
    if isinstance(found, frozenset):
        have = ", ".join(sorted(found)) or "not stated"
    elif fact == "description":
        have = "not matching"  # free text of a study may hold a name: it stays out of reasons
    else:
        have = "not stated" if found is None else f"{found:g}"
    return f"{name} is {have}, the rule wants {WANTS[operator]}{want}"
