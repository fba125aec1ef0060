"""Which attributes a hospital has declared, for the index worker and the doors that are asked; and the rows of their values.

Read once in some seconds a process: a hospital that has none pays one small statement in that time.
"""

import time
from collections.abc import Mapping, Sequence

from django.db import connection

from imaging.models import QueryTag, QueryValue
from imaging.query.attributes import Level
from imaging.query.declared import LEVELS, DeclaredTag, DeclaredTags, DeclaredValue
from journal.wall.arrays import rows_insert
from journal.wall.scope import tenant_id_current, tenant_scope

KEPT_SECONDS = 2.0
REMEMBER = 10_000
_known: dict[int, tuple[float, DeclaredTags]] = {}  # until when, what


def tags_declared(*, tenant_id: int) -> DeclaredTags:
    """Joins an open scope of the hospital, or opens one when it is time to ask again."""
    until, found = _known.get(tenant_id, (0.0, None))
    if found is None or time.monotonic() >= until:
        with tenant_scope(tenant_id):
            rows = list(QueryTag.objects.exclude(state=QueryTag.State.REMOVING).order_by("tag"))
        found = DeclaredTags(tuple(declared_of(row) for row in rows))
        if len(_known) >= REMEMBER:
            _known.clear()
        _known[tenant_id] = (time.monotonic() + KEPT_SECONDS, found)
    return found


def tags_forget(tenant_id: int) -> None:
    """Something was declared or removed; other processes learn of it within KEPT_SECONDS."""
    _known.pop(tenant_id, None)


def declared_of(row: QueryTag) -> DeclaredTag:
    return DeclaredTag(
        row.id, row.tag, row.vr, LEVELS[row.level], row.creator, is_building=row.state == QueryTag.State.BUILDING,
    )  # fmt: skip


def values_write(*, tags: DeclaredTags, found: Mapping[str, Sequence[DeclaredValue]], is_new: bool) -> None:
    """Rows of what objects have of these tags, by SOP Instance UID, in the place of those that are there (`is_new`: none are).

    Tags and objects that are gone by now, or go meanwhile, get nothing: both are held until the end of the transaction.
    """
    tenant_id, tag_ids = tenant_id_current(), [one.id for one in tags.tags]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM imaging_querytag WHERE tenant_id = %s AND id = ANY(%s) AND state <> 'removing' ORDER BY id FOR KEY SHARE",
            [tenant_id, tag_ids],
        )
        there = {row[0] for row in cursor.fetchall()}
        cursor.execute(
            "SELECT sop_instance_uid, id, series_id, study_id FROM imaging_instance "
            "WHERE tenant_id = %s AND sop_instance_uid = ANY(%s) ORDER BY id FOR KEY SHARE",
            [tenant_id, list(found)],
        )
        places = {row[0]: {Level.IMAGE: row[1], Level.SERIES: row[2], Level.STUDY: row[3]} for row in cursor.fetchall()}
        if not is_new:
            cursor.execute(
                "DELETE FROM imaging_queryvalue WHERE tenant_id = %s AND instance_id = ANY(%s) AND query_tag_id = ANY(%s)",
                [tenant_id, [place[Level.IMAGE] for place in places.values()], tag_ids],
            )
    levels = {one.id: one.level for one in tags.tags if one.id in there}
    rows_insert([
        QueryValue(
            query_tag_id=one.tag_id, instance_id=place[Level.IMAGE], owner_id=place[levels[one.tag_id]], number=one.number,
            value=one.value, key=one.key,
        )
        for uid, place in places.items() for one in found[uid] if one.tag_id in levels
    ])  # fmt: skip
