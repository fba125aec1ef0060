"""audit.sealed -> AuditEvents: what was sealed last, in one put. Their readers need `audit.read` (fhirapi.interactions.GUARDED)."""

import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q

from fhirapi.registry import NAMES, TYPES
from fhirapi.resources import audit_event
from fhirapi.resources.audit_event import AuditRow
from fhirapi.store import Key, Stored, resources_put
from fhirapi.validation import ID, resource_check
from imaging.models import Study
from journal.models import AuditSeal
from journal.types import Event
from journal.wall.scope import tenant_id_current

INT64 = 2**63
COLUMNS = ("id", "actor", "action", "object_type", "object_id", "recorded_at", "address", "detail")


def audit_events_project(*, event: Event) -> None:
    audit_events_put(first=event.ids["first"], last=event.ids["last"])


def audit_events_put(*, first: int, last: int) -> list[Stored]:
    """Write the AuditEvents of these positions of the chain; a constant number of statements, a repeat writes nothing."""
    seals = AuditSeal.objects.filter(position__gte=first, position__lte=last).order_by("position")
    rows = [
        dict(zip(COLUMNS, row, strict=True)) | {"address": row[COLUMNS.index("address")] or ""}
        for row in seals.values_list(*(f"event__{name}" for name in COLUMNS))
    ]
    studies = _studies({row["object_id"] for row in rows if row["object_type"] == "Study"})
    patients = _patients({
        (TYPES[row["object_type"]].number, row["object_id"])
        for row in rows
        if row["object_type"] in TYPES and row["object_id"] != "-"
    })  # fmt: skip
    resources = [
        audit_event.to_fhir(row=AuditRow(**row, **_known(row, studies, patients)))
        for row in rows
    ]  # fmt: skip
    return resources_put(resources=resources, check=form_check) if resources else []


# Members whose values differ from event to event: plain ones of them say nothing about whether the form is right.
PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:/+-]{0,198}[A-Za-z0-9])?", re.ASCII)
FREE = dict.fromkeys(("value", "address", "reference", "valueString"), PLAIN) | {
    "id": ID, "recorded": re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII),
}  # fmt: skip
FORMS_MAX = 1000
_checked: set[Any] = set()


def form_check(*, resource: dict[str, Any]) -> None:
    """`resource_check`, once in a process for each form: thousands of events differ in their ids and times alone."""
    form = _form("", resource)
    if form not in _checked:
        resource_check(resource=resource)
        if len(_checked) < FORMS_MAX:
            _checked.add(form)


def _form(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return tuple((key, _form(key, inner)) for key, inner in value.items())
    if isinstance(value, list):
        return tuple(_form(name, inner) for inner in value)
    is_plain = name in FREE and isinstance(value, str) and FREE[name].fullmatch(value) is not None
    return FREE[name] if is_plain else value


def _known(row: dict[str, Any], studies: dict[str, tuple[str, str]], patients: dict[tuple[str, str], str]) -> dict[str, Any]:
    if row["object_type"] == "Study":
        study, patient = studies.get(row["object_id"], ("", ""))
        return {"imaging_study": study, "patient": patient}
    return {"patient": patients.get((row["object_type"], row["object_id"]), "")}


def _studies(object_ids: set[str]) -> dict[str, tuple[str, str]]:
    """(ImagingStudy, Patient) by whichever of its names a door called the study: our number, our UUID, DICOM's UID."""
    numbers = [int(text) for text in object_ids if text.isascii() and text.isdigit() and int(text) < INT64]
    uuids = [text for text in object_ids if _is_uuid(text)]
    found: dict[str, tuple[str, str]] = {}
    if object_ids:
        named = Q(id__in=numbers) | Q(uuid__in=uuids) | Q(study_uid__in=object_ids)
        for row in Study.objects.filter(named).values_list("id", "uuid", "study_uid", "patient__uuid"):
            found |= dict.fromkeys(map(str, row[:3]), (str(row[1]), str(row[3])))
    return found


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _patients(keys: set[Key]) -> dict[tuple[str, str], str]:
    """Whom the resources are about, as the store knows it."""
    if not keys:
        return {}
    ordered: Sequence[Key] = sorted(keys)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT r.rtype, r.fhir_id, r.patient FROM fhir_resource r JOIN unnest(%s::smallint[], %s::text[]) AS k(rtype, fhir_id) "
            "ON r.rtype = k.rtype AND r.fhir_id = k.fhir_id WHERE r.tenant_id = %s AND r.patient IS NOT NULL",
            [[number for number, _ in ordered], [fhir_id for _, fhir_id in ordered], tenant_id_current()],
        )
        return {(NAMES[number], fhir_id): patient for number, fhir_id, patient in cursor.fetchall()}
