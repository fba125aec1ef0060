"""What a printed report says, line by line, in words: made from a report's content, read by the PDF and by the page alike."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime
from typing import Any

from ai.encoding.stamp import TEST_DOUBLE, maker_of
from ai.findings import REVIEWED, Coding, Finding, ImageRef, Measurement, Outline, ReportContent
from ai.reports import number_words
from ai.review.applied import Corrected, content_shown, corrections_told, review_words

DRAFT = "Draft wording by {model}, not a finding"
STANDARDS = {"http://snomed.info/sct": "SNOMED CT", "http://dicom.nema.org/resources/ontology/DCM": "DICOM", "http://loinc.org": "LOINC"}
FINDING = "121071"
NOT_TO_BE_USED = "What the algorithm said is not to be used."
UNITS = {"[hnsf'U]": "HU", "1": ""}  # where people read another word than UCUM writes
# Control characters, and those that turn the direction of what follows: a name must not rearrange the line it stands in.
HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class Head:
    """Whose report it is, as the caller reads it from the study; `patient_name` as a PN. Times are aware, in the hospital's zone."""

    hospital: str
    patient_name: str
    patient_id: str
    birth_date: str
    sex: str
    accession_number: str
    study_date: str
    study_description: str
    status: str  # of the report: preliminary, final, amended, cancelled, entered-in-error
    version: int
    issued_at: datetime
    decided_by: str = ""
    title: str = ""  # what people call the algorithm; its name where this is empty
    recalls: tuple[str, ...] = ()  # why the hospital stopped the algorithm; shown before everything that it says
    paper: str = "a4"  # or us-letter


@dataclass(frozen=True, kw_only=True)
class Line:
    """A label and what stands behind it."""

    label: str
    text: str


@dataclass(frozen=True, kw_only=True)
class FindingLine:
    term: str
    value: str
    place: str
    certainty: str
    words: str  # the vendor's own
    code: str
    images: str


@dataclass(frozen=True, kw_only=True)
class MeasurementLine:
    term: str
    place: str
    value: str
    unit: str
    method: str
    images: str


@dataclass(frozen=True, kw_only=True)
class ReportSheet:
    """Plain words only; whoever shows them escapes them. Empty parts are not shown."""

    hospital: str
    title: str
    status: str
    version: str
    issued: str
    notice: str
    paper: str
    patient: tuple[Line, ...]
    study: tuple[Line, ...]
    recalls: tuple[str, ...]
    decision: str  # who decided what, and why
    corrections: tuple[Corrected, ...]
    flag: str
    not_analysable: str
    findings: tuple[FindingLine, ...]
    measurements: tuple[MeasurementLine, ...]
    regions: tuple[Line, ...]
    documents: tuple[str, ...]
    notes: tuple[str, ...]
    wording: Line | None
    made_by: tuple[Line, ...]
    running: str  # at the foot of every page: a loose sheet must say whose it is


def report_sheet(*, content: ReportContent, head: Head) -> ReportSheet:
    """The sheet of one report version."""
    decided, review = content, content.review
    is_rejected = review is not None and review.action == "reject"
    content = _nothing(content) if is_rejected else content_shown(content)
    algorithm, reason = content.algorithm, content.not_analysable
    name = name_words(head.patient_name) or "No name"
    wording = content.wording
    sheet: ReportSheet = cleaned(ReportSheet(
        hospital=head.hospital,
        title=f"AI result: {head.title or algorithm.name}",
        status=head.status.replace("-", " ").capitalize(),
        version=f"Version {head.version}",
        issued=head.issued_at.strftime("%Y-%m-%d %H:%M %Z"),
        notice=content.notice if head.status == "preliminary" else REVIEWED,
        paper=head.paper if head.paper in {"a4", "us-letter"} else "a4",
        patient=_lines(("Patient", name), ("Patient ID", head.patient_id), ("Born", _date(head.birth_date)), ("Sex", head.sex)),
        study=_lines(("Study", head.study_description), ("Date", _date(head.study_date)), ("Accession number", head.accession_number),
                     ("Decided by", head.decided_by or (review.by if review else ""))),
        recalls=head.recalls,
        decision=". ".join(filter(None, (review_words(review) if review else "", NOT_TO_BE_USED if is_rejected else ""))),
        corrections=() if is_rejected else corrections_told(decided),
        flag="The algorithm asks for this study to be read first. It says nothing more." if content.is_flagged else "",
        not_analysable=reason.text if reason else "",
        findings=tuple(_finding(item) for item in content.findings),
        measurements=tuple(_measurement(item) for item in content.measurements),
        regions=tuple(Line(label=item.label, text=_joined(item.type.display, _site(item.body_site, None))) for item in content.regions),
        documents=tuple(f"{item.title} ({item.kind})" for item in content.documents),
        notes=tuple(note.text for note in content.notes),
        wording=Line(label=DRAFT.format(model=wording.model), text=wording.text) if wording else None,
        made_by=tuple(_makers(content)),
        running=" · ".join(filter(None, (name, head.patient_id, head.accession_number))),
    ))  # fmt: skip
    return sheet


def _nothing(content: ReportContent) -> ReportContent:
    """Of a rejected report: who made it, and nothing that it said."""
    return replace(
        content, measurements=(), findings=(), regions=(), documents=(), notes=(), wording=None, is_flagged=False, not_analysable=None
    )


def cleaned(value: Any) -> Any:
    """The same without signs that nobody sees."""
    if isinstance(value, str):
        return HIDDEN.sub(" ", value)
    if isinstance(value, tuple):
        return tuple(cleaned(item) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: cleaned(getattr(value, one.name)) for one in fields(value)})
    return value


def name_words(person_name: str) -> str:
    """A PN for people, every way it is written: "Dr Jane Doe", "Tarou Yamada (山田 太郎, やまだ たろう)" (PS3.5 6.2.1.2)."""
    groups = [_name(group) for group in person_name.split("=")[:3]]
    first, *others = [group for group in groups if group] or [""]
    return f"{first} ({', '.join(others)})" if others else first


def _name(group: str) -> str:
    family, given, middle, prefix, suffix = ([part.strip() for part in group.split("^")] + [""] * 5)[:5]
    is_latin = group.isascii()
    return " ".join(filter(None, (prefix, given, middle, family, suffix) if is_latin else (prefix, family, given, middle, suffix)))


def _lines(*pairs: tuple[str, str]) -> tuple[Line, ...]:
    return tuple(Line(label=label, text=text) for label, text in pairs if text)


def _date(da: str) -> str:
    return f"{da[:4]}-{da[4:6]}-{da[6:]}" if len(da) == 8 and da.isdigit() else da


def _makers(content: ReportContent) -> Iterator[Line]:
    algorithm = content.algorithm
    yield Line(label="Algorithm", text=f"{algorithm.name} {algorithm.version}".strip())
    yield Line(label="Manufacturer", text=maker_of(content))
    if algorithm.udi:
        yield Line(label="UDI", text=algorithm.udi)
    yield Line(label="By way of", text=TEST_DOUBLE if content.is_test_double else content.platform)
    count = len(content.sop_uids)
    yield Line(label="Computed from", text=f"{count} image{'' if count == 1 else 's'}")
    if content.input_sha256:
        yield Line(label="Input SHA-256", text=content.input_sha256)


def _finding(item: Finding) -> FindingLine:
    is_named = item.code.code != FINDING
    value = item.value.display if item.value else ""
    shown = item.code if is_named or item.value is None else item.value
    return FindingLine(
        term=item.code.display if is_named else value or item.code.display, value=value if is_named else "",
        place=_site(item.body_site, item.laterality), certainty="" if item.probability is None else f"{100 * item.probability:.3g} %",
        words=item.words, code=_code(shown), images=_images(item.images, item.outlines),
    )  # fmt: skip


def _measurement(item: Measurement) -> MeasurementLine:
    parameters = [f"{one.code.display} {number_words(one.value)} {UNITS.get(one.unit, one.unit)}".strip() for one in item.parameters]
    return MeasurementLine(
        term=item.code.display, place=_site(item.body_site, item.laterality), value=number_words(item.value),
        unit=item.unit_display or UNITS.get(item.unit, item.unit), method="; ".join(filter(None, (item.method, *parameters))),
        images=_images(item.images, item.outlines),
    )  # fmt: skip


def _site(site: Coding | None, side: Coding | None) -> str:
    return _joined(site.display if site else "", side.display.lower() if side else "")


def _joined(*parts: str) -> str:
    return ", ".join(filter(None, parts))


def _code(coding: Coding) -> str:
    """A standard's code with its name; a private one is of use to nobody on paper."""
    return f"{STANDARDS[coding.system]} {coding.code}" if coding.system in STANDARDS else ""


def _images(images: tuple[ImageRef, ...], outlines: tuple[Outline, ...]) -> str:
    count = len({one.sop_uid for one in images} | {one.image.sop_uid for one in outlines})
    return f"on {count} image{'' if count == 1 else 's'}" if count else ""
