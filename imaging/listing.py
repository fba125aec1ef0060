"""The worklist's studies: what is raised first, then by arrival, newest first; by keyset, so that a page stays exact while studies arrive.

Filters that no index serves look through a bounded number of studies and say where they stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django.db.models import Q, QuerySet

from imaging.models import Patient, Study
from imaging.priorities import RAISED_FOR
from imaging.query.fold import group_fold, text_fold

SCANNED = 20_000  # studies that one page with a filter looks through
PATIENTS = 500  # that a name may begin
LAST = "\U0010ffff"


@dataclass(frozen=True, kw_only=True)
class StudyWish:
    """Which studies. `text`: how a family name, a patient number or an accession number begins; `where`: an upper floor's conditions."""

    since: datetime | None = None
    modalities: Sequence[str] = ()
    priorities: Sequence[str] = ()
    is_flagged: bool = False
    text: str = ""
    where: Sequence[Q] = field(default_factory=tuple)

    @property
    def is_narrow(self) -> bool:
        return bool(self.modalities or self.priorities or self.is_flagged or self.where)


@dataclass(frozen=True)
class StudyList:
    """A page. `older` is an opaque cursor, empty on the last page; `is_cut`: nothing more in what was looked through."""

    studies: list[Study]
    older: str
    is_cut: bool = False


def studies_list(*, wish: StudyWish, now: datetime, before: str = "", size: int = 50) -> StudyList:
    """A malformed cursor is the first page."""
    rows = _wished(wish)
    rank, at, study_id = _cursor_read(before)
    edge = now - RAISED_FOR
    found: list[Study] = []
    if at is None or rank:
        raised = rows.filter(rank__gt=0, raised_at__gt=edge)
        if at is not None:
            raised = raised.filter(Q(rank__lt=rank) | Q(rank=rank) & _before(at, study_id))
        found = list(raised.order_by("-rank", "-first_received_at", "-id")[: size + 1])
        at = None
    stop: tuple[datetime, int] | None = None
    if len(found) <= size:
        plain = rows.filter(Q(rank=0) | Q(raised_at__lte=edge))
        stop = _stop(wish, at, study_id)
        if at is not None:
            plain = plain.filter(_before(at, study_id))
        if stop is not None:
            plain = plain.filter(first_received_at__gte=stop[0])
        found += plain.order_by("-first_received_at", "-id")[: size + 1 - len(found)]
    if len(found) > size:
        return StudyList(found[:size], _cursor(found[size - 1], edge))
    if stop is not None:
        return StudyList(found, f"{stop[0].timestamp():.6f}.{stop[1]}", is_cut=True)
    return StudyList(found, "")


def _wished(wish: StudyWish) -> QuerySet[Study]:
    rows = Study.objects.select_related("patient").filter(*wish.where, number_of_instances__gt=0)
    if wish.since is not None:
        rows = rows.filter(first_received_at__gte=wish.since)
    if wish.priorities:
        rows = rows.filter(priority__in=wish.priorities)
    if wish.is_flagged:
        rows = rows.filter(is_flagged=True)
    if wish.modalities:
        one_of = Q()
        for name in wish.modalities:  # they are sorted, with commas between
            one_of |= Q(modalities=name) | Q(modalities__startswith=f"{name},")
            one_of |= Q(modalities__endswith=f",{name}") | Q(modalities__contains=f",{name},")
        rows = rows.filter(one_of)
    return rows.filter(_named(wish.text)) if wish.text.strip() else rows


def _named(text: str) -> Q:
    """Prefixes, which an index serves under the wall: DOE, DOE JA is `DOE, JA`; numbers as they are written."""
    family, _sep, given = text.partition(",")
    name = f"{group_fold(family)}{text_fold(given)}" if given.strip() else text_fold(family)
    number = text_fold(text)
    keys = (("name_key", name), ("name_ideographic_key", name), ("name_phonetic_key", name), ("patient_id_key", number))
    one_of = Q()
    for column, key in keys:
        one_of |= Q(**{f"{column}__gte": key, f"{column}__lt": key + LAST})
    patients = list(Patient.objects.filter(one_of).values_list("id", flat=True)[:PATIENTS])
    return Q(patient_id__in=patients) | Q(accession_key__gte=number, accession_key__lt=number + LAST)


def _stop(wish: StudyWish, at: datetime | None, study_id: int) -> tuple[datetime, int] | None:
    """Where a filter that no index serves stops looking; None where it may look at all."""
    if not wish.is_narrow or wish.text.strip():
        return None
    rows = Study.objects.all()
    if at is not None:
        rows = rows.filter(_before(at, study_id))
    if wish.since is not None:
        rows = rows.filter(first_received_at__gte=wish.since)
    return rows.order_by("-first_received_at", "-id").values_list("first_received_at", "id")[SCANNED : SCANNED + 1].first()


def _before(at: datetime, study_id: int) -> Q:
    # the first condition alone is what the index is entered by
    return Q(first_received_at__lte=at) & (Q(first_received_at__lt=at) | Q(id__lt=study_id))


def _cursor(study: Study, edge: datetime) -> str:
    place = f"{study.first_received_at.timestamp():.6f}.{study.id}"
    is_raised = study.rank and study.raised_at is not None and study.raised_at > edge
    return f"{study.rank}.{place}" if is_raised else place


def _cursor_read(text: str) -> tuple[int, datetime | None, int]:
    """(rank, arrival, id); arrival None where it is none."""
    parts = text.split(".")
    if len(parts) not in (3, 4) or not all(part.isascii() and part.isdigit() and len(part) < 20 for part in parts):
        return 0, None, 0
    rank = int(parts[0]) if len(parts) == 4 else 0
    try:
        seconds = datetime.fromtimestamp(int(parts[-3]), tz=UTC)
    except (OverflowError, ValueError, OSError):
        return 0, None, 0
    return min(rank, 100), seconds + timedelta(microseconds=int(parts[-2][:6].ljust(6, "0"))), int(parts[-1])
