"""SIGKILL at the steps of a job that leaves the house: one report afterwards, one set of objects, whatever was cut."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from ai.models import Job, Report, Result
from imaging.models import Instance
from tests import house
from tests.ai.lines import FHIR, HOOK
from tests.ai.test_dispatch import ENDED, chest_store, connect, job_of, run
from tests.imaging.test_dimse_peers import eventually
from tests.killing import KILLED, killed_or_done
from tests.web import Web, web_run

pytestmark = [pytest.mark.database, pytest.mark.faults, pytest.mark.xdist_group("faults-1")]


def step(hospital: Any, faults: Path) -> int:
    """One step of the hospital's job in a process of its own."""
    return killed_or_done("ai.dispatch", "job_run", faults=faults, tenant_id=hospital.tenant.id, job_id=job_of(hospital).id)


def due_at_once(hospital: Any) -> None:
    with hospital.scope():
        Job.objects.filter(due_at__isnull=False).update(due_at=timezone.now() - timedelta(seconds=1))


def killed_at(hospital: Any, folder: Path, point: str) -> None:
    """Step the job until this point has killed the process."""
    (faults := folder / "faults").mkdir()
    (faults / point).touch()
    for _ in range(60):
        due_at_once(hospital)
        if step(hospital, faults) == KILLED:
            return
    pytest.fail("the point was not reached")


def done_with_one_report(hospital: Any) -> Job:
    due_at_once(hospital)
    job = run(hospital, ENDED)
    assert (job.state, job.reason) == ("done", "")
    with hospital.scope():
        assert (Report.objects.count(), Result.objects.count()) == (1, 1)
    return job


@pytest.mark.parametrize(
    "point", ["outgoing.after_deidentify", "dispatch.before_send", "dispatch.after_send", "results.after_objects", "results.before_commit"]
)
def test_killed_at_a_step_and_one_report_afterwards(mercy, vendors, thorax, tmp_path, point) -> None:
    """"worker killed at each step": the lease runs out, the next worker goes on; the vendor saw the same key."""
    connect(mercy, "nvidia-clara", vendors, "monai-app")
    chest_store(mercy, thorax, tmp_path)
    house.deliver(mercy)
    killed_at(mercy, tmp_path, point)
    done_with_one_report(mercy)
    with mercy.scope():
        uids = list(Instance.objects.values_list("sop_instance_uid", flat=True))
    assert len(uids) == len(set(uids)) == len(thorax) + 1  # the SR that came back, once


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """The real web door, for a vendor that fetches from us and calls our hook."""
    with web_run(tmp_path_factory.mktemp("web")) as running:
        yield running


@pytest.mark.parametrize("point", ["outgoing.after_deidentify", "dispatch.before_send", "dispatch.after_send"])
def test_killed_before_a_vendor_with_a_hook_answers(mercy, vendors, thorax, tmp_path, settings, web, point) -> None:
    """"worker killed at each step", with an answer by hook: it may come while our row still says that nothing was sent, since the worker
    died before the note. It counts, and the job is not sent a second time for nothing."""
    settings.MEDHUB_PUBLIC_URL = web.address
    connect(mercy, HOOK.slug, vendors, HOOK.algorithm, **HOOK.more)
    chest_store(mercy, thorax, tmp_path)
    house.deliver(mercy)
    (faults := tmp_path / "faults").mkdir()
    (faults / point).touch()
    assert step(mercy, faults) == KILLED
    assert job_of(mercy).state == "queued"
    if point == "dispatch.after_send":  # the vendor has the task: no step of ours is needed
        assert eventually(lambda: job_of(mercy).state == "done", 30)
    assert done_with_one_report(mercy).sent_at is not None
    assert web.faults() == []


@pytest.mark.parametrize("point", ["dispatch.after_send", "results.before_commit"])
def test_killed_between_a_fhir_server_and_us(mercy, vendors, thorax, tmp_path, point) -> None:
    """"worker killed at each step", with a record and a report at the vendor's FHIR server: one report, whatever was cut."""
    connect(mercy, FHIR.slug, vendors, FHIR.algorithm, **FHIR.more)
    chest_store(mercy, thorax, tmp_path)
    house.deliver(mercy)
    killed_at(mercy, tmp_path, point)
    done_with_one_report(mercy)
