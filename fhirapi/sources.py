"""What the projections and doors read from the floors below: frozen rows, never ORM objects of an instance.

Everything but `hospital_id` needs a scope. A call is one statement, or two where series come along, however many studies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.db import connection

from ai.contract import Algorithm, Coding, Measurement, Note, Parameter, ReportContent
from ai.models import Report
from imaging.models import Patient, Study
from journal.wall.scope import tenant_id_current
from tenants.models import Tenant
from tenants.selectors import tenant_get


@dataclass(frozen=True, kw_only=True)
class HospitalRow:
    """`uuid` makes number spaces without an issuer the hospital's own."""

    uuid: UUID
    zone: ZoneInfo


@dataclass(frozen=True, kw_only=True)
class PatientRow:
    id: int
    uuid: UUID
    issuer: str
    patient_id: str
    variant: str
    name: str
    birth_date: str
    sex: str


@dataclass(frozen=True, kw_only=True)
class SeriesRow:
    """`instances` are (SOP Instance UID, SOP Class UID, number)."""

    series_uid: str
    modality: str
    number: int | None
    description: str
    body_part: str
    laterality: str
    instances: tuple[tuple[str, str, int | None], ...]


@dataclass(frozen=True, kw_only=True)
class StudyRow:
    id: int
    uuid: UUID
    study_uid: str
    patient: PatientRow
    accession_number: str
    accession_issuer: str
    study_date: str
    study_time: str
    utc_offset: str
    description: str
    referrer: str
    body_part: str
    modalities: tuple[str, ...]
    is_complete: bool
    is_from_ai: bool
    series: tuple[SeriesRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReportRow:
    uuid: UUID
    status: str
    conclusion: str
    issued_at: datetime
    content: ReportContent
    study: StudyRow


PATIENT_COLUMNS = ("id", "uuid", "issuer", "patient_id", "variant", "name", "birth_date", "sex")
STUDY_COLUMNS = (
    "id", "uuid", "study_uid", "accession_number", "accession_issuer", "study_date", "study_time", "utc_offset", "description",
    "referrer", "body_part", "modalities", "state", "is_from_ai",
)  # fmt: skip


def hospital_id(*, slug: str) -> int | None:
    """The active hospital of this name. Read before a scope, from the directory."""
    return Tenant.objects.filter(slug=slug, is_active=True).values_list("id", flat=True).first()


def hospital_read() -> HospitalRow:
    tenant = tenant_get(tenant_id=tenant_id_current())
    try:
        zone = ZoneInfo(tenant.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    return HospitalRow(uuid=tenant.uuid, zone=zone)


def patient_ids_read(*, study_ids: Sequence[int]) -> list[int]:
    return list(Study.objects.filter(id__in=study_ids).values_list("patient_id", flat=True))


def study_ids_read(*, after: int, limit: int) -> list[int]:
    """The next studies by id: a rebuild walks them in steps."""
    return list(Study.objects.filter(id__gt=after).order_by("id").values_list("id", flat=True)[:limit])


def report_study_read(*, report_id: int) -> tuple[int, int] | None:
    """(study, patient) of a report, or None."""
    return Report.objects.filter(id=report_id).values_list("study_id", "study__patient_id").first()


def report_ids_read(*, patient_id: int) -> list[int]:
    """The reports of a patient's studies."""
    return list(Report.objects.filter(study__patient_id=patient_id).order_by("id").values_list("id", flat=True))


def patients_read(*, patient_ids: Sequence[int]) -> dict[int, PatientRow]:
    """Patients by id."""
    rows = Patient.objects.filter(id__in=patient_ids).values_list(*PATIENT_COLUMNS)
    return {row[0]: PatientRow(**dict(zip(PATIENT_COLUMNS, row, strict=True))) for row in rows}


def studies_read(*, study_ids: Sequence[int]) -> list[StudyRow]:
    """Studies with patient, series and instances."""
    names = [*STUDY_COLUMNS, *(f"patient__{name}" for name in PATIENT_COLUMNS)]
    rows = Study.objects.filter(id__in=study_ids).order_by("id").values_list(*names)
    series = _series_of(study_ids)
    return [_study(row, series.get(row[0], ())) for row in rows]


def report_read(*, report_id: int) -> ReportRow | None:
    """A report with its study and patient, without the study's series."""
    names = [f"study__{name}" for name in STUDY_COLUMNS] + [f"study__patient__{name}" for name in PATIENT_COLUMNS]
    row = (
        Report.objects.filter(id=report_id).values_list("uuid", "status", "conclusion", "issued_at", "content", *names).first()
    )
    if row is None:
        return None
    uuid, status, conclusion, issued_at, content, *rest = row
    return ReportRow(
        uuid=uuid,
        status=status,
        conclusion=conclusion,
        issued_at=issued_at,
        content=report_content(content),
        study=_study(rest, ()),
    )


def report_content(data: dict[str, Any]) -> ReportContent:
    """ai.models.Report.content as the type it was made of."""
    return ReportContent(
        algorithm=Algorithm(**data["algorithm"]),
        platform=data["platform"],
        is_test_double=data["is_test_double"],
        study_uid=data["study_uid"],
        series_uid=data["series_uid"],
        sop_uids=tuple(data["sop_uids"]),
        input_sha256=data["input_sha256"],
        measurements=tuple(_measurement(item) for item in data["measurements"]),
        not_analysable=Note(**data["not_analysable"]) if data["not_analysable"] else None,
        notes=tuple(Note(**note) for note in data["notes"]),
        notice=data["notice"],
    )


def _measurement(data: dict[str, Any]) -> Measurement:
    return Measurement(
        code=Coding(**data["code"]),
        value=data["value"],
        unit=data["unit"],
        unit_display=data["unit_display"],
        body_site=Coding(**data["body_site"]) if data["body_site"] else None,
        method=data["method"],
        parameters=tuple(
            Parameter(code=Coding(**item["code"]), value=item["value"], unit=item["unit"]) for item in data["parameters"]
        ),
    )


def _study(row: Sequence[Any], series: tuple[SeriesRow, ...]) -> StudyRow:
    found = dict(zip(STUDY_COLUMNS, row, strict=False))
    return StudyRow(
        patient=PatientRow(**dict(zip(PATIENT_COLUMNS, row[len(STUDY_COLUMNS) :], strict=True))),
        is_complete=found.pop("state") == Study.State.COMPLETE,
        modalities=tuple(filter(None, found.pop("modalities").split(","))),
        series=series,
        **found,
    )


def _series_of(study_ids: Sequence[int]) -> dict[int, tuple[SeriesRow, ...]]:
    """One row a series, its instances as three arrays: two thousand images are no two thousand rows here."""
    tenant_id = tenant_id_current()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT s.study_id, s.series_uid, s.modality, s.number, s.description, s.body_part, s.laterality, "
            "i.uids, i.classes, i.numbers FROM imaging_series s LEFT JOIN "
            "(SELECT series_id, array_agg(sop_instance_uid ORDER BY number, sop_instance_uid) AS uids, "
            "  array_agg(sop_class_uid ORDER BY number, sop_instance_uid) AS classes, "
            "  array_agg(number ORDER BY number, sop_instance_uid) AS numbers "
            "  FROM imaging_instance WHERE tenant_id = %s AND study_id = ANY(%s) GROUP BY series_id) i ON i.series_id = s.id "
            "WHERE s.tenant_id = %s AND s.study_id = ANY(%s) ORDER BY s.study_id, s.number, s.series_uid",
            [tenant_id, list(study_ids), tenant_id, list(study_ids)],
        )
        found: dict[int, tuple[SeriesRow, ...]] = {}
        for study_id, uid, modality, number, description, body_part, laterality, uids, classes, numbers in cursor.fetchall():
            series = SeriesRow(
                series_uid=uid, modality=modality, number=number, description=description, body_part=body_part,
                laterality=laterality, instances=tuple(zip(uids or (), classes or (), numbers or (), strict=True)),
            )  # fmt: skip
            found[study_id] = (*found.get(study_id, ()), series)
    return found
