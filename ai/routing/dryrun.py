"""What rules would do: over the last studies, with the facts that the live run saw, or over one file. Nothing is sent, no row is made.

Facts are read from decisions where they stand, so that the answer of the active rules is the one that was given.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filebase import DicomBytesIO

from ai.eligibility import SeriesFacts, StudyFacts
from ai.facts import FACTS, studies_facts, years_of
from ai.headers import dataset_facts
from ai.models import Decision
from ai.routing.choose import Choice, RouteBook, choices_sent
from ai.routing.live import NO_MATCH, holds_read
from imaging.models import Study

MAX_STUDIES = 1000
CHUNK = 200
FILE_BYTES = 64 << 20


class FileRefused(Exception):
    """It cannot be read as a DICOM object. The words hold nothing of it."""


@dataclass(frozen=True, kw_only=True)
class StudyTrial:
    """One study under the rules: each rule's choice, what would be sent, and what would not if the platforms stay as they are."""

    study: Study | None
    choices: Sequence[Choice]
    sent: Sequence[Choice]
    held: dict[str, str]  # of those that match: rule id -> why the platform takes nothing now


@dataclass(kw_only=True)
class RuleTally:
    """A rule over all studies. `doubled`: it matched, and another before it sends the same."""

    rule: dict[str, Any]
    matched: int = 0
    refused: int = 0  # its conditions held, the label said no
    doubled: int = 0
    held: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def warning(self) -> str:
        """never: no study matched; label: what matched is off-label; shadowed: others send all of it."""
        if self.matched:
            return "shadowed" if self.doubled == self.matched else ""
        return "label" if self.refused else "never"


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """Two rules want the same algorithm for a study and do not agree how. The first one wins."""

    first: str
    second: str
    about: str  # series, priority
    count: int


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A dry run."""

    studies: Sequence[StudyTrial]
    tallies: Sequence[RuleTally]
    conflicts: Sequence[Conflict]
    unmatched: int

    @property
    def jobs(self) -> int:
        return sum(len(one.sent) for one in self.studies)


def studies_try(*, rules: Sequence[dict[str, Any]], last: int) -> Trial:
    """Over the hospital's last complete studies, newest first. In a scope. Raises RuleError."""
    book = RouteBook(rules)
    hold = holds_read()
    rows = Study.objects.filter(state=Study.State.COMPLETE, is_from_ai=False).select_related("patient")
    studies = list(rows.order_by("-first_received_at", "-id")[: min(last, MAX_STUDIES)])
    known = _facts_known(studies)
    trials = []
    for begin in range(0, len(studies), CHUNK):
        chunk = studies[begin : begin + CHUNK]
        fresh = studies_facts(studies=[study for study in chunk if study.id not in known])
        for study in chunk:
            trials.append(_trial(study, book.choices(known.get(study.id) or fresh[study.id]), hold))
    return _summed(rules, trials)


def _facts_known(studies: Sequence[Study]) -> dict[int, StudyFacts]:
    versions = {study.id: study.version for study in studies}
    rows = Decision.objects.filter(study_id__in=versions).exclude(facts=None).values_list("study_id", "study_version", "facts")
    return {study_id: FACTS.validate_python(facts) for study_id, version, facts in rows if versions[study_id] == version}


def file_try(*, rules: Sequence[dict[str, Any]], data: bytes) -> Trial:
    """Over one object, as if a study of it alone had come. In a scope; nothing is kept. Raises RuleError, FileRefused."""
    return _summed(rules, [_trial(None, RouteBook(rules).choices(file_facts(data)), holds_read())])


def file_facts(data: bytes) -> StudyFacts:
    """Raises FileRefused."""
    try:
        ds = dcmread(DicomBytesIO(data), stop_before_pixels=True)
        modality, part = str(ds.get("Modality", "")).strip(), str(ds.get("BodyPartExamined", "")).strip().upper()
        series = SeriesFacts(
            id=0, series_uid=str(ds.get("SeriesInstanceUID", "")), modality=modality, body_part=part,
            instances=int(ds.get("NumberOfFrames") or 1), description=str(ds.get("SeriesDescription", "")),
            sop_classes=frozenset({str(ds.get("SOPClassUID", ""))}), **dataset_facts(ds),
        )  # fmt: skip
        return StudyFacts(
            study_uid=str(ds.get("StudyInstanceUID", "")), modalities=frozenset({modality} - {""}),
            body_parts=frozenset({part} - {""}), description=str(ds.get("StudyDescription", "")),
            patient_age_years=years_of(
                age=str(ds.get("PatientAge", "")), born=str(ds.get("PatientBirthDate", "")), done=str(ds.get("StudyDate", ""))
            ),
            sex=str(ds.get("PatientSex", "")).strip(), calling_aes=frozenset(), series=(series,),
        )  # fmt: skip
    except (InvalidDicomError, ValueError, TypeError, AttributeError, KeyError, OSError, RecursionError):
        raise FileRefused("this is no DICOM file that can be read") from None


def _trial(study: Study | None, choices: Sequence[Choice], hold: Callable[[Mapping[str, Any]], str]) -> StudyTrial:
    sent = choices_sent(choices)
    held = {choice.rule["id"]: hold(choice.rule) for choice in sent}
    return StudyTrial(study=study, choices=choices, sent=sent, held={key: words for key, words in held.items() if words})


def _summed(rules: Sequence[dict[str, Any]], trials: Sequence[StudyTrial]) -> Trial:
    tallies = [RuleTally(rule=rule) for rule in rules]
    conflicts: Counter[tuple[str, str, str]] = Counter()
    for trial in trials:
        firsts = {choice.target: choice for choice in trial.sent}
        for tally, choice in zip(tallies, trial.choices, strict=True):
            if not choice.is_match:
                tally.refused += choice.is_label
                tally.reasons[choice.reason] += 1
                continue
            tally.matched += 1
            tally.held += choice.rule["id"] in trial.held
            first = firsts[choice.target]
            if first is not choice:
                tally.doubled += 1
                for about in _differences(first, choice):
                    conflicts[first.rule["name"], choice.rule["name"], about] += 1
    unmatched = sum(1 for trial in trials if not trial.sent)
    found = [Conflict(first=a, second=b, about=about, count=count) for (a, b, about), count in conflicts.most_common()]
    return Trial(studies=trials, tallies=tallies, conflicts=found, unmatched=unmatched)


def _differences(first: Choice, second: Choice) -> list[str]:
    about = ["series"] if first.series_id != second.series_id else []
    return about + (["priority"] if first.rule.get("is_stat") != second.rule.get("is_stat") else [])


def study_summary(trial: StudyTrial) -> str:
    """Why nothing of it would be sent; "" where something is."""
    return "" if trial.sent else NO_MATCH
