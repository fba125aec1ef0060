"""One step of a declared attribute's job: read the next stored objects for it, or take the next of its values away. Called by the task.

The row is lease and progress; each step's values and its place are one transaction, so a crash anywhere costs one step's reading.
"""

import logging
import struct
import time
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.db import connection
from django.utils import timezone

from imaging.describe import declared_describe
from imaging.header import HeaderError
from imaging.inbox import inbox_watermark
from imaging.models import QueryTag
from imaging.query.declared import DeclaredTags, DeclaredValue
from imaging.querytags.known import declared_of, tags_forget, values_write
from imaging.storage import StoreAwayError, object_range
from journal.faults import fault
from journal.outbox import lease_end
from journal.wall.ids import id_new
from journal.wall.scope import tenant_id_current, tenant_scope

log = logging.getLogger(__name__)

STEP_OBJECTS = 500
STEP_SECONDS = 10.0  # of reading: well within the lease, however slow the store is
STEP_VALUES = 5_000  # that one step of a removal takes away
YIELD_SECONDS = 2.0  # more between two steps while images arrive
AWAY_SECONDS = 60.0
REMOVE_SECONDS = 0.2
BUILDING, READY, REMOVING = QueryTag.State.BUILDING, QueryTag.State.READY, QueryTag.State.REMOVING


class _LostError(Exception):
    """Somebody else has the lease, or the attribute was removed or begun anew meanwhile: nothing of this step is kept."""


@dataclass
class _Read:
    """What a step has read."""

    values: dict[str, tuple[DeclaredValue, ...]] = field(default_factory=dict)
    after_id: int = 0
    done: int = 0
    bad: int = 0
    is_away: bool = False


def query_tag_step(*, tenant_id: int, tag_id: int) -> float | None:
    """Returns seconds until the next step, or None when nobody or the sweep should take it."""
    with tenant_scope(tenant_id):
        row = _claim(tag_id)
        if row is None:
            return None
        objects = _objects_after(row) if row.state == BUILDING else []
    try:
        if row.state == REMOVING:
            return _values_remove(tenant_id, row)
        return _build(tenant_id, row, objects)
    except _LostError:
        return None


def _claim(tag_id: int) -> QueryTag | None:
    """The lease of a due row: one conditional UPDATE, so two workers never both get it."""
    now, claim = timezone.now(), id_new()
    due = QueryTag.objects.filter(id=tag_id, due_at__lte=now)
    if not due.update(due_at=lease_end(now), claim=claim):
        return None
    row: QueryTag = QueryTag.objects.get(id=tag_id)
    if row.state == BUILDING and not row.until_id:
        # ids of a machine whose clock is ahead may be larger than ours
        row.until_id, row.objects_total = max(id_new(), _newest_id()), _objects_count()
        QueryTag.objects.filter(id=tag_id).update(until_id=row.until_id, objects_total=row.objects_total)
    return row


def _newest_id() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(id), 0) FROM imaging_instance WHERE tenant_id = %s", [tenant_id_current()])
        return int(cursor.fetchone()[0])


def _objects_count() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(sum(number_of_instances), 0) FROM imaging_study WHERE tenant_id = %s", [tenant_id_current()])
        return int(cursor.fetchone()[0])


def _objects_after(row: QueryTag) -> list[tuple[int, str, str, int]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, sop_instance_uid, key, size FROM imaging_instance WHERE tenant_id = %s AND id > %s AND id <= %s "
            "ORDER BY id LIMIT %s",
            [tenant_id_current(), row.after_id, row.until_id, STEP_OBJECTS],
        )
        return list(cursor.fetchall())


def _build(tenant_id: int, row: QueryTag, objects: list[tuple[int, str, str, int]]) -> float | None:
    began = time.monotonic()
    tags = DeclaredTags((declared_of(row),))
    read = _objects_read(objects, tags, row)
    is_end = read.done == len(objects) < STEP_OBJECTS
    wait = _wait(tenant_id, read, began)
    fault("reindex.after_read")
    with tenant_scope(tenant_id):
        keys = {uid: key for _, uid, key, _ in objects}
        found = {uid: read.values[uid] for uid in _unchanged({uid: keys[uid] for uid in read.values})}
        values_write(tags=tags, found=found, is_new=False)
        _progress(row, read, wait=None if is_end else wait)
        fault("reindex.before_commit")
    fault("reindex.after_commit")
    if is_end:
        tags_forget(tenant_id)
        return None
    return wait


def _objects_read(objects: list[tuple[int, str, str, int]], tags: DeclaredTags, row: QueryTag) -> _Read:
    """Heads of stored objects. One that cannot be read is counted and passed over: the scrub reports damage."""
    read, began = _Read(after_id=row.after_id), time.monotonic()
    for instance_id, uid, key, size in objects:
        if read.done and time.monotonic() - began > STEP_SECONDS:
            break
        try:
            read.values[uid] = declared_describe(partial(_head, key), size, tags=tags)
        except StoreAwayError as error:
            log.warning("the index of a query attribute waits: %s", error.user_message)
            read.is_away = True
            break
        except (HeaderError, OSError, ValueError, LookupError, struct.error) as error:
            log.warning("an object was not read for a query attribute (%s)", type(error).__name__)
            read.bad += 1
        read.after_id, read.done = instance_id, read.done + 1
    return read


def _head(key: str, room: int) -> bytes:
    """From where it lies, past the cache: a walk over everything must not push out what people are reading."""
    return object_range(key, start=0, length=room)


def _unchanged(keys: dict[str, str]) -> list[str]:
    """Objects that still lie where they were read, held there: what takes a place meanwhile is indexed as it comes, after us."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sop_instance_uid, key FROM imaging_instance WHERE tenant_id = %s AND sop_instance_uid = ANY(%s) "
            "ORDER BY id FOR SHARE",
            [tenant_id_current(), list(keys)],
        )
        return [uid for uid, key in cursor.fetchall() if keys[uid] == key]


def _wait(tenant_id: int, read: _Read, began: float) -> float:
    """The pace: so many objects a second, and slower while images arrive."""
    if read.is_away:
        return AWAY_SECONDS
    pause = max(read.done / max(settings.MEDHUB_REINDEX_OBJECTS_PER_SECOND, 1) - (time.monotonic() - began), 0.0)
    return pause + (YIELD_SECONDS if inbox_watermark(tenant_id=tenant_id) is not None else 0.0)


def _progress(row: QueryTag, read: _Read, *, wait: float | None) -> None:
    """Raises _LostError."""
    now = timezone.now()
    mine = QueryTag.objects.filter(id=row.id, claim=row.claim, state=BUILDING)
    state = {"state": READY, "built_at": now, "due_at": None} if wait is None else {"due_at": now + timedelta(seconds=wait)}
    if not mine.update(
        after_id=read.after_id, objects_done=row.objects_done + read.done, objects_bad=row.objects_bad + read.bad, changed_at=now,
        last_error="the object store is away" if read.is_away else "", **state,
    ):  # fmt: skip
        raise _LostError


def _values_remove(tenant_id: int, row: QueryTag) -> float | None:
    with tenant_scope(tenant_id):
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM imaging_queryvalue WHERE tenant_id = %s AND id = ANY(ARRAY("
                "SELECT id FROM imaging_queryvalue WHERE tenant_id = %s AND query_tag_id = %s LIMIT %s))",
                [tenant_id, tenant_id, row.id, STEP_VALUES],
            )
            is_end = cursor.rowcount < STEP_VALUES
        mine = QueryTag.objects.filter(id=row.id, claim=row.claim, state=REMOVING)
        now = timezone.now()
        if not mine.update(due_at=now + timedelta(seconds=REMOVE_SECONDS), changed_at=now):
            raise _LostError
        if is_end:
            mine.delete()
        fault("reindex.before_removed")
    return None if is_end else REMOVE_SECONDS
