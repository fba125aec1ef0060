"""The worker: killed and resumed, several files, errors of a type, giving up, expiry."""

import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from fhirapi.bulk import chunks, run
from fhirapi.bulk.files import HEAD, Extent, chunk_write, export_folder, file_stream, length_of
from fhirapi.bulk.run import ATTEMPTS, export_step
from fhirapi.models import BulkExport, BulkFile
from fhirapi.store import resources_put
from fhirapi.tasks import bulk_exports_sweep, bulk_step_task
from journal.outbox import lease_end
from journal.wall.tasks import rows_due
from tests.conftest import Hospital
from tests.fhirapi.bulk.conftest import NAMES, Exporter, assert_refused
from tests.fhirapi.conftest import patient_resource
from tests.killing import KILLED, killed_or_done


def due(bulk: Exporter, status: str, **values: Any) -> BulkExport:
    """As if its time had come."""
    row = bulk.row(status)
    with bulk.hospital.scope():
        BulkExport.objects.filter(id=row.id).update(due_at=timezone.now(), **values)
    return row


@pytest.mark.parametrize("point", ["bulk.after_write", "bulk.before_commit", "bulk.after_commit", "bulk.before_end"])
def test_killed_and_resumed(bulk: Exporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """ "a worker that is killed goes on from the last committed chunk, nothing twice or missing"."""
    with bulk.hospital.scope():
        resources_put(resources=[patient_resource(f"k{number:03}") for number in range(60)])
    status = bulk.started("_type=Patient,Group")
    row = due(bulk, status, step=20)
    (tmp_path / point).touch()
    monkeypatch.setenv("MEDHUB_BULK_SETTLE_SECONDS", "0")  # of the process that is killed
    ids = {"tenant_id": row.tenant_id, "export_id": row.id}
    assert killed_or_done("fhirapi.bulk.run", "export_step", faults=tmp_path, **ids) == KILLED
    assert bulk.get(status).status_code == 202
    assert export_step(**ids) is None  # the lease of the dead
    assert bulk.get(status).status_code == 202
    due(bulk, status)
    bulk.run(status)
    assert bulk.names(bulk.manifest(status)) == sorted(["Group/g1", "Patient/p1", "Patient/p2", *(f"Patient/k{n:03}" for n in range(60))])


def test_whoever_lost_the_lease_spoils_nothing(bulk: Exporter) -> None:
    """A worker that was asleep comes back while its successor is done: its chunk does not count, its bytes are served to nobody."""
    status = bulk.started("_type=Patient")
    row = bulk.row(status)
    with bulk.hospital.scope():
        first = run._claim(row.id)
        writer = run._Writer(row.tenant_id, first)
    due(bulk, status)
    bulk.run(status)
    before = bulk.contents(bulk.manifest(status))
    with pytest.raises(run._LostError):
        writer.chunk(writer.parts[0])
    assert bulk.contents(bulk.manifest(status)) == before
    assert len(before) == 2


def test_several_files_of_a_type(bulk: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "FILE_BYTES", 1)
    monkeypatch.setattr(run, "STEP_MAX", 2)
    status = bulk.started("_type=Observation,Patient")
    due(bulk, status, step=2)
    bulk.run(status)
    found = bulk.manifest(status)
    assert [one["url"].rpartition("/")[2] for one in found["output"]] == [
        "Patient-1.ndjson", "Observation-2.ndjson", "Observation-3.ndjson", "Observation-4.ndjson",
    ]  # fmt: skip
    assert bulk.names(found) == [name for name in NAMES if name.startswith(("Observation", "Patient"))]


def test_a_type_that_fails(bulk: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "Errors of a type as OperationOutcome NDJSON": the others are there nevertheless."""
    status = bulk.started("_type=Patient,Group&_typeFilter=Patient%3Fgender%3Dmale")
    real = chunks.texts_read

    def slow(**values: Any) -> Any:
        if values["of"].rtype == "Patient":
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = 1")
                cursor.execute("SELECT pg_sleep(5)")
        return real(**values)

    monkeypatch.setattr(chunks, "texts_read", slow)
    bulk.run(status)
    found = bulk.manifest(status)
    assert bulk.names(found) == ["Group/g1"]
    (told,) = bulk.contents(found, "error")
    assert told["issue"][0]["code"] == "too-costly"
    assert told["issue"][0]["diagnostics"].startswith("Patient: ")


def test_a_disk_that_is_full(bulk: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried again, later and later, then given up: 500 with an OperationOutcome, and the place is free for another export."""
    status = bulk.started("_type=Patient")
    row = bulk.row(status)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run, "chunk_write", full)
    ids = {"tenant_id": row.tenant_id, "export_id": row.id}
    for number in range(1, ATTEMPTS):
        assert export_step(**ids) == 2.0**number
        assert bulk.get(status).status_code == 202
        due(bulk, status)
    assert export_step(**ids) is None
    assert_refused(bulk.get(status), 500, "exception")
    assert bulk.row(status).due_at > timezone.now() + timedelta(hours=23)


def test_expiry(bulk: Exporter, settings: Any) -> None:
    """ "expiry (24 h, setting) with a sweep": rows and files go, the address answers 404."""
    settings.MEDHUB_BULK_HOURS = 1
    status = bulk.started("_type=Patient")
    bulk.run(status)
    row = bulk.row(status)
    assert timedelta(minutes=59) < row.due_at - timezone.now() <= timedelta(hours=1)
    folder = export_folder(tenant_id=row.tenant_id, export_id=row.id)
    assert len(list(folder.iterdir())) == 1
    assert export_step(tenant_id=row.tenant_id, export_id=row.id) is None
    assert bulk.get(status).status_code == 200
    due(bulk, status)
    assert (row.tenant_id, row.id) in rows_due("fhirapi_bulkexport")
    bulk_step_task.run(tenant_id=row.tenant_id, export_id=row.id)
    assert_refused(bulk.get(status), 404, "not-found")
    assert not folder.exists()
    with bulk.hospital.scope():
        assert (BulkExport.objects.count(), BulkFile.objects.count()) == (0, 0)


def test_the_sweep_sends_what_is_due(bulk: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that got lost costs one sweep; a row under a lease is not sent."""
    waiting, leased = bulk.row(bulk.started("_type=Patient")), bulk.row(bulk.started("_type=Group"))
    with bulk.hospital.scope():
        BulkExport.objects.filter(id=waiting.id).update(due_at=timezone.now() - timedelta(days=9))
        BulkExport.objects.filter(id=leased.id).update(due_at=lease_end(timezone.now()))
    sent = []
    monkeypatch.setattr("fhirapi.tasks.task_send", lambda task, **values: sent.append((task.name, values["export_id"])))
    bulk_exports_sweep.run()
    assert (bulk_step_task.name, waiting.id) in sent
    assert leased.id not in [export_id for _, export_id in sent]
    assert bulk_step_task.queue == "bulk"


def test_a_file_is_one_gzip_stream(tmp_path: Path) -> None:
    """Chunks of several leases of life, and what a dead worker left behind them, read as one stream by who knows no second member."""
    path, extent = tmp_path / "f", Extent()
    texts = [[f'{{"n":{number},"é":"{chr(92)}n"}}' for number in range(at, at + 700)] for at in range(0, 2100, 700)]
    for batch in texts:
        extent = chunk_write(path, extent=extent, batches=[[], batch[:350], batch[350:]])
        with path.open("ab") as file:
            file.write(b"of a worker that died")
    assert chunk_write(path, extent=extent, batches=[[]]) == extent
    packed = b"".join(file_stream(path.open("rb"), extent=extent, is_gzip=True))
    assert (packed[:10], len(packed)) == (HEAD, length_of(extent, is_gzip=True))
    stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
    plain = stream.decompress(packed)
    assert (stream.eof, stream.unused_data) == (True, b"")
    assert plain == b"".join(file_stream(path.open("rb"), extent=extent, is_gzip=False))
    assert plain.decode().splitlines() == [line for batch in texts for line in batch]
    assert (extent.count, extent.size) == (2100, len(plain))


def test_rows_of_another_hospital(bulk: Exporter, olaf: Hospital) -> None:
    """The table is walled: another hospital's scope neither steps nor sees an export."""
    row = bulk.row(bulk.started("_type=Patient"))
    assert export_step(tenant_id=olaf.tenant.id, export_id=row.id) is None
    with olaf.scope():
        assert BulkExport.objects.count() == 0
