"""Search over the store: one statement for a page, one for its includes, one for a count. Views call it with a parsed Query.

It drives from the rarest condition's ordered list and filters by the rest; keyset paging, so no page shifts under inserts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from fhirapi.registry import NAMES, ONE, TYPES
from fhirapi.store import Document
from journal.wall.scope import tenant_id_current

LONG = 2000  # postings; a list this long is common
Position = tuple[datetime, int]  # (order key, rid) of a page's last match


@dataclass(frozen=True, kw_only=True)
class Term:
    """One token or reference parameter: any of its hashes. `needles` are texts of which the content must hold one."""

    hashes: tuple[int, ...]
    needles: tuple[str, ...]
    rank: int


@dataclass(frozen=True, kw_only=True)
class Query:
    """A search, understood. Lists of tuples are ANDs of ORs."""

    rtype: str
    ids: tuple[tuple[str, ...], ...] = ()
    terms: tuple[Term, ...] = ()
    patients: tuple[tuple[str, ...], ...] = ()
    updated: tuple[tuple[str, tuple[datetime, ...]], ...] = ()  # SQL over r.last_updated, with its values
    includes: tuple[tuple[str, str], ...] = ()  # (path of a reference, type of its target)
    is_by_update: bool = False
    is_descending: bool = True
    count: int = 50
    is_count_only: bool = False
    after: Position | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """What one request gets. `last` is where the next page goes on, None on the last one; `total` only when asked for."""

    matches: tuple[Document, ...]
    included: tuple[Document, ...] = ()
    total: int | None = None
    last: Position | None = None


@dataclass(frozen=True)
class _Sql:
    text: str
    values: tuple[Any, ...]


def resource_search(*, query: Query) -> Page:
    """One page of what the hospital in scope holds: one statement, one more for includes, one where the driver is in doubt."""
    branches = _branches(query)
    if query.is_count_only:
        return Page(matches=(), total=_count(branches))
    rows = _page_rows(query, branches)
    page, is_more = rows[: query.count], len(rows) > query.count
    matches = tuple(_document(query.rtype, row[2:]) for row in page)
    return Page(
        matches=matches,
        included=_included(query, [row[1] for row in page]) if query.includes and page else (),
        last=(page[-1][0], page[-1][1]) if is_more else None,
    )


def _page_rows(query: Query, branches: Sequence[_Sql]) -> list[tuple[Any, ...]]:
    """(key, rid, fhir_id, version, last_updated, content), one more than asked for: that one proves a next page."""
    way = "DESC" if query.is_descending else "ASC"
    order = f"ORDER BY key {way}, rid {way}"
    parts = " UNION ALL ".join(f"({branch.text} {order} LIMIT {query.count + 1})" for branch in branches)
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH page AS MATERIALIZED (SELECT DISTINCT key, rid FROM ({parts}) b {order} LIMIT {query.count + 1}) "  # noqa: S608
            "SELECT page.key, page.rid, r.fhir_id, r.version, r.last_updated, r.content FROM page "
            "JOIN fhir_resource r ON r.tenant_id = %s AND r.rid = page.rid "
            f"ORDER BY page.key {way}, page.rid {way}",
            [*(value for branch in branches for value in branch.values), tenant_id_current()],
        )
        return list(cursor.fetchall())


def _count(branches: Sequence[_Sql]) -> int:
    parts = " UNION ALL ".join(branch.text for branch in branches)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {'count(*)' if len(branches) == 1 else 'count(DISTINCT rid)'} FROM ({parts}) b",  # noqa: S608 constants
            [value for branch in branches for value in branch.values],
        )
        return int(cursor.fetchone()[0])


def _branches(query: Query) -> list[_Sql]:
    """One SELECT of (key, rid) for each value of the driving condition: each walks its own list in the page's order."""
    driver = _driver(query)
    rest = tuple(term for term in query.terms if term is not driver)
    where = _filters(query, rest)
    if isinstance(driver, Term):
        needles = _needles(driver)
        return [_posting_branch(query, hv, _join([*where, *needles])) for hv in driver.hashes]
    starts = [_Sql("", ())]
    if driver:
        starts = [_Sql("AND r.patient = %s", (patient,)) for patient in driver]
    key = "r.last_updated" if query.is_by_update else "r.sort_date"
    return [
        _Sql(
            f"SELECT {key} AS key, r.rid FROM fhir_resource r WHERE r.tenant_id = %s AND r.rtype = %s {start.text} {sql.text}",  # noqa: S608
            (tenant_id_current(), TYPES[query.rtype].number, *start.values, *sql.values),
        )
        for start in starts
        for sql in [_join([*where, *_after(query, key, "r.rid")])]
    ]


def _posting_branch(query: Query, hv: int, where: _Sql) -> _Sql:
    key, rid = ("r.last_updated", "r.rid") if query.is_by_update else ("p.sort_date", "p.rid")
    after = _join(_after(query, key, rid))
    return _Sql(
        f"SELECT {key} AS key, r.rid FROM fhir_posting p JOIN fhir_resource r ON r.tenant_id = p.tenant_id AND r.rid = p.rid "  # noqa: S608
        f"WHERE p.tenant_id = %s AND r.tenant_id = %s AND p.hv = %s {where.text} {after.text}",
        (tenant_id_current(), tenant_id_current(), hv, *where.values, *after.values),
    )


def _driver(query: Query) -> Term | tuple[str, ...] | None:
    """The condition that finds fewest: ids by their unique index, an identifier, a patient, then the shortest list."""
    if query.ids or not (query.terms or query.patients):
        return None
    exact = next((term for term in query.terms if term.rank == ONE), None)
    if exact or query.patients:
        return exact or query.patients[0]
    if len(query.terms) == 1 and not query.is_by_update:
        return query.terms[0]
    sizes = _sizes(query.terms)
    rarest = min(query.terms, key=lambda term: (sizes[term], term.rank))
    # Its list is in the order of the clinical date: a long one would have to be sorted, so the resources themselves are
    # walked by update instead, and soon meet enough of so common a token.
    return None if query.is_by_update and sizes[rarest] >= LONG else rarest


def _sizes(terms: Sequence[Term]) -> dict[Term, int]:
    """How long each term's lists are, looked at no further than LONG."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT h.hv, (SELECT count(*) FROM (SELECT FROM fhir_posting p WHERE p.tenant_id = %s AND p.hv = h.hv LIMIT %s) l) "
            "FROM unnest(%s::bigint[]) AS h(hv)",
            [tenant_id_current(), LONG, [hv for term in terms for hv in term.hashes]],
        )
        sizes = dict(cursor.fetchall())
    return {term: sum(sizes[hv] for hv in term.hashes) for term in terms}


def _filters(query: Query, terms: Sequence[Term]) -> list[_Sql]:
    filters = [_Sql("r.fhir_id = ANY(%s)", (list(ids),)) for ids in query.ids]
    filters += [_Sql("r.patient = ANY(%s)", (list(patients),)) for patients in query.patients]
    for term in terms:
        filters.append(_Sql("r.tok && %s::bigint[]", (list(term.hashes),)))
        filters += _needles(term)
    return filters + [_Sql(text, values) for text, values in query.updated]


def _needles(term: Term) -> list[_Sql]:
    """Two values may share a 64-bit hash; what names a person or a study is looked for in the content as well."""
    if not term.needles:
        return []
    return [_Sql("(" + " OR ".join(["strpos(r.content, %s) > 0"] * len(term.needles)) + ")", term.needles)]


def _after(query: Query, key: str, rid: str) -> list[_Sql]:
    if query.after is None:
        return []
    return [_Sql(f"({key}, {rid}) {'<' if query.is_descending else '>'} (%s, %s)", query.after)]


def _join(parts: Sequence[_Sql]) -> _Sql:
    return _Sql("".join(f" AND {part.text}" for part in parts), tuple(value for part in parts for value in part.values))


def _included(query: Query, rids: list[int]) -> tuple[Document, ...]:
    """Each target once, whatever the number of matches that point at it."""
    tenant_id = tenant_id_current()
    paths, targets = [path for path, _ in query.includes], [TYPES[target].number for _, target in query.includes]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT r.rtype, r.fhir_id, r.version, r.last_updated, r.content FROM "
            "(SELECT DISTINCT f.target_type, f.target_id FROM fhir_ref f "
            " JOIN unnest(%s::text[], %s::smallint[]) AS w(param, target_type) USING (param, target_type) "
            " WHERE f.tenant_id = %s AND f.rid = ANY(%s)) t "
            "JOIN fhir_resource r ON r.tenant_id = %s AND r.rtype = t.target_type AND r.fhir_id = t.target_id "
            "WHERE NOT r.rid = ANY(%s) ORDER BY r.rtype, r.sort_date, r.rid",
            [paths, targets, tenant_id, rids, tenant_id, rids],
        )
        return tuple(_document(NAMES[row[0]], row[1:]) for row in cursor.fetchall())


def _document(rtype: str, row: Sequence[Any]) -> Document:
    fhir_id, version, last_updated, content = row
    return Document(rtype=rtype, fhir_id=fhir_id, version=version, last_updated=last_updated, content=content)
