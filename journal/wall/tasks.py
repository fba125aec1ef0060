"""The only Celery decorators of the house: `tenant_task` opens the scope of one hospital, `sweep_task` belongs to none."""

import functools
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from celery import Task, current_app, shared_task
from django.db import close_old_connections, connections
from django.utils import timezone

from journal.trace import trace
from journal.wall.scope import tenant_scope

log = logging.getLogger(__name__)


def tenant_task(*, queue: str, is_scoped: bool = True) -> Callable[[Callable[..., None]], Task]:
    """A task on behalf of one hospital; called with `tenant_id=` and ids. Unknown keywords are dropped (rolling deploys).

    `is_scoped=False` is for work that talks to the outside between two short scopes; the function then takes `tenant_id`
    and opens them itself. Every task must be idempotent: leases live in rows, and the broker may deliver twice.
    """

    def wrap(function: Callable[..., None]) -> Task:
        names = function.__code__.co_varnames[: function.__code__.co_argcount + function.__code__.co_kwonlyargcount]

        @shared_task(  # type: ignore[untyped-decorator]
            name=f"{function.__module__}.{function.__name__}", queue=queue, acks_late=True, ignore_result=True
        )
        @functools.wraps(function)
        def run(*, tenant_id: int, trace_id: str = "", **kwargs: Any) -> None:
            known = {key: value for key, value in kwargs.items() if key in names}
            close_old_connections()  # a database that was restarted costs a connection, not a task
            with trace(trace_id):
                if not is_scoped:
                    function(tenant_id=tenant_id, **known)
                    return
                with tenant_scope(tenant_id):
                    function(**known)

        return run

    return wrap


SWEEP_EXPIRES = 15.0  # seconds
GRACE_SECONDS = 1.0


def sweep_task(*, queue: str = "default") -> Callable[[Callable[[], None]], Task]:
    """A beat task that finds due rows of every hospital (as medhub_sweep) and sends one tenant_task each."""

    def wrap(function: Callable[[], None]) -> Task:
        @shared_task(  # type: ignore[untyped-decorator]
            name=f"{function.__module__}.{function.__name__}", queue=queue, ignore_result=True, expires=30
        )
        @functools.wraps(function)
        def run() -> None:
            close_old_connections()
            function()

        return run

    return wrap


def rows_due(table: str, *, grace_seconds: float = 0, limit: int = 500) -> list[tuple[int, int]]:
    """(tenant_id, id) of rows whose time has come, oldest first, over all hospitals. `table` is a trusted name.

    `grace_seconds` passes over rows that a message of their own is still on its way for.
    """
    with connections["sweep"].cursor() as cursor:
        cursor.execute(
            f'SELECT tenant_id, id FROM "{table}" WHERE due_at <= %s ORDER BY due_at LIMIT %s',  # noqa: S608 trusted name
            [timezone.now() - timedelta(seconds=grace_seconds), limit],
        )
        return list(cursor.fetchall())


def rows_due_soon(table: str, *, within_seconds: float, limit: int = 500) -> list[tuple[int, int, float]]:
    """(tenant_id, id, seconds until then) of rows whose time has come or comes before the next sweep: they are met to the moment."""
    now = timezone.now()
    with connections["sweep"].cursor() as cursor:
        cursor.execute(
            f'SELECT tenant_id, id, due_at FROM "{table}" WHERE due_at <= %s ORDER BY due_at LIMIT %s',  # noqa: S608 trusted name
            [now + timedelta(seconds=within_seconds), limit],
        )
        return [(tenant_id, row_id, max((due_at - now).total_seconds(), 0.0)) for tenant_id, row_id, due_at in cursor.fetchall()]


def queue_depth(queue: str) -> int:
    """Messages that wait in a queue; 0 when it is not there yet or the broker does not answer."""
    try:
        with current_app.connection_for_write() as connection:
            return int(connection.default_channel.queue_declare(queue=queue, passive=True).message_count)
    except Exception as error:  # whatever a transport raises: then a sweep sends, as if nothing waited
        log.debug("depth of %s not known: %s", queue, type(error).__name__)
        return 0


def task_send(
    task: Task, *, countdown: float | None = None, expires: float | None = None, queue: str | None = None, **kwargs: Any
) -> None:
    """Send without waiting for a broker that is down: the row stays due, so a lost message costs one sweep.

    What a sweep sends `expires`: behind a backlog the next sweep's message does as well, and the old one is dropped unread.
    """
    try:
        task.apply_async(kwargs=kwargs, countdown=countdown, expires=expires, retry=False, **({"queue": queue} if queue else {}))
    except Exception as error:  # whatever a transport raises; the sweep comes back to the row
        log.warning("broker not reached for %s: %s", task.name, type(error).__name__)
