"""The only Celery decorators of the house: `tenant_task` opens the scope of one hospital, `sweep_task` belongs to none."""

import functools
import logging
from collections.abc import Callable
from typing import Any

from celery import Task, shared_task
from django.db import connections
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
            with trace(trace_id):
                if not is_scoped:
                    function(tenant_id=tenant_id, **known)
                    return
                with tenant_scope(tenant_id):
                    function(**known)

        return run

    return wrap


def sweep_task(*, queue: str = "default") -> Callable[[Callable[[], None]], Task]:
    """A beat task that finds due rows of every hospital (as medhub_sweep) and sends one tenant_task each."""

    def wrap(function: Callable[[], None]) -> Task:
        @shared_task(  # type: ignore[untyped-decorator]
            name=f"{function.__module__}.{function.__name__}", queue=queue, ignore_result=True, expires=30
        )
        @functools.wraps(function)
        def run() -> None:
            function()

        return run

    return wrap


def rows_due(table: str, *, limit: int = 500) -> list[tuple[int, int]]:
    """(tenant_id, id) of rows whose time has come, oldest first, over all hospitals. `table` is a trusted name."""
    with connections["sweep"].cursor() as cursor:
        cursor.execute(
            f'SELECT tenant_id, id FROM "{table}" WHERE due_at <= %s ORDER BY due_at LIMIT %s',  # noqa: S608 trusted name
            [timezone.now(), limit],
        )
        return list(cursor.fetchall())


def task_send(task: Task, *, countdown: float | None = None, **kwargs: Any) -> None:
    """Send without waiting for a broker that is down: the row stays due, so a lost message costs one sweep."""
    try:
        task.apply_async(kwargs=kwargs, countdown=countdown, retry=False)
    except Exception as error:  # whatever a transport raises; the sweep comes back to the row
        log.warning("broker not reached for %s: %s", task.name, type(error).__name__)
