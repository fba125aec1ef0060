"""Celery's way into imaging: complete due studies, take transfers and commitment requests a step further, upload and re-read
objects, remove what nobody wanted, warn of certificates that end; seal audit trails whose request got lost."""

from django.utils import timezone

from imaging import completion, scrub, uploads, workitems
from imaging.certificates.services import certificate_warn
from imaging.commitment.run import commitment_run
from imaging.querytags.run import query_tag_step
from imaging.storage import StoreAwayError
from imaging.transfers import run
from journal.tasks import audit_seal_task
from journal.wall.scope import tenant_scope
from journal.wall.tasks import GRACE_SECONDS, SWEEP_EXPIRES, rows_due, rows_due_soon, sweep_task, task_send, tenant_task
from tenants.selectors import tenant_ids

STUDIES_SECONDS = 0.5  # between two sweeps of studies


@tenant_task(queue="ingest", is_scoped=False)
def study_complete_task(*, tenant_id: int, study_id: int) -> None:
    with tenant_scope(tenant_id):
        wait = completion.study_complete_or_wait(study_id=study_id)
    if wait:
        task_send(study_complete_task, countdown=wait, expires=SWEEP_EXPIRES, tenant_id=tenant_id, study_id=study_id)


@sweep_task(queue="ingest")
def studies_sweep() -> None:
    for tenant_id, study_id, wait in rows_due_soon("imaging_study", within_seconds=STUDIES_SECONDS):
        task_send(study_complete_task, countdown=wait or None, expires=SWEEP_EXPIRES, tenant_id=tenant_id, study_id=study_id)


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


@tenant_task(queue="transfer", is_scoped=False)
def commitment_run_task(*, tenant_id: int, request_id: int) -> None:
    wait = commitment_run(tenant_id=tenant_id, request_id=request_id)
    if wait is not None:
        task_send(commitment_run_task, countdown=wait, tenant_id=tenant_id, request_id=request_id)


@sweep_task(queue="transfer")
def commitments_sweep() -> None:
    for tenant_id, request_id in rows_due("imaging_commitmentrequest", grace_seconds=GRACE_SECONDS):
        task_send(commitment_run_task, expires=SWEEP_EXPIRES, tenant_id=tenant_id, request_id=request_id)


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


# With the transfers: they wait for another machine too.
@tenant_task(queue="transfer", is_scoped=False)
def uploads_run_task(*, tenant_id: int) -> None:
    while uploads.uploads_run(tenant_id=tenant_id):
        pass


def uploads_nudge(*, tenant_id: int) -> None:
    task_send(uploads_run_task, tenant_id=tenant_id)


@sweep_task()
def uploads_sweep() -> None:
    for tenant_id in {tenant_id for tenant_id, _ in rows_due("imaging_upload", limit=5000)}:
        task_send(uploads_run_task, expires=SWEEP_EXPIRES, tenant_id=tenant_id)


@tenant_task(queue="transfer", is_scoped=False)
def scrub_step_task(*, tenant_id: int) -> None:
    scrub.scrub_step(tenant_id=tenant_id)


@sweep_task()
def scrubs_sweep() -> None:
    for tenant_id, _ in rows_due("imaging_scrub", limit=20):
        task_send(scrub_step_task, expires=SWEEP_EXPIRES, tenant_id=tenant_id)


@tenant_task(queue="transfer", is_scoped=False)
def query_tag_step_task(*, tenant_id: int, tag_id: int) -> None:
    wait = query_tag_step(tenant_id=tenant_id, tag_id=tag_id)
    if wait is not None:
        task_send(query_tag_step_task, countdown=wait, tenant_id=tenant_id, tag_id=tag_id)


@sweep_task(queue="transfer")
def query_tags_sweep() -> None:
    for tenant_id, tag_id in rows_due("imaging_querytag", grace_seconds=GRACE_SECONDS, limit=50):
        task_send(query_tag_step_task, expires=SWEEP_EXPIRES, tenant_id=tenant_id, tag_id=tag_id)


@tenant_task(queue="default", is_scoped=False)
def item_purge_task(*, tenant_id: int, item_id: int) -> None:
    try:
        with tenant_scope(tenant_id):
            workitems.item_purge(item_id=item_id)
    except StoreAwayError:
        return  # it stays due


@sweep_task()
def purge_sweep() -> None:
    for tenant_id, item_id in rows_due("imaging_workitem"):
        task_send(item_purge_task, expires=SWEEP_EXPIRES, tenant_id=tenant_id, item_id=item_id)
