"""Celery's way into the journal: run deliveries, find the due ones, seal the audit trail."""

import logging

from journal import audit, outbox
from journal.wall.scope import tenant_scope
from journal.wall.tasks import GRACE_SECONDS, SWEEP_EXPIRES, rows_due, sweep_task, task_send, tenant_task

log = logging.getLogger(__name__)


@tenant_task(queue="default", is_scoped=False)
def delivery_run_task(*, tenant_id: int, delivery_id: int) -> None:
    """Claim, run, and on failure back off: three short scopes, so a failure keeps its count."""
    with tenant_scope(tenant_id):
        if not outbox.delivery_claim(delivery_id=delivery_id):
            return
    try:
        with tenant_scope(tenant_id):
            outbox.delivery_run(delivery_id=delivery_id)
    except Exception as error:  # every subscriber's failure ends in the row, never in a lost message
        log.exception("delivery %s failed", delivery_id)
        with tenant_scope(tenant_id):
            outbox.delivery_fail(delivery_id=delivery_id, error=error)


def delivery_nudge(*, tenant_id: int, delivery_id: int) -> None:
    task_send(delivery_run_task, tenant_id=tenant_id, delivery_id=delivery_id)


@sweep_task()
def deliveries_sweep() -> None:
    for tenant_id, delivery_id in rows_due("journal_delivery", grace_seconds=GRACE_SECONDS):
        task_send(delivery_run_task, expires=SWEEP_EXPIRES, tenant_id=tenant_id, delivery_id=delivery_id)


@tenant_task(queue="default")
def audit_seal_task() -> None:
    audit.audit_seal()


def audit_seal_nudge(*, tenant_id: int) -> None:
    task_send(audit_seal_task, countdown=audit.SEAL_AFTER_SECONDS, tenant_id=tenant_id)
