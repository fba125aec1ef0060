"""ai.models.Report -> DiagnosticReport: what the algorithm found, in words, with its Observations. Never `final` from a machine."""

from uuid import UUID

from ai.findings import Review
from ai.governance.recalls import Flag
from fhirapi.resources.labels import AiLabel, flag_words
from fhirapi.resources.organization import organization_id
from fhirapi.resources.parts import (
    LOINC,
    OURS,
    TERMINOLOGY,
    Json,
    coding,
    concept,
    escaped,
    filled,
    name_text,
    reference,
    text_of,
    urn_identifier,
)
from fhirapi.resources.practitioner import practitioner_id
from fhirapi.sources import ReportRow, StudyRow
from fhirapi.store import instant

CATEGORIES = [
    concept(coding(LOINC, "LP29684-5", "Radiology")),  # US Core
    concept(coding(f"{TERMINOLOGY}/v2-0074", "RAD", "Radiology")),
]
GENERIC = ("18748-4", "Diagnostic imaging study")
CODES = {("CT", "CHEST"): ("24627-2", "CT Chest"), ("CT", "HEAD"): ("24725-4", "CT Head")}
XHTML = "http://www.w3.org/1999/xhtml"


def to_fhir(
    *, report: ReportRow, label: AiLabel, started: str, observations: list[Json], based_on: list[Json], base: str, hospital: UUID
) -> Json:
    """`base` is where the hospital's doors stand for the world outside; "" leaves the printed form out."""
    review = report.content.review
    algorithm = report.content.algorithm
    conclusion = conclusion_of(report=report, label=label)
    return filled({
        "resourceType": "DiagnosticReport",
        "id": str(report.uuid),
        "meta": label.meta,
        "extension": [_recall(flag) for flag in report.flags],
        "text": {"status": "generated", "div": _narrative(report, label, observations)},
        "identifier": [urn_identifier(report.uuid)],
        "basedOn": based_on,
        "status": report.status,
        "category": CATEGORIES,
        "code": concept(coding(LOINC, *_code(report.study)), text=f"AI result: {text_of(algorithm.name)}"),
        "subject": reference("Patient", report.study.patient.fhir_id),
        "effectiveDateTime": started,
        "issued": instant(report.issued_at),
        "performer": [reference("Organization", organization_id(name=algorithm.manufacturer))],
        "resultsInterpreter": [_interpreter(review, hospital)] if review else [],
        "result": [reference("Observation", observation["id"]) for observation in observations],
        "imagingStudy": [reference("ImagingStudy", report.study.uuid)],
        "conclusion": conclusion,
        "presentedForm": [_printed(report, base)] if base else [],
    })  # fmt: skip


def _interpreter(review: Review, hospital: UUID) -> Json:
    return reference("Practitioner", practitioner_id(hospital=hospital, by_id=review.by_id)) | {"display": text_of(review.by)}


def _printed(report: ReportRow, base: str) -> Json:
    """This version on paper: whoever may read the report may fetch it there with the same token (ai.api.deliveries)."""
    return {
        "contentType": "application/pdf",
        "url": f"{base}/api/v1/reports/{report.uuid}.pdf?version={report.version}",
        "title": f"AI result: {text_of(report.content.algorithm.name)}, version {report.version}",
        "creation": instant(report.issued_at),
    }


def _recall(flag: Flag) -> Json:
    """Why it bears the tag `recalled`. Its status stays what it was."""
    said = [{"url": "since", "valueDateTime": instant(flag.since)}, {"url": "reason", "valueString": text_of(flag.reason)}]
    return {"url": f"{OURS}/StructureDefinition/recall", "extension": said}


def conclusion_of(*, report: ReportRow, label: AiLabel) -> str:
    """The report's words, or why there are none; the notice always stands with them."""
    reason = None if report.content.review else report.content.not_analysable  # what a person decided says both
    words = f"not analysable: {text_of(reason.text)}" if reason else text_of(report.conclusion)
    words = "\n".join([*(flag_words(flag) for flag in report.flags), words])
    return words if label.notice in words else f"{words}\n{label.notice}".strip()


def _code(study: StudyRow) -> tuple[str, str]:
    """The procedure's LOINC where modality and body part name one, else the generic report's."""
    part = text_of(study.body_part).upper()
    return next((CODES[modality, part] for modality in study.modalities if (modality, part) in CODES), GENERIC)


def _narrative(report: ReportRow, label: AiLabel, observations: list[Json]) -> str:
    """For people without our portal. Everything that came from outside is escaped: names are hostile (DESIGN section 7)."""
    content = report.content
    words = conclusion_of(report=report, label=label).removesuffix(label.notice).strip()
    lines = [
        f"<p><b>{escaped(label.notice)}</b></p>",
        f"<p>Patient: {escaped(name_text(report.study.patient.name)) or 'no name'}</p>",
        *(f"<p>{escaped(line)}</p>" for line in words.split("\n") if line.strip()),
    ]
    held = [one for one in observations if one["status"] not in {"cancelled", "entered-in-error"}]  # nothing that was denied is repeated
    rows = [_row(observation) for observation in held if "valueQuantity" in observation]
    if rows:
        lines.append(f"<table><tr><th>Measurement</th><th>Value</th><th>Method</th></tr>{''.join(rows)}</table>")
    stated = [_stated(observation) for observation in held if observation.keys() & {"valueCodeableConcept", "valueString"}]
    if stated:
        lines.append(f"<table><tr><th>Finding</th><th>Value</th><th>Certainty</th></tr>{''.join(stated)}</table>")
    lines += [f"<p>Note: {escaped(note.text)}</p>" for note in content.notes]
    algorithm = content.algorithm
    lines.append(f"<p>{escaped(algorithm.name)} {escaped(algorithm.version)}, {escaped(algorithm.manufacturer)}</p>")
    return f'<div xmlns="{XHTML}">{"".join(lines)}</div>'


def _row(observation: Json) -> str:
    value = observation["valueQuantity"]
    return _cells(_name(observation), f"{value['value']} {value.get('unit', '')}", observation.get("method", {}).get("text", ""))


def _stated(observation: Json) -> str:
    """A finding's row. Its certainty is the only percentage among its components."""
    value = observation.get("valueString") or observation["valueCodeableConcept"]["text"]
    shares = [one["valueQuantity"]["value"] for one in observation.get("component", ()) if "valueQuantity" in one]
    return _cells(_name(observation), value, f"{shares[0]} %" if shares else "")


def _name(observation: Json) -> str:
    site = observation.get("bodySite", {}).get("text", "")
    return f"{observation['code']['text']} ({site})" if site else str(observation["code"]["text"])


def _cells(*cells: str) -> str:
    return f"<tr>{''.join(f'<td>{escaped(cell)}</td>' for cell in cells)}</tr>"
