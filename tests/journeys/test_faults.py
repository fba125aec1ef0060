"""SIGKILL at every named fault point of the source, and exactly one report afterwards."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest
from django.db.models import QuerySet

from ai.delivery.services import ARCHIVE
from ai.models import Job, Report, ReportDelivery
from fhirapi.store import resource_read
from imaging.models import Instance, Study
from journal.models import Delivery
from medhub.stack import ROOT
from tests.conftest import hospital_make

pytestmark = [pytest.mark.stack, pytest.mark.broker, pytest.mark.faults, pytest.mark.xdist_group("stack")]

# The steps of DESIGN section 3 and where each lives. A step whose file has no point fails the suite.
STEPS = {
    "receive": "imaging/inbox.py",
    "index": "imaging/index.py",
    "complete": "imaging/completion.py",
    "relay": "journal/outbox.py",
    "project": "fhirapi/projections.py",
    "route": "ai/routing/live.py",
    "dispatch": "ai/dispatch.py",
    "gate": "ai/results.py",
    "report": "ai/reports.py",
    "deliver": "ai/delivery/run.py",
}
CT = "1.2.840.10008.5.1.4.1.1.2"
CALL = re.compile(r"""\bfault\("([a-z_.]+)"\)""")


def points_of(path: Path) -> list[str]:
    return CALL.findall(path.read_text(encoding="utf-8"))


def points() -> list[str]:
    folders = ("journal", "tenants", "billing", "imaging", "ai", "fhirapi", "portal")
    return sorted({name for folder in folders for file in (ROOT / folder).rglob("*.py") for name in points_of(file)})


def test_every_step_has_a_point() -> None:
    """"A step without a point fails the suite"."""
    for step, path in STEPS.items():
        assert points_of(ROOT / path), f"{step} ({path}) has no fault point"
    assert len(points()) >= len(STEPS)


def batches() -> list[list[str]]:
    """Four at a time: each point kills once, whichever study reaches it first, and every study must come through.

    This house keeps files; the points of uploads to S3 are killed at in tests/imaging/test_objects_s3.py, those of a query
    attribute's job, which no study passes, in tests/imaging/test_query_tags_job.py; those of a job that leaves the house in
    tests/ai/test_dispatch_faults.py; those of a node that is asked for commitment in tests/ai/delivery/test_commitment_faults.py;
    those of an export in bulk in tests/fhirapi/bulk/test_run.py; those of a merge of patients in tests/imaging/test_merging.py, of an HL7
    message in tests/imaging/hl7/test_listener.py and tests/ai/delivery/test_oru.py; those of a subscriber in
    tests/fhirapi/subscriptions, of a push to an EHR in tests/fhirapi/push.
    """
    elsewhere = ("upload.", "reindex.", "outgoing.", "results.after", "commitment.", "bulk.", "merge.", "hl7.", "notify.", "push.", "oru.")
    found = [point for point in points() if not point.startswith(elsewhere)]
    return [found[start : start + 4] for start in range(0, len(found), 4)]


@pytest.mark.parametrize("armed", batches(), ids="+".join)
def test_killed_there_exactly_one_report_comes(house, armed) -> None:
    """"SIGKILL at every named fault point (exactly one report afterwards)"."""
    for point in armed:
        (house.faults / point).touch()
    hospitals = [house.join(hospital_make("mercy")) for _ in armed]
    with ThreadPoolExecutor(len(hospitals)) as senders:
        # Killed before the acknowledgement the sender knows that it must send again, as a modality does.
        for sent in [senders.submit(_store, house, hospital) for hospital in hospitals]:
            sent.result()
    house.wait(lambda: not any(house.faults.iterdir()), f"the kills at {', '.join(armed)}")
    for hospital in hospitals:
        house.wait_report(hospital)
        house.wait(lambda hospital=hospital: _is_quiet(hospital), "the end of all work")
    time.sleep(0.3)
    for hospital in hospitals:
        _check(hospital)


def _store(house, hospital) -> None:
    house.wait(lambda: house.send(hospital) == 0, "an acknowledged study")


def _check(hospital) -> None:
    """One report. Half a study that was completed while its sender was away may have made an earlier version of it."""
    with hospital.scope():
        reports = list(Report.objects.order_by("version"))
        assert len({report.uuid for report in reports}) == 1
        assert len(reports) == Job.objects.filter(state__in=[Job.State.DONE, Job.State.NOT_ANALYSABLE]).count()
        assert len(reports[-1].content["sop_uids"]) == Instance.objects.filter(sop_class_uid=CT).count() == 48
        assert Instance.objects.filter(series__modality="SR").count() == len(reports)  # each version is filed once
        assert Instance.objects.filter(series__modality="SEG").count() == len(reports)  # and each result's mask
        assert set(ReportDelivery.objects.values_list("kind", "state")) == {(ARCHIVE, "sent")}
        assert reports[-1].result.job.study_version == Study.objects.get().version
        assert set(_walked().values_list("state", flat=True)) == {"done"}
        stored = orjson.loads(resource_read(rtype="DiagnosticReport", fhir_id=str(reports[-1].uuid)).content)
    assert stored["conclusion"] == reports[-1].conclusion


def _walked() -> QuerySet:
    """Deliveries of the walk: the audit trail is sealed, and told, in its own time."""
    return Delivery.objects.exclude(event__name="audit.sealed")


def _is_quiet(hospital) -> bool:
    with hospital.scope():
        is_waiting = _walked().exclude(state="done").exists() or Job.objects.filter(due_at__isnull=False).exists()
        is_waiting = is_waiting or ReportDelivery.objects.filter(due_at__isnull=False).exists()
        is_waiting = is_waiting or Instance.objects.filter(series__modality="SR").count() < Report.objects.count()  # in the inbox
        return not is_waiting and not Study.objects.filter(due_at__isnull=False).exists()
