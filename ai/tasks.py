"""Celery's way into ai: take jobs a step further, find the due ones."""

from ai import dispatch
from journal.wall.tasks import GRACE_SECONDS, SWEEP_EXPIRES, rows_due, sweep_task, task_send, tenant_task


@tenant_task(queue="dispatch", is_scoped=False)
def job_run_task(*, tenant_id: int, job_id: int) -> None:
    wait = dispatch.job_run(tenant_id=tenant_id, job_id=job_id)
    if wait is not None:
        task_send(job_run_task, countdown=wait, tenant_id=tenant_id, job_id=job_id)


@sweep_task(queue="dispatch")
def jobs_sweep() -> None:
    for tenant_id, job_id in rows_due("ai_job", grace_seconds=GRACE_SECONDS):
        task_send(job_run_task, expires=SWEEP_EXPIRES, tenant_id=tenant_id, job_id=job_id)
