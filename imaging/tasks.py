"""Celery's way into imaging: complete due studies, and the audit seal that beats per hospital."""

from imaging import completion
from journal.tasks import audit_seal_task
from journal.wall.tasks import rows_due, sweep_task, task_send, tenant_task
from tenants.selectors import tenant_ids


@tenant_task(queue="ingest")
def study_complete_task(*, study_id: int) -> None:
    completion.study_complete(study_id=study_id)


@sweep_task(queue="ingest")
def studies_sweep() -> None:
    for tenant_id, study_id in rows_due("imaging_study"):
        task_send(study_complete_task, tenant_id=tenant_id, study_id=study_id)


@sweep_task()
def audit_sweep() -> None:
    for tenant_id in tenant_ids():
        task_send(audit_seal_task, tenant_id=tenant_id)
