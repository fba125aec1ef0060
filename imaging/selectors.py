"""Reading pixels' rows: what upper floors may ask of imaging."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from django.db.models import F, Q

from imaging.models import (
    Association,
    CommitmentRequest,
    Instance,
    Node,
    Series,
    Study,
    StudySource,
    Transfer,
    TransferStudy,
    WorkItem,
)
from imaging.storage import LazyPath, object_path


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


def calling_aes_of(*, study_id: int) -> set[str]:
    """Who sent this study."""
    sources = StudySource.objects.filter(study_id=study_id).values("association")
    return set(Association.objects.filter(id__in=sources).values_list("calling_ae", flat=True))


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
