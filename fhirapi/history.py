"""Histories (FHIR R4 3.1.0.13) of a resource, a type and the hospital, and single versions: newest first, by keyset.

A version is in `fhir_resource` while it is current and in `fhir_history` afterwards; a deletion is a mark in the latter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from fhirapi.registry import NAMES, TYPES
from fhirapi.store import Document, ResourceGoneError
from journal.wall.scope import tenant_id_current

Place = tuple[datetime, int, str, int]  # (time, number of the type, id, version) of a page's last entry


@dataclass(frozen=True, kw_only=True)
class Version:
    """`method` is C(reate), U(pdate) or D(elete); a deletion has no content."""

    rtype: str
    fhir_id: str
    version: int
    at: datetime
    method: str
    content: str

    @property
    def place(self) -> Place:
        return self.at, TYPES[self.rtype].number, self.fhir_id, self.version


@dataclass(frozen=True, kw_only=True)
class HistoryQuery:
    """Whose versions: of `rtypes`, or of `fhir_id` in the one type. `since` is inclusive; `within` is `_at`."""

    rtypes: tuple[str, ...]
    fhir_id: str = ""
    since: datetime | None = None
    within: tuple[datetime, datetime] | None = None
    after: Place | None = None
    count: int = 50


def versions_read(*, query: HistoryQuery) -> tuple[list[Version], bool]:
    """A page, and whether there is more. One statement, which asks each type's own index for the page's worth."""
    where, values = _conditions(query)
    order = "ORDER BY at DESC, rtype DESC, fhir_id DESC, version DESC"
    current = _conditions_of("r", "last_updated", where)
    past = _conditions_of("h", "at", where)
    limit = query.count + 1
    tenant_id = tenant_id_current()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT v.* FROM unnest(%s::smallint[]) AS t(number) CROSS JOIN LATERAL ("  # noqa: S608 our own words
            " (SELECT r.last_updated AS at, r.rtype, r.fhir_id, r.version, CASE r.version WHEN 1 THEN 'C' ELSE 'U' END AS method, "
            f" r.content FROM fhir_resource r WHERE r.tenant_id = %s AND r.rtype = t.number {current} {order} LIMIT {limit})"
            " UNION ALL "
            " (SELECT h.at, h.rtype, h.fhir_id, h.version, h.method, h.content "
            f" FROM fhir_history h WHERE h.tenant_id = %s AND h.rtype = t.number {past} {order} LIMIT {limit})"
            f") v {order} LIMIT {limit}",
            [[TYPES[name].number for name in query.rtypes], tenant_id, *values, tenant_id, *values],
        )
        rows = cursor.fetchall()
    versions = [
        Version(rtype=NAMES[number], fhir_id=fhir_id, version=version, at=at, method=method, content=content)
        for at, number, fhir_id, version, method, content in rows
    ]
    return versions[: query.count], len(versions) > query.count


def versions_count(*, query: HistoryQuery) -> int:
    """How many there are in all, wherever the page begins."""
    where, values = _conditions(HistoryQuery(rtypes=query.rtypes, fhir_id=query.fhir_id, since=query.since, within=query.within))
    numbers = [TYPES[name].number for name in query.rtypes]
    tenant_id = tenant_id_current()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM fhir_resource r WHERE r.tenant_id = %s AND r.rtype = ANY(%s::smallint[]) "  # noqa: S608
            f"{_conditions_of('r', 'last_updated', where)}) + "
            "(SELECT count(*) FROM fhir_history h WHERE h.tenant_id = %s AND h.rtype = ANY(%s::smallint[]) "
            f"{_conditions_of('h', 'at', where)})",
            [tenant_id, numbers, *values, tenant_id, numbers, *values],
        )
        return int(cursor.fetchone()[0])


def version_read(*, rtype: str, fhir_id: str, version: int) -> Document | None:
    """vread (FHIR R4 3.1.0.3). Raises ResourceGoneError where that version is a deletion."""
    key: list[Any] = [tenant_id_current(), TYPES[rtype].number, fhir_id, version]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT last_updated, 'U', content FROM fhir_resource "
            "WHERE tenant_id = %s AND rtype = %s AND fhir_id = %s AND version = %s UNION ALL "
            "SELECT at, method, content FROM fhir_history WHERE tenant_id = %s AND rtype = %s AND fhir_id = %s AND version = %s",
            [*key, *key],
        )
        row = cursor.fetchone()
    if row is None:
        return None
    at, method, content = row
    if method == "D":
        raise ResourceGoneError
    return Document(rtype=rtype, fhir_id=fhir_id, version=version, last_updated=at, content=content)


def _conditions(query: HistoryQuery) -> tuple[list[str], list[Any]]:
    """Conditions over `{t}` (the table) and `{t}.{at}` (its time), the same for both tables."""
    where: list[str] = []
    values: list[Any] = []
    if query.fhir_id:
        where.append("{t}.fhir_id = %s")
        values.append(query.fhir_id)
    if query.since:
        where.append("{t}.{at} >= %s")
        values.append(query.since)
    if query.within:
        # Current at some moment of the range: begun before it ended, and not replaced before it began.
        low, high = query.within
        where.append(
            "{t}.{at} < %s AND NOT EXISTS (SELECT FROM fhir_history n WHERE n.tenant_id = {t}.tenant_id AND n.rtype = {t}.rtype "
            "AND n.fhir_id = {t}.fhir_id AND n.version > {t}.version AND n.at <= %s) "
            "AND NOT EXISTS (SELECT FROM fhir_resource n WHERE n.tenant_id = {t}.tenant_id AND n.rtype = {t}.rtype "
            "AND n.fhir_id = {t}.fhir_id AND n.version > {t}.version AND n.last_updated <= %s)"
        )
        values += [high, low, low]
    if query.after:
        # The first half lets the index start where the last page ended.
        where.append("{t}.{at} <= %s AND ({t}.{at}, {t}.rtype, {t}.fhir_id, {t}.version) < (%s, %s, %s, %s)")
        values += [query.after[0], *query.after]
    return where, values


def _conditions_of(table: str, at: str, where: Sequence[str]) -> str:
    return "".join(f" AND {text.format(t=table, at=at)}" for text in where)
