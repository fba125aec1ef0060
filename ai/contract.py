"""What a platform is to us, in types: card, facts of a study, verdict, job, answer. Platforms know this file and their wire."""

import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol

NOTICE = "AI-generated, preliminary, not a medical device"


class PlatformError(Exception):
    """A platform did not do its part. `is_permanent`: trying again changes nothing. The words never hold a vendor's body or PHI."""

    def __init__(self, user_message: str, *, is_permanent: bool) -> None:
        super().__init__(user_message)
        self.user_message = user_message
        self.is_permanent = is_permanent


@dataclass(frozen=True, kw_only=True)
class Coding:
    """system is a FHIR URI; code and display as that system has them."""

    system: str
    code: str
    display: str


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A setting that the number depends on, e.g. the threshold of a density mask."""

    code: Coding
    value: float
    unit: str  # UCUM


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A number with everything needed to judge it. `unit` is the UCUM code, `unit_display` what people read."""

    code: Coding
    value: float
    unit: str
    unit_display: str
    body_site: Coding | None
    method: str
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """Who computed: shown beside every word, and the Device in FHIR."""

    name: str
    version: str
    manufacturer: str


@dataclass(frozen=True, kw_only=True)
class Note:
    code: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A platform's answer once its wire was read. Exactly one of measurements and `not_analysable` says something."""

    algorithm: Algorithm
    study_uid: str
    series_uid: str
    sop_uids: tuple[str, ...]
    input_sha256: str
    measurements: tuple[Measurement, ...]
    not_analysable: Note | None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """What a report version says. Kept as data on ai.models.Report.content and rendered by the portal and by FHIR."""

    algorithm: Algorithm
    platform: str
    is_test_double: bool
    study_uid: str
    series_uid: str
    sop_uids: tuple[str, ...]
    input_sha256: str
    measurements: tuple[Measurement, ...]
    not_analysable: Note | None
    notes: tuple[Note, ...]
    notice: str = NOTICE


@dataclass(frozen=True, kw_only=True)
class AlgorithmCard:
    """Eligibility is per algorithm, not per platform (research/ai-platforms section 1)."""

    name: str
    title: str
    modalities: frozenset[str]
    body_parts: frozenset[str]
    role: str  # triage, detection, quantification
    clearance: str  # number and region, or why there is none
    min_instances: int = 1


@dataclass(frozen=True, kw_only=True)
class Card:
    """Facts about a platform, each with a source a reader can check."""

    slug: str
    name: str
    vendor: str
    kind: str  # built-in, archive, model-endpoint, samd-vendor, llm, unavailable
    summary: str
    algorithms: tuple[AlgorithmCard, ...]
    source: str
    is_in_house: bool = False  # nothing is disclosed, so nothing is de-identified


@dataclass(frozen=True, kw_only=True)
class SeriesFacts:
    id: int
    series_uid: str
    modality: str
    body_part: str
    instances: int


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


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """May this algorithm have this study? The reason is shown either way."""

    is_eligible: bool
    reason: str
    series: SeriesFacts | None = None


class Http(Protocol):
    """tenants.egress as a platform sees it: the only way out."""

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str], content: bytes | Iterator[bytes] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]: ...


@dataclass(frozen=True, kw_only=True)
class Handle:
    """What is sent: the files of the chosen series, and a key that makes sending twice harmless."""

    idempotency_key: str
    algorithm: str
    study_uid: str
    series_uid: str
    files: Sequence[Path]


class Platform:
    """Base of every file in ai/platforms. A subclass registers itself by its card's slug."""

    card: ClassVar[Card]
    registry: ClassVar[dict[str, "Platform"]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Platform.registry[cls.card.slug] = cls()

    def accepts(self, facts: StudyFacts, algorithm: str) -> Verdict:
        """On-label or not, and which series. Off-label is refused with the reason."""
        raise NotImplementedError

    def send(self, handle: Handle, settings: Mapping[str, str], http: Http) -> str:
        """Hand the study over; returns the platform's id of the job. Raises PlatformError."""
        raise NotImplementedError

    def poll(self, remote_id: str, settings: Mapping[str, str], http: Http) -> dict[str, Any] | None:
        """The answer's payload, or None while it computes. Raises PlatformError."""
        raise NotImplementedError

    def parse(self, payload: dict[str, Any]) -> Answer:
        """Read a payload whose shape was checked. Raises PlatformError when it says something it must not."""
        raise NotImplementedError

    def check(self, settings: Mapping[str, str], http: Http) -> str:
        """The "Test connection" button: a sentence about what answered. Raises PlatformError."""
        raise NotImplementedError


def platforms() -> dict[str, Platform]:
    """Every platform by slug: whatever file lies in ai/platforms."""
    package = import_module("ai.platforms")
    for module in pkgutil.iter_modules(package.__path__):
        import_module(f"ai.platforms.{module.name}")
    return Platform.registry
