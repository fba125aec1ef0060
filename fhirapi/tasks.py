"""Celery's way into fhirapi: take exports in bulk, subscribers and pushes a step further, find the due ones, forget what is over."""

from fhirapi.bulk.run import export_step
from fhirapi.push.run import push_step
from fhirapi.subscriptions.matching import subscribers_nudge
from fhirapi.subscriptions.rows import event_subscribers, events_purge
from fhirapi.subscriptions.run import subscriber_step
from journal.wall.tasks import GRACE_SECONDS, SWEEP_EXPIRES, rows_due, sweep_task, task_send, tenant_task
from tenants.selectors import tenant_ids


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


# A queue and threads of their own: who waits for a receiver holds back no report's delivery to the PACS.
@tenant_task(queue="notify", is_scoped=False)
def subscription_run_task(*, tenant_id: int, subscriber_id: int) -> None:
    wait = subscriber_step(tenant_id=tenant_id, subscriber_id=subscriber_id)
    if wait is not None:
        task_send(subscription_run_task, countdown=wait, tenant_id=tenant_id, subscriber_id=subscriber_id)


@tenant_task(queue="notify")
def subscription_event_task(*, event_id: int) -> None:
    """An event whose message was lost: its subscriber looks."""
    subscribers_nudge(subscriber_ids=event_subscribers(event_id=event_id))


@sweep_task(queue="notify")
def subscriptions_sweep() -> None:
    for tenant_id, subscriber_id in rows_due("fhirapi_subscriber", grace_seconds=GRACE_SECONDS):
        task_send(subscription_run_task, expires=SWEEP_EXPIRES, tenant_id=tenant_id, subscriber_id=subscriber_id)
    for tenant_id, event_id in rows_due("fhirapi_subscriptionevent", grace_seconds=GRACE_SECONDS, limit=200):
        task_send(subscription_event_task, expires=SWEEP_EXPIRES, tenant_id=tenant_id, event_id=event_id)


@sweep_task(queue="notify")
def subscription_events_purge_sweep() -> None:
    for tenant_id in tenant_ids():
        task_send(subscription_purge_task, expires=SWEEP_EXPIRES, tenant_id=tenant_id)


@tenant_task(queue="notify")
def subscription_purge_task() -> None:
    events_purge()


@tenant_task(queue="notify", is_scoped=False)
def ehr_push_run_task(*, tenant_id: int, push_id: int) -> None:
    wait = push_step(tenant_id=tenant_id, push_id=push_id)
    if wait is not None:
        task_send(ehr_push_run_task, countdown=wait, tenant_id=tenant_id, push_id=push_id)


@sweep_task(queue="notify")
def ehr_pushes_sweep() -> None:
    for tenant_id, push_id in rows_due("fhirapi_ehrpush", grace_seconds=GRACE_SECONDS):
        task_send(ehr_push_run_task, expires=SWEEP_EXPIRES, tenant_id=tenant_id, push_id=push_id)
