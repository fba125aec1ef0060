"""What is said between the rooms of the house: event names and their payloads, ids only. medhub/flow.py wires them."""

from dataclasses import dataclass

EVENTS = (
    "study.completed",  # study_id, version: quiet, expected or forced; routing starts here
    "study.changed",  # study_id: rows of a study changed without completing it
    "derived.received",  # study_id, instance_id: an object that an AI made came back by DICOM
    "job.changed",  # job_id: it was made, sent, refused, given up or kept by the gate; of an answer the report tells
    "result.received",  # result_id: a platform's answer passed the gate
    "report.issued",  # report_id: a report version stands
    "report.flagged",  # report_id: its algorithm was recalled, or that flag was cleared; what the report says is as it was
    "order.changed",  # order_id
    "patient.merged",  # patient_id, into_id: the one is the other now, or was parted from it again
    "audit.sealed",  # first, last: positions of the chain
)


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event as a subscriber meets it. `ids` holds nothing but ids and versions: never a name, never a value."""

    id: int
    tenant_id: int
    name: str
    ids: dict[str, int]
    trace_id: str
