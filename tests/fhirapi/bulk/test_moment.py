"""One consistent moment: what changes while an export runs, what changed since another, what is still being written."""

import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone
from fhir.resources.R4B import get_fhir_model_class

from fhirapi.bulk import run
from fhirapi.bulk.run import UNSETTLED_SECONDS, export_step
from fhirapi.models import BulkExport
from fhirapi.store import instant, resources_put
from tests.fhirapi.bulk.conftest import NAMES, Exporter
from tests.fhirapi.conftest import patient_resource
from tests.fhirapi.writing import observation, patient


@pytest.fixture
def chunk_by_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time at all: a step is one chunk."""
    monkeypatch.setattr(run, "STEP_SECONDS", -1)
    monkeypatch.setattr(run, "STEP_MAX", 2)


def small(bulk: Exporter, status: str) -> BulkExport:
    """The row, with chunks of two ids."""
    row = bulk.row(status)
    with bulk.hospital.scope():
        BulkExport.objects.filter(id=row.id).update(step=2)
    return row


def moments_pass(bulk: Exporter) -> None:
    """A version is of a millisecond; the next one shall be of another."""
    threading.Event().wait(0.003)


def test_what_changes_meanwhile(bulk: Exporter, chunk_by_chunk: None) -> None:
    """ "what is written after transactionTime is not in it", whatever happens between two chunks: each resource once, as it was."""
    for number in range(8):
        bulk.put(f"Patient/w{number}", patient(f"n{number}") | {"id": f"w{number}"})
    bulk.delete("Patient/w7")
    before = {one["id"]: one for one in (bulk.get(f"Patient/w{n}").json() for n in range(7))}
    moments_pass(bulk)
    status = bulk.started("_type=Patient")
    row = small(bulk, status)
    moments_pass(bulk)
    changes = [
        lambda: bulk.put("Patient/w6", patient("new") | {"id": "w6"}),  # not reached yet
        lambda: bulk.put("Patient/p1", bulk.get("Patient/p1").json() | {"gender": "other"}),  # written already
        lambda: (bulk.delete("Patient/w5"), bulk.put("Patient/w7", patient("back") | {"id": "w7"})),
        lambda: (bulk.delete("Patient/w0"), bulk.post("Patient", patient("more"))),
        lambda: (bulk.delete("Patient/w4"), bulk.put("Patient/w4", patient("again") | {"id": "w4"})),
    ]
    waits = 0
    while export_step(tenant_id=row.tenant_id, export_id=row.id) is not None:
        if changes:
            changes.pop(0)()
        waits += 1
    assert waits > 3
    assert not changes
    found = bulk.contents(bulk.manifest(status))
    assert sorted(one["id"] for one in found) == sorted([*before, "p1", "p2"])
    assert {one["id"]: one for one in found if one["id"] in before} == before
    assert {one["gender"] for one in found if one["id"] == "p1"} == {"female"}


def test_a_patient_who_was_corrected_meanwhile(bulk: Exporter) -> None:
    """Old versions are judged by what they say: what was another patient's then is not told with a Group's members."""
    status, mine = bulk.started("_type=Observation", place="Group/g1/$export"), bulk.started("_type=Observation", place="Patient/$export")
    moments_pass(bulk)
    with bulk.hospital.scope():
        moved = [("Patient/p1", "o2a"), ("Patient/p2", "o1a"), ("Device/d1", "o2b")]
        resources_put(resources=[observation(subject, id=fhir_id) for subject, fhir_id in moved])
    for one in (status, mine):
        bulk.run(one)
    assert bulk.names(bulk.manifest(status)) == ["Observation/o1a", "Observation/o1b"]
    assert bulk.names(bulk.manifest(mine)) == ["Observation/o1a", "Observation/o1b", "Observation/o2a", "Observation/o2b"]


def test_since(bulk: Exporter) -> None:
    """`_since`: what changed after it and no more, and "`deleted`: Bundles of DELETE entries for what was deleted after `_since`"."""
    for name in ("w1", "w2", "w3", "w4"):
        bulk.put(f"Patient/{name}", patient(name) | {"id": name})
    bulk.put("Observation/mine", observation("Patient/p1") | {"id": "mine"})
    bulk.put("Observation/other", observation("Patient/p2") | {"id": "other"})
    bulk.delete("Patient/w4")
    moments_pass(bulk)
    first = bulk.exported()
    assert len(bulk.contents(first)) == len(NAMES) + 5
    since = first["transactionTime"]
    moments_pass(bulk)
    bulk.put("Patient/w1", patient("changed") | {"id": "w1"})
    bulk.delete("Patient/w2")
    bulk.delete("Patient/w3")
    bulk.put("Patient/w3", patient("back") | {"id": "w3"})
    for name in ("mine", "other"):
        bulk.delete(f"Observation/{name}")
    moments_pass(bulk)
    second = bulk.exported(f"_since={since}")
    assert bulk.names(second) == ["Patient/w1", "Patient/w3"]
    assert bulk.deleted(second) == {"Patient/w2", "Observation/mine", "Observation/other"}
    for line in bulk.contents(second, "deleted"):
        get_fhir_model_class("Bundle").model_validate(line)
    assert bulk.deleted(bulk.exported(f"_since={since}&_type=Patient")) == {"Patient/w2"}
    assert bulk.deleted(bulk.exported(f"_since={since}", place="Group/g1/$export")) == {"Observation/mine"}
    moments_pass(bulk)
    third = bulk.exported(f"_since={second['transactionTime'].replace('Z', '+00:00')}")
    assert (third["output"], third["deleted"]) == ([], [])
    bulk.delete("Patient/w1")
    assert bulk.exported()["deleted"] == []


def test_what_is_deleted_after_the_moment(bulk: Exporter) -> None:
    """It was there then, so it is resource and not deletion; the next export says that it went."""
    since = instant(timezone.now())
    moments_pass(bulk)
    bulk.put("Patient/w1", patient("w1") | {"id": "w1"})
    moments_pass(bulk)
    status = bulk.started(f"_since={since}&_type=Patient")
    moments_pass(bulk)
    bulk.delete("Patient/w1")
    bulk.run(status)
    found = bulk.manifest(status)
    assert (bulk.names(found), found["deleted"]) == (["Patient/w1"], [])
    assert bulk.deleted(bulk.exported(f"_since={found['transactionTime']}&_type=Patient")) == {"Patient/w1"}


def test_a_writer_that_has_begun_is_waited_for(bulk: Exporter) -> None:
    """What a transaction noted before the moment and commits after it is in the export: the next `_since` would never tell of it."""
    written, go = threading.Event(), threading.Event()

    def write() -> None:
        try:
            with bulk.hospital.scope():
                resources_put(resources=[patient_resource("slow")])
                written.set()
                go.wait(20)
        finally:
            connections.close_all()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert written.wait(20)
        status = bulk.started("_type=Patient")
        row = bulk.row(status)
        assert export_step(tenant_id=row.tenant_id, export_id=row.id) == UNSETTLED_SECONDS
        assert bulk.get(status).status_code == 202
    finally:
        go.set()
        writer.join()
    with bulk.hospital.scope():
        BulkExport.objects.filter(id=row.id).update(due_at=timezone.now())
    bulk.run(status)
    assert bulk.names(bulk.manifest(status)) == ["Patient/p1", "Patient/p2", "Patient/slow"]


def test_the_margin(bulk: Exporter, settings: Any) -> None:
    """A moment is not settled before the margin of clocks is over."""
    settings.MEDHUB_BULK_SETTLE_SECONDS = 60
    status = bulk.started("_type=Patient")
    row = bulk.row(status)
    assert export_step(tenant_id=row.tenant_id, export_id=row.id) == UNSETTLED_SECONDS
    assert bulk.row(status).due_at > timezone.now() - timedelta(seconds=1)
    settings.MEDHUB_BULK_SETTLE_SECONDS = 0
    with bulk.hospital.scope():
        BulkExport.objects.filter(id=row.id).update(due_at=timezone.now())
    bulk.run(status)
    assert json.dumps(bulk.manifest(status)["output"]).count("Patient-1") == 1
