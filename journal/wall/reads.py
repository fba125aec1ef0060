"""Statements on behalf of one hospital, in one round trip: for machine doors whose whole database work they are.

The same wall as `tenant_scope`: PostgreSQL runs the statements of one message as one transaction, so the setting holds for the
second one and is gone after it. Outside a scope it is a door's, directly or through a selector;
inside one it joins.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connections

from journal.wall.scope import ScopeError, is_in_scope, tenant_id_current


def tenant_rows(
    *, tenant_id: int, sql: str, values: Sequence[Any], settings: Mapping[str, str] | None = None
) -> list[tuple[Any, ...]]:
    """The rows of one statement, under `settings` of PostgreSQL that end with its transaction.

    Joins an open scope of the same hospital. Raises ScopeError inside a foreign one.
    """
    connection = connections["default"]
    local = dict(settings or {})
    if is_in_scope():
        if tenant_id_current() != tenant_id:
            raise ScopeError("a scope of another hospital is open")
    elif connection.in_atomic_block:
        raise ScopeError("a scope opens its own transaction")
    else:
        local["app.tenant"] = str(tenant_id)
    with connection.cursor() as cursor:
        if not local:
            cursor.execute(sql, values)
            return list(cursor.fetchall())
        first = ", ".join(["set_config(%s, %s, true)"] * len(local))
        cursor.execute(f"SELECT {first}; {sql}", [*(text for pair in local.items() for text in pair), *values])  # noqa: S608 placeholders
        cursor.nextset()
        return list(cursor.fetchall())


def tenant_run(*, tenant_id: int, statements: Sequence[tuple[str, Sequence[Any]]]) -> None:
    """All of these statements or none, in one round trip. What they return is dropped. Outside a scope."""
    if is_in_scope() or connections["default"].in_atomic_block:
        raise ScopeError("a scope is open: its own transaction is the one to write in")
    texts = "; ".join(sql for sql, _ in statements)
    with connections["default"].cursor() as cursor:
        cursor.execute(
            f"SELECT set_config('app.tenant', %s, true); {texts}",  # noqa: S608 the callers' own texts
            [str(tenant_id), *(value for _, values in statements for value in values)],
        )
