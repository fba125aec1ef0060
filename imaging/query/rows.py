"""Runs a query in short transactions: the first page at once, then the ids of all matches and their rows in batches.

Nothing is open in the database while a caller does something with a page, so a slow peer holds no snapshot.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.conf import settings
from django.db import OperationalError

from imaging.query.attributes import Level
from imaging.query.keys import Query
from imaging.query.match import Value
from imaging.query.plan import Plan, plan_make
from journal.wall.reads import tenant_rows
from journal.wall.scope import tenant_scope

PAGE = 1000
SCAN_SECONDS = 10


class QueryTooWideError(Exception):
    """More matches than a query may have, or more rows to look at; `comment` goes to the peer."""

    comment = "too many matches: narrow the query"


def query_rows(
    query: Query, *, tenant_id: int, limit: int | None = None, at_start: Callable[[], object] = lambda: None,
) -> Iterator[list[list[Value]]]:
    """Pages of values in answer order. `at_start` runs in the first transaction (the audit record).

    Raises QueryError at the first step, QueryTooWideError behind the last page that is allowed.
    """
    limit = settings.MEDHUB_QUERY_LIMIT if limit is None else limit
    plan = plan_make(query)
    with tenant_scope(tenant_id):
        rows = _fetch(plan, tenant_id, plan.page_sql(tenant_id, limit=min(PAGE, limit) + 1))
        at_start()
    is_whole = len(rows) <= min(PAGE, limit)
    rows = rows[: min(PAGE, limit)]
    yield _matched(plan, rows)
    if is_whole:
        return
    yield from _others(plan, tenant_id, seen={row[0] for row in rows}, limit=limit)


def page_rows(
    plan: Plan, *, tenant_id: int, limit: int, offset: int, unique: Mapping[Level, object],
) -> tuple[list[list[Value]], bool]:
    """A part of all matches in an order that stays, and whether there are more behind it. A door's read, one round trip.

    What only Python can compare is read whole, up to MEDHUB_QUERY_LIMIT. Raises QueryError, QueryTooWideError.
    """
    if not plan.is_tested:
        rows = _fetch(plan, tenant_id, plan.ordered_sql(tenant_id, unique=unique, limit=limit + 1, offset=offset))
        return _matched(plan, rows[:limit]), len(rows) > limit
    most = settings.MEDHUB_QUERY_LIMIT
    rows = _fetch(plan, tenant_id, plan.ordered_sql(tenant_id, unique=unique, limit=most + 1, offset=0))
    found: list[list[Value]] = []
    for row in rows[:most]:
        values = plan.values(row)
        if values is not None:
            found.append(values)
            if len(found) > offset + limit:
                return found[offset : offset + limit], True
    if len(rows) > most:
        raise QueryTooWideError
    return found[offset:], False


def _others(plan: Plan, tenant_id: int, *, seen: set[int], limit: int) -> Iterator[list[list[Value]]]:
    ids = [found for (found,) in _fetch(plan, tenant_id, plan.ids_sql(tenant_id, limit=limit + 1)) if found not in seen]
    room = limit - len(seen)
    for start in range(0, min(len(ids), room), PAGE):
        rows = _fetch(plan, tenant_id, plan.rows_sql(tenant_id, ids[start : min(start + PAGE, room)]))
        yield _matched(plan, rows)
    if len(ids) > room:
        raise QueryTooWideError


def _matched(plan: Plan, rows: list[tuple[Any, ...]]) -> list[list[Value]]:
    return [values for values in map(plan.values, rows) if values is not None]


def _fetch(plan: Plan, tenant_id: int, statement: tuple[str, list[Any]]) -> list[tuple[Any, ...]]:
    return rows_fetch(*statement, tenant_id=tenant_id, is_exact=plan.is_exact)


# The rows of one hospital lie scattered among all others': never read the whole table for a part of it.
_SCAN = {"statement_timeout": f"{SCAN_SECONDS}s", "random_page_cost": "1.1"}


def rows_fetch(sql: str, params: list[Any], *, tenant_id: int, is_exact: bool = False) -> list[tuple[Any, ...]]:
    """Run one statement of a query. Raises QueryTooWideError when it takes too long."""
    with _too_slow():
        return tenant_rows(tenant_id=tenant_id, sql=sql, values=params, settings=None if is_exact else _SCAN)


@contextlib.contextmanager
def _too_slow() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", "") == "57014":  # query_canceled
            raise QueryTooWideError from None
        raise
