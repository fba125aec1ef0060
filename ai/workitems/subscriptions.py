"""Who hears of which workitems (PS3.18 11.10 to 11.12, PS3.4 CC.2.3). Doors and `services` call it. In a scope.

A global or filtered subscription becomes a row for each workitem it covers, now and when new ones come; suspending it ends the latter.
"""

from django.utils import timezone

from ai.models import Workitem, WorkitemSubscription
from ai.workitems.events import Kind, event_tell
from ai.workitems.search import Search, search_read
from ai.workitems.selectors import Viewer, workitem_dataset, workitem_get, workitems_of
from ai.workitems.states import NOT_FOUND, UpsRefused
from imaging.query.keys import QueryError
from journal.audit import Actor, audit_record
from journal.wall.arrays import rows_insert
from journal.wall.ids import id_new

GLOBAL, FILTERED = "1.2.840.10008.5.1.4.34.5", "1.2.840.10008.5.1.4.34.5.1"
COVERED = 10_000  # workitems that a global subscription begins with
SUBSCRIBERS = 100  # AE titles of one owner

Keys = list[tuple[str, str]]


class TooManySubscribersError(Exception):
    """One owner's AE titles are limited: each multiplies what is written for a new workitem."""

    text = "there are too many subscribers"


def subscription_set(
    *, viewer: Viewer, workitem_uid: str, ae_title: str, keys: Keys | None = None, has_lock: bool = False, actor: Actor
) -> None:
    """Subscribe to one workitem, to all, or to those that match `keys`; the current state is reported at once.

    Raises UpsRefused for a workitem that is not there, QueryError for keys, TooManySubscribersError.
    """
    if workitem_uid in (GLOBAL, FILTERED):
        _subscribe_many(viewer, ae_title, (keys or []) if workitem_uid == FILTERED else None, has_lock)
    else:
        item = workitem_get(viewer=viewer, workitem_uid=workitem_uid)
        if item is None:
            raise UpsRefused(NOT_FOUND)
        _room_check(viewer, ae_title)
        found, _ = WorkitemSubscription.objects.update_or_create(
            ae_title=ae_title, owner=viewer.owner, workitem=item,
            defaults={"has_lock": has_lock}, create_defaults={"has_lock": has_lock, "created_at": timezone.now()},
        )  # fmt: skip
        event_tell(item, Kind.STATE, subscription_id=found.id)
    audit_record(actor=actor, action="ups.subscribe", object_type="Workitem", object_id=workitem_uid)


def _room_check(viewer: Viewer, ae_title: str) -> None:
    mine = WorkitemSubscription.objects.filter(owner=viewer.owner)
    if not mine.filter(ae_title=ae_title).exists() and mine.values("ae_title").distinct().count() >= SUBSCRIBERS:
        raise TooManySubscribersError


def _subscribe_many(viewer: Viewer, ae_title: str, keys: Keys | None, has_lock: bool) -> None:
    search = search_read(keys) if keys is not None else None
    _room_check(viewer, ae_title)
    now = timezone.now()
    facts = {"has_lock": has_lock, "is_suspended": False, "keys": [list(pair) for pair in keys] if keys is not None else None}
    WorkitemSubscription.objects.update_or_create(
        ae_title=ae_title, owner=viewer.owner, workitem=None, defaults=facts, create_defaults={**facts, "created_at": now}
    )
    known = set(
        WorkitemSubscription.objects.filter(ae_title=ae_title, owner=viewer.owner).exclude(workitem=None)
        .values_list("workitem_id", flat=True)
    )  # fmt: skip
    open_first = workitems_of(viewer).order_by("-id")[:COVERED]
    items = [item for item in open_first if item.id not in known and _covers(search, item)]
    rows = [
        WorkitemSubscription(
            id=id_new(), ae_title=ae_title, owner=viewer.owner, workitem=item, has_lock=has_lock, created_at=now
        )
        for item in items
    ]
    rows_insert(rows)
    for item, row in zip(items, rows, strict=True):
        event_tell(item, Kind.STATE, subscription_id=row.id)


def workitem_subscribe_all(item: Workitem) -> None:
    """A new workitem: everybody whose global or filtered subscription covers it gets one of its own."""
    now = timezone.now()
    wide = WorkitemSubscription.objects.filter(workitem=None, is_suspended=False, owner__in={0, item.connection_id or 0})
    rows_insert([
        WorkitemSubscription(
            id=id_new(), ae_title=one.ae_title, owner=one.owner, workitem=item, has_lock=one.has_lock, created_at=now
        )
        for one in wide if _covers(_search(one.keys), item)
    ])  # fmt: skip


def _search(keys: list[list[str]] | None) -> Search | None:
    """Read before it was kept; should a later release read it otherwise, it covers nothing rather than stopping what is made."""
    if keys is None:
        return None
    try:
        return search_read([(name, value) for name, value in keys])
    except QueryError:
        return search_read([("SOPInstanceUID", "0")])


def _covers(search: Search | None, item: Workitem) -> bool:
    return search is None or search.matches(workitem_dataset(item))


def subscription_delete(*, viewer: Viewer, workitem_uid: str, ae_title: str, actor: Actor) -> bool:
    """End it. Of all workitems: every subscription of this AE title ends (PS3.4 CC.2.3.3). Returns whether there was one."""
    mine = WorkitemSubscription.objects.filter(ae_title=ae_title, owner=viewer.owner)
    if workitem_uid not in (GLOBAL, FILTERED):
        mine = mine.filter(workitem__workitem_uid=workitem_uid)
    count, _ = mine.delete()
    audit_record(actor=actor, action="ups.unsubscribe", object_type="Workitem", object_id=workitem_uid)
    return bool(count)


def subscription_suspend(*, viewer: Viewer, ae_title: str, is_filtered: bool, actor: Actor) -> bool:
    """New workitems are not subscribed to any more; those that are, stay. Returns whether there was a subscription."""
    wide = WorkitemSubscription.objects.filter(
        ae_title=ae_title, owner=viewer.owner, workitem=None, keys__isnull=not is_filtered
    )
    audit_record(actor=actor, action="ups.suspend", object_type="Workitem", object_id=FILTERED if is_filtered else GLOBAL)
    return bool(wide.update(is_suspended=True))
