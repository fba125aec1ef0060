"""Reading pixels' rows: what upper floors may ask of imaging."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import orjson
from django.db import connection
from django.db.models import F, Q

from imaging.models import (
    Association,
    CommitmentRequest,
    Instance,
    Node,
    Order,
    Series,
    Study,
    StudySource,
    Transfer,
    TransferStudy,
    WorkItem,
)
from imaging.query.attributes import extra_name
from imaging.storage import LazyPath, object_path
from journal.wall.scope import tenant_id_current

PRIORITY = 0x00401003  # RequestedProcedurePriority


@dataclass(frozen=True, kw_only=True)
class SliceFacts:
    """One image as the study page needs it."""

    instance_id: int
    sop_instance_uid: str
    path: Path | LazyPath
    frames: int
    is_image: bool  # has rows and columns: an SR or a waveform has not


def study_get(*, study_id: int) -> Study:
    return Study.objects.select_related("patient").get(id=study_id)


def study_by_uuid(*, uuid: object) -> Study | None:
    return Study.objects.select_related("patient").filter(uuid=uuid).first()


def study_by_uid(*, study_uid: str) -> Study | None:
    return Study.objects.select_related("patient").filter(study_uid=study_uid).first()


def series_of(*, study_id: int) -> list[Series]:
    """In the order people expect: by number, then by arrival."""
    return list(Series.objects.filter(study_id=study_id).order_by("number", "id"))


def slices_of(*, series_id: int) -> list[SliceFacts]:
    """Every instance of a series along its normal, else by number; values only."""
    rows = (
        Instance.objects.filter(series_id=series_id)
        .order_by("position", "number", "id")
        .values_list("id", "sop_instance_uid", "key", "frames", "rows")
    )
    return [
        SliceFacts(instance_id=i, sop_instance_uid=uid, path=object_path(key), frames=frames, is_image=height is not None)
        for i, uid, key, frames, height in rows
    ]


@dataclass(frozen=True)
class SlicePlace:
    """Where an image stands on the study page: its series, and its number among the pictures there."""

    series_id: int
    number: int


def slice_places(*, study_id: int, sop_uids: Sequence[str]) -> dict[str, SlicePlace]:
    """By SOP instance, of those that are here and can be drawn. One statement, and one for each of their series."""
    rows = Instance.objects.filter(study_id=study_id, sop_instance_uid__in=sop_uids).values_list("series_id", flat=True)
    found, wanted = {}, set(sop_uids)
    for series_id in sorted(set(rows)):
        number = 1
        for item in slices_of(series_id=series_id):
            if not item.is_image:
                continue
            if item.sop_instance_uid in wanted:
                found[item.sop_instance_uid] = SlicePlace(series_id, number)
            number += item.frames
    return found


@dataclass(frozen=True)
class EarlierStudies:
    """Of the same patient: those that are here, newest first, and what is being fetched."""

    studies: list[Study]
    fetches: list[Transfer]


def studies_earlier(*, study: Study, limit: int = 20) -> EarlierStudies:
    """By study date, which both state; the fetches are those that this study has asked for."""
    rows = Study.objects.none()
    if _day(study.study_date):
        ours = Study.objects.filter(patient_id=study.patient_id, is_from_ai=False, number_of_instances__gt=0)
        rows = ours.filter(study_date__lt=study.study_date).exclude(id=study.id).exclude(study_date="")
    fetches = Transfer.objects.filter(kind=Transfer.Kind.PRIORS, unique_on__startswith=f"priors:{study.id}:")
    return EarlierStudies(list(rows.order_by("-study_date", "-id")[:limit]), list(fetches.order_by("id")))


def series_among(*, study_ids: Sequence[int]) -> list[Series]:
    return list(Series.objects.filter(study_id__in=study_ids).order_by("study_id", "number", "id"))


def calling_aes(*, study_ids: Sequence[int]) -> dict[int, frozenset[str]]:
    """Who sent each study, by study id."""
    sources = list(StudySource.objects.filter(study_id__in=study_ids).values_list("study_id", "association"))
    titles = dict(Association.objects.filter(id__in={one for _, one in sources}).values_list("id", "calling_ae"))
    found: dict[int, set[str]] = {}
    for study_id, association in sources:
        if association in titles:
            found.setdefault(study_id, set()).add(titles[association])
    return {study_id: frozenset(names) for study_id, names in found.items()}


def associations_recent(*, limit: int = 50) -> list[Association]:
    return list(Association.objects.order_by("-started_at")[:limit])


def nodes() -> list[Node]:
    return list(Node.objects.order_by("ae_title"))


@dataclass(frozen=True)
class StudyPage:
    """A page of the worklist and where the next one begins."""

    studies: list[Study]
    older: str  # opaque; empty on the last page


def studies_page(*, before: str = "", size: int = 50) -> StudyPage:
    """Newest arrivals first, by keyset, so a page stays exact while studies arrive. A malformed cursor is the first page."""
    rows = Study.objects.select_related("patient").filter(number_of_instances__gt=0)
    cursor = _cursor_read(before)
    if cursor is not None:
        at, study_id = cursor
        rows = rows.filter(Q(first_received_at__lt=at) | Q(first_received_at=at, id__lt=study_id))
    found = list(rows.order_by("-first_received_at", "-id")[: size + 1])
    older = f"{found[size - 1].first_received_at.timestamp():.6f}.{found[size - 1].id}" if len(found) > size else ""
    return StudyPage(studies=found[:size], older=older)


def _cursor_read(text: str) -> tuple[datetime, int] | None:
    parts = text.split(".")
    if len(parts) != 3 or not all(part.isdigit() and len(part) < 20 for part in parts):
        return None
    try:
        seconds = datetime.fromtimestamp(int(parts[0]), tz=UTC)
    except (OverflowError, ValueError, OSError):
        return None
    return seconds + timedelta(microseconds=int(parts[1][:6].ljust(6, "0"))), int(parts[2])


def work_items_open() -> list[WorkItem]:
    return work_items(is_open=True)


def work_items(*, is_open: bool, before: int = 0, limit: int = 200) -> list[WorkItem]:
    """Newest first; `before` is the id that the page before ended with."""
    rows = WorkItem.objects.select_related("study").filter(resolved_at__isnull=is_open)
    if before:
        rows = rows.filter(id__lt=before)
    return list(rows.order_by("-id")[:limit])


def work_item_get(*, item_id: int) -> WorkItem | None:
    return WorkItem.objects.select_related("study__patient", "instance", "patient").filter(id=item_id).first()


def commitments_dead() -> list[CommitmentRequest]:
    """Commitment requests whose answer no node took, newest first; without their references, which may be many."""
    rows = CommitmentRequest.objects.filter(state=CommitmentRequest.State.DEAD).defer("references", "failures")
    return list(rows.order_by("-id")[:200])


def commitment_get(*, request_id: int) -> CommitmentRequest | None:
    return CommitmentRequest.objects.defer("references", "failures").filter(id=request_id).first()


def uids_stored(*, study_uid: str) -> dict[str, frozenset[str]]:
    """SOP Instance UIDs that we have of a study, by series UID."""
    rows = Instance.objects.filter(study__study_uid=study_uid, study__tenant_id=F("tenant_id"))
    found: dict[str, set[str]] = {}
    for series_uid, uid in rows.values_list("series__series_uid", "sop_instance_uid").iterator(chunk_size=5000):
        found.setdefault(series_uid, set()).add(uid)
    return {series_uid: frozenset(uids) for series_uid, uids in found.items()}


def study_origin(*, study: Study) -> str:
    """`priors` or `migrate` for a study that a transfer of that kind asked for before its first image came; else nothing."""
    asked = TransferStudy.objects.filter(
        study_uid=study.study_uid, transfer__kind__in=[Transfer.Kind.PRIORS, Transfer.Kind.MIGRATE],
        created_at__lte=study.first_received_at, expected__gt=0,
    )  # fmt: skip
    return asked.order_by("id").values_list("transfer__kind", flat=True).first() or ""


@dataclass(frozen=True)
class TransferPage:
    """A page of transfers and the id that the next one begins behind; 0 on the last page."""

    transfers: list[Transfer]
    older: int


def transfers_page(*, before: int = 0, size: int = 50) -> TransferPage:
    """Newest first, by keyset."""
    rows = Transfer.objects.select_related("node")
    if before:
        rows = rows.filter(id__lt=before)
    found = list(rows.order_by("-id")[: size + 1])
    return TransferPage(transfers=found[:size], older=found[size - 1].id if len(found) > size else 0)


def transfer_get(*, transfer_id: int) -> Transfer | None:
    return Transfer.objects.select_related("node").filter(id=transfer_id).first()


def node_get(*, node_id: int) -> Node | None:
    return Node.objects.filter(id=node_id).first()


def nodes_after(*, after: int = 0, size: int = 50) -> list[Node]:
    """By id, behind `after`."""
    return list(Node.objects.filter(id__gt=after).order_by("id")[:size])


def studies_held(*, study_uids: list[str]) -> dict[str, int]:
    """How many objects we have of each of these studies."""
    return dict(Study.objects.filter(study_uid__in=study_uids).values_list("study_uid", "number_of_instances"))


def destinations() -> list[Node]:
    """Nodes that something can be sent to."""
    return list(Node.objects.filter(port__isnull=False).exclude(host="").order_by("ae_title"))


def study_uuids_holding(*, sop_instance_uids: Sequence[str]) -> list[UUID]:
    """The studies that these instances belong to."""
    found = Instance.objects.filter(sop_instance_uid__in=sop_instance_uids).values_list("study__uuid", flat=True)
    return list(found.distinct())


@dataclass(frozen=True)
class SeriesPictures:
    """What the images of a series have in common. `spacing_mm` is the largest distance between neighbours: a gap makes it a coarse one."""

    sop_classes: frozenset[str]
    spacing_mm: float | None
    key: str  # of one image


def series_pictures(*, study_ids: Sequence[int]) -> dict[int, SeriesPictures]:
    """By series id, in one statement: no row of an instance leaves the database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT series_id, array_agg(DISTINCT sop_class_uid), max(gap) FILTER (WHERE gap > 0.01), min(first_key) FROM ("
            " SELECT series_id, sop_class_uid, position - lag(position) OVER place AS gap, first_value(key) OVER place AS first_key"
            " FROM imaging_instance WHERE tenant_id = %s AND study_id = ANY(%s)"
            " WINDOW place AS (PARTITION BY series_id ORDER BY position, id)) pictures GROUP BY series_id",
            [tenant_id_current(), list(study_ids)],
        )
        rows = cursor.fetchall()
    return {
        series_id: SeriesPictures(frozenset(classes), None if gap is None else round(gap, 3), key) for series_id, classes, gap, key in rows
    }


def study_priorities(*, studies: Sequence[Study]) -> dict[int, str]:
    """RequestedProcedurePriority (PS3.3 C.4.11) of each study's order, by study id: STAT, HIGH, ROUTINE, MEDIUM, LOW.

    Of the one order with the study's accession number, issuer and patient: the link itself may be made a moment later.
    """
    numbers = {study.accession_number for study in studies if study.accession_number}
    orders: dict[tuple[str, str, int | None], list[str]] = {}
    if numbers:
        rows = Order.objects.filter(accession_number__in=numbers).exclude(extra="")
        for number, issuer, patient, extra in rows.values_list("accession_number", "issuer", "patient_id", "extra"):
            orders.setdefault((number, issuer, patient), []).append(extra)
    found = {}
    for study in studies:
        extras = orders.get((study.accession_number, study.accession_issuer, study.patient_id), [])
        if len(extras) == 1:
            found[study.id] = order_priority(extras[0])
    return found


def order_priority(extra: str) -> str:
    """RequestedProcedurePriority of an order's optional attributes; empty where it says none."""
    if not extra:
        return ""
    return str(orjson.loads(extra).get(extra_name(PRIORITY), "")).strip().upper()


@dataclass(frozen=True)
class Priors:
    """Earlier studies of the same patient: how many are here, and the days since the last one where both have dates."""

    count: int
    days: float | None


def study_priors(*, studies: Sequence[Study]) -> dict[int, Priors]:
    """By study id, two columns of the patients' other studies: earlier by date, which both state."""
    patients = {study.patient_id for study in studies}
    rows = Study.objects.filter(patient_id__in=patients, is_from_ai=False, number_of_instances__gt=0)
    dates: dict[int, list[tuple[int, str]]] = {}
    for patient, study_id, text in rows.values_list("patient_id", "id", "study_date"):
        dates.setdefault(patient, []).append((study_id, text))
    found = {}
    for study in studies:
        day = _day(study.study_date)
        others = [_day(text) for study_id, text in dates.get(study.patient_id, []) if study_id != study.id]
        before = [other for other in others if day is not None and other is not None and other < day]
        found[study.id] = Priors(len(before), float((day - max(before)).days) if day is not None and before else None)
    return found


def _day(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 a DA has no zone (PS3.5 6.2)
    except ValueError:
        return None
