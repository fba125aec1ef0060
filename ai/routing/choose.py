"""What a set of rules says of one study: pure, from facts to choices. The live run and the dry run are this one function."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ai.contract import platforms
from ai.eligibility import SeriesReason, StudyFacts, Verdict
from ai.routing.rules import RuleBook, series_choose
from ai.routing.vocabulary import SERIES

NOES_MAX = 500  # of one rule
Target = tuple[str, str]  # platform, algorithm


@dataclass(frozen=True, slots=True)
class Choice:
    """What one rule says of one study; `series_id` is what would be sent. `is_label`: the rule says yes and the label no."""

    rule: Mapping[str, Any]
    is_match: bool
    reason: str
    series_id: int | None = None
    explain: Callable[[], tuple[SeriesReason, ...]] = tuple  # series by series; asked when it is shown or kept
    is_label: bool = False

    @property
    def target(self) -> Target:
        return self.rule["platform"], self.rule["algorithm"]


class RouteBook:
    """Rules compiled once, asked for many studies. `rules` as in RuleSet.rules. Raises RuleError."""

    def __init__(self, rules: Sequence[Mapping[str, Any]]) -> None:
        self.rules = rules
        self._platforms = platforms()
        self._noes: list[dict[str, Choice]] = [{} for _ in rules]
        self._known = [noes.get for noes in self._noes]
        self._book = RuleBook([rule["conditions"] for rule in rules])
        self._series = [RuleBook([rule["series"]], facts=SERIES) if rule.get("series") else None for rule in rules]

    def choices(self, facts: StudyFacts) -> list[Choice]:
        """One a rule, in their order."""
        asked = self._book.ask(facts)
        reasons = asked.reasons_told()
        # the same no is one object: of a hundred rules most say no, for a few reasons
        known = [get(reasons[failed & -failed]) if failed else None for get, failed in zip(self._known, asked.failed, strict=True)]
        verdicts: dict[Target, Verdict] = {}
        for place, choice in enumerate(known):
            if choice is None:
                is_yes = not asked.failed[place]
                known[place] = self._yes(place, facts, verdicts) if is_yes else self._no(place, asked.reason(place))
        return known  # type: ignore[return-value]  # none is left

    def _no(self, place: int, reason: str) -> Choice:
        if len(self._noes[place]) >= NOES_MAX:
            self._noes[place].clear()
        made = self._noes[place][reason] = Choice(self.rules[place], False, reason)
        return made

    def _yes(self, place: int, facts: StudyFacts, verdicts: dict[Target, Verdict]) -> Choice:
        """The rule's conditions hold: what its platform says."""
        rule, series = self.rules[place], self._series[place]
        if series is not None:
            return self._narrowed(rule, series, facts)
        target = rule["platform"], rule["algorithm"]
        if target not in verdicts:
            verdicts[target] = self._verdict(rule, facts)
        return _choice(rule, verdicts[target])

    def _verdict(self, rule: Mapping[str, Any], facts: StudyFacts) -> Verdict:
        platform = self._platforms.get(rule["platform"])
        if platform is None:
            return Verdict(is_eligible=False, reason="the platform is not offered any more")
        return platform.accepts(facts, rule["algorithm"])

    def _narrowed(self, rule: Mapping[str, Any], book: RuleBook, facts: StudyFacts) -> Choice:
        """A rule with conditions on series: its platform sees those alone."""
        kept, noes = series_choose(book=book, series=facts.series)
        if not kept:
            words = noes[0].reason if len(noes) == 1 else "no series is what the rule wants"
            return Choice(rule, False, words, None, lambda: noes)
        alone = replace(facts, series=kept, modalities=frozenset(one.modality for one in kept if one.modality))
        return _choice(rule, self._verdict(rule, alone), noes)


def _choice(rule: Mapping[str, Any], verdict: Verdict, noes: tuple[SeriesReason, ...] = ()) -> Choice:
    series_id = verdict.series.id if verdict.is_eligible and verdict.series else None
    explain = (lambda: (*verdict.explain(), *noes)) if noes else verdict.explain
    return Choice(rule, verdict.is_eligible, verdict.reason, series_id, explain, not verdict.is_eligible)


def choices_sent(choices: Sequence[Choice]) -> list[Choice]:
    """What becomes a job: of several rules with one target the first."""
    firsts: dict[Target, Choice] = {}
    for choice in choices:
        if choice.is_match:
            firsts.setdefault(choice.target, choice)
    return list(firsts.values())
