"""What the projections and doors read from the floors below: frozen rows, never ORM objects of an instance.

Everything but `hospital_id` needs a scope. A call is one statement, or two where series come along, however many studies.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson
from django.conf import settings
from django.db import connection
from django.db.models import Q
from pydantic import TypeAdapter

from ai.findings import Algorithm, ReportContent
from ai.governance.recalls import Flag, report_flags
from ai.models import Job, Report, Stage, Verdict
from imaging.models import Order, Patient, Study
from journal.models import AuditSeal
from journal.wall.scope import tenant_id_current
from tenants.models import Tenant
from tenants.selectors import tenant_get


@dataclass(frozen=True, kw_only=True)
class HospitalRow:
    """`uuid` makes number spaces without an issuer the hospital's own. `base` is where its doors stand for the world outside."""

    uuid: UUID
    zone: ZoneInfo
    name: str = ""
    base: str = ""
    has_us_core: bool = False


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
    merged_into_id: int | None = None
    ehr_id: str = ""

    @property
    def fhir_id(self) -> str:
        """What the Patient is called in the store: the EHR's own id where it had one first."""
        return self.ehr_id or str(self.uuid)


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
class OrderRow:
    """What asked for a study, as far as its ImagingStudy says so. `extra` holds more by DICOM tag. `fhir_id`: its ServiceRequest's."""

    accession_number: str
    issuer: str
    description: str
    extra: dict[str, Any]
    id: int = 0
    fhir_id: str = ""


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
    is_emptied: bool = False  # what had come was taken out again
    extra: dict[str, Any] = field(default_factory=dict)  # optional attributes by DICOM tag
    order: OrderRow | None = None
    series: tuple[SeriesRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class VerdictRow:
    """A step of a person. `version` is the report version that came of it."""

    action: str
    by_id: str
    by_name: str
    reason: str
    words: str
    version: int
    at: datetime


@dataclass(frozen=True, kw_only=True)
class ReportRow:
    """`machine_at`: when the newest version that no person made was issued. `verdicts` oldest first, also what was taken back."""

    uuid: UUID
    status: str
    conclusion: str
    issued_at: datetime
    content: ReportContent
    study: StudyRow
    job_id: int = 0
    version: int = 1
    flags: tuple[Flag, ...] = ()  # recalls of its algorithm
    machine_at: datetime | None = None
    verdicts: tuple[VerdictRow, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """An algorithm on its way over a study, and the report that came of it."""

    uuid: UUID
    state: str
    reason: str
    algorithm: str
    is_test: bool
    created_at: datetime
    sent_at: datetime | None
    ended_at: datetime | None
    study: StudyRow
    report_uuid: UUID | None = None
    made_by: Algorithm | None = None


PATIENT_COLUMNS = ("id", "uuid", "issuer", "patient_id", "variant", "name", "birth_date", "sex", "merged_into_id", "ehr_id")
STUDY_COLUMNS = (
    "id", "uuid", "study_uid", "accession_number", "accession_issuer", "study_date", "study_time", "utc_offset", "description",
    "referrer", "body_part", "modalities", "state", "is_from_ai", "number_of_instances", "stored_at", "extra",
    "order__accession_number", "order__issuer", "order__description", "order__extra", "order__id", "order__ehr_id",
)  # fmt: skip
JOB_COLUMNS = ("uuid", "state", "reason", "algorithm", "connection__is_test", "created_at", "sent_at", "ended_at")


def hospital_id(*, slug: str) -> int | None:
    """The active hospital of this name. Read before a scope, from the directory."""
    return Tenant.objects.filter(slug=slug, is_active=True).values_list("id", flat=True).first()


def has_us_core(*, slug: str) -> bool:
    """Does this hospital name US Core's profiles? Read before a scope, from the directory."""
    return Tenant.objects.filter(slug=slug, is_active=True, has_us_core=True).exists()


def hospital_read() -> HospitalRow:
    tenant = tenant_get(tenant_id=tenant_id_current())
    try:
        zone = ZoneInfo(tenant.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    base = f"{settings.MEDHUB_PUBLIC_URL}/t/{tenant.slug}"
    return HospitalRow(uuid=tenant.uuid, zone=zone, name=tenant.name, base=base, has_us_core=tenant.has_us_core)


def patient_ids_read(*, study_ids: Sequence[int]) -> list[int]:
    return list(Study.objects.filter(id__in=study_ids).values_list("patient_id", flat=True))


# What a rebuild walks: name -> (model, the column that it is walked by).
WALKED: dict[str, tuple[Any, str]] = {
    "studies": (Study, "id"), "patients": (Patient, "id"), "orders": (Order, "id"), "jobs": (Job, "id"), "reports": (Report, "id"),
    "audit records": (AuditSeal, "position"),
}  # fmt: skip


def ids_read(*, name: str, after: int, limit: int) -> list[int]:
    """The next of these rows: a rebuild walks them in steps."""
    model, column = WALKED[name]
    return list(model.objects.filter(**{f"{column}__gt": after}).order_by(column).values_list(column, flat=True)[:limit])


@dataclass(frozen=True, kw_only=True)
class ReportIds:
    report_id: int
    patient_id: int
    job_id: int


def report_ids_read(*, report_ids: Sequence[int] = (), patient_id: int = 0) -> list[ReportIds]:
    """Whom and what these reports, or the reports of a patient's studies, are about."""
    live = Report.objects.filter(stage=Stage.LIVE)
    rows = live.filter(study__patient_id=patient_id) if patient_id else live.filter(id__in=report_ids)
    names = ("id", "study__patient_id", "result__job_id")
    return [ReportIds(report_id=i, patient_id=of, job_id=job) for i, of, job in rows.order_by("id").values_list(*names)]


def dependents_read(*, study_ids: Sequence[int]) -> tuple[list[int], list[int]]:
    """The live reports and jobs of these studies: what names their patient and their order."""
    live = {"study_id__in": study_ids, "stage": Stage.LIVE}
    reports, jobs = (model.objects.filter(**live).order_by("id").values_list("id", flat=True) for model in (Report, Job))
    return list(reports), list(jobs)


def job_patients_read(*, job_ids: Sequence[int]) -> dict[int, int]:
    """Job -> patient, of those jobs that are there and that an EHR is told of."""
    return dict(Job.objects.filter(id__in=job_ids, stage=Stage.LIVE).values_list("id", "study__patient_id"))


def jobs_known(*, job_ids: Sequence[int]) -> int:
    """How many of them are there."""
    return Job.objects.filter(id__in=job_ids).count()


def patients_read(*, patient_ids: Sequence[int]) -> dict[int, PatientRow]:
    """Patients by id."""
    rows = Patient.objects.filter(id__in=patient_ids).values_list(*PATIENT_COLUMNS)
    return {row[0]: PatientRow(**dict(zip(PATIENT_COLUMNS, row, strict=True))) for row in rows}


def patients_named(*, fhir_ids: Sequence[str]) -> list[PatientRow]:
    """Those whom Patients of these ids stand for."""
    uuids = [fhir_id for fhir_id in fhir_ids if _is_uuid(fhir_id)]
    is_named = Q(uuid__in=uuids, ehr_id="") | Q(ehr_id__in=[fhir_id for fhir_id in fhir_ids if fhir_id])
    rows = Patient.objects.filter(is_named).values_list(*PATIENT_COLUMNS)
    return [PatientRow(**dict(zip(PATIENT_COLUMNS, row, strict=True))) for row in rows]


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def studies_read(*, study_ids: Sequence[int]) -> list[StudyRow]:
    """Studies with patient, series and instances."""
    rows = Study.objects.filter(id__in=study_ids).order_by("id").values_list(*_of_study(""))
    series = _series_of(study_ids)
    return [_study(row, series.get(row[0], ())) for row in rows]


def reports_read(*, report_ids: Sequence[int]) -> list[ReportRow]:
    """These reports in their newest versions, with study and patient but without the studies' series."""
    names = (
        "uuid", "id", "version", "status", "conclusion", "issued_at", "content", "result__job_id", "is_by_person", *_of_study("study__"),
    )  # fmt: skip
    asked = Report.objects.filter(id__in=report_ids).values("uuid")
    rows = list(Report.objects.filter(uuid__in=asked, stage=Stage.LIVE).order_by("version").values_list(*names))
    newest, machines = {row[0]: row for row in rows}, {row[0]: row[5] for row in rows if not row[8]}
    verdicts = verdicts_read(report_uuids=[uuid for uuid, row in newest.items() if row[8]])
    flags = report_flags(report_ids=[row[1] for row in newest.values()])
    return [
        ReportRow(
            uuid=uuid, version=version, status=status, conclusion=conclusion, issued_at=issued_at, content=report_content(content),
            job_id=job_id, study=_study(rest, ()), machine_at=machines.get(uuid), verdicts=tuple(verdicts.get(uuid, ())),
            flags=flags.get(report_id, ()),
        )
        for uuid, report_id, version, status, conclusion, issued_at, content, job_id, _, *rest in newest.values()
    ]  # fmt: skip


def verdicts_read(*, report_uuids: Sequence[UUID]) -> dict[UUID, list[VerdictRow]]:
    """By report; no statement where nobody has decided about any."""
    found: dict[UUID, list[VerdictRow]] = {}
    names = ("action", "by_id", "by_name", "reason", "words", "made_version", "at")
    rows = Verdict.objects.filter(report__uuid__in=report_uuids).order_by("id").values_list("report__uuid", *names)
    for uuid, action, by_id, by_name, reason, words, version, at in rows if report_uuids else ():
        found.setdefault(uuid, []).append(
            VerdictRow(action=action, by_id=by_id, by_name=by_name, reason=reason, words=words, version=version, at=at)
        )
    return found


def jobs_read(*, job_ids: Sequence[int]) -> list[JobRow]:
    """Jobs with study and patient, and what came of them: two statements."""
    reports = {
        job_id: (uuid, Algorithm(**algorithm))
        for job_id, uuid, algorithm in Report.objects.filter(result__job_id__in=job_ids).values_list(
            "result__job_id", "uuid", "content__algorithm"
        )
    }
    rows = Job.objects.filter(id__in=job_ids).order_by("id").values_list("id", *JOB_COLUMNS, *_of_study("study__"))
    found = []
    for job_id, *row in rows:
        values = dict(zip(JOB_COLUMNS, row, strict=False))
        uuid, algorithm = reports.get(job_id, (None, None))
        found.append(JobRow(
            is_test=values.pop("connection__is_test"), **values, report_uuid=uuid, made_by=algorithm,
            study=_study(row[len(JOB_COLUMNS) :], ()),
        ))  # fmt: skip
    return found


_content = TypeAdapter(ReportContent)


def report_content(data: dict[str, Any]) -> ReportContent:
    """ai.models.Report.content as the type it was made of; what an older version did not know is empty."""
    return _content.validate_python(data)


def _of_study(prefix: str) -> list[str]:
    """What `_study` reads, from a model that reaches the study by this prefix."""
    return [f"{prefix}{name}" for name in STUDY_COLUMNS] + [f"{prefix}patient__{name}" for name in PATIENT_COLUMNS]


def _study(row: Sequence[Any], series: tuple[SeriesRow, ...]) -> StudyRow:
    found = dict(zip(STUDY_COLUMNS, row, strict=False))
    order = order_row([found.pop(f"order__{name}") for name in ORDER_COLUMNS])
    return StudyRow(
        patient=PatientRow(**dict(zip(PATIENT_COLUMNS, row[len(STUDY_COLUMNS) :], strict=True))),
        is_complete=found.pop("state") == Study.State.COMPLETE,
        is_emptied=found.pop("stored_at") is not None and found.pop("number_of_instances") == 0,
        modalities=tuple(filter(None, found.pop("modalities").split(","))),
        extra=_tags(found.pop("extra")),
        order=order,
        series=series,
        **{name: value for name, value in found.items() if name != "number_of_instances"},
    )  # fmt: skip


ORDER_COLUMNS = ("accession_number", "issuer", "description", "extra", "id", "ehr_id")


def order_row(row: Sequence[Any]) -> OrderRow | None:
    """From ORDER_COLUMNS; None where a join found none."""
    number, issuer, description, extra, order_id, ehr_id = row
    if number is None:
        return None
    return OrderRow(
        accession_number=number, issuer=issuer, description=description, extra=_tags(extra), id=order_id, fhir_id=ehr_id or str(order_id)
    )


def _tags(text: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(text) if text else {}
    return found


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
