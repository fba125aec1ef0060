"""The tenant scope: which hospital this code works for. Opened by the doors only (docs/architecture.md lists them).

A scope is a transaction with `SET LOCAL app.tenant`; the row level security policies compare with it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.db import connections, transaction

_tenant: ContextVar[int | None] = ContextVar("medhub_tenant", default=None)


class ScopeError(Exception):
    """Tenant data was touched outside a scope, or two scopes met."""


def tenant_id_current() -> int:
    """The id of the hospital in scope. Raises ScopeError outside one."""
    tenant_id = _tenant.get()
    if tenant_id is None:
        raise ScopeError("no hospital in scope: only a door opens one")
    return tenant_id


def is_in_scope() -> bool:
    return _tenant.get() is not None


@contextmanager
def tenant_scope(tenant_id: int) -> Iterator[None]:
    """One transaction on behalf of one hospital. Joins an open scope of the same hospital, refuses another's.

    Raises ScopeError inside a foreign scope, or inside a transaction that somebody else opened: the setting would
    outlive the scope there.
    """
    current = _tenant.get()
    if current is not None:
        if current != tenant_id:
            raise ScopeError("a scope of another hospital is open")
        yield
        return
    connection = connections["default"]
    if connection.in_atomic_block:
        raise ScopeError("a scope opens its own transaction")
    with transaction.atomic(using="default"):
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('app.tenant', %s, true)", [str(tenant_id)])
        token = _tenant.set(tenant_id)
        try:
            yield
        finally:
            _tenant.reset(token)


@contextmanager
def tenant_named(tenant_id: int) -> Iterator[None]:
    """The hospital that statements are made for, which `tenant_run` sends afterwards. No transaction: a query in here meets the wall."""
    if is_in_scope():
        raise ScopeError("a scope is open: statements can be run at once")
    token = _tenant.set(tenant_id)
    try:
        yield
    finally:
        _tenant.reset(token)
