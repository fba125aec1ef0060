"""The closed vocabulary of rules: facts that a condition may be about, and what may be asked of each. No code in a rule, ever."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ai.eligibility import SeriesFacts, StudyFacts

Kind = Literal["words", "text", "number", "clock"]
# What can be asked of a fact of each kind, and the words for it.
OPERATORS: dict[Kind, dict[str, str]] = {
    "words": {"is": "is", "is_not": "is not"},
    "text": {"contains": "contains", "contains_not": "does not contain"},
    "number": {"at_least": "is at least", "at_most": "is at most"},
    "clock": {"between": "is between"},
}
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
DAY = 24 * 60


@dataclass(frozen=True)
class Fact:
    """Something known of a study or a series. `of` gives a frozenset of words, a text, or a number (None: not stated)."""

    name: str
    label: str
    kind: Kind
    of: Callable[[Any], Any]
    help: str = ""


def _words(*found: str) -> frozenset[str]:
    return frozenset(word for word in found if word)


def _each(name: str) -> Callable[[StudyFacts], frozenset[str]]:
    return lambda facts: _words(*(getattr(series, name) for series in facts.series))


def _contrast(series: SeriesFacts) -> frozenset[str]:
    return frozenset() if series.is_contrast is None else _words("WITH" if series.is_contrast else "WITHOUT")


STUDY: Mapping[str, Fact] = {
    fact.name: fact
    for fact in (
        Fact("modality", "modality", "words", lambda facts: facts.modalities, "of any series, e.g. CT"),
        Fact("body_part", "body part", "words", lambda facts: facts.body_parts, "BodyPartExamined, e.g. CHEST"),
        Fact("description", "study description", "text", lambda facts: facts.description),
        Fact("calling_ae", "calling AE", "words", lambda facts: facts.calling_aes, "AE title that sent the images"),
        Fact("station", "station", "words", _each("station"), "StationName"),
        Fact("institution", "institution", "words", _each("institution"), "InstitutionName"),
        Fact("manufacturer", "manufacturer", "words", _each("manufacturer")),
        Fact("model", "device model", "words", _each("model"), "ManufacturerModelName"),
        Fact("sex", "sex", "words", lambda facts: _words(facts.sex), "F, M or O"),
        Fact("patient_age_years", "patient age", "number", lambda facts: facts.patient_age_years, "years"),
        Fact("priority", "priority", "words", lambda facts: _words(facts.priority), "of its order: STAT, ASAP, URGENT, ROUTINE"),
        Fact("time", "time of arrival", "clock", lambda facts: facts.minute_of_day, "of the first image, the hospital's clock"),
        Fact("weekday", "day of arrival", "words", lambda facts: _words(facts.weekday), ", ".join(WEEKDAYS)),
        Fact("series", "series", "number", lambda facts: float(len(facts.series)), "how many"),
        Fact("instances", "images", "number", lambda facts: float(sum(one.instances for one in facts.series)), "how many"),
        Fact("priors", "earlier studies", "number", lambda facts: float(facts.priors), "of the patient, that are here"),
        Fact("days_since_prior", "days since the last study", "number", lambda facts: facts.days_since_prior),
        Fact(
            "result", "result of another platform", "words", lambda facts: facts.results,
            "platform/algorithm, then done, flagged or not analysable: viz-ai/ich-triage flagged",
        ),
    )
}  # fmt: skip
SERIES: Mapping[str, Fact] = {
    fact.name: fact
    for fact in (
        Fact("modality", "modality", "words", lambda one: _words(one.modality)),
        Fact("body_part", "body part", "words", lambda one: _words(one.body_part)),
        Fact("series_description", "series description", "text", lambda one: one.description),
        Fact("protocol", "protocol", "text", lambda one: one.protocol, "ProtocolName"),
        Fact("kernel", "kernel", "words", lambda one: _words(one.kernel), "ConvolutionKernel, e.g. B30F"),
        Fact("orientation", "orientation", "words", lambda one: _words(one.orientation), "AXIAL, CORONAL, SAGITTAL or OBLIQUE"),
        Fact("slice_thickness_mm", "slice thickness", "number", lambda one: one.slice_thickness_mm, "mm"),
        Fact("slice_spacing_mm", "slice spacing", "number", lambda one: one.slice_spacing_mm, "mm, the largest between neighbours"),
        Fact("contrast", "contrast agent", "words", _contrast, "WITH or WITHOUT"),
        Fact("image_type", "image type", "words", lambda one: one.image_types, "a value of ImageType, e.g. ORIGINAL"),
        Fact("instances", "images", "number", lambda one: float(one.instances), "how many"),
    )
}  # fmt: skip


def minutes_of(text: str) -> int:
    """ "07:30" -> 450. Raises ValueError."""
    hours, minutes = text.split(":")
    if not (hours.isdigit() and minutes.isdigit() and len(minutes) == 2 and int(hours) < 24 and int(minutes) < 60):
        raise ValueError("a time is HH:MM")
    return int(hours) * 60 + int(minutes)
