"""Celery's way into imaging: complete due studies, take transfers a step further, warn of certificates that end; seal audit
trails whose request got lost."""

from django.utils import timezone

from imaging import completion
from imaging.certificates.services import certificate_warn
from imaging.transfers import run
from journal.tasks import audit_seal_task
from journal.wall.tasks import GRACE_SECONDS, SWEEP_EXPIRES, rows_due, sweep_task, task_send, tenant_task
from tenants.selectors import tenant_ids


@tenant_task(queue="ingest")
def study_complete_task(*, study_id: int) -> None:
    completion.study_complete(study_id=study_id)


@sweep_task(queue="ingest")
def studies_sweep() -> None:
    for tenant_id, study_id in rows_due("imaging_study"):
        task_send(study_complete_task, expires=SWEEP_EXPIRES, tenant_id=tenant_id, study_id=study_id)


# A queue and workers of its own: a study that takes minutes must not hold up jobs and deliveries.
@tenant_task(queue="transfer", is_scoped=False)
def transfer_run_task(*, tenant_id: int, transfer_id: int) -> None:
    wait = run.transfer_run(tenant_id=tenant_id, transfer_id=transfer_id)
    if wait is not None:
        task_send(transfer_run_task, countdown=wait, tenant_id=tenant_id, transfer_id=transfer_id)


@sweep_task(queue="transfer")
def transfers_sweep() -> None:
    for tenant_id, transfer_id in rows_due("imaging_transfer", grace_seconds=GRACE_SECONDS):
        task_send(transfer_run_task, expires=SWEEP_EXPIRES, tenant_id=tenant_id, transfer_id=transfer_id)


@tenant_task(queue="default")
def certificate_warn_task(*, certificate_id: int) -> None:
    certificate_warn(certificate_id=certificate_id, now=timezone.now())


@sweep_task()
def certificates_sweep() -> None:
    for tenant_id, certificate_id in rows_due("imaging_certificate"):
        task_send(certificate_warn_task, expires=SWEEP_EXPIRES, tenant_id=tenant_id, certificate_id=certificate_id)


@sweep_task()
def audit_sweep() -> None:
    """Slow: whoever writes an audit event asks for its seal; this makes good what got lost."""
    for tenant_id in tenant_ids():
        task_send(audit_seal_task, tenant_id=tenant_id)
