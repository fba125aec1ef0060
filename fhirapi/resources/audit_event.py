"""A row of the audit trail -> AuditEvent, after DICOM's audit messages (PS3.15 A.5) and IHE BALP: who, what, when, by our ids."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fhirapi.registry import HL7, TYPES
from fhirapi.resources.parts import DCM, OURS, TERMINOLOGY, Json, coding, concept, filled, reference, text_of
from fhirapi.store import instant
from fhirapi.validation import ID


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    """`imaging_study` and `patient` are the ids that FHIR knows the object by, "" where it knows none."""

    id: int
    actor: str
    action: str
    object_type: str
    object_id: str
    recorded_at: datetime
    address: str
    detail: Mapping[str, int | str]
    imaging_study: str = ""
    patient: str = ""


REST = coding(f"{TERMINOLOGY}/audit-event-type", "rest", "RESTful Operation")
ACTIVITY = coding(DCM, "110100", "Application Activity")
ACCESSED = coding(DCM, "110103", "DICOM Instances Accessed")
TRANSFERRED = coding(DCM, "110104", "DICOM Instances Transferred")
EXPORT = coding(DCM, "110106", "Export")
QUERY = coding(DCM, "110112", "Query")
# Of an action, or of all that begin so.
KINDS = {
    "fhir": REST, "dicom": ACCESSED, "dicom.store": TRANSFERRED, "dicom.move": TRANSFERRED, "dicom.get": TRANSFERRED,
    "dicom.find": QUERY, "dicom.delete": coding(DCM, "110105", "DICOM Study Deleted"), "study": ACCESSED, "ai.send": EXPORT,
    "ai.fetch": EXPORT, "fhir.export": EXPORT, "fhir.export.read": EXPORT, "fhir.notify": EXPORT,
    "fhir.push": EXPORT,
    "node.query": QUERY, "order": coding(DCM, "110109", "Order Record"), "workitem": coding(DCM, "110110", "Patient Record"),
}  # fmt: skip
VERBS = {
    **dict.fromkeys(("create", "store"), "C"),
    **dict.fromkeys(("read", "view", "image", "history"), "R"),
    **dict.fromkeys(("update", "patch", "meta", "import"), "U"),
    **dict.fromkeys(("delete", "purge"), "D"),
}  # anything else is executed
INTERACTIONS = {"read", "history", "create", "update", "patch", "delete", "search"}
AGENTS = {
    "user": concept(text="Person"),
    "token": concept(coding(DCM, "110153", "Source Role ID")),
    "ae": concept(coding(DCM, "110153", "Source Role ID")),
    "system": concept(coding(DCM, "110150", "Application")),
}
SOURCE = {
    "observer": {"display": "MedicalCloudAIHub"},
    "type": [coding(f"{TERMINOLOGY}/security-source-type", "4", "Application Server")],
}
PERSON, OBJECT = (
    coding(f"{TERMINOLOGY}/audit-entity-type", code, text) for code, text in (("1", "Person"), ("2", "System Object"))
)
PATIENT, REPORT, DOMAIN, ASKED = (
    coding(f"{TERMINOLOGY}/object-role", code, text)
    for code, text in (("1", "Patient"), ("3", "Report"), ("4", "Domain Resource"), ("24", "Query"))
)
WORD = re.compile(r"[\w .:+/-]{1,64}", re.ASCII)


def to_fhir(*, row: AuditRow) -> Json:
    verb = row.action.rpartition(".")[2]
    kind = KINDS.get(row.action) or KINDS.get(row.action.partition(".")[0], ACTIVITY)
    subtypes = [coding(f"{OURS}/CodeSystem/audit-action", row.action)]
    if kind is REST:
        subtypes.insert(0, coding(f"{HL7}/restful-interaction", verb if verb in INTERACTIONS else "operation"))
    return filled({
        "resourceType": "AuditEvent",
        "id": str(row.id),
        "type": kind,
        "subtype": subtypes,
        "action": VERBS.get(verb, "E"),
        "recorded": instant(row.recorded_at),
        "outcome": "0",
        "agent": [_agent(row)],
        "source": SOURCE,
        "entity": _entities(row),
    })  # fmt: skip


def _agent(row: AuditRow) -> Json:
    kind, _, name = row.actor.partition(":")
    return filled({
        "type": AGENTS.get(kind, {}),
        "who": {"identifier": {"system": f"{OURS}/sid/{kind}", "value": text_of(name) or kind}},
        "requestor": True,
        "network": {"address": row.address, "type": "2"} if row.address else {},
    })  # fmt: skip


def _entities(row: AuditRow) -> list[Json]:
    found = []
    if row.object_type != "Patient" and row.patient:
        found.append({"what": reference("Patient", row.patient), "type": PERSON, "role": PATIENT})
    return [_object(row), *found]


def _object(row: AuditRow) -> Json:
    """What it was done to: a resource of ours by its reference, anything else by our number of it."""
    what: Json = {}
    if row.imaging_study:
        what = reference("ImagingStudy", row.imaging_study)
    elif row.object_type in TYPES and row.object_id != "-" and ID.fullmatch(row.object_id):
        what = reference(row.object_type, row.object_id)
    elif row.object_id != "-" and (name := text_of(row.object_id)):
        what = {"identifier": {"system": f"{OURS}/sid/{row.object_type}", "value": name}}
    is_person = row.object_type == "Patient" and row.object_id != "-"
    role = PATIENT if is_person else ASKED if not what else REPORT if row.object_type == "DiagnosticReport" else DOMAIN
    return filled({"what": what, "type": PERSON if is_person else OBJECT, "role": role, "detail": _details(row.detail)})


def _details(detail: Mapping[str, Any]) -> list[Json]:
    """Counts and words of ours."""
    return [{"type": name, "valueString": str(value)} for name, value in sorted(detail.items()) if WORD.fullmatch(str(value))]
