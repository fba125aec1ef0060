"""Re-reading what is kept: damage is found, said and recorded, at a bounded rate."""

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from imaging.models import Instance, Scrub, WorkItem
from imaging.scrub import scrub_restart, scrub_step
from imaging.storage.files import file_path
from imaging.tasks import scrub_step_task
from journal.models import AuditEvent
from journal.wall.tasks import rows_due
from tests import house
from tests.dicom_files import ct_slice, series_of

pytestmark = pytest.mark.database


@pytest.fixture
def kept(mercy):
    """Five objects, one of them aside."""
    slices = series_of(4)
    house.store(mercy, [*slices, ct_slice(SOPInstanceUID=slices[0].SOPInstanceUID, PatientComments="other")])
    house.index(mercy)
    with mercy.scope():
        return list(Instance.objects.order_by("id")), WorkItem.objects.get()


def round_run(hospital) -> Scrub:
    """Steps of one round, without waiting for their times."""
    with hospital.scope():
        scrub_restart()
    while True:
        step = scrub_step(tenant_id=hospital.tenant.id)
        with hospital.scope():
            Scrub.objects.filter(finished_at=None).update(due_at=timezone.now())
        if step is not None and step.wait is None:
            with hospital.scope():
                return Scrub.objects.get()


def test_what_is_whole_is_recorded_as_read(mercy, kept) -> None:
    """"scrubbed by a job": every object is read, also those aside; when and with what result stands in the row."""
    state = round_run(mercy)
    assert (state.objects_read, state.objects_bad, state.rounds) == (5, 0, 1)
    assert state.due_at > timezone.now()
    with mercy.scope():
        assert set(Instance.objects.values_list("scrub_result", flat=True)) == {"ok"}
        assert Instance.objects.filter(scrubbed_at=None).count() == 0


def test_damage_becomes_one_work_item_and_stops_nothing(mercy, kept) -> None:
    """"damage -> work item "damaged" + attention + refuse nothing else": a flipped bit, a lost file, and bytes aside."""
    rows, aside = kept
    flipped, gone, beside = file_path(rows[1].key), file_path(rows[2].key), file_path(aside.key)
    whole = flipped.read_bytes()
    for path in (flipped, beside):
        content = bytearray(path.read_bytes())
        content[-3] ^= 1
        path.write_bytes(bytes(content))
    gone.unlink()
    for _ in range(2):
        assert round_run(mercy).objects_bad == 3
    with mercy.scope():
        assert [row.scrub_result for row in Instance.objects.order_by("id")] == ["ok", "damaged", "missing", "ok"]
        assert WorkItem.objects.filter(kind="damaged").count() == 3
    house.store(mercy, [ct_slice()])
    assert house.index(mercy) == 1
    flipped.write_bytes(whole)
    assert round_run(mercy).objects_bad == 2


def test_the_rate_is_bounded(mercy, kept, settings) -> None:
    """"at a bounded rate": a step reads no more than its share of bytes and says when the next may begin."""
    rows, _ = kept
    settings.MEDHUB_SCRUB_BYTES_PER_SECOND = rows[0].size // 5 + 1  # five seconds' worth is a little more than one object
    with mercy.scope():
        scrub_restart()
    before = timezone.now()
    step = scrub_step(tenant_id=mercy.tenant.id)
    assert step.objects == 2
    assert step.wait == pytest.approx(step.size / settings.MEDHUB_SCRUB_BYTES_PER_SECOND)
    with mercy.scope():
        assert (Scrub.objects.get().due_at - before).total_seconds() > 5
    assert scrub_step(tenant_id=mercy.tenant.id) is None  # not before its time, and not twice at once


def test_the_sweep_finds_each_hospital(mercy, olaf, kept) -> None:
    """"beat, tenant by tenant, sweep": a hospital that keeps something is due; the task reads in its scope only."""
    due = {tenant_id for tenant_id, _ in rows_due("imaging_scrub", limit=100_000)}
    assert mercy.tenant.id in due
    assert olaf.tenant.id not in due
    scrub_step_task.run(tenant_id=mercy.tenant.id)
    with mercy.scope():
        assert Scrub.objects.get().rounds == 1


def test_the_command_reads_everything_now(mercy, kept, capsys) -> None:
    """`manage.py objects_scrub --hospital slug`: says what it read; exit code 1 when something is bad; audited."""
    call_command("objects_scrub", hospital=mercy.slug, fast=True)
    assert "5 objects" in capsys.readouterr().out
    file_path(kept[0][0].key).write_bytes(b"x")
    with pytest.raises(SystemExit):
        call_command("objects_scrub", hospital=mercy.slug, fast=True)
    assert "1 bad" in capsys.readouterr().out
    with pytest.raises(CommandError):
        call_command("objects_scrub", hospital="nowhere")
    with mercy.scope():
        assert AuditEvent.objects.filter(action="objects.scrub").exists()
