"""The resource store: put, read, lock. Projections write, views read; both inside a scope that a door opened.

A put is a constant number of statements however many resources it brings, and a replay writes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any

import orjson
from django.db import connection
from django.utils import timezone

from fhirapi.hashes import hash64
from fhirapi.index import Indexed, resource_index
from fhirapi.postings import index_replace
from fhirapi.registry import NAMES, TYPES
from fhirapi.validation import resource_check
from journal.wall.ids import id_new
from journal.wall.scope import tenant_id_current

Key = tuple[int, str]  # number of the type, id


class StoreConflictError(Exception):
    """Somebody changed the resource between our reading and our writing."""


class ResourceGoneError(Exception):
    """The resource was here and was deleted."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """A stored resource: `content` is the text that is served, byte for byte."""

    rtype: str
    fhir_id: str
    version: int
    last_updated: datetime
    content: str


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What a put did with one resource."""

    rtype: str
    fhir_id: str
    version: int
    is_changed: bool


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """A resource on its way in. `rid` and `version` are settled once the current row is known."""

    key: Key
    rid: int
    version: int
    body: dict[str, Any]
    digest: bytes
    index: Indexed

    def content(self, now: datetime) -> str:
        meta = {"versionId": str(self.version), "lastUpdated": instant(now), **self.body.get("meta", {})}
        head = {"resourceType": self.body["resourceType"], "id": self.key[1], "meta": meta}
        return orjson.dumps(head | {k: v for k, v in self.body.items() if k not in head}).decode()


@dataclass(frozen=True, kw_only=True)
class _Row:
    rid: int
    version: int
    digest: bytes
    indexed: bytes
    tokens: tuple[int, ...]
    sort_date: datetime


def instant(moment: datetime) -> str:
    """A FHIR instant in UTC, to the millisecond: what the store keeps and what search compares with."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def lock_take(*, names: Sequence[str]) -> None:
    """Hold these names of the hospital until the transaction ends. Taken in one order, so two holders never deadlock."""
    tenant_id = tenant_id_current()
    keys = sorted({hash64(tenant_id, "lock", name) for name in names})
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(k) FROM unnest(%s::bigint[]) AS k", [keys])


def resources_put(*, resources: Sequence[dict[str, Any]]) -> list[Stored]:
    """Create or bring up to date; content that says the same (bar version and time) makes no new version.

    Raises InvalidResourceError before anything is written, StoreConflictError when a row moved under a lock.
    """
    drafts = {draft.key: draft for draft in map(_draft, resources)}
    if len(drafts) != len(resources):
        raise ValueError("a resource was put twice at once")
    rows = _rows(list(drafts))
    open_keys = [key for key, draft in drafts.items() if not _is_same(draft, rows.get(key))]
    if open_keys:
        # Looked at without a lock, since most puts repeat what stands (one Device for every report). What differs is
        # locked and looked at again: a row that is not there yet cannot be locked any other way.
        lock_take(names=[f"{number}/{fhir_id}" for number, fhir_id in open_keys])
        rows.update(_rows(open_keys))
        _write({key: drafts[key] for key in open_keys}, rows)
    return [_outcome(draft, rows.get(draft.key)) for draft in drafts.values()]


def resource_read(*, rtype: str, fhir_id: str) -> Document | None:
    """The current version, or None. Raises ResourceGoneError for a deleted one."""
    tenant_id, number = tenant_id_current(), TYPES[rtype].number
    where: list[Any] = [tenant_id, number, fhir_id]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT version, last_updated, content FROM fhir_resource WHERE tenant_id = %s AND rtype = %s AND fhir_id = %s",
            where,
        )
        if row := cursor.fetchone():
            return Document(rtype=rtype, fhir_id=fhir_id, version=row[0], last_updated=row[1], content=row[2])
        cursor.execute(
            "SELECT method FROM fhir_history WHERE tenant_id = %s AND rtype = %s AND fhir_id = %s ORDER BY version DESC LIMIT 1",
            where,
        )
        if (last := cursor.fetchone()) and last[0] == "D":
            raise ResourceGoneError
    return None


def _draft(resource: dict[str, Any]) -> _Draft:
    resource_check(resource=resource)
    meta = {k: v for k, v in resource.get("meta", {}).items() if k not in {"versionId", "lastUpdated"}}
    body = {k: v for k, v in resource.items() if k != "meta"} | ({"meta": meta} if meta else {})
    return _Draft(
        key=(TYPES[resource["resourceType"]].number, resource["id"]),
        rid=id_new(),
        version=1,
        body=body,
        digest=blake2b(orjson.dumps(body, option=orjson.OPT_SORT_KEYS), digest_size=16).digest(),
        index=resource_index(tenant_id=tenant_id_current(), resource=resource),
    )


def _is_same(draft: _Draft, row: _Row | None) -> bool:
    return row is not None and (row.digest, row.indexed) == (draft.digest, draft.index.digest)


def _outcome(draft: _Draft, before: _Row | None) -> Stored:
    is_changed = before is None or before.digest != draft.digest
    version = (before.version if before else 0) + is_changed
    return Stored(rtype=NAMES[draft.key[0]], fhir_id=draft.key[1], version=version, is_changed=is_changed)


def _rows(keys: list[Key]) -> dict[Key, _Row]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT r.rtype, r.fhir_id, r.rid, r.version, r.digest, r.indexed, r.tok, r.sort_date FROM fhir_resource r "
            "JOIN unnest(%s::smallint[], %s::text[]) AS k(rtype, fhir_id) ON r.rtype = k.rtype AND r.fhir_id = k.fhir_id "
            "WHERE r.tenant_id = %s",
            [[number for number, _ in keys], [fhir_id for _, fhir_id in keys], tenant_id_current()],
        )
        return {
            (number, fhir_id): _Row(
                rid=rid, version=version, digest=bytes(digest), indexed=bytes(indexed), tokens=tuple(tokens), sort_date=date
            )
            for number, fhir_id, rid, version, digest, indexed, tokens, date in cursor.fetchall()
        }


def _write(drafts: dict[Key, _Draft], rows: dict[Key, _Row]) -> None:
    """Sort what is open into new, changed and only found differently, and write each kind in bulk."""
    now = timezone.now()
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    created, changed, reindexed = [], [], []
    for key, draft in drafts.items():
        row = rows.get(key)
        if row is None:
            created.append(draft)
        elif row.digest != draft.digest:
            changed.append(replace(draft, rid=row.rid, version=row.version + 1))
        elif row.indexed != draft.index.digest:
            reindexed.append(replace(draft, rid=row.rid, version=row.version))
    if created:
        _insert(created, now)
    if changed:
        _history_keep([draft.rid for draft in changed])
    touched = changed + reindexed
    if touched:
        _update(changed, reindexed, now)
    old = {row.rid: row for row in (rows[draft.key] for draft in touched)}
    index_replace(new={draft.rid: draft.index for draft in created + touched}, old=old)


def _insert(drafts: list[_Draft], now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO fhir_resource (tenant_id, rid, rtype, fhir_id, version, last_updated, patient, sort_date, tok, digest, "
            "indexed, content) SELECT %s, n.rid, n.rtype, n.fhir_id, 1, %s, n.patient, n.sort_date, n.tok::bigint[], n.digest, "
            "n.indexed, n.content FROM unnest(%s::bigint[], %s::smallint[], %s::text[], %s::text[], %s::timestamptz[], "
            "%s::text[], %s::bytea[], %s::bytea[], %s::text[]) "
            "AS n(rid, rtype, fhir_id, patient, sort_date, tok, digest, indexed, content)",
            [
                tenant_id_current(), now, [d.rid for d in drafts], [d.key[0] for d in drafts], [d.key[1] for d in drafts],
                [d.index.patient for d in drafts], [d.index.sort_date for d in drafts], [_array(d.index.tokens) for d in drafts],
                [d.digest for d in drafts], [d.index.digest for d in drafts], [d.content(now) for d in drafts],
            ],
        )  # fmt: skip


def _update(changed: list[_Draft], reindexed: list[_Draft], now: datetime) -> None:
    """New text for what changed; only the index columns for what is merely found differently."""
    drafts = changed + reindexed
    texts = [draft.content(now) for draft in changed] + [None] * len(reindexed)
    was = [draft.version - 1 for draft in changed] + [draft.version for draft in reindexed]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE fhir_resource r SET version = n.version, patient = n.patient, sort_date = n.sort_date, "
            "tok = n.tok::bigint[], digest = n.digest, indexed = n.indexed, content = coalesce(n.content, r.content), "
            "last_updated = CASE WHEN n.content IS NULL THEN r.last_updated ELSE %s END "
            "FROM unnest(%s::bigint[], %s::integer[], %s::integer[], %s::text[], %s::timestamptz[], %s::text[], %s::bytea[], "
            "%s::bytea[], %s::text[]) AS n(rid, was, version, patient, sort_date, tok, digest, indexed, content) "
            "WHERE r.tenant_id = %s AND r.rid = n.rid AND r.version = n.was",
            [
                now, [d.rid for d in drafts], was, [d.version for d in drafts], [d.index.patient for d in drafts],
                [d.index.sort_date for d in drafts], [_array(d.index.tokens) for d in drafts], [d.digest for d in drafts],
                [d.index.digest for d in drafts], texts, tenant_id_current(),
            ],
        )  # fmt: skip
        if cursor.rowcount != len(drafts):
            raise StoreConflictError


def _history_keep(rids: list[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO fhir_history (tenant_id, rtype, fhir_id, version, at, method, content) SELECT tenant_id, rtype, fhir_id, "
            "version, last_updated, CASE version WHEN 1 THEN 'C' ELSE 'U' END, content FROM fhir_resource "
            "WHERE tenant_id = %s AND rid = ANY(%s)",
            [tenant_id_current(), rids],
        )


def _array(numbers: Sequence[int]) -> str:
    # unnest flattens arrays of arrays, so each row's array travels as its text.
    return "{" + ",".join(map(str, numbers)) + "}"
