"""Reading workitems: whose they are decides what is seen. Doors, the WebSocket process and `services` ask here. In a scope."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django.db.models import QuerySet

from ai.models import Workitem
from ai.workitems import dataset as ds
from ai.workitems.search import Search
from imaging.query.moments import MomentError, datetime_span

SCANNED = 10_000  # rows that one search looks at
BATCH = 500


class TooManyError(Exception):
    """A search looks at more rows than it may: narrow it."""

    text = "the search looks at too many workitems: name a state, a study or a span of ScheduledProcedureStepStartDateTime"


@dataclass(frozen=True)
class Viewer:
    """Who asks: the hospital's own systems, or the performer of one connection, perhaps for one job only."""

    connection_id: int | None = None
    job: UUID | None = None

    @property
    def owner(self) -> int:
        return self.connection_id or 0

    @property
    def is_performer(self) -> bool:
        return self.connection_id is not None

    def may_perform(self, item: Workitem) -> bool:
        """A connection's workitems are its performer's alone; the others are the hospital's."""
        return bool(item.connection_id == self.connection_id)


def workitems_of(viewer: Viewer) -> "QuerySet[Workitem]":
    """What exists for this viewer: anything else is 404."""
    found: QuerySet[Workitem] = Workitem.objects.all()
    if viewer.connection_id is not None:
        found = found.filter(connection_id=viewer.connection_id)
    if viewer.job is not None:
        found = found.filter(job__uuid=viewer.job)
    return found


def workitem_get(*, viewer: Viewer, workitem_uid: str) -> Workitem | None:
    return workitems_of(viewer).filter(workitem_uid=workitem_uid).first()


def workitem_dataset(item: Workitem) -> ds.Dataset:
    """As a client sees it; the Transaction UID is nowhere in it, since it is nowhere kept."""
    return {
        **item.dataset,
        ds.SOP_CLASS: ds.element("UI", ds.UPS_PUSH), ds.SOP_INSTANCE: ds.element("UI", item.workitem_uid),
        ds.STATE: ds.element("CS", item.state),
    }  # fmt: skip


def workitems_search(*, viewer: Viewer, search: Search) -> tuple[list[ds.Dataset], bool]:
    """A page of matches, earliest scheduled first, and whether there are more. Raises TooManyError."""
    found: list[ds.Dataset] = []
    passed = 0
    for item in workitems_matching(viewer=viewer, search=search):
        if passed < search.offset:
            passed += 1
        elif len(found) == search.limit:
            return found, True
        else:
            found.append(search.answer(item))
    return found, False


def workitems_matching(*, viewer: Viewer, search: Search) -> Iterator[ds.Dataset]:
    rows = _narrowed(workitems_of(viewer), search).order_by("scheduled_at", "id")
    for count, item in enumerate(rows[: SCANNED + 1].iterator(chunk_size=BATCH)):
        if count == SCANNED:
            raise TooManyError
        found = workitem_dataset(item)
        if search.matches(found):
            yield found


def _narrowed(rows: "QuerySet[Workitem]", search: Search) -> "QuerySet[Workitem]":
    """By what has an index or a column; the rest is compared one by one."""
    for tag, column in ((ds.STATE, "state"), (ds.STUDY, "study_uid"), (ds.SOP_INSTANCE, "workitem_uid"), (ds.PATIENT_ID, "patient_id")):
        value = search.value(tag)
        if value and not set(value) & set("*?,\\"):
            rows = rows.filter(**{column: value.strip()})
    when = search.value(ds.START)
    if when:
        span = datetime_span(when)  # read before, so it is one
        if span.low:
            rows = rows.filter(scheduled_at__gte=moment(span.low))
        if span.high:
            rows = rows.filter(scheduled_at__lte=moment(span.high))
    return rows


def moment(digits: str) -> datetime:
    """YYYYMMDDHHMMSSFFFFFF in UTC. Raises MomentError."""
    try:
        return datetime.strptime(digits, "%Y%m%d%H%M%S%f").replace(tzinfo=UTC)
    except ValueError:
        raise MomentError("a date-time is not in the calendar") from None
