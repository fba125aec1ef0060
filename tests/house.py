"""Drive the house in one process: what the index worker, beat and the Celery workers do, called directly until nothing is left."""

import time
from typing import Any

from ai import dispatch
from imaging.completion import study_complete
from imaging.dimse.contract import Admission
from imaging.inbox import inbox_objects, object_write
from imaging.index import batch_index
from journal.models import Delivery
from journal.tasks import deliveries_run_task
from journal.wall.ids import id_new
from tests.dicom_files import part10


def admission(hospital: Any) -> Admission:
    return Admission(hospital.tenant.id, id_new(), "0" * 32, hospital.calling_ae, hospital.called_ae)


def store(hospital: Any, datasets: Any) -> None:
    """Into the inbox, as the doors do after their check."""
    for ds in datasets:
        object_write(tenant_id=hospital.tenant.id, source=0, trace_id="0" * 32, parts=[part10(ds)])


def index(hospital: Any) -> int:
    taken = 0
    for objects in list(inbox_objects(limit=100_000)):
        if objects[0].tenant_id == hospital.tenant.id:
            for start in range(0, len(objects), 200):
                taken += batch_index(tenant_id=hospital.tenant.id, objects=objects[start : start + 200])
    return taken


def complete(hospital: Any) -> None:
    from imaging.models import Study

    with hospital.scope():
        for study_id in list(Study.objects.filter(due_at__isnull=False).values_list("id", flat=True)):
            study_complete(study_id=study_id)


def force_due(hospital: Any) -> None:
    """As if the postponed look at the studies had come."""
    from imaging.models import Study

    with hospital.scope():
        Study.objects.filter(due_at__isnull=False).update(due_at="2026-01-01T00:00:00Z")


def deliver(hospital: Any) -> int:
    """Run every due delivery of the hospital once. Returns how many there were."""
    from django.utils import timezone

    with hospital.scope():
        due = list(
            Delivery.objects.filter(state="pending", due_at__lte=timezone.now()).order_by("id").values_list("id", flat=True)
        )
    for delivery_id in due:
        deliveries_run_task.run(tenant_id=hospital.tenant.id, delivery_ids=[delivery_id])
    return len(due)


def jobs_step(hospital: Any) -> int:
    from ai.models import Job

    with hospital.scope():
        due = list(Job.objects.filter(due_at__isnull=False).values_list("id", flat=True))
    for job_id in due:
        dispatch.job_run(tenant_id=hospital.tenant.id, job_id=job_id)
    return len(due)


def settle(hospital: Any, seconds: float = 20) -> None:
    """Until nothing is due: index, complete, deliver, dispatch."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        index(hospital)
        complete(hospital)
        busy = deliver(hospital)
        busy += jobs_step(hospital)
        if not busy:
            return
        time.sleep(0.05)
    raise AssertionError("the house did not settle")


