"""A dry run as its page shows it: totals with bars, warnings in words, studies by what they are and not by whom."""

from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ai.routing.choose import Choice
from ai.routing.dryrun import RuleTally, StudyTrial, Trial, study_summary
from imaging.models import Study

SHOWN_STUDIES, SHOWN_RULES, SHOWN_REASONS = 100, 40, 3
WARNINGS = {
    "never": gettext_lazy("matches none of these studies"),
    "label": gettext_lazy("matches only studies that the algorithm's label does not cover: all are refused"),
    "shadowed": gettext_lazy("sends nothing that a rule before it does not send already"),
}
ABOUT = {"series": gettext_lazy("another series"), "priority": gettext_lazy("another priority")}
BAR = 240  # width of a full bar in the picture's own units


@dataclass(frozen=True)
class Bar:
    """A share of the studies: where it begins and how wide it is."""

    kind: str
    x: float
    width: float


@dataclass(frozen=True)
class TallyRow:
    tally: RuleTally
    no: int
    bars: tuple[Bar, ...]
    reasons: tuple[tuple[str, int], ...]
    warning: str


@dataclass(frozen=True)
class Answer:
    """One rule's word on one study."""

    name: str
    is_sent: bool
    is_yes: bool
    reason: str


@dataclass(frozen=True)
class StudyRow:
    study: Study | None
    words: str
    yes: tuple[Answer, ...]
    no: tuple[Answer, ...]
    more: int  # noes beyond those listed

    @property
    def is_sent(self) -> bool:
        return any(answer.is_sent for answer in self.yes)


@dataclass(frozen=True)
class TrialShown:
    count: int
    jobs: int
    unmatched: int
    rows: tuple[TallyRow, ...]
    warnings: tuple[str, ...]
    nobody: tuple[StudyRow, ...]
    studies: tuple[StudyRow, ...]
    has_more: bool
    summary: str


def trial_shown(trial: Trial) -> TrialShown:
    count = len(trial.studies)
    rows = tuple(_tally(one, count) for one in trial.tallies)
    warnings = [f"{row.tally.rule['name']}: {row.warning}" for row in rows if row.warning]
    warnings += [_conflict(one.first, one.second, one.about, one.count) for one in trial.conflicts]
    studies = tuple(_study(one) for one in trial.studies[:SHOWN_STUDIES])
    nobody = [one for one in trial.studies if not one.sent]
    return TrialShown(
        count=count, jobs=trial.jobs, unmatched=trial.unmatched, rows=rows, warnings=tuple(warnings), studies=studies,
        nobody=tuple(_study(one) for one in nobody[:SHOWN_STUDIES]), has_more=count > SHOWN_STUDIES,
        summary=study_summary(trial.studies[0]) if count == 1 else "",
    )  # fmt: skip


def _tally(tally: RuleTally, count: int) -> TallyRow:
    no = count - tally.matched - tally.refused
    bars, x = [], 0.0
    for kind, number in (("yes", tally.matched - tally.held), ("held", tally.held), ("label", tally.refused), ("no", no)):
        width = round(BAR * number / count, 1) if count else 0.0
        if width:
            bars.append(Bar(kind, round(x, 1), width))
        x += width
    reasons = tuple(tally.reasons.most_common(SHOWN_REASONS))
    return TallyRow(tally, no, tuple(bars), reasons, str(WARNINGS.get(tally.warning, "")) if count else "")


def _conflict(first: str, second: str, about: str, count: int) -> str:
    said = ngettext(
        "%(first)s and %(second)s want the same algorithm with %(about)s for %(count)s study: %(first)s, which is before it, wins",
        "%(first)s and %(second)s want the same algorithm with %(about)s for %(count)s studies: %(first)s, which is before it, wins",
        count,
    )  # fmt: skip
    return said % {"first": first, "second": second, "about": ABOUT.get(about, about), "count": count}


def _study(trial: StudyTrial) -> StudyRow:
    sent = {id(choice) for choice in trial.sent}
    yes = tuple(_answer(choice, id(choice) in sent, trial.held) for choice in trial.choices if choice.is_match)
    noes = [choice for choice in trial.choices if not choice.is_match]
    noes.sort(key=lambda choice: not choice.is_label)  # nearest to being sent first
    no = tuple(_answer(choice, False, {}) for choice in noes[:SHOWN_RULES])
    return StudyRow(trial.study, study_words(trial.study), yes, no, max(len(noes) - SHOWN_RULES, 0))


def _answer(choice: Choice, is_sent: bool, held: dict[str, str]) -> Answer:
    words = held.get(choice.rule["id"], "") if is_sent else ""
    reason = words or (choice.reason if is_sent or not choice.is_match else _("yes, but a rule before it sends the same"))
    return Answer(choice.rule["name"], is_sent and not words, choice.is_match, reason)


def study_words(study: Study | None) -> str:
    """What it is, not whose: CT CHEST, 150 images."""
    if study is None:
        return _("the file")
    images = ngettext("%(count)s image", "%(count)s images", study.number_of_instances) % {"count": study.number_of_instances}
    return f"{' '.join(part for part in (study.modalities.replace(',', ', '), study.body_part) if part) or _('a study')}, {images}"

