"""Reports about stored images, issued as ai.reports issues them, and their deliveries run as the workers run them."""

import time
from dataclasses import asdict
from typing import Any

from django.utils import timezone
from pydicom.dataset import Dataset

from ai.delivery.run import delivery_run
from ai.findings import ReportContent
from ai.models import Connection, Job, Report, ReportDelivery, Result
from ai.reports import conclusion_words
from imaging.models import Study
from journal.outbox import event_publish
from journal.trace import trace
from tests import house
from tests.ai.encoding.cases import content_of, sources_make


def sources_take(hospital: Any, count: int = 6, **attributes: Any) -> list[Dataset]:
    """A CT series, stored, indexed and complete."""
    sources = sources_make(count, **attributes)
    house.store(hospital, sources)
    house.index(hospital)
    house.complete(hospital)
    house.deliver(hospital)
    return sources


def report_make(
    hospital: Any, content: ReportContent, before: Report | None = None, *, platform: str = "medhub-quantify",
    algorithm: str = "lung-density-mask",
) -> Report:  # fmt: skip
    """The rows of one more version, and the event."""
    with hospital.scope(), trace(""):
        study, now = Study.objects.get(study_uid=content.study_uid), timezone.now()
        link, _ = Connection.objects.get_or_create(platform=platform, defaults={"name": platform, "created_at": now})
        version = before.version + 1 if before else 1
        job = Job.objects.create(
            study=study, study_version=version, connection=link, algorithm=algorithm, state="done", created_at=now
        )
        result = Result.objects.create(job=job, payload={}, is_analysable=True, received_at=now)
        data = asdict(content)
        report = Report(
            study=study, result=result, connection=link, algorithm=job.algorithm, version=version, content=data, issued_at=now,
            conclusion=conclusion_words(content=data),
        )  # fmt: skip
        if before:
            report.uuid = before.uuid
        report.save(force_insert=True)
        event_publish(name="report.issued", ids={"report_id": report.id})
    house.deliver(hospital)
    return report


def issued(hospital: Any, **values: Any) -> Report:
    return report_make(hospital, content_of(sources_take(hospital), **values))


def deliveries(hospital: Any, **where: Any) -> list[ReportDelivery]:
    with hospital.scope():
        return list(ReportDelivery.objects.filter(**where).select_related("report").order_by("id"))


def step(hospital: Any, *, is_waited: bool = False) -> None:
    """Every due delivery once, and the index worker behind it; with `is_waited` those that back off as well."""
    with hospital.scope():
        if is_waited:
            ReportDelivery.objects.filter(state="pending").update(due_at=timezone.now())
        due = list(ReportDelivery.objects.filter(due_at__lte=timezone.now()).order_by("id").values_list("id", flat=True))
    for delivery_id in due:
        delivery_run(tenant_id=hospital.tenant.id, delivery_id=delivery_id)
    house.index(hospital)


def finish(hospital: Any, seconds: float = 20) -> None:
    """As workers and sweep would, until no delivery waits."""
    end = time.monotonic() + seconds
    while deliveries(hospital, state="pending"):
        assert time.monotonic() < end, [(row.target_name, row.words) for row in deliveries(hospital, state="pending")]
        step(hospital)
        time.sleep(0.02)
