"""Indexing stored texts again, for the command of the same name. Versions, times and texts stay as they are."""

from dataclasses import dataclass
from datetime import datetime

import orjson
from django.db import connection

from fhirapi.index.indexed import Indexed, resource_index
from fhirapi.index.postings import index_replace
from journal.wall.scope import tenant_id_current


@dataclass(frozen=True, kw_only=True)
class Done:
    """One batch: rows looked at, rows indexed again, and the last row's id."""

    seen: int
    changed: int
    last: int


@dataclass(frozen=True, kw_only=True)
class _Row:
    tokens: tuple[int, ...]
    sort_date: datetime


def index_is_missing() -> bool:
    """Whether the hospital in scope has resources and no index: a migration empties it when its form changes."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM fhir_resource WHERE tenant_id = %s) AND NOT EXISTS (SELECT FROM fhir_posting WHERE tenant_id = %s)",
            [tenant_id_current(), tenant_id_current()],
        )
        return bool(cursor.fetchone()[0])


def resources_reindex(*, after: int, limit: int) -> Done:
    """The next resources of the hospital in scope, in the order of their rows. Writes only what is indexed differently."""
    tenant_id = tenant_id_current()
    with connection.cursor() as cursor:
        # Locked: a version that is written meanwhile waits, and indexes itself afterwards.
        cursor.execute(
            "SELECT rid, tok, sort_date, indexed, content FROM fhir_resource WHERE tenant_id = %s AND rid > %s "
            "ORDER BY rid LIMIT %s FOR UPDATE",
            [tenant_id, after, limit],
        )
        rows = cursor.fetchall()
    new, old = {}, {}
    for rid, tokens, sort_date, indexed, content in rows:
        index = resource_index(tenant_id=tenant_id, resource=orjson.loads(content))
        if index.digest != bytes(indexed):
            new[rid], old[rid] = index, _Row(tokens=tuple(tokens), sort_date=sort_date)
    if new:
        _columns_update(new)
        index_replace(new=new, old=old)
    return Done(seen=len(rows), changed=len(new), last=rows[-1][0] if rows else after)


def _columns_update(new: dict[int, Indexed]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE fhir_resource r SET patient = n.patient, sort_date = n.sort_date, tok = n.tok::bigint[], indexed = n.indexed "
            "FROM unnest(%s::bigint[], %s::text[], %s::timestamptz[], %s::text[], %s::bytea[]) "
            "AS n(rid, patient, sort_date, tok, indexed) WHERE r.tenant_id = %s AND r.rid = n.rid",
            [
                list(new), [index.patient for index in new.values()], [index.sort_date for index in new.values()],
                ["{" + ",".join(map(str, index.tokens)) + "}" for index in new.values()], [index.digest for index in new.values()],
                tenant_id_current(),
            ],
        )  # fmt: skip
