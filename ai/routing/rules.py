"""Rules as data: checked against the vocabulary, compiled, evaluated with a reason for every yes and no. Pure: live and dry run use it.

Conditions are {"fact": name, operator: value}. Rules share conditions, so each is asked once a study and a rule is a mask of bits.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ai.eligibility import SeriesFacts, SeriesReason, StudyFacts
from ai.routing.vocabulary import DAY, OPERATORS, STUDY, Fact, minutes_of

TEXTS_MAX = 20_000
MAX_CONDITIONS, MAX_WORDS, MAX_WORD, MAX_NUMBER = 20, 50, 64, 1e9
ALL_HOLD, ALWAYS = "all conditions hold", "the rule has no condition"
Condition = Mapping[str, Any]
Holds = Callable[[Any], bool]


class RuleError(Exception):
    """A condition outside the vocabulary."""


@dataclass(frozen=True)
class Outcome:
    is_match: bool
    reason: str


def conditions_check(conditions: Any, *, facts: Mapping[str, Fact] = STUDY) -> None:
    """Raises RuleError for a fact, an operator or a value that rules don't know."""
    if not isinstance(conditions, list) or len(conditions) > MAX_CONDITIONS:
        raise RuleError(f"conditions are a list of at most {MAX_CONDITIONS}")
    for condition in conditions:
        _compiled(condition, facts)


def _compiled(condition: Any, facts: Mapping[str, Fact]) -> tuple[Fact, str, Any, Holds]:
    if not isinstance(condition, dict) or not isinstance(condition.get("fact"), str):
        raise RuleError("a condition names its fact")
    name, operators = condition["fact"], set(condition) - {"fact"}
    fact = facts.get(name)
    if fact is None or len(operators) != 1 or not operators <= set(OPERATORS[fact.kind]):
        known = f", {name} takes {' or '.join(OPERATORS[fact.kind])}" if fact else ""
        raise RuleError(f"unknown condition on {name[:40]!r}{known}")
    (operator,) = operators
    return fact, operator, condition[operator], _HOLDS[operator](name, condition[operator])


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -MAX_NUMBER <= value <= MAX_NUMBER:
        raise RuleError(f"{name!r} is compared with a number")
    return float(value)


def _wanted(name: str, value: Any) -> frozenset[str]:
    is_list = isinstance(value, list) and 0 < len(value) <= MAX_WORDS
    if not is_list or not all(isinstance(word, str) and 0 < len(word.strip()) <= MAX_WORD for word in value):
        raise RuleError(f"{name!r} is compared with a list of words")
    return frozenset(word.strip().casefold() for word in value)


def _folded(found: frozenset[str]) -> frozenset[str]:
    return frozenset(word.casefold() for word in found)


def _is(name: str, value: Any) -> Holds:
    wanted = _wanted(name, value)
    return lambda found: not wanted.isdisjoint(_folded(found))


def _is_not(name: str, value: Any) -> Holds:
    wanted = _wanted(name, value)
    return lambda found: wanted.isdisjoint(_folded(found))


def _contains(name: str, value: Any) -> Holds:
    wanted = _wanted(name, value)
    return lambda found: any(word in found.casefold() for word in wanted)


def _contains_not(name: str, value: Any) -> Holds:
    wanted = _wanted(name, value)
    return lambda found: not any(word in found.casefold() for word in wanted)


def _at_least(name: str, value: Any) -> Holds:
    bound = _number(name, value)
    return lambda found: found is not None and found >= bound


def _at_most(name: str, value: Any) -> Holds:
    bound = _number(name, value)
    return lambda found: found is not None and found <= bound


def _between(name: str, value: Any) -> Holds:
    """From the first time on, before the second; through midnight where the second is earlier."""
    try:
        begin, end = (minutes_of(text) for text in value)
    except (TypeError, ValueError, AttributeError):
        raise RuleError(f"{name!r} is between two times, HH:MM") from None
    length = (end - begin) % DAY
    if not length:
        raise RuleError(f"{name!r} is between two different times")
    return lambda found: found is not None and (found - begin) % DAY < length


_HOLDS: dict[str, Callable[[str, Any], Holds]] = {
    "is": _is, "is_not": _is_not, "contains": _contains, "contains_not": _contains_not, "at_least": _at_least, "at_most": _at_most,
    "between": _between,
}  # fmt: skip
_WANTS = {
    "is": "", "is_not": "anything but ", "contains": "words like ", "contains_not": "no words like ", "at_least": "at least ",
    "at_most": "at most ", "between": "",
}  # fmt: skip


def _reason(fact: Fact, operator: str, found: Any, value: Any) -> str:
    joined = " to " if operator == "between" else " or "
    want = joined.join(value) if isinstance(value, list) else f"{value:g}"
    return f"{fact.label} is {_have(fact, found)}, the rule wants {_WANTS[operator]}{want}"


def _have(fact: Fact, found: Any) -> str:
    if fact.kind == "text":  # free text of a study may hold a name: it stays out of reasons
        return "not matching"
    if fact.kind == "words":
        return ", ".join(sorted(found)) or "not stated"
    if found is None:
        return "not stated"
    return f"{found // 60:02}:{found % 60:02}" if fact.kind == "clock" else f"{found:g}"


class RuleBook:
    """Conditions of several rules, compiled together. `conditions`: one list a rule. Raises RuleError.

    Each different condition is one bit, in the vocabulary's order; what words decide is looked up by the words that were found.
    """

    def __init__(self, conditions: Sequence[Sequence[Condition]], *, facts: Mapping[str, Fact] = STUDY) -> None:
        order = {name: place for place, name in enumerate(facts)}
        keys = {orjson.dumps(one, option=orjson.OPT_SORT_KEYS): one for rule in conditions for one in rule}
        asked = [(key, _compiled(one, facts)) for key, one in keys.items()]
        asked.sort(key=lambda pair: (order[pair[1][0].name], pair[0]))
        places = {key: place for place, (key, _) in enumerate(asked)}
        self._asked = [compiled for _, compiled in asked]
        self._masks = [
            sum({1 << places[orjson.dumps(one, option=orjson.OPT_SORT_KEYS)] for one in rule}) for rule in conditions
        ]  # fmt: skip
        self._facts = list(dict.fromkeys(fact.name for fact, _, _, _ in self._asked))
        self._of = {fact.name: fact.of for fact, _, _, _ in self._asked}
        self._texts: dict[tuple[int, Any], str] = {}  # reasons by condition and what was found: most studies have the same few
        self._words: dict[str, tuple[int, dict[str, int], dict[str, int]]] = {}
        self._holds: list[tuple[int, str, Holds]] = []
        for place, (fact, operator, value, holds) in enumerate(self._asked):
            if operator not in ("is", "is_not"):
                self._holds.append((1 << place, fact.name, holds))
                continue
            every, wanted, unwanted = self._words.get(fact.name, (0, {}, {}))
            for word in _wanted(fact.name, value):
                table = wanted if operator == "is" else unwanted
                table[word] = table.get(word, 0) | 1 << place
            self._words[fact.name] = (every | (1 << place if operator == "is" else 0), wanted, unwanted)

    def ask(self, facts: Any) -> "Asked":
        """What these facts make of every rule."""
        found = {name: self._of[name](facts) for name in self._facts}
        failed = 0
        for name, (every, wanted, unwanted) in self._words.items():
            met = 0
            for one in found[name]:
                word = one.casefold()
                met |= wanted.get(word, 0)
                failed |= unwanted.get(word, 0)
            failed |= every & ~met
        for bit, name, holds in self._holds:
            if not holds(found[name]):
                failed |= bit
        if len(self._texts) > TEXTS_MAX:
            self._texts.clear()
        return Asked(self._asked, found, [mask & failed for mask in self._masks], self._masks, self._texts)

    def outcomes(self, facts: Any) -> list[Outcome]:
        """One a rule, in their order; of a no the first condition that doesn't hold, in the vocabulary's order, is the reason."""
        asked = self.ask(facts)
        return [asked.outcome(place) for place in range(len(self._masks))]


class Asked:
    """Answers of one study or series. `failed`: one a rule, 0 where all its conditions hold; `reasons` by the lowest bit of them."""

    __slots__ = ("_asked", "_found", "_masks", "_texts", "failed", "reasons")

    def __init__(
        self, asked: Sequence[tuple[Fact, str, Any, Holds]], found: dict[str, Any], failed: list[int], masks: list[int],
        texts: dict[tuple[int, Any], str],
    ) -> None:  # fmt: skip
        self._asked, self._found, self.failed, self._masks, self._texts = asked, found, failed, masks, texts
        self.reasons: dict[int, str] = {}

    def reasons_told(self) -> dict[int, str]:
        """By the lowest failed bit of each rule that says no."""
        for bit in {failed & -failed for failed in self.failed if failed}:
            self._told(bit)
        return self.reasons

    def reason(self, rule: int) -> str:
        """Of the rule at this place."""
        failed = self.failed[rule]
        if not failed:
            return ALL_HOLD if self._masks[rule] else ALWAYS
        return self._told(failed & -failed)

    def _told(self, bit: int) -> str:
        if bit not in self.reasons:
            fact, operator, value, _ = self._asked[bit.bit_length() - 1]
            found = self._found[fact.name]
            key = bit, "" if fact.kind == "text" else found
            text = self._texts.get(key)
            if text is None:
                text = self._texts[key] = _reason(fact, operator, found, value)
            self.reasons[bit] = text
        return self.reasons[bit]

    def outcome(self, rule: int) -> Outcome:
        return Outcome(not self.failed[rule], self.reason(rule))


def rule_evaluate(*, conditions: Sequence[Condition], facts: StudyFacts) -> Outcome:
    """Do all conditions hold? The first that doesn't gives the reason."""
    return RuleBook([conditions]).outcomes(facts)[0]


def series_choose(*, book: RuleBook, series: Sequence[SeriesFacts]) -> tuple[tuple[SeriesFacts, ...], tuple[SeriesReason, ...]]:
    """Those that a rule's conditions on series leave, and why not the others."""
    outcomes = [book.outcomes(one)[0] for one in series]
    kept = tuple(one for one, outcome in zip(series, outcomes, strict=True) if outcome.is_match)
    noes = tuple(
        SeriesReason(series_id=one.id, is_chosen=False, reason=outcome.reason)
        for one, outcome in zip(series, outcomes, strict=True)
        if not outcome.is_match
    )
    return kept, noes

