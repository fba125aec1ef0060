"""Everything that one report version is encoded or printed from, read in a scope and used outside of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from os import PathLike, fspath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter
from pydicom import dcmread
from pydicom.dataset import Dataset

from ai.contract import platforms
from ai.encoding.edition import Edition, Verifier
from ai.encoding.stamp import cut
from ai.findings import Document, ReportContent
from ai.governance.recalls import flag_words, report_flags
from ai.models import REJECTED, Report
from ai.printing.sheet import Head, ReportSheet, report_sheet
from ai.reports import flag_only
from imaging.models import Instance, Node
from imaging.storage import object_path
from tenants.selectors import tenant_get

_content = TypeAdapter(ReportContent)


class NoSourceError(Exception):
    """None of the images that a report was computed from is in the archive any more: nobody can say whose it is."""

    user_message = "the images that the report was computed from are not in the archive any more"


@dataclass(frozen=True, kw_only=True)
class SourceImage:
    """An image that was computed from, as an object refers to it."""

    sop_class_uid: str
    sop_uid: str
    series_uid: str


@dataclass(frozen=True, kw_only=True)
class Dossier:
    """A report version with its images. `first` is the image whose header says whose report it is."""

    report_uuid: UUID
    study_uuid: UUID
    content: ReportContent
    edition: Edition
    status: str
    hospital: str
    title: str
    first: str | PathLike[str]
    images: tuple[SourceImage, ...]
    masks: tuple["FiledMask", ...] = ()
    rejects: tuple["Dossier", ...] = ()  # of a report that was rejected: its versions that were objects
    has_pages: bool = False  # some node takes results as pictures of their pages


@dataclass(frozen=True, kw_only=True)
class FiledMask:
    """A Segmentation of the report, filed when its result was taken. `path` is None while the archive has no row of it.

    `copy_series_uid`: a copy of what lies at `path`, which is to be filed under its own UIDs yet; "" for what lies there itself.
    """

    sop_uid: str
    copy_series_uid: str = ""
    sop_class_uid: str = ""
    transfer_syntax_uid: str = ""
    path: str | PathLike[str] | None = None


def dossier_read(*, report: Report) -> Dossier:
    """In a scope; `report` with its study and connection. Raises NoSourceError."""
    content = content_of(report)
    rows = {
        row[0]: row
        for row in Instance.objects.filter(study_id=report.study_id, sop_instance_uid__in=content.sop_uids).values_list(
            "sop_instance_uid", "sop_class_uid", "series__series_uid", "key"
        )
    }
    found = [rows[uid] for uid in content.sop_uids if uid in rows]
    if not found:
        raise NoSourceError
    tenant = tenant_get(tenant_id=report.tenant_id)
    return Dossier(
        report_uuid=report.uuid, study_uuid=report.study.uuid, content=content, status=report.status, hospital=tenant.name,
        title=_title(report), edition=_edition(report, tenant.time_zone, tenant.name), first=object_path(found[0][3]),
        images=tuple(SourceImage(sop_uid=uid, sop_class_uid=sop_class, series_uid=series) for uid, sop_class, series, _ in found),
        masks=_masks(report, content), rejects=_rejects(report), has_pages=Node.objects.filter(results_as="sc").exists(),
    )  # fmt: skip


def _rejects(report: Report) -> tuple[Dossier, ...]:
    """Every version with objects of its own; what an earlier rejection note named already is named again, which changes nothing."""
    if report.status not in REJECTED:
        return ()
    rows = Report.objects.filter(uuid=report.uuid, version__lt=report.version).exclude(status__in=REJECTED)
    return tuple(dossier_read(report=one) for one in rows.select_related("study", "connection").order_by("version"))


def _masks(report: Report, content: ReportContent) -> tuple[FiledMask, ...]:
    documents = [document for document in content.documents if document.kind == "SEG"]
    uids = {uid for one in documents for uid in (one.sop_uid, one.copy_of) if uid}
    rows = {
        uid: FiledMask(sop_uid=uid, sop_class_uid=sop_class, transfer_syntax_uid=syntax, path=object_path(key))
        for uid, sop_class, syntax, key in Instance.objects.filter(study_id=report.study_id, sop_instance_uid__in=uids).values_list(
            "sop_instance_uid", "sop_class_uid", "transfer_syntax_uid", "key"
        )
    }
    return tuple(rows.get(one.sop_uid) or _copied(one, rows.get(one.copy_of)) for one in documents)


def _copied(document: Document, first: FiledMask | None) -> FiledMask:
    if first is None:
        return FiledMask(sop_uid=document.sop_uid)
    return replace(first, sop_uid=document.sop_uid, copy_series_uid=document.series_uid)


def content_of(report: Report) -> ReportContent:
    """`report` with its connection."""
    return _content.validate_python(flag_only(report.content, platform=report.connection.platform, algorithm=report.algorithm))


def _edition(report: Report, zone: str, hospital: str) -> Edition:
    earlier = Report.objects.filter(uuid=report.uuid, version__lt=report.version).exclude(status__in=REJECTED)
    review = report.content.get("review")
    return Edition(
        report_uuid=report.uuid, version=report.version, issued_at=report.issued_at.astimezone(ZoneInfo(zone)),
        replaces=earlier.order_by("-version").values_list("version", flat=True).first() or 0,
        is_final=report.status in {Report.Status.FINAL, Report.Status.AMENDED},
        verifier=_verifier(review, hospital, zone) if review else None,
    )  # fmt: skip


def _verifier(review: dict[str, Any], hospital: str, zone: str) -> Verifier:
    at = datetime.fromisoformat(review["at"]).astimezone(ZoneInfo(zone))
    return Verifier(name=person_pn(review["by"]), organization=cut(hospital), at=at)


def person_pn(name: str) -> str:
    """A name as people write it, as a PN: the last word is taken for the family name (PS3.5 6.2.1). 64 characters at most."""
    words = "".join(char if char.isprintable() and char not in "\\^=" else " " for char in name).split()
    *given, family = words or ["unknown"]
    return f"{family}^{' '.join(given)}"[:64]


def _title(report: Report) -> str:
    """What people call the algorithm; empty when its platform no longer offers it."""
    platform = platforms().get(report.connection.platform)
    cards = platform.card.algorithms if platform else ()
    return next((card.title for card in cards if card.name == report.algorithm), "")


def sources_read(dossier: Dossier) -> list[Dataset]:
    """The first image's whole header, of the others what a reference needs. Raises OSError, InvalidDicomError."""
    first = dcmread(fspath(dossier.first), stop_before_pixels=True)
    return [first, *(_reference(first, image) for image in dossier.images[1:])]


def _reference(first: Dataset, image: SourceImage) -> Dataset:
    bare = Dataset()
    bare.SOPClassUID, bare.SOPInstanceUID = image.sop_class_uid, image.sop_uid
    bare.StudyInstanceUID, bare.SeriesInstanceUID = first.StudyInstanceUID, image.series_uid
    return bare


def mask_references(content: ReportContent) -> list[Dataset]:
    """The report's Segmentations as an SR refers to them, of what the content says alone: the same whenever it is encoded."""
    return [_mask_reference(content, one) for one in content.documents if one.kind == "SEG" and content.series_uid]


def _mask_reference(content: ReportContent, document: Document) -> Dataset:
    bare, series = Dataset(), Dataset()
    bare.SOPClassUID, bare.SOPInstanceUID = document.sop_class_uid, document.sop_uid
    bare.StudyInstanceUID, bare.SeriesInstanceUID = content.study_uid, document.series_uid
    series.SeriesInstanceUID = content.series_uid
    bare.ReferencedSeriesSequence = [series]
    return bare


def filed_sheet(dossier: Dossier, sources: Sequence[Dataset]) -> ReportSheet:
    """The sheet inside of an object: whose it is stands in it as in the object's own header, which is the first image's."""
    first, edition = sources[0], dossier.edition
    head = Head(
        hospital=dossier.hospital, title=dossier.title, status=dossier.status, version=edition.version, issued_at=edition.issued_at,
        patient_name=str(first.get("PatientName", "")), patient_id=str(first.get("PatientID", "")),
        birth_date=str(first.get("PatientBirthDate", "")), sex=str(first.get("PatientSex", "")),
        accession_number=str(first.get("AccessionNumber", "")), study_date=str(first.get("StudyDate", "")),
        study_description=str(first.get("StudyDescription", "")),
    )  # fmt: skip
    return report_sheet(content=dossier.content, head=head)


def shown_sheet(*, report: Report) -> ReportSheet:
    """The sheet on a page or as a download, in a scope: of the patient and study as the hospital's rows are now."""
    study, tenant = report.study, tenant_get(tenant_id=report.tenant_id)
    head = Head(
        hospital=tenant.name, title=_title(report), status=report.status, version=report.version,
        issued_at=report.issued_at.astimezone(ZoneInfo(tenant.time_zone)), patient_name=study.patient.name,
        patient_id=study.patient.patient_id, birth_date=study.patient.birth_date, sex=study.patient.sex,
        accession_number=study.accession_number, study_date=study.study_date, study_description=study.description,
        recalls=tuple(flag_words(flag, ZoneInfo(tenant.time_zone)) for flag in report_flags(report_ids=[report.id]).get(report.id, ())),
    )  # fmt: skip
    return report_sheet(content=content_of(report), head=head)
