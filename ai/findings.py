"""What an answer can say, in types: numbers, findings, regions, objects, receipts, words. Read by reports, FHIR and DICOM encoders.

Shape and names follow the primitives of IHE AI Results (AIR) and DICOM TID 1500.
"""

from dataclasses import dataclass
from typing import Literal

NOTICE = "AI-generated, preliminary, not a medical device"
REVIEWED = "AI-generated, not a medical device"  # once a person has decided


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
class ImageRef:
    """An instance of the study that was sent; frames count from 1, none means the whole instance."""

    sop_uid: str
    frames: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outline:
    """Where on one image: pixel coordinates (column, row) as in SCOORD (PS3.3 C.18.6), one graphic."""

    image: ImageRef
    graphic: Literal["POINT", "MULTIPOINT", "POLYLINE", "CIRCLE", "ELLIPSE"]
    points: tuple[tuple[float, float], ...]


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
    laterality: Coding | None = None
    images: tuple[ImageRef, ...] = ()
    outlines: tuple[Outline, ...] = ()
    tracking_uid: str = ""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A statement that is no number: `code` is what was looked for, `value` what was said (SNOMED CT present, absent, ...).

    `probability` 0..1 as the vendor gave it, None when it gave none; `words` are the vendor's own, shown as such.
    """

    code: Coding
    value: Coding | None
    probability: float | None = None
    body_site: Coding | None = None
    laterality: Coding | None = None
    images: tuple[ImageRef, ...] = ()
    outlines: tuple[Outline, ...] = ()
    words: str = ""
    tracking_uid: str = ""


@dataclass(frozen=True, kw_only=True)
class Region:
    """One segment of a Segmentation object (PS3.3 C.8.20). `sop_uid` is empty while a mask has not become an object (ai/masks.py)."""

    sop_uid: str
    segment_number: int
    label: str
    category: Coding
    type: Coding
    body_site: Coding | None = None
    tracking_uid: str = ""


@dataclass(frozen=True, kw_only=True)
class Document:
    """A DICOM object that belongs to the answer, to be kept and delivered as it is once its UIDs were reversed."""

    kind: Literal["SR", "SEG", "SC", "PDF", "GSPS", "KOS", "PMAP", "OTHER"]
    sop_class_uid: str
    sop_uid: str
    series_uid: str
    title: str
    copy_of: str = ""  # SOP Instance UID of the object that this one is under another name (ai.review.masks)


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """Who computed: shown beside every word, and the Device in FHIR."""

    name: str
    version: str
    manufacturer: str
    udi: str = ""


@dataclass(frozen=True, kw_only=True)
class Note:
    code: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What a store says: it has them. Never a finding."""

    instances: int
    resources: int = 0
    failed: int = 0
    place: str = ""  # the vendor's own address or id of what it keeps; no PHI


@dataclass(frozen=True, kw_only=True)
class Wording:
    """A draft of an impression by a language model, from findings that were given to it. Never a finding."""

    text: str
    model: str
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A platform's answer once its wire was read.

    Exactly one of these says something: findings or measurements or regions or documents (what was seen), `not_analysable`,
    `receipt`, `wording`. `is_flagged`: a triage algorithm asks for this study to be read first; it says nothing more.
    """

    algorithm: Algorithm
    study_uid: str
    series_uid: str
    sop_uids: tuple[str, ...]
    input_sha256: str
    measurements: tuple[Measurement, ...] = ()
    not_analysable: Note | None = None
    notes: tuple[Note, ...] = ()
    findings: tuple[Finding, ...] = ()
    regions: tuple[Region, ...] = ()
    documents: tuple[Document, ...] = ()
    is_flagged: bool = False
    receipt: Receipt | None = None
    wording: Wording | None = None

    @property
    def is_seen(self) -> bool:
        """Whether something was seen in the images, which makes it a report."""
        return bool(self.measurements or self.findings or self.regions or self.documents or self.is_flagged)


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What a person says instead of one item: `item` is "measurement/0" or "finding/2", the kind and its place in the content.

    `value` is in the measurement's own unit. Without one the item does not hold; `words` may say what does.
    """

    item: str
    value: float | None = None
    words: str = ""


@dataclass(frozen=True, kw_only=True)
class Review:
    """Which person stands behind a report version. What the algorithm said stays in the content as it said it."""

    action: Literal["accept", "correct", "reject"]
    by: str  # the person's name
    by_id: str  # tenants.User
    at: str  # ISO 8601
    reason: str = ""  # a code of ai.review.reasons
    words: str = ""
    corrections: tuple[Correction, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """What a report version says. Kept as data on ai.models.Report.content and rendered by the portal, FHIR and DICOM."""

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
    findings: tuple[Finding, ...] = ()
    regions: tuple[Region, ...] = ()
    documents: tuple[Document, ...] = ()
    is_flagged: bool = False
    wording: Wording | None = None
    notice: str = NOTICE
    review: Review | None = None  # None: nobody has decided, or what was decided was taken back
