"""Reading the store for an export: the state at one moment, in ranges of ids, each by one statement.

A resource that has changed since is told by the version it had then. Both are asked in one snapshot, so whatever is written while
the export runs, each resource of a range comes once. Texts go from the database to the file as they are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from django.db import connection

from fhirapi.bulk.members import Members
from fhirapi.registry import TYPES
from fhirapi.search.terms import Sql, sql_join
from journal.wall.scope import tenant_id_current

FETCH = 500  # texts in memory at once
ENTRIES = 500  # deletions in one Bundle
STATEMENT_MS = 30_000


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The state at `at`, of it what changed after `since`."""

    at: datetime
    since: datetime | None


@dataclass(frozen=True, kw_only=True)
class Range:
    """Ids of a type behind `after` up to and with `until`; without `until` all the rest."""

    rtype: str
    after: str
    until: str | None

    def condition(self, column: str) -> Sql:
        if self.until is None:
            return Sql(f" AND {column} > %s", (self.after,))
        return Sql(f" AND {column} > %s AND {column} <= %s", (self.after, self.until))


def time_limit() -> None:
    """Of each statement until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(STATEMENT_MS)])


def range_next(*, rtype: str, after: str, step: int) -> Range:
    """The next `step` ids of the type, whatever is filtered: a chunk takes as long with a rare filter as with none."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT fhir_id FROM fhir_resource WHERE tenant_id = %s AND rtype = %s AND fhir_id > %s ORDER BY fhir_id OFFSET %s LIMIT 1",
            [tenant_id_current(), TYPES[rtype].number, after, step - 1],
        )
        row = cursor.fetchone()
    return Range(rtype=rtype, after=after, until=row[0] if row else None)


def texts_read(*, of: Range, moment: Moment, members: Members, narrowed: Sql | None) -> Iterator[list[str]]:
    """What the range held at the moment. `narrowed` is a further condition over `r`, met by the newest version. In a scope."""
    wanted = [part for part in (members.condition(of.rtype), narrowed) if part]
    sql = _texts_sql(of, moment, sql_join(wanted, " AND ") if wanted else None, narrowed)
    with connection.chunked_cursor() as cursor:
        cursor.execute(sql.text, list(sql.values))
        while rows := cursor.fetchmany(FETCH):
            yield [text for text, is_old in rows if not is_old or members.has(rtype=of.rtype, content=text)]


def _texts_sql(of: Range, moment: Moment, wanted: Sql | None, narrowed: Sql | None) -> Sql:
    ids = of.condition("r.fhir_id")
    since = Sql(" AND r.last_updated > %s", (moment.since,)) if moment.since else Sql("")
    # OFFSET 0: the planner asks of each row of the range, and does not join the range with everything that meets the condition.
    look = Sql(f" CROSS JOIN LATERAL (SELECT WHERE {wanted.text} OFFSET 0) t", wanted.values) if wanted else Sql("")
    key = (tenant_id_current(), TYPES[of.rtype].number)
    current = Sql(
        f"SELECT r.content, false FROM fhir_resource r{look.text} WHERE r.tenant_id = %s AND r.rtype = %s{ids.text} "  # noqa: S608
        f"AND r.last_updated <= %s{since.text}",
        (*look.values, *key, *ids.values, moment.at, *since.values),
    )
    return sql_join([current, _old_sql(of, moment, narrowed)], " UNION ALL ")


def _old_sql(of: Range, moment: Moment, narrowed: Sql | None) -> Sql:
    """The versions that stood then, of what was changed or deleted afterwards."""
    key = (tenant_id_current(), TYPES[of.rtype].number)
    ids, past = of.condition("fhir_id"), Sql(" AND v.at > %s", (moment.since,)) if moment.since else Sql("")
    met = (
        Sql(
            " AND EXISTS (SELECT FROM fhir_resource r WHERE r.tenant_id = %s AND r.rtype = %s AND r.fhir_id = c.fhir_id "  # noqa: S608
            f"AND {narrowed.text})",
            (*key, *narrowed.values),
        )
        if narrowed
        else Sql("")
    )
    return Sql(
        f"SELECT v.content, true FROM ({_changed(ids)}) c CROSS JOIN LATERAL ("  # noqa: S608
        "SELECT h.content, h.method, h.at FROM fhir_history h WHERE h.tenant_id = %s AND h.rtype = %s AND h.fhir_id = c.fhir_id "
        f"AND h.at <= %s ORDER BY h.version DESC LIMIT 1) v WHERE v.method <> 'D'{past.text}{met.text}",
        (*key, moment.at, *ids.values, *key, moment.at, *ids.values, *key, moment.at, *past.values, *met.values),
    )


def _changed(ids: Sql) -> str:
    """Ids of a range that have a version after the moment."""
    return (
        f"SELECT fhir_id FROM fhir_resource WHERE tenant_id = %s AND rtype = %s AND last_updated > %s{ids.text} UNION "  # noqa: S608
        f"SELECT fhir_id FROM fhir_history WHERE tenant_id = %s AND rtype = %s AND at > %s{ids.text}"
    )


@dataclass(frozen=True, kw_only=True)
class Deleted:
    """A page of deletions as lines, and the id where the next begins; "" at the end."""

    lines: list[str]
    after: str


def deletions_read(*, rtype: str, after: str, step: int, moment: Moment, members: Members) -> Deleted:
    """What was deleted between `since` and the moment and was not there then, as Bundles (STU2, 2.5.7). In a scope."""
    key: list[Any] = [tenant_id_current(), TYPES[rtype].number]
    with connection.cursor() as cursor:
        # `last` is the newest version at the moment; the one before it says whose the resource was.
        cursor.execute(
            "SELECT d.fhir_id, before.content FROM (SELECT DISTINCT fhir_id FROM fhir_history WHERE tenant_id = %s AND rtype = %s "
            "AND at > %s AND at <= %s AND method = 'D' AND fhir_id > %s) d "
            "CROSS JOIN LATERAL (SELECT h.method, h.version, h.at FROM fhir_history h WHERE h.tenant_id = %s AND h.rtype = %s "
            "AND h.fhir_id = d.fhir_id AND h.at <= %s ORDER BY h.version DESC LIMIT 1) last "
            "JOIN fhir_history before ON before.tenant_id = %s AND before.rtype = %s AND before.fhir_id = d.fhir_id "
            "AND before.version = last.version - 1 "
            "WHERE last.method = 'D' AND NOT EXISTS (SELECT FROM fhir_resource r WHERE r.tenant_id = %s AND r.rtype = %s "
            "AND r.fhir_id = d.fhir_id AND r.last_updated <= %s) ORDER BY d.fhir_id LIMIT %s",
            [*key, moment.since, moment.at, after, *key, moment.at, *key, *key, moment.at, step],
        )
        rows = cursor.fetchall()
    mine = [fhir_id for fhir_id, content in rows if members.has(rtype=rtype, content=content)]
    pages = [mine[at : at + ENTRIES] for at in range(0, len(mine), ENTRIES)]
    return Deleted(lines=[_bundle(rtype, page) for page in pages], after=rows[-1][0] if len(rows) == step else "")


def _bundle(rtype: str, ids: list[str]) -> str:
    entries = [{"request": {"method": "DELETE", "url": f"{rtype}/{fhir_id}"}} for fhir_id in ids]
    return orjson.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries}).decode()


def version_at(*, rtype: str, fhir_id: str, at: datetime) -> str | None:
    """The text of a resource as it stood at a moment, or None where there was none. In a scope."""
    key: list[Any] = [tenant_id_current(), TYPES[rtype].number, fhir_id, at]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT v.method, v.content FROM ((SELECT 'U' AS method, content, version FROM fhir_resource "
            "WHERE tenant_id = %s AND rtype = %s AND fhir_id = %s AND last_updated <= %s) UNION ALL "
            "(SELECT method, content, version FROM fhir_history WHERE tenant_id = %s AND rtype = %s AND fhir_id = %s AND at <= %s "
            "ORDER BY version DESC LIMIT 1)) v ORDER BY v.version DESC LIMIT 1",
            [*key, *key],
        )
        row = cursor.fetchone()
    return row[1] if row and row[0] != "D" else None


def is_settled(*, at: datetime, margin: float) -> bool:
    """Has all that was written before the moment been committed? A writer notes the time first and commits later.

    `margin` are seconds between noting it and its transaction, and between the clocks of machines.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT clock_timestamp() >= %s::timestamptz + make_interval(secs => %s) AND NOT EXISTS (SELECT FROM pg_locks l "
            "JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.relation = 'fhir_resource'::regclass AND l.mode = 'RowExclusiveLock' "
            "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.pid <> pg_backend_pid() "
            "AND coalesce(a.xact_start, '-infinity') <= %s::timestamptz + make_interval(secs => %s))",
            [at, margin, at, margin],
        )
        return bool(cursor.fetchone()[0])
