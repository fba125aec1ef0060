"""Writing the index: one statement for all its tables, whatever the number of resources. The store calls it.

Rows are written by difference: what went is deleted, what came is inserted, the rest is not touched.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

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
            f"DELETE FROM fhir_posting t USING {_unnest(POSTING)} WHERE t.tenant_id = %s AND t.hv = n.hv "  # noqa: S608 constants
            "AND t.sort_date = n.sort_date AND t.rid = n.rid"
        )
        parts.append((text, [*_arrays(gone, POSTING), tenant_id_current()]))
    if come := after - before:
        parts.append(_insert("fhir_posting", POSTING, sorted(come)))
    return parts


def _insert(table: str, columns: Columns, rows: Iterable[Row]) -> Part:
    names = ", ".join(name for name, _ in columns)
    text = f"INSERT INTO {table} (tenant_id, rid, {names}) SELECT %s, n.rid, {_values(columns)} FROM {_unnest(columns)}"  # noqa: S608
    return text, [tenant_id_current(), *_arrays(rows, columns)]


def _insert_missing(table: str, columns: Columns, rows: Iterable[Row]) -> Part:
    text, values = _insert(table, columns, rows)
    missing = f" WHERE NOT EXISTS (SELECT FROM {table} t WHERE t.tenant_id = %s AND t.rid = n.rid AND {_same(columns)})"  # noqa: S608
    return text + missing, [*values, tenant_id_current()]


def _delete_others(table: str, columns: Columns, rows: Iterable[Row], rids: Sequence[int]) -> Part:
    text = (
        f"DELETE FROM {table} t WHERE t.tenant_id = %s AND t.rid = ANY(%s) AND NOT EXISTS "  # noqa: S608 constants
        f"(SELECT FROM {_unnest(columns)} WHERE t.rid = n.rid AND {_same(columns)})"
    )
    return text, [tenant_id_current(), list(rids), *_arrays(rows, columns)]


def _unnest(columns: Columns) -> str:
    casts = ", ".join(f"%s::{kind}[]" for _, kind in columns)
    return f"unnest(%s::bigint[], {casts}) AS n(rid, {', '.join(name for name, _ in columns)})"


def _values(columns: Columns) -> str:
    # unnest flattens arrays of arrays, so `keys` travels as its text.
    return ", ".join("n.keys::bigint[]" if name == "keys" else f"n.{name}" for name, _ in columns)


def _same(columns: Columns) -> str:
    return " AND ".join("t.keys = n.keys::bigint[]" if name == "keys" else f"t.{name} = n.{name}" for name, _ in columns)


def _arrays(rows: Iterable[Row], columns: Columns) -> list[list[Any]]:
    held = list(rows)
    return [list(column) for column in zip(*held, strict=True)] if held else [[] for _ in range(len(columns) + 1)]
