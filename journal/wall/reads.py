"""One statement on behalf of one hospital, in one round trip: for machine doors whose whole database work is a read.

The same wall as `tenant_scope`: PostgreSQL runs the statements of one message as one transaction, so the setting holds for the
second one and is gone after it. Only doors call this, and only outside a scope.
"""

from collections.abc import Sequence
from typing import Any

from django.db import connections

from journal.wall.scope import ScopeError, is_in_scope, tenant_id_current


def tenant_rows(*, tenant_id: int, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The rows of one SELECT. Joins an open scope of the same hospital. Raises ScopeError inside a foreign one."""
    connection = connections["default"]
    if is_in_scope():
        if tenant_id_current() != tenant_id:
            raise ScopeError("a scope of another hospital is open")
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            return list(cursor.fetchall())
    if connection.in_atomic_block:
        raise ScopeError("a scope opens its own transaction")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT set_config('app.tenant', %s, true); {sql}", [str(tenant_id), *values])
        cursor.nextset()
        return list(cursor.fetchall())
