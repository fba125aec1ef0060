"""A report's measurements and findings -> Observations; one without an answer -> one Observation that says why it has none."""

from uuid import UUID

from ai.findings import Correction, Finding, Measurement, Note, Parameter, Review
from ai.review.applied import NOT_SO, corrections_of
from fhirapi.resources.device import device_id
from fhirapi.resources.labels import AiLabel
from fhirapi.resources.organization import organization_id
from fhirapi.resources.parts import (
    DCM,
    OURS,
    QUANTIFY,
    SCT,
    TERMINOLOGY,
    Json,
    coded,
    coding,
    concept,
    filled,
    id_of,
    number,
    quantity,
    reference,
    text_of,
    urn_identifier,
)
from fhirapi.resources.practitioner import practitioner_id
from fhirapi.sources import ReportRow
from fhirapi.store import instant

IMAGING = concept(coding(f"{TERMINOLOGY}/observation-category", "imaging", "Imaging"))
ANALYSIS = coding(f"{OURS}/CodeSystem/hub", "image-analysis", "Image analysis by an algorithm")
NOT_PERFORMED = coding(f"{TERMINOLOGY}/data-absent-reason", "not-performed", "Not Performed")
ONE_IMAGE = concept(coding(f"{OURS}/CodeSystem/hub", "sop-instance-uid", "SOP Instance UID"), text="SOP Instance UID")
UNKNOWN = coding(f"{TERMINOLOGY}/data-absent-reason", "unknown", "Unknown")
FLAG = coding(f"{OURS}/CodeSystem/hub", "flagged", "Flagged to be read early")
CERTAINTY = concept(coding(DCM, "111012", "Certainty of Finding"), text="Certainty of Finding")
LATERALITY = concept(coding(SCT, "272741003", "Laterality"), text="Laterality")
OWN = "Value as the algorithm gave it"  # where a person corrected it
OWN_VALUE = concept(coding(f"{OURS}/CodeSystem/hub", "algorithm-value", OWN), text=OWN)
MAX_IMAGES = 20  # more are in the DICOM report, which refers to each
SERIES_UID = concept(coding(DCM, "112002", "Series Instance UID"), text="Series Instance UID")


def to_fhir(*, report: ReportRow, label: AiLabel, started: str, based_on: list[Json], hospital: UUID) -> list[Json]:
    """All Observations of a report: its measurements, its findings, its flag."""
    content = report.content
    if content.not_analysable:
        said = {"not-analysable": _absence(report, content.not_analysable)}
    else:
        said = {f"measurement/{place}": _value(measurement) for place, measurement in enumerate(content.measurements)}
        said |= {f"finding/{place}": _statement(finding) for place, finding in enumerate(content.findings)}
    if content.is_flagged:
        said["flag"] = {"code": concept(FLAG), "valueBoolean": True}
    about = {"effectiveDateTime": started, "basedOn": based_on}
    found = [_observation(report, label, name, about | one) for name, one in said.items()]
    if content.review and content.review.action == "correct":
        by = reference("Practitioner", practitioner_id(hospital=hospital, by_id=content.review.by_id))
        changed = corrections_of(content)
        found = [_decided(one, changed.get(name), content.review, by) for name, one in zip(said, found, strict=True)]
    return found


def _decided(observation: Json, correction: Correction | None, review: Review, by: Json) -> Json:
    """Of a corrected report: what was left is final, another value is amended, what does not hold is entered in error.

    Whoever reads only the value reads the person's; the algorithm's own stands beside it as a component.
    """
    if correction is None:
        return observation | {"status": "final"}
    notes = [*observation["note"], {"text": f"Corrected by {text_of(review.by)}: {text_of(correction.words) or NOT_SO}"}]
    if correction.value is None:
        return observation | {"status": "entered-in-error", "note": notes}
    own = observation["valueQuantity"]
    notes[-1] = {"text": f"Corrected by {text_of(review.by)}" + (f": {text_of(correction.words)}" if correction.words else "")}
    return observation | {
        "status": "amended", "note": notes, "performer": [by, *observation["performer"]],
        "valueQuantity": own | {"value": number(correction.value)},
        "component": [*observation.get("component", ()), {"code": OWN_VALUE, "valueQuantity": own}],
    }  # fmt: skip


def _observation(report: ReportRow, label: AiLabel, name: str, said: Json) -> Json:
    content, fhir_id = report.content, id_of(report.uuid, name)
    study = reference("ImagingStudy", report.study.uuid)
    components = said.pop("component", [])
    if content.series_uid:
        components = [*components, {"code": SERIES_UID, "valueString": content.series_uid}]
    # Of several, the Provenance says how many, and the hash of their pixels.
    images = said.pop("images", ()) or (content.sop_uids if len(content.sop_uids) == 1 else ())
    components = [*components, *({"code": ONE_IMAGE, "valueString": uid} for uid in images)]
    words = said.pop("words", "")
    return filled({
        "resourceType": "Observation",
        "id": fhir_id,
        "meta": label.meta,
        "identifier": [urn_identifier(fhir_id)],
        "partOf": [study],
        "status": report.status,  # a report's states are Observation's as well, and they move together
        "category": [IMAGING],
        "subject": reference("Patient", report.study.patient.fhir_id),
        "issued": instant(report.issued_at),
        "performer": [reference("Organization", organization_id(name=content.algorithm.manufacturer))],
        "device": reference("Device", device_id(algorithm=content.algorithm)),
        "derivedFrom": [study],
        "note": [{"text": text} for text in (label.notice, words, *(text_of(note.text) for note in content.notes)) if text],
        "component": components,
        **said,
    })  # fmt: skip


def _value(measurement: Measurement) -> Json:
    return {
        "code": coded(measurement.code),
        "valueQuantity": quantity(measurement.value, code=measurement.unit, unit=text_of(measurement.unit_display)),
        "bodySite": coded(measurement.body_site) if measurement.body_site else {},
        "method": filled({"text": text_of(measurement.method)}),
        "component": [*(_parameter(parameter) for parameter in measurement.parameters), *_side(measurement)],
        "images": _images(measurement),
    }


def _statement(finding: Finding) -> Json:
    """What a platform said without a number. The vendor's words stay words: the value where there is no coded one, a note beside one."""
    said: Json = {"code": coded(finding.code), "bodySite": coded(finding.body_site) if finding.body_site else {}}
    words = text_of(finding.words)
    if finding.value:
        said |= {"valueCodeableConcept": coded(finding.value), "words": words and f"In the platform's words: {words}"}
    elif words:
        said["valueString"] = words
    else:
        said["dataAbsentReason"] = concept(UNKNOWN, text="Marked by the platform without a value")
    certainty = []
    if finding.probability is not None:
        certainty = [{"code": CERTAINTY, "valueQuantity": quantity(100 * finding.probability, code="%", unit="%")}]
    return said | {"component": [*certainty, *_side(finding)], "images": _images(finding)}


def _side(item: Finding | Measurement) -> list[Json]:
    """R4's Observation has no laterality of its own."""
    return [{"code": LATERALITY, "valueCodeableConcept": coded(item.laterality)}] if item.laterality else []


def _images(item: Finding | Measurement) -> tuple[str, ...]:
    """The instances it was seen on, each once."""
    shown = [image.sop_uid for image in item.images] + [outline.image.sop_uid for outline in item.outlines]
    return tuple(dict.fromkeys(shown))[:MAX_IMAGES]


def _parameter(parameter: Parameter) -> Json:
    return {
        "code": coded(parameter.code),
        "valueQuantity": quantity(parameter.value, code=parameter.unit, unit=parameter.unit),
    }


def _absence(report: ReportRow, reason: Note) -> Json:
    """No number is better than a wrong one; the reason is the result (research/ai-platforms.md section 2.2)."""
    return {
        "code": concept(ANALYSIS, text=text_of(report.content.algorithm.name)),
        "dataAbsentReason": concept(NOT_PERFORMED, coding(QUANTIFY, text_of(reason.code)), text=text_of(reason.text)),
    }
