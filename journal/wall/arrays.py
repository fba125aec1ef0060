"""Lists of texts, numbers and times to PostgreSQL arrays (docs, 8.15.2), for statements that insert thousands of rows by unnest.

psycopg asks its type tables and two regular expressions for every element: a fifth of the index worker's time.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

import orjson
import psycopg
from django.db import connection, models
from psycopg.abc import Buffer
from psycopg.types.array import ListDumper

_NUMBERS = (frozenset((int, type(None))), frozenset((float, type(None))))


class PlainListDumper(ListDumper):
    """As psycopg's own for anything but lists of str, of datetime, of int and None, or of float and None."""

    def dump(self, obj: list[Any]) -> Buffer | None:
        kinds = set(map(type, obj))
        if kinds == {str}:
            return _texts(obj)
        if kinds == {datetime}:
            return ('{"' + '","'.join([moment.isoformat() for moment in obj]) + '"}').encode()
        if kinds and any(kinds <= numbers for numbers in _NUMBERS):
            return ("{" + ",".join(["NULL" if number is None else str(number) for number in obj]) + "}").encode()
        return super().dump(obj)


def _texts(texts: list[str]) -> bytes:
    joined = '","'.join(texts)
    if "\0" in joined:
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    if "\\" in joined or joined.count('"') != 2 * (len(texts) - 1):
        joined = '","'.join([text.replace("\\", "\\\\").replace('"', '\\"') for text in texts])
    return f'{{"{joined}"}}'.encode()


def arrays_register() -> None:
    """For every connection that is opened from now on."""
    psycopg.adapters.register_dumper(list, PlainListDumper)


def rows_insert(rows: Sequence[models.Model], *, is_conflict_ignored: bool = False) -> None:
    """Insert rows of one model as an array a column. As `bulk_create`, in half its time and with one plan for any number of rows."""
    if not rows:
        return
    meta = rows[0]._meta
    fields = meta.concrete_fields
    quote = connection.ops.quote_name
    names = ", ".join(quote(str(field.column)) for field in fields)
    # without the length: a cast to varchar(n) cuts what is too long, a column refuses it
    arrays = ", ".join(f"%s::{str(field.db_type(connection)).partition('(')[0]}[]" for field in fields)
    ignoring = " ON CONFLICT DO NOTHING" if is_conflict_ignored else ""
    columns = [[_sent(getattr(row, field.attname), field) for row in rows] for field in fields]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {quote(meta.db_table)} ({names}) SELECT * FROM unnest({arrays}){ignoring}", columns,  # noqa: S608 our own names
        )


def _sent(value: Any, field: "models.Field[Any, Any]") -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    return orjson.dumps(value).decode() if isinstance(field, models.JSONField) and value is not None else value
