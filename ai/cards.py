"""What is known about a platform and its algorithms, as facts with sources; and the fields of its settings form."""

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["built-in", "archive", "model-endpoint", "samd-vendor", "llm", "unavailable"]
Role = Literal["triage", "detection", "quantification", "autonomous", "storage", "wording"]
Prefers = Literal["thin", "soft"]
Residence = Literal["here", "chosen", "own", "france", "contract"]
Deidentification = Literal["none", "default", "default-dates-kept"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a fact can be checked. `url` without a scheme is a document of ours."""

    title: str
    url: str


@dataclass(frozen=True, kw_only=True)
class Clearance:
    """A regulator's number and what it covers; `source` says where to check it. No number: say why in AlgorithmCard.clearance."""

    number: str
    authority: str  # FDA, CE, UKCA
    scope: str
    date: str  # ISO 8601, as exact as known; "" when not known
    source: Source


@dataclass(frozen=True, kw_only=True)
class Performance:
    """A figure that somebody has published or that we measured, on what, and where to check it. Never one of ours by guess."""

    what: str
    value: str
    source: Source


@dataclass(frozen=True, kw_only=True)
class AlgorithmCard:
    """Eligibility is per algorithm, not per platform (research/ai-platforms section 1). Empty sets and None mean: not limited."""

    name: str
    title: str
    modalities: frozenset[str]
    body_parts: frozenset[str]
    role: Role
    clearance: str  # number and region, or why there is none
    min_instances: int = 1
    findings: tuple[str, ...] = ()
    clearances: tuple[Clearance, ...] = ()
    min_age_years: float | None = None
    max_age_years: float | None = None
    max_slice_spacing_mm: float | None = None
    is_contrast: bool | None = None  # True: contrast needed; False: must be without
    camera_models: frozenset[str] = frozenset()  # ManufacturerModelName, upper case
    sop_classes: frozenset[str] = frozenset()
    orientations: frozenset[str] = frozenset()  # AXIAL, CORONAL, SAGITTAL, OBLIQUE
    max_slice_thickness_mm: float | None = None
    min_priors: int = 0  # earlier studies of the same patient that must be here
    prefers: tuple[Prefers, ...] = ()  # of several series that fit, in this order; then the largest
    intended_use: str = ""
    out_of_scope: str = ""
    performance: tuple[Performance, ...] = ()  # empty: none that we could check
    versions: tuple[str, ...] = ()  # known to us, newest first; what is seen in results is another thing
    limits: str = ""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One field of the connection form; the same list checks the API's body. `secret` is sealed at rest and never shown again."""

    name: str
    label: str
    kind: Literal["text", "url", "secret", "choice", "number", "pem", "ae_title", "host", "port"] = "text"
    help: str = ""
    is_required: bool = True
    default: str = ""
    choices: tuple[str, ...] = ()
    only_with: tuple[str, str] | None = None  # (other setting, its value): asked only then


@dataclass(frozen=True, kw_only=True)
class Card:
    """Facts about a platform, each with a source a reader can check."""

    slug: str
    name: str
    vendor: str
    kind: Kind
    summary: str  # what it is today
    algorithms: tuple[AlgorithmCard, ...]
    source: str
    is_in_house: bool = False  # nothing is disclosed, so nothing is de-identified
    history: str = ""  # renamed, sold, retired
    interface: str = ""  # how it integrates; "no public interface: ..." where it has none
    is_public: bool = False  # has a public interface that our wire was written against
    regions: tuple[str, ...] = ()  # where the data goes; empty: by contract
    residence: Residence = "contract"  # the same as a kind, to look for: here, a region one chooses, a place of one's own ...
    sources: tuple[Source, ...] = field(default=())
    limits: str = ""
