"""The DIMSE door with the real domain behind it: whose it is, what is refused, and a disk that is full."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connections
from pynetdicom import AE, _config
from pynetdicom.sop_class import CTImageStorage, Verification

from imaging import associations
from imaging.dimse.contract import Services
from imaging.dimse.listener import Listener
from imaging.ingest import IncomingObject, quota_forget
from imaging.models import Association, Instance, Study
from journal.models import AuditEvent
from tests import house
from tests.dicom_files import ct_slice, part10
from tests.servers import superuser

pytestmark = pytest.mark.database
_config.LOG_HANDLER_LEVEL = "none"


@pytest.fixture
def listener() -> Iterator[Listener]:
    services = Services(
        admit=associations.association_admit, receive=IncomingObject, alive=associations.associations_alive,
        ended=associations.association_end, thread_end=associations.thread_end,
    )  # fmt: skip
    found = Listener("127.0.0.1", 0, services=services)
    found.start()
    yield found
    found.stop(2)


def associate(listener: Listener, called: str, calling: str):
    ae = AE(ae_title=calling)
    ae.add_requested_context(CTImageStorage)
    ae.add_requested_context(Verification)
    return ae.associate("127.0.0.1", listener.port, ae_title=called)


def prepared(ds):
    part10(ds)  # gives it its file meta
    return ds


def test_called_and_calling_titles_decide_whose_it_is(listener, mercy, olaf) -> None:
    """"C-STORE of hospital A see and touch nothing of B": the called AE names the hospital, the calling AE must be its node."""
    for called, calling in (("NOBODY", mercy.calling_ae), (mercy.called_ae, olaf.calling_ae), (olaf.called_ae, mercy.calling_ae)):
        assert not associate(listener, called, calling).is_established
    assoc = associate(listener, mercy.called_ae, mercy.calling_ae)
    assert assoc.send_c_echo().Status == 0
    assert assoc.send_c_store(prepared(ct_slice())).Status == 0
    assoc.release()
    for hospital in (mercy, olaf):
        house.index(hospital)
    with mercy.scope():
        assert Instance.objects.count() == 1
    with olaf.scope():
        assert Instance.objects.count() == 0
        assert {row.outcome for row in Association.objects.all()} == {"refused"}


def test_two_hospitals_may_hold_one_uid(listener, mercy, olaf) -> None:
    """The same object sent to both is a study in each: uniqueness is the hospital's own."""
    ds = prepared(ct_slice())
    for hospital in (mercy, olaf):
        assoc = associate(listener, hospital.called_ae, hospital.calling_ae)
        assert assoc.send_c_store(ds).Status == 0
        assoc.release()
        house.index(hospital)
        with hospital.scope():
            assert Study.objects.get().study_uid == ds.StudyInstanceUID


def test_an_aborted_association_keeps_what_was_acknowledged(listener, mercy) -> None:
    """"an association aborted half way": acknowledged objects are indexed, the study completes, our record says aborted."""
    first, second = (prepared(ct_slice()) for _ in range(2))
    assoc = associate(listener, mercy.called_ae, mercy.calling_ae)
    assert assoc.send_c_store(first).Status == 0
    assert assoc.send_c_store(second).Status == 0
    assoc.abort()
    house.index(mercy)
    for _ in range(50):
        with mercy.scope():
            row = Association.objects.get()
        if row.ended_at:
            break
        subprocess.run(["sleep", "0.05"], check=True)
    assert (row.outcome, row.stored) == ("aborted", 2)
    with mercy.scope():
        audit = AuditEvent.objects.get(action="dicom.store")
    assert (audit.actor, audit.detail, audit.trace_id) == (f"ae:{mercy.calling_ae}", {"instances": 2}, row.trace_id)
    house.complete(mercy)
    with mercy.scope():
        assert Instance.objects.count() == 2
        assert {s.state for s in Study.objects.all()} == {"complete"}


def test_a_study_waits_for_an_association_in_flight(listener, mercy) -> None:
    """"quiet time and no association in flight"."""
    assoc = associate(listener, mercy.called_ae, mercy.calling_ae)
    assoc.send_c_store(prepared(ct_slice()))
    house.index(mercy)
    house.complete(mercy)
    with mercy.scope():
        assert Study.objects.get().state == "receiving"
        Study.objects.update(due_at="2026-01-01T00:00:00Z")
    assoc.release()
    for _ in range(50):
        house.complete(mercy)
        with mercy.scope():
            Study.objects.filter(due_at__isnull=False).update(due_at="2026-01-01T00:00:00Z")
            if Study.objects.get().state == "complete":
                return
        subprocess.run(["sleep", "0.05"], check=True)
    raise AssertionError("the study never completed")


@contextlib.contextmanager
def database_away() -> Iterator[None]:
    """Nobody may connect, and whoever was connected is thrown out."""
    name = connections["default"].settings_dict["NAME"]
    with psycopg.connect(superuser(), autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            yield
        finally:
            admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
            connections.close_all()


def test_a_known_device_is_taken_while_the_database_is_away(listener, mercy) -> None:
    """"images and reading fail open to their own hospital": remembered devices store, others are told to come back."""
    assoc = associate(listener, mercy.called_ae, mercy.calling_ae)
    assoc.release()
    with database_away():
        assert associate(listener, mercy.called_ae, "STRANGER").is_rejected
        assoc = associate(listener, mercy.called_ae, mercy.calling_ae)
        assert assoc.send_c_store(prepared(ct_slice())).Status == 0
        assoc.release()
    house.index(mercy)
    with mercy.scope():
        assert Instance.objects.count() == 1
        assert Association.objects.count() == 1  # the second was decided without the database


@pytest.fixture
def tiny_disk(settings) -> Iterator[Path]:
    """A tmpfs of 1 MiB as the object store."""
    if os.geteuid() != 0:
        pytest.skip("a tmpfs needs root; the quota test stands in for it")
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False, capture_output=True)
        if mounted.returncode:
            pytest.skip("this machine lets nobody mount a tmpfs; the quota test stands in for it")
        settings.MEDHUB_OBJECTS = Path(folder)
        yield Path(folder)
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_a700_and_loses_nothing(listener, mercy, tiny_disk) -> None:
    """"ENOSPC on a small tmpfs": A700, nothing half-written stays, what was acknowledged is there, room again means 0x0000."""
    quota_forget()
    big = [prepared(ct_slice(PixelData=bytes(2 * 400 * 400), Rows=400, Columns=400)) for _ in range(5)]
    assoc = associate(listener, mercy.called_ae, mercy.calling_ae)
    statuses = [assoc.send_c_store(ds).Status for ds in big]
    assert statuses[0] == 0
    assert 0xA700 in statuses
    kept = [path for path in tiny_disk.rglob("*") if path.is_file()]
    assert len(kept) == statuses.count(0)
    assert not [path for path in kept if path.suffix == ".part"]
    taken = statuses.index(0xA700)
    for path in kept:
        path.unlink()
    assert assoc.send_c_store(big[taken]).Status == 0
    assoc.release()
