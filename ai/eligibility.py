"""May this algorithm have this study, and which series of it? Pure: read by every platform, the live run and the dry run alike."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any

from ai.cards import AlgorithmCard, Card
from ai.kernels import kernel_is_sharp


@dataclass(frozen=True, kw_only=True)
class SeriesFacts:
    """What the rows and one image's header say of a series. Empty and None: not stated."""

    id: int
    series_uid: str
    modality: str
    body_part: str
    instances: int
    description: str = ""
    protocol: str = ""
    sop_classes: frozenset[str] = frozenset()
    image_types: frozenset[str] = frozenset()  # values of ImageType
    slice_spacing_mm: float | None = None
    slice_thickness_mm: float | None = None
    orientation: str = ""  # AXIAL, CORONAL, SAGITTAL, OBLIQUE
    kernel: str = ""  # ConvolutionKernel, upper case
    is_contrast: bool | None = None
    model: str = ""  # ManufacturerModelName, upper case
    manufacturer: str = ""
    station: str = ""
    institution: str = ""


@dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """What rules and platforms may look at. No name, no number of a patient."""

    study_uid: str
    modalities: frozenset[str]
    body_parts: frozenset[str]
    description: str
    patient_age_years: float | None
    sex: str
    calling_aes: frozenset[str]
    series: tuple[SeriesFacts, ...]
    priority: str = ""  # of its order: STAT, ASAP, URGENT, ROUTINE
    minute_of_day: int | None = None  # when its first image came, in the hospital's time zone
    weekday: str = ""  # MON ... SUN, the same moment
    priors: int = 0  # earlier studies of the patient that are here
    days_since_prior: float | None = None
    results: frozenset[str] = frozenset()  # "platform/algorithm done", "... flagged", "... not analysable"


@dataclass(frozen=True, kw_only=True)
class SeriesReason:
    """Why a series would be sent, or would not."""

    series_id: int
    is_chosen: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """May this algorithm have this study? The reason is shown either way, and that of each series."""

    is_eligible: bool
    reason: str
    series: SeriesFacts | None = None
    explain: Callable[[], tuple[SeriesReason, ...]] = tuple  # why each series would be sent or not; asked when it is shown


def verdict_of(*, card: Card, facts: StudyFacts, algorithm: str) -> Verdict:
    """On-label or not, and the series that would be sent: of those that fit the one the algorithm prefers, then the largest.

    What is not stated is not guessed: a body part that isn't stated is left to the algorithm's own gate, an age, spacing, contrast or
    camera that a label demands and nobody states is a no.
    """
    found = next((item for item in card.algorithms if item.name == algorithm), None)
    if found is None:
        return _no(f"{card.name} has no algorithm of that name")
    if words := _age_refusal(found, facts.patient_age_years) or _priors_refusal(found, facts.priors):
        return _no(words)
    refusals = {item.id: _kind_refusal(found, item, facts) or _series_refusal(found, item) for item in facts.series}
    good = [item for item in facts.series if not refusals[item.id]]
    if not good:
        return Verdict(is_eligible=False, reason=_study_refusal(found, facts), explain=partial(_noes, refusals))
    best = good[0] if len(good) == 1 else max(good, key=partial(_rank, found) if found.prefers else _size)
    chosen = f"the {_best_word(found)} of {len(good)} series" if len(good) > 1 else "its one fitting series"
    return Verdict(
        is_eligible=True, reason=f"{chosen}, {_slices(best.instances)}", series=best,
        explain=partial(_places, found, facts, refusals, best, chosen),
    )  # fmt: skip


def _noes(refusals: Mapping[int, str]) -> tuple[SeriesReason, ...]:
    return tuple(SeriesReason(series_id=key, is_chosen=False, reason=words) for key, words in refusals.items())


def _places(
    card: AlgorithmCard, facts: StudyFacts, refusals: Mapping[int, str], best: SeriesFacts, chosen: str
) -> tuple[SeriesReason, ...]:
    return tuple(
        SeriesReason(series_id=item.id, is_chosen=item is best, reason=refusals[item.id] or _place(card, item, best, chosen))
        for item in facts.series
    )


def _study_refusal(card: AlgorithmCard, facts: StudyFacts) -> str:
    """The reason of the series that came nearest: right modality, right body part, then the largest."""
    series = [item for item in facts.series if not card.modalities or item.modality in card.modalities]
    if not series:
        have = ", ".join(sorted(facts.modalities)) or "not stated"
        return f"modality is {have}, {card.title} needs {', '.join(sorted(card.modalities))}"
    fitting = [item for item in series if not _kind_refusal(card, item, facts)]
    if not fitting:
        stated = {item.body_part for item in series if item.body_part} or facts.body_parts
        return f"body part is {', '.join(sorted(stated))}, {card.title} needs {_needed(card.body_parts)}"
    return _series_refusal(card, max(fitting, key=_size))


def _kind_refusal(card: AlgorithmCard, item: SeriesFacts, facts: StudyFacts) -> str:
    if card.modalities and item.modality not in card.modalities:
        return f"modality is {item.modality or 'not stated'}, {card.title} needs {', '.join(sorted(card.modalities))}"
    part = {item.body_part} if item.body_part else facts.body_parts
    if card.body_parts and part and not part & card.body_parts:
        return f"body part is {', '.join(sorted(part))}, {card.title} needs {_needed(card.body_parts)}"
    return ""


def _rank(card: AlgorithmCard, item: SeriesFacts) -> tuple[Any, ...]:
    """Larger is better."""
    return (*(WISHES[wish](item) for wish in card.prefers), *_size(item))


def _thin(item: SeriesFacts) -> float:
    thickness = item.slice_thickness_mm or item.slice_spacing_mm
    return -thickness if thickness else -inf


def _soft(item: SeriesFacts) -> int:
    return {False: 1, None: 0, True: -1}[kernel_is_sharp(item.kernel)]


WISHES: dict[str, Callable[[SeriesFacts], float]] = {"thin": _thin, "soft": _soft}


def _best_word(card: AlgorithmCard) -> str:
    return {"thin": "thinnest", "soft": "softest"}[card.prefers[0]] if card.prefers else "largest"


def _place(card: AlgorithmCard, item: SeriesFacts, best: SeriesFacts, chosen: str) -> str:
    """Why a series that fits was chosen, or another before it."""
    if item is best:
        return chosen
    for wish, mine, others in zip(card.prefers, _rank(card, item), _rank(card, best), strict=False):
        if mine != others:
            return {"thin": "it fits; another is thinner", "soft": "it fits; another has a softer kernel"}[wish]
    return "it fits; another is as good and has as many images or more"


def _no(words: str) -> Verdict:
    return Verdict(is_eligible=False, reason=words)


def _size(item: SeriesFacts) -> tuple[int, str]:
    return item.instances, item.series_uid


def _needed(parts: frozenset[str]) -> str:
    return " or ".join(sorted(parts)[:3])


def _slices(count: int) -> str:
    return "1 slice" if count == 1 else f"{count} slices"


def _age_refusal(card: AlgorithmCard, age: float | None) -> str:
    if card.min_age_years is None and card.max_age_years is None:
        return ""
    if age is None:
        return f"the patient's age is not stated, {card.title} is limited by age"
    if card.min_age_years is not None and age < card.min_age_years:
        return f"the patient is younger than {card.min_age_years:g} years"
    if card.max_age_years is not None and age > card.max_age_years:
        return f"the patient is older than {card.max_age_years:g} years"
    return ""


def _priors_refusal(card: AlgorithmCard, priors: int) -> str:
    if priors >= card.min_priors:
        return ""
    return f"{card.title} compares with an earlier study, and {'none' if not priors else f'only {priors}'} of this patient is here"


def _series_refusal(card: AlgorithmCard, item: SeriesFacts) -> str:
    if "LOCALIZER" in item.image_types:
        return "it is a localizer"
    if item.instances < card.min_instances:
        return f"{_slices(item.instances)}, {card.title} needs {card.min_instances} or more"
    for what, have, most in (
        ("spacing", item.slice_spacing_mm, card.max_slice_spacing_mm), ("thickness", item.slice_thickness_mm, card.max_slice_thickness_mm),
    ):  # fmt: skip
        if most is not None and (have is None or have > most):
            return f"slice {what} is {_stated(have)}, {card.title} needs {most} mm or less"
    if card.orientations and item.orientation not in card.orientations:
        return f"orientation is {item.orientation.lower() or 'not stated'}, {card.title} needs {_needed(card.orientations).lower()}"
    if card.is_contrast is not None and item.is_contrast is not card.is_contrast:
        words = f"{card.title} needs images {'with' if card.is_contrast else 'without'} contrast agent"
        return words + (", which is not stated" if item.is_contrast is None else "")
    if card.camera_models and item.model not in card.camera_models:
        return f"the device is {item.model or 'not stated'}, {card.title} is cleared for {', '.join(sorted(card.camera_models))}"
    if card.sop_classes and not item.sop_classes & card.sop_classes:
        return f"no image is of a kind that {card.title} takes"
    return ""


def _stated(value: float | None) -> str:
    return "not stated" if value is None else f"{value:g} mm"
