"""Writing the index: one statement for all its tables, whatever the number of resources. The store calls it.

Rows are written by difference: what went is deleted, what came is inserted, the rest is not touched.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import orjson
from django.db import connection

from fhirapi.index.hashes import is_posted
from fhirapi.index.indexed import Indexed
from journal.wall.scope import tenant_id_current

Row = tuple[Any, ...]
Columns = tuple[tuple[str, str], ...]
# Table -> its columns after tenant_id and rid, as `Indexed` holds them.
SIDES: dict[str, tuple[str, Columns]] = {
    "fhir_ref": ("refs", (("param", "text"), ("target_type", "smallint"), ("target_id", "text"))),
    "fhir_date": ("dates", (("param", "bigint"), ("lo", "timestamptz"), ("hi", "timestamptz"))),
    "fhir_quantity": (
        "quantities",
        (("param", "bigint"), ("lo", "float8"), ("hi", "float8"), ("code", "bigint"), ("unit", "bigint"), ("system", "bigint"),
         ("keys", "text")),
    ),
    "fhir_string": ("strings", (("param", "bigint"), ("norm", "text"), ("exact", "text"))),
}  # fmt: skip
RID: Columns = (("rid", "bigint"),)
POSTING: Columns = (("hv", "bigint"), ("sort_date", "timestamptz"))


class Before(Protocol):
    """What the index must know of a resource's current row."""

    @property
    def tokens(self) -> tuple[int, ...]: ...

    @property
    def sort_date(self) -> datetime: ...


Part = tuple[str, list[Any]]


def index_replace(*, new: Mapping[int, Indexed], old: Mapping[int, Before]) -> None:
    """Make the index say `new` of these resources (rid -> Indexed; an empty Indexed for a deleted one).

    `old` holds the current row of each that has one.
    """
    if statement := index_statement(new=new, old=old):
        with connection.cursor() as cursor:
            cursor.execute(*statement)


def index_statement(*, new: Mapping[int, Indexed], old: Mapping[int, Before]) -> Part | None:
    """What `index_replace` runs."""
    parts = _posting_parts(new, old)
    for table, (name, columns) in SIDES.items():
        rows = [(rid, *row) for rid, index in new.items() for row in getattr(index, name)]
        if old:
            parts += [_delete_others(table, columns, rows, list(old)), _insert_missing(table, columns, rows)]
        elif rows:
            parts.append(_insert(table, columns, rows))
    if not parts:
        return None
    steps = ", ".join(f"s{number} AS ({text})" for number, (text, _) in enumerate(parts))
    return f"WITH {steps} SELECT 1", [value for _, values in parts for value in values]


def _posting_parts(new: Mapping[int, Indexed], old: Mapping[int, Before]) -> list[Part]:
    after = {(rid, token, index.sort_date) for rid, index in new.items() for token in index.tokens if is_posted(token)}
    before = {(rid, token, row.sort_date) for rid, row in old.items() if rid in new for token in row.tokens if is_posted(token)}
    parts = []
    if gone := before - after:
        text = (
            f"DELETE FROM fhir_posting t USING {records(RID + POSTING)} WHERE t.tenant_id = %s AND t.hv = n.hv "  # noqa: S608 constants
            "AND t.sort_date = n.sort_date AND t.rid = n.rid"
        )
        parts.append((text, [rows_dump(gone, RID + POSTING), tenant_id_current()]))
    if come := after - before:
        parts.append(_insert("fhir_posting", POSTING, sorted(come)))
    return parts


def _insert(table: str, columns: Columns, rows: Iterable[Row]) -> Part:
    names = ", ".join(name for name, _ in columns)
    text = f"INSERT INTO {table} (tenant_id, rid, {names}) SELECT %s, n.rid, {_values(columns)} FROM {records(RID + columns)}"  # noqa: S608
    return text, [tenant_id_current(), rows_dump(rows, RID + columns)]


def _insert_missing(table: str, columns: Columns, rows: Iterable[Row]) -> Part:
    text, values = _insert(table, columns, rows)
    missing = f" WHERE NOT EXISTS (SELECT FROM {table} t WHERE t.tenant_id = %s AND t.rid = n.rid AND {_same(columns)})"  # noqa: S608
    return text + missing, [*values, tenant_id_current()]


def _delete_others(table: str, columns: Columns, rows: Iterable[Row], rids: Sequence[int]) -> Part:
    text = (
        f"DELETE FROM {table} t WHERE t.tenant_id = %s AND t.rid = ANY(%s) AND NOT EXISTS "  # noqa: S608 constants
        f"(SELECT FROM {records(RID + columns)} WHERE t.rid = n.rid AND {_same(columns)})"
    )
    return text, [tenant_id_current(), list(rids), rows_dump(rows, RID + columns)]


def records(columns: Columns) -> str:
    """Rows that travel as one JSON text: one value to bind, written and read in C, whatever the number of rows and columns."""
    return f"json_to_recordset(%s::json) AS n({', '.join(f'{name} {kind}' for name, kind in columns)})"


def rows_dump(rows: Iterable[Row], columns: Columns) -> str:
    """The text for `records`."""
    names = [name for name, _ in columns]
    if any(kind == "float8" for _, kind in columns):
        rows = [tuple(str(value) if isinstance(value, float) and math.isinf(value) else value for value in row) for row in rows]
    return orjson.dumps([dict(zip(names, row, strict=True)) for row in rows], default=_plain).decode()


def _plain(value: Any) -> str:
    return "\\x" + value.hex() if isinstance(value, bytes) else str(value)


def _values(columns: Columns) -> str:
    # `keys` travels as its text.
    return ", ".join("n.keys::bigint[]" if name == "keys" else f"n.{name}" for name, _ in columns)


def _same(columns: Columns) -> str:
    return " AND ".join("t.keys = n.keys::bigint[]" if name == "keys" else f"t.{name} = n.{name}" for name, _ in columns)
