"""imaging.Study with series and instances -> ImagingStudy, after R4's own DICOM mapping and research/fhir.md section 7."""

from collections.abc import Sequence
from uuid import UUID
from zoneinfo import ZoneInfo

from fhirapi.resources import endpoint
from fhirapi.resources.parts import (
    AIAST,
    DCM,
    HL7,
    LOINC,
    SCT,
    TERMINOLOGY,
    URI,
    Json,
    coding,
    concept,
    date_time_of,
    filled,
    name_text,
    number_space,
    reference,
    text_of,
)
from fhirapi.sources import SeriesRow, StudyRow
from fhirapi.validation.primitives import is_primitive

ABSENT_MODALITY = {"extension": [{"url": f"{HL7}/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]}
# BodyPartExamined -> SNOMED CT where PS3.16 Annex L has one and pydicom 3.0.2 agrees; the rest keeps its own word.
BODY_SITES = {
    "CHEST": ("816094009", "Chest"),
    "HEAD": ("69536005", "Head"),
    "BRAIN": ("12738006", "Brain"),
    "ABDOMEN": ("818981001", "Abdomen"),
    "PELVIS": ("816092008", "Pelvis"),
    "BREAST": ("76752008", "Breast"),
    "NECK": ("45048000", "Neck"),
    "SPINE": ("421060004", "Spine"),
    "HEART": ("80891009", "Heart"),
    "LUNG": ("39607008", "Lung"),
    "KNEE": ("72696002", "Knee"),
    "SKULL": ("89546000", "Skull"),
    "CSPINE": ("122494005", "Cervical spine"),
    "TSPINE": ("122495006", "Thoracic spine"),
    "LSPINE": ("122496007", "Lumbar spine"),
    "EYE": ("81745001", "Eye"),
}
SIDES = {"R": ("24028007", "Right"), "L": ("7771000", "Left"), "B": ("51440002", "Right and left")}


# CodingSchemeDesignator -> FHIR system (PS3.16 table 8-1); a code of any other scheme is told by its meaning alone.
SCHEMES = {"LN": LOINC, "SCT": SCT, "DCM": DCM, "RADLEX": "http://radlex.org", "RPID": "http://radlex.org"}
PROCEDURE_CODE, REQUESTED_CODE, REASON, REASON_CODE = "00081032", "00321064", "00401002", "0040100A"
CODE_VALUE, SCHEME, MEANING = "00080100", "00080102", "00080104"


def to_fhir(*, study: StudyRow, hospital: UUID, zone: ZoneInfo, based_on: Sequence[Json] = ()) -> Json:
    modalities = sorted({text_of(series.modality) for series in study.series} - {""})
    return filled({
        "resourceType": "ImagingStudy",
        "id": str(study.uuid),
        "meta": {"security": [AIAST]} if study.is_from_ai else {},
        "identifier": _identifiers(study, hospital),
        "status": _status(study),
        "modality": [coding(DCM, modality) for modality in modalities],
        "subject": reference("Patient", study.patient.fhir_id),
        "started": started_of(study=study, zone=zone),
        "basedOn": list(based_on),
        "referrer": _referrer(study),
        "endpoint": endpoint.references(hospital=hospital),
        "numberOfSeries": len(study.series),
        "numberOfInstances": sum(len(series.instances) for series in study.series),
        "procedureCode": _procedure(study),
        "reasonCode": _reason(study),
        "description": text_of(study.description),
        "series": [_series(series) for series in study.series],
    })  # fmt: skip


def started_of(*, study: StudyRow, zone: ZoneInfo) -> str:
    """When the study began, as a FHIR dateTime; "" when it does not say."""
    return date_time_of(da=study.study_date, tm=study.study_time, utc_offset=study.utc_offset, zone=zone)


def _identifiers(study: StudyRow, hospital: UUID) -> list[Json]:
    # The prefix is required by R4's mapping: a plain UID is not a URI.
    found = [
        {
            "use": "official",
            "type": concept(coding(DCM, "110180", "Study Instance UID")),
            "system": "urn:dicom:uid",
            "value": f"urn:oid:{study.study_uid}",
        }
    ]
    if accession := accession_of(study=study, hospital=hospital):
        found.append(accession)
    return found


def accession_of(*, study: StudyRow, hospital: UUID) -> Json:
    """The accession number as an identifier; the matched order says who gave it where the images do not."""
    issuer = study.accession_issuer or (study.order.issuer if study.order else "")
    return accession_identifier(value=study.accession_number, issuer=issuer, hospital=hospital)


def accession_identifier(*, value: str, issuer: str, hospital: UUID) -> Json:
    """An accession number of whoever issues it; empty without one."""
    if not (value := text_of(value)):
        return {}
    return {
        "type": concept(coding(f"{TERMINOLOGY}/v2-0203", "ACSN", "Accession ID")),
        "system": number_space(hospital=hospital, kind="accession", issuer=text_of(issuer)),
        "value": value,
    }


def _status(study: StudyRow) -> str:
    """Registered while images arrive; withdrawn once what had come was taken out again (imagingstudy-status)."""
    if study.is_emptied:
        return "entered-in-error"
    return "available" if study.is_complete else "registered"


def _procedure(study: StudyRow) -> list[Json]:
    """What was done, by the images; what was asked for, by the order, where they do not say it."""
    found = codes(study.extra.get(PROCEDURE_CODE, ()))
    if found or not study.order:
        return found
    text = text_of(study.order.description)
    return codes(study.order.extra.get(REQUESTED_CODE, ())) or ([{"text": text}] if text else [])


def _reason(study: StudyRow) -> list[Json]:
    if not study.order:
        return []
    text = text_of(str(study.order.extra.get(REASON, "")))
    return codes(study.order.extra.get(REASON_CODE, ())) or ([{"text": text}] if text else [])


def codes(items: Sequence[Json]) -> list[Json]:
    found = []
    for item in items:
        code, meaning = (text_of(item.get(name, "")) for name in (CODE_VALUE, MEANING))
        system = SCHEMES.get(item.get(SCHEME, "").strip())
        is_code = system and is_primitive("code", code)
        found.append(concept(*([coding(system, code, meaning)] if system and is_code else []), text=meaning or code))
    return [one for one in found if one]


def _referrer(study: StudyRow) -> Json:
    name = name_text(study.referrer)
    return {"display": name} if name else {}


def _series(series: SeriesRow) -> Json:
    modality, part = text_of(series.modality), text_of(series.body_part)
    return filled({
        "uid": series.series_uid,
        "number": _unsigned(series.number),
        "modality": coding(DCM, modality) if modality else ABSENT_MODALITY,
        "description": text_of(series.description),
        "numberOfInstances": len(series.instances),
        "bodySite": _body_site(part),
        "laterality": coding(SCT, *SIDES[series.laterality]) if series.laterality in SIDES else {},
        "instance": [
            filled({"uid": uid, "sopClass": {"system": URI, "code": f"urn:oid:{sop_class}"}, "number": _unsigned(number)})
            for uid, sop_class, number in series.instances
        ],
    })  # fmt: skip


def _body_site(part: str) -> Json:
    known = BODY_SITES.get(part.upper())
    return coding(SCT, *known) if known else filled({"display": part})


def _unsigned(number: int | None) -> int | None:
    # An IS may be negative, FHIR's unsignedInt may not.
    return number if number is not None and number >= 0 else None
