"""Celery's way into the journal: run deliveries, find the due ones, seal the audit trail."""

import logging

from journal import audit, outbox
from journal.wall.scope import tenant_scope
from journal.wall.tasks import GRACE_SECONDS, SWEEP_EXPIRES, queue_depth, rows_due, sweep_task, task_send, tenant_task

log = logging.getLogger(__name__)

PER_MESSAGE = 20  # deliveries: what a message costs the broker and the worker is worth several of them
BEHIND = 20  # messages


@tenant_task(queue="default", is_scoped=False)
def deliveries_run_task(*, tenant_id: int, delivery_ids: list[int]) -> None:
    """One after the other; each is claimed for itself, so what a lost worker leaves is due again.

    Those whose subscriber takes many run together first. When that fails each runs alone.
    """
    groups: list[list[int]] = []
    if len(delivery_ids) > 1:
        with tenant_scope(tenant_id):
            groups = outbox.deliveries_gather(delivery_ids=delivery_ids)
        for group in groups:
            _group_run(tenant_id=tenant_id, delivery_ids=group)
    for delivery_id in set(delivery_ids).difference(*groups):
        _delivery_run(tenant_id=tenant_id, delivery_id=delivery_id)


def _group_run(*, tenant_id: int, delivery_ids: list[int]) -> None:
    with tenant_scope(tenant_id):
        claimed = outbox.deliveries_claim(delivery_ids=delivery_ids)
    try:
        with tenant_scope(tenant_id):
            outbox.deliveries_run(delivery_ids=claimed)
    except Exception:  # one of them is at fault: alone it fails alone
        log.exception("%s deliveries did not run together", len(claimed))
        for delivery_id in claimed:
            _claimed_run(tenant_id=tenant_id, delivery_id=delivery_id)


def _delivery_run(*, tenant_id: int, delivery_id: int) -> None:
    """Claim, run, and on failure back off: three short scopes, so a failure keeps its count."""
    with tenant_scope(tenant_id):
        if not outbox.delivery_claim(delivery_id=delivery_id):
            return
    _claimed_run(tenant_id=tenant_id, delivery_id=delivery_id)


def _claimed_run(*, tenant_id: int, delivery_id: int) -> None:
    try:
        with tenant_scope(tenant_id):
            outbox.delivery_run(delivery_id=delivery_id)
    except Exception as error:  # every subscriber's failure ends in the row, never in a lost message
        log.exception("delivery %s failed", delivery_id)
        with tenant_scope(tenant_id):
            outbox.delivery_fail(delivery_id=delivery_id, error=error)


def deliveries_nudge(*, tenant_id: int, delivery_ids: list[int], expires: float | None = None) -> None:
    for at in range(0, len(delivery_ids), PER_MESSAGE):
        chunk = delivery_ids[at : at + PER_MESSAGE]
        task_send(deliveries_run_task, expires=expires, tenant_id=tenant_id, delivery_ids=chunk)


@sweep_task()
def deliveries_sweep() -> None:
    if queue_depth("default") > BEHIND:
        return  # the workers are behind, no message is lost: another one for the same row would only be in the way
    due: dict[int, list[int]] = {}
    for tenant_id, delivery_id in rows_due("journal_delivery", grace_seconds=GRACE_SECONDS):
        due.setdefault(tenant_id, []).append(delivery_id)
    for tenant_id, delivery_ids in due.items():
        deliveries_nudge(tenant_id=tenant_id, delivery_ids=delivery_ids, expires=SWEEP_EXPIRES)


@tenant_task(queue="default", is_scoped=False)
def audit_seal_task(*, tenant_id: int) -> None:
    """Until nothing is left: after a burst nobody may ask again for a long time."""
    sealed = audit.SEAL_BATCH
    while sealed == audit.SEAL_BATCH:
        with tenant_scope(tenant_id):
            sealed = audit.audit_seal()


def audit_seal_nudge(*, tenant_id: int) -> None:
    task_send(audit_seal_task, countdown=audit.SEAL_AFTER_SECONDS, tenant_id=tenant_id)
