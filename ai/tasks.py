"""Celery's way into ai: take jobs and deliveries of reports a step further, find the due ones."""

import time

from ai import dispatch
from ai.delivery.run import delivery_run
from ai.returned.keeping import returned_sweep
from journal.wall.tasks import GRACE_SECONDS, SWEEP_EXPIRES, rows_due, sweep_task, task_send, tenant_task

FORGOTTEN_SECONDS = 3600


@tenant_task(queue="dispatch", is_scoped=False)
def job_run_task(*, tenant_id: int, job_id: int) -> None:
    wait = dispatch.job_run(tenant_id=tenant_id, job_id=job_id)
    if wait is not None:
        task_send(job_run_task, countdown=wait, tenant_id=tenant_id, job_id=job_id)


@sweep_task(queue="dispatch")
def jobs_sweep() -> None:
    for tenant_id, job_id in rows_due("ai_job", grace_seconds=GRACE_SECONDS):
        task_send(job_run_task, expires=SWEEP_EXPIRES, tenant_id=tenant_id, job_id=job_id)


@sweep_task(queue="dispatch")
def returned_files_sweep() -> None:
    """Files of results whose writer died before it acknowledged them."""
    returned_sweep(older_than=time.time() - FORGOTTEN_SECONDS)


@tenant_task(queue="delivery", is_scoped=False)
def report_delivery_run_task(*, tenant_id: int, delivery_id: int) -> None:
    wait = delivery_run(tenant_id=tenant_id, delivery_id=delivery_id)
    if wait is not None:
        task_send(report_delivery_run_task, countdown=wait, tenant_id=tenant_id, delivery_id=delivery_id)


@sweep_task(queue="delivery")
def report_deliveries_sweep() -> None:
    for tenant_id, delivery_id in rows_due("ai_reportdelivery", grace_seconds=GRACE_SECONDS):
        task_send(report_delivery_run_task, expires=SWEEP_EXPIRES, tenant_id=tenant_id, delivery_id=delivery_id)
