"""imaging.Order -> ServiceRequest: what an HL7 message or a command ordered. One that the EHR wrote itself is never written here."""

from uuid import UUID
from zoneinfo import ZoneInfo

from fhirapi.ordersources import AskedRow
from fhirapi.resources.imaging_study import REASON, REASON_CODE, REQUESTED_CODE, accession_identifier, codes
from fhirapi.resources.parts import (
    DCM,
    SCT,
    TERMINOLOGY,
    Json,
    coding,
    concept,
    date_time_of,
    filled,
    name_text,
    reference,
    text_of,
)

PLACER, FILLER, PRIORITY = "00402016", "00402017", "00401003"
IMAGING = coding(SCT, "363679005", "Imaging")
PRIORITIES = {
    "STAT": "stat", "HIGH": "urgent", "URGENT": "urgent", "ASAP": "asap", "ROUTINE": "routine", "MEDIUM": "routine", "LOW": "routine",
}  # fmt: skip


def to_fhir(*, asked: AskedRow, hospital: UUID, zone: ZoneInfo) -> Json:
    """`status` entered-in-error where the EHR has a ServiceRequest of its own for this order by now."""
    order = asked.order
    modalities = sorted({text_of(step.modality) for step in asked.steps} - {""})
    text = text_of(order.description) or f"Imaging {', '.join(modalities)}".strip()  # prr-1: no detail without a code
    first = asked.steps[0] if asked.steps else None
    reason = text_of(str(order.extra.get(REASON, "")))
    priority = text_of(str(order.extra.get(PRIORITY, ""))).upper()
    return filled({
        "resourceType": "ServiceRequest",
        "id": str(order.id),
        "identifier": [
            *filter(None, [accession_identifier(value=order.accession_number, issuer=order.issuer, hospital=hospital)]),
            *_numbers(asked),
        ],
        "status": "entered-in-error" if asked.is_ehrs else asked.status,
        "intent": "order",
        "category": [concept(IMAGING, text="Imaging")],
        "priority": PRIORITIES.get(priority, ""),
        "code": next(iter(codes(order.extra.get(REQUESTED_CODE, ()))), {"text": text}),
        "orderDetail": [concept(coding(DCM, modality)) for modality in modalities],
        "subject": reference("Patient", asked.patient.fhir_id),
        "occurrenceDateTime": date_time_of(da=first.start_date, tm=first.start_time, utc_offset="", zone=zone) if first else "",
        "authoredOn": asked.created_at.isoformat(timespec="seconds"),
        "requester": {"display": name} if (name := name_text(asked.requester)) else {},
        "performer": [{"type": "Device", "display": station} for step in asked.steps[:1] if (station := text_of(step.station))],
        "reasonCode": codes(order.extra.get(REASON_CODE, ())) or ([{"text": reason}] if reason else []),
    })  # fmt: skip


def _numbers(asked: AskedRow) -> list[Json]:
    """Placer and filler order numbers (v2-0203 PLAC and FILL): whose they are is not known here."""
    found = []
    for tag, code, display in ((PLACER, "PLAC", "Placer Identifier"), (FILLER, "FILL", "Filler Identifier")):
        if value := text_of(str(asked.order.extra.get(tag, ""))):
            found.append({"type": concept(coding(f"{TERMINOLOGY}/v2-0203", code, display)), "value": value})
    return found
