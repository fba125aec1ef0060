"""The resource store: put, read, lock. Projections write, views read; both inside a scope that a door opened.

A put is a constant number of statements however many resources it brings, and a replay writes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any, Protocol

from django.db import connection
from django.utils import timezone

from fhirapi.index.hashes import hash64
from fhirapi.index.indexed import Indexed, resource_index
from fhirapi.index.postings import index_replace, index_statement, records, rows_dump
from fhirapi.jsontext import json_canonical, json_dump
from fhirapi.registry import NAMES, TYPES
from fhirapi.validation import resource_check
from journal.wall.ids import id_new
from journal.wall.scope import tenant_id_current

Key = tuple[int, str]  # number of the type, id
HUB, REST = 0, 1  # who wrote a version: what the columns `writer` hold
# The hub makes the first version of these from DICOM; once REST has written one, the hub leaves it alone (DESIGN section 2).
YIELDED = {TYPES[name].number for name in ("Patient", "Organization")}


class StoreConflictError(Exception):
    """Somebody changed the resource between our reading and our writing."""


class ResourceGoneError(Exception):
    """The resource was here and was deleted."""


class Check(Protocol):
    """Raises InvalidResourceError for what may not be stored."""

    def __call__(self, *, resource: dict[str, Any]) -> None: ...


NOTHING = Indexed()
INSERTED = (
    ("rid", "bigint"), ("rtype", "smallint"), ("fhir_id", "text"), ("version", "integer"), ("patient", "text"),
    ("sort_date", "timestamptz"), ("tok", "text"), ("digest", "bytea"), ("indexed", "bytea"), ("content", "text"), ("writer", "smallint"),
)  # fmt: skip


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
    is_yielded: bool = False  # REST's by now: the hub's wish was not written


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A resource on its way in. `rid` and `version` are settled once the current row is known."""

    key: Key
    rid: int
    version: int
    writer: int
    body: dict[str, Any]
    digest: bytes
    index: Indexed

    def content(self, now: datetime) -> str:
        meta = {"versionId": str(self.version), "lastUpdated": instant(now), **self.body.get("meta", {})}
        head = {"resourceType": self.body["resourceType"], "id": self.key[1], "meta": meta}
        return json_dump(head | {k: v for k, v in self.body.items() if k not in head})


@dataclass(frozen=True, kw_only=True)
class Row:
    """The current row of a resource. `content` is empty unless it was asked for."""

    rid: int
    version: int
    writer: int
    last_updated: datetime
    digest: bytes
    indexed: bytes
    tokens: tuple[int, ...]
    sort_date: datetime
    content: str


@dataclass(frozen=True, kw_only=True)
class Written:
    """When a batch of drafts was written, and the texts that are served from now on."""

    at: datetime
    texts: dict[Key, str]


def instant(moment: datetime) -> str:
    """A FHIR instant in UTC, to the millisecond: what the store keeps and what search compares with."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def lock_take(*, names: Sequence[str]) -> None:
    """Hold these names of the hospital until the transaction ends. Taken in one order, so two holders never deadlock."""
    tenant_id = tenant_id_current()
    keys = sorted({hash64(tenant_id, "lock", name) for name in names})
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(k) FROM unnest(%s::bigint[]) AS k", [keys])


def resources_put(*, resources: Sequence[dict[str, Any]], check: Check = resource_check) -> list[Stored]:
    """The hub's own resources: create or bring up to date. What says the same (bar version and time) makes no new version.

    Raises InvalidResourceError before anything is written, StoreConflictError when a row moved under a lock.
    """
    drafts = {draft.key: draft for draft in (draft_make(resource=one, writer=HUB, check=check) for one in resources)}
    if len(drafts) != len(resources):
        raise ValueError("a resource was put twice at once")
    rows = rows_read(keys=list(drafts))
    yielded: set[Key] = set()
    if open_keys := [key for key, draft in drafts.items() if not is_same(draft=draft, row=rows.get(key))]:
        # Looked at without a lock, since most puts repeat what stands (one Device for every report). What differs is
        # locked and looked at again: a row that is not there yet cannot be locked any other way.
        lock_take(names=[lock_name(key=key) for key in open_keys])
        rows.update(rows_read(keys=open_keys))
        graves = graves_read(keys=[key for key in open_keys if key not in rows])
        writers = {key: graves[key][1] for key in graves} | {key: rows[key].writer for key in rows}
        yielded = {key for key in open_keys if key[0] in YIELDED and writers.get(key) == REST}
        drafts_write(drafts=[drafts[key] for key in open_keys if key not in yielded], rows=rows, graves=graves)
    return [_outcome(draft, rows.get(draft.key), is_yielded=draft.key in yielded) for draft in drafts.values()]


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


def draft_make(*, resource: dict[str, Any], writer: int, check: Check = resource_check) -> Draft:
    """Check and index a resource with an id. Raises InvalidResourceError."""
    check(resource=resource)
    meta = {k: v for k, v in resource.get("meta", {}).items() if k not in {"versionId", "lastUpdated"}}
    body = {k: v for k, v in resource.items() if k != "meta"} | ({"meta": meta} if meta else {})
    return Draft(
        key=(TYPES[resource["resourceType"]].number, resource["id"]),
        rid=id_new(),
        version=1,
        writer=writer,
        body=body,
        digest=blake2b(json_canonical(body), digest_size=16).digest(),
        index=resource_index(tenant_id=tenant_id_current(), resource=resource),
    )


def is_same(*, draft: Draft, row: Row | None) -> bool:
    return row is not None and (row.digest, row.indexed) == (draft.digest, draft.index.digest)


def lock_name(*, key: Key) -> str:
    return f"{key[0]}/{key[1]}"


def _outcome(draft: Draft, before: Row | None, *, is_yielded: bool) -> Stored:
    is_changed = not is_yielded and (before is None or before.digest != draft.digest)
    version = (before.version if before else 0) + is_changed
    return Stored(
        rtype=NAMES[draft.key[0]], fhir_id=draft.key[1], version=version, is_changed=is_changed, is_yielded=is_yielded
    )


def rows_read(*, keys: list[Key], is_content_wanted: bool = False) -> dict[Key, Row]:
    """The current rows of those that have one."""
    content = "r.content" if is_content_wanted else "''"
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT r.rtype, r.fhir_id, r.rid, r.version, r.writer, r.last_updated, r.digest, r.indexed, r.tok, r.sort_date, "  # noqa: S608
            f"{content} FROM fhir_resource r "
            "JOIN unnest(%s::smallint[], %s::text[]) AS k(rtype, fhir_id) ON r.rtype = k.rtype AND r.fhir_id = k.fhir_id "
            "WHERE r.tenant_id = %s",
            [[number for number, _ in keys], [fhir_id for _, fhir_id in keys], tenant_id_current()],
        )
        return {
            (number, fhir_id): Row(
                rid=rid, version=version, writer=writer, last_updated=at, digest=bytes(digest), indexed=bytes(indexed),
                tokens=tuple(tokens), sort_date=date, content=text,
            )
            for number, fhir_id, rid, version, writer, at, digest, indexed, tokens, date, text in cursor.fetchall()
        }  # fmt: skip


def graves_read(*, keys: list[Key]) -> dict[Key, tuple[int, int]]:
    """(version, writer) of the last deletion of those that were deleted: who comes back goes on counting."""
    if not keys:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT ON (h.rtype, h.fhir_id) h.rtype, h.fhir_id, h.version, h.writer FROM fhir_history h "
            "JOIN unnest(%s::smallint[], %s::text[]) AS k(rtype, fhir_id) ON h.rtype = k.rtype AND h.fhir_id = k.fhir_id "
            "WHERE h.tenant_id = %s ORDER BY h.rtype, h.fhir_id, h.version DESC",
            [[number for number, _ in keys], [fhir_id for _, fhir_id in keys], tenant_id_current()],
        )
        return {(number, fhir_id): (version, writer) for number, fhir_id, version, writer in cursor.fetchall()}


def drafts_write(*, drafts: Sequence[Draft], rows: dict[Key, Row], graves: dict[Key, tuple[int, int]]) -> Written:
    """Sort drafts into new, changed and only found differently, and write each kind in bulk. Under their locks."""
    now = _now()
    created, changed, reindexed = [], [], []
    for draft in drafts:
        row = rows.get(draft.key)
        if row is None:
            created.append(replace(draft, version=graves.get(draft.key, (0, HUB))[0] + 1))
        elif row.digest != draft.digest:
            changed.append(replace(draft, rid=row.rid, version=row.version + 1))
        elif row.indexed != draft.index.digest:
            reindexed.append(replace(draft, rid=row.rid, version=row.version))
    texts = {draft.key: draft.content(now) for draft in created + changed}
    if created:
        _insert(created, texts, now)
    if changed:
        _history_keep([draft.rid for draft in changed])
    touched = changed + reindexed
    if touched:
        _update(changed, reindexed, texts, now)
    old = {row.rid: row for row in (rows[draft.key] for draft in touched)}
    index_replace(new={draft.rid: draft.index for draft in created + touched}, old=old)
    return Written(at=now, texts=texts)


def content_amend(*, draft: Draft, row: Row) -> None:
    """Another meta for the current version: no new version, as the operations $meta-add and $meta-delete have it. Under its lock."""
    draft = replace(draft, rid=row.rid, version=row.version)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE fhir_resource SET tok = %s::bigint[], digest = %s, indexed = %s, content = %s "
            "WHERE tenant_id = %s AND rid = %s AND version = %s",
            [
                _array(draft.index.tokens), draft.digest, draft.index.digest, draft.content(row.last_updated),
                tenant_id_current(), row.rid, row.version,
            ],
        )  # fmt: skip
        if cursor.rowcount != 1:
            raise StoreConflictError
    index_replace(new={row.rid: draft.index}, old={row.rid: row})


def rows_delete(*, rows: dict[Key, Row]) -> datetime:
    """Delete what REST may delete: the last version stays in the history, and a mark of the deletion after it."""
    now, tenant_id = _now(), tenant_id_current()
    rids = [row.rid for row in rows.values()]
    _history_keep(rids)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO fhir_history (tenant_id, rtype, fhir_id, version, at, method, content, writer) "
            "SELECT %s, d.rtype, d.fhir_id, d.version, %s, 'D', '', %s "
            "FROM unnest(%s::smallint[], %s::text[], %s::integer[]) AS d(rtype, fhir_id, version)",
            [
                tenant_id, now, REST, [number for number, _ in rows], [fhir_id for _, fhir_id in rows],
                [row.version + 1 for row in rows.values()],
            ],
        )  # fmt: skip
        cursor.execute(
            "DELETE FROM fhir_resource r USING unnest(%s::bigint[], %s::integer[]) AS d(rid, version) "
            "WHERE r.tenant_id = %s AND r.rid = d.rid AND r.version = d.version",
            [rids, [row.version for row in rows.values()], tenant_id],
        )
        if cursor.rowcount != len(rids):
            raise StoreConflictError
    index_replace(new=dict.fromkeys(rids, NOTHING), old={row.rid: row for row in rows.values()})
    return now


def _now() -> datetime:
    now = timezone.now()
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def fresh_statements(*, draft: Draft) -> tuple[Written, list[tuple[str, list[Any]]]]:
    """What writes a resource under an id that was never used: nothing is there to lock or to look at."""
    now = _now()
    texts = {draft.key: draft.content(now)}
    index = index_statement(new={draft.rid: draft.index}, old={})
    return Written(at=now, texts=texts), [_insert_statement([draft], texts, now), *([index] if index else [])]


def _insert(drafts: list[Draft], texts: dict[Key, str], now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(*_insert_statement(drafts, texts, now))


def _insert_statement(drafts: list[Draft], texts: dict[Key, str], now: datetime) -> tuple[str, list[Any]]:
    names = "rid, rtype, fhir_id, version, last_updated, patient, sort_date, tok, digest, indexed, content, writer"
    values = (
        "n.rid, n.rtype, n.fhir_id, n.version, %s, n.patient, n.sort_date, n.tok::bigint[], n.digest, n.indexed, n.content, n.writer"
    )
    sql = f"INSERT INTO fhir_resource (tenant_id, {names}) SELECT %s, {values} FROM {records(INSERTED)}"  # noqa: S608 constants
    rows = (
        (
            d.rid, d.key[0], d.key[1], d.version, d.index.patient, d.index.sort_date, _array(d.index.tokens), d.digest, d.index.digest,
            texts[d.key], d.writer,
        )
        for d in drafts
    )  # fmt: skip
    return sql, [tenant_id_current(), now, rows_dump(rows, INSERTED)]


def _update(changed: list[Draft], reindexed: list[Draft], texts: dict[Key, str], now: datetime) -> None:
    """New text for what changed; only the index columns for what is merely found differently."""
    drafts = changed + reindexed
    contents = [texts[draft.key] for draft in changed] + [None] * len(reindexed)
    was = [draft.version - 1 for draft in changed] + [draft.version for draft in reindexed]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE fhir_resource r SET version = n.version, patient = n.patient, sort_date = n.sort_date, "
            "tok = n.tok::bigint[], digest = n.digest, indexed = n.indexed, content = coalesce(n.content, r.content), "
            "last_updated = CASE WHEN n.content IS NULL THEN r.last_updated ELSE %s END, "
            "writer = CASE WHEN n.content IS NULL THEN r.writer ELSE n.writer END "
            "FROM unnest(%s::bigint[], %s::integer[], %s::integer[], %s::text[], %s::timestamptz[], %s::text[], %s::bytea[], "
            "%s::bytea[], %s::text[], %s::smallint[]) "
            "AS n(rid, was, version, patient, sort_date, tok, digest, indexed, content, writer) "
            "WHERE r.tenant_id = %s AND r.rid = n.rid AND r.version = n.was",
            [
                now, [d.rid for d in drafts], was, [d.version for d in drafts], [d.index.patient for d in drafts],
                [d.index.sort_date for d in drafts], [_array(d.index.tokens) for d in drafts], [d.digest for d in drafts],
                [d.index.digest for d in drafts], contents, [d.writer for d in drafts], tenant_id_current(),
            ],
        )  # fmt: skip
        if cursor.rowcount != len(drafts):
            raise StoreConflictError


def _history_keep(rids: list[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO fhir_history (tenant_id, rtype, fhir_id, version, at, method, content, writer) SELECT tenant_id, rtype, "
            "fhir_id, version, last_updated, CASE version WHEN 1 THEN 'C' ELSE 'U' END, content, writer FROM fhir_resource "
            "WHERE tenant_id = %s AND rid = ANY(%s)",
            [tenant_id_current(), rids],
        )


def _array(numbers: Sequence[int]) -> str:
    # unnest flattens arrays of arrays, so each row's array travels as its text.
    return "{" + ",".join(map(str, numbers)) + "}"
