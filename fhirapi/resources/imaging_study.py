"""imaging.Study with series and instances -> ImagingStudy, after R4's own DICOM mapping and research/fhir.md section 7."""

from uuid import UUID
from zoneinfo import ZoneInfo

from fhirapi.resources.parts import (
    AIAST,
    DCM,
    HL7,
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


def to_fhir(*, study: StudyRow, hospital: UUID, zone: ZoneInfo) -> Json:
    modalities = sorted({text_of(series.modality) for series in study.series} - {""})
    return filled({
        "resourceType": "ImagingStudy",
        "id": str(study.uuid),
        "meta": {"security": [AIAST]} if study.is_from_ai else {},
        "identifier": _identifiers(study, hospital),
        "status": "available" if study.is_complete else "registered",
        "modality": [coding(DCM, modality) for modality in modalities],
        "subject": reference("Patient", study.patient.uuid),
        "started": started_of(study=study, zone=zone),
        "referrer": _referrer(study),
        "numberOfSeries": len(study.series),
        "numberOfInstances": sum(len(series.instances) for series in study.series),
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
    if accession := text_of(study.accession_number):
        issuer = text_of(study.accession_issuer)
        found.append({
            "type": concept(coding(f"{TERMINOLOGY}/v2-0203", "ACSN", "Accession ID")),
            "system": number_space(hospital=hospital, kind="accession", issuer=issuer),
            "value": accession,
        })  # fmt: skip
    return found


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
