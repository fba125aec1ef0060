"""Celery's way into fhirapi: take exports in bulk a step further, and remove those whose time is over."""

from fhirapi.bulk.run import export_step
from journal.wall.tasks import GRACE_SECONDS, SWEEP_EXPIRES, rows_due, sweep_task, task_send, tenant_task


# A queue of its own: whoever exports much gives it workers of its own, and reports and images do not wait.
@tenant_task(queue="bulk", is_scoped=False)
def bulk_step_task(*, tenant_id: int, export_id: int) -> None:
    wait = export_step(tenant_id=tenant_id, export_id=export_id)
    if wait is not None:
        task_send(bulk_step_task, countdown=wait, tenant_id=tenant_id, export_id=export_id)


@sweep_task()
def bulk_exports_sweep() -> None:
    for tenant_id, export_id in rows_due("fhirapi_bulkexport", grace_seconds=GRACE_SECONDS, limit=50):
        task_send(bulk_step_task, expires=SWEEP_EXPIRES, tenant_id=tenant_id, export_id=export_id)
