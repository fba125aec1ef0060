"""Jobs of declared query attributes: "a re-index job ... resumable after a crash, paced ...", removal; doors and what they refuse."""

import os
import subprocess
import sys

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from imaging.models import Instance, QueryTag, QueryValue
from imaging.querytags import known
from imaging.querytags import run as job
from imaging.querytags.declare import TAGS_CAP, QueryTagError, query_tag_delete, query_tag_reindex
from imaging.storage.files import file_path
from imaging.tasks import query_tag_step_task
from journal.models import AuditEvent
from journal.wall.tasks import rows_due
from medhub.stack import ROOT
from tests import house
from tests.dicom_files import ct_slice, series_of
from tests.imaging.tag_jobs import build, count, declare, due_now, warning
from tests.imaging.test_qido import store
from tests.imaging.tls_peers import ACTOR
from tests.journeys.test_faults import points
from tests.servers import TEST_HOME

pytestmark = pytest.mark.database

def test_while_it_is_built_answers_say_so(client, mercy, monkeypatch) -> None:
    """"queries meanwhile answer with a `Warning: 299` header that the index of that tag is still being built"."""
    monkeypatch.setattr(job, "STEP_OBJECTS", 2)
    store(mercy, *series_of(3, SliceThickness=2))
    row = declare(mercy, "SliceThickness", "instance")
    assert job.query_tag_step(tenant_id=mercy.tenant.id, tag_id=row.id) is None, "what was begun without it is waited for"
    for path in ("instances?SliceThickness=2", "instances?includefield=SliceThickness"):
        assert "299 medhub \"the index of 00180050 is still being built" in warning(client, mercy, path)
    assert warning(client, mercy, "instances") == ""
    due_now(mercy)
    assert job.query_tag_step(tenant_id=mercy.tenant.id, tag_id=row.id) is not None
    assert count(client, mercy, "instances?SliceThickness=2") == 2
    shown = client.get(f"/t/{mercy.slug}/api/v1/query-tags/{row.id}", headers=mercy.auth).json()
    assert (shown["state"], shown["objects_done"], shown["objects_total"], shown["built_at"]) == ("building", 2, 3, None)
    build(mercy)
    assert warning(client, mercy, "instances?SliceThickness=2") == ""
    assert count(client, mercy, "instances?SliceThickness=2") == 3


def test_a_step_gives_its_lease_back_and_is_paced(mercy, settings, monkeypatch) -> None:
    """"a row with lease (`due_at`, NULL when done), progress ... paced so that it doesn't hinder arrivals"."""
    monkeypatch.setattr(job, "STEP_OBJECTS", 2)
    settings.MEDHUB_REINDEX_OBJECTS_PER_SECOND = 1
    store(mercy, *series_of(4))
    row = declare(mercy, "SliceThickness")
    due_now(mercy)
    assert (mercy.tenant.id, row.id) in rows_due("imaging_querytag", limit=100_000)
    assert 1 < (job.query_tag_step(tenant_id=mercy.tenant.id, tag_id=row.id) or 0) <= 2
    assert (mercy.tenant.id, row.id) not in rows_due("imaging_querytag", limit=100_000)
    house.store(mercy, [ct_slice()])
    due_now(mercy)
    assert (job.query_tag_step(tenant_id=mercy.tenant.id, tag_id=row.id) or 0) > job.YIELD_SECONDS, "slower while images wait"
    query_tag_step_task.run(tenant_id=mercy.tenant.id, tag_id=row.id)
    build(mercy)
    with mercy.scope():
        assert QueryTag.objects.get().due_at is None


def test_a_slow_store_does_not_outlast_the_lease(mercy, monkeypatch) -> None:
    """A step ends when its time is used up, with at least one object more: the next one goes on from there."""
    monkeypatch.setattr(job, "STEP_SECONDS", 0.0)
    store(mercy, *series_of(3, SliceThickness=2))
    row = declare(mercy, "SliceThickness")
    for done in (1, 2, 3):
        due_now(mercy)
        job.query_tag_step(tenant_id=mercy.tenant.id, tag_id=row.id)
        with mercy.scope():
            assert QueryTag.objects.get().objects_done == done
    with mercy.scope():
        assert QueryTag.objects.get().state == "ready"


def test_it_costs_nothing_where_nothing_is_declared(mercy) -> None:
    """"a hospital without extra tags must pay nothing": one statement in some seconds, none more for a batch; with tags, three."""
    def statements() -> int:
        house.store(mercy, series_of(5, SliceThickness=2))
        with CaptureQueriesContext(connection) as seen:
            house.index(mercy)
        return len([one for one in seen if "query" in one["sql"]])

    known.tags_forget(mercy.tenant.id)
    assert statements() == 1
    assert statements() == 0
    declare(mercy, "SliceThickness")
    declare(mercy, "DeviceSerialNumber", "series")
    assert statements() == 3
    assert statements() == 2
    with mercy.scope():
        assert QueryValue.objects.count() == 10


WORKER = (
    "import django; django.setup(); from imaging.querytags import run\nrun.STEP_OBJECTS = 2\n"
    "while run.query_tag_step(tenant_id={tenant}, tag_id={tag}) is not None:\n"
    " from imaging.models import QueryTag; from journal.wall.scope import tenant_scope\n"
    " with tenant_scope({tenant}): QueryTag.objects.update(due_at='2026-01-01T00:00:00Z')"
)


@pytest.mark.faults
@pytest.mark.xdist_group("faults-2")
@pytest.mark.parametrize("point", [point for point in points() if point.startswith("reindex.")])
def test_killed_there_the_job_goes_on(client, mercy, tmp_path, point) -> None:
    """"crash in the middle of the re-index resumes (fault)": a worker dies by SIGKILL at the point; the next one ends the work."""
    store(mercy, *series_of(5, SliceThickness=2))
    row = declare(mercy, "SliceThickness", "instance")
    if "removed" in point:
        build(mercy)
        with mercy.scope():
            query_tag_delete(actor=ACTOR, row=row)
    due_now(mercy)
    (tmp_path / point).touch()
    database = connections["default"].settings_dict
    environment = {
        **os.environ, "DJANGO_SETTINGS_MODULE": "medhub.settings", "MEDHUB_FAULT_DIR": str(tmp_path),
        "DATABASE_URL": f"postgresql://medhub_app@/{database['NAME']}?host={database['HOST']}", "MEDHUB_HOME": str(TEST_HOME),
        "MEDHUB_OBJECTS": str(django_settings.MEDHUB_OBJECTS),
    }  # fmt: skip
    command = [sys.executable, "-c", WORKER.format(tenant=mercy.tenant.id, tag=row.id)]
    assert subprocess.run(command, cwd=ROOT, env=environment, timeout=60, check=False).returncode == -9
    due_now(mercy)  # the lease of the dead is over
    assert subprocess.run(command, cwd=ROOT, env=environment, timeout=60, check=False).returncode == 0
    known.tags_forget(mercy.tenant.id)
    with mercy.scope():
        if "removed" in point:
            assert not QueryTag.objects.exists()
            assert not QueryValue.objects.exists()
            return
        done = QueryTag.objects.get()
        assert (done.state, done.objects_done, done.objects_total, done.due_at) == ("ready", 5, 5, None)
        assert QueryValue.objects.count() == 5
    assert count(client, mercy, "instances?SliceThickness=2") == 5


def test_removing_takes_the_values_in_bounded_batches(client, mercy, monkeypatch) -> None:
    """"Removing a tag deletes its values in bounded batches"; from the first moment nobody can ask for it."""
    monkeypatch.setattr(job, "STEP_VALUES", 2)
    store(mercy, *series_of(5, SliceThickness=2, DeviceSerialNumber="7"))
    row, other = declare(mercy, "SliceThickness", "instance"), declare(mercy, "DeviceSerialNumber")
    build(mercy)
    assert client.delete(f"/t/{mercy.slug}/api/v1/query-tags/{row.id}", headers=mercy.auth).status_code == 204
    assert client.get(f"/t/{mercy.slug}/api/v1/query-tags/{row.id}", headers=mercy.auth).status_code == 404
    assert "not supported" in warning(client, mercy, "instances?SliceThickness=2")
    again = declare(mercy, "SliceThickness", "study")  # while the old one's values still go
    left = []
    for _ in range(3):
        due_now(mercy)
        job.query_tag_step(tenant_id=mercy.tenant.id, tag_id=row.id)
        with mercy.scope():
            left.append(QueryValue.objects.filter(query_tag_id=row.id).count())
    assert left == [3, 1, 0]
    with mercy.scope():
        assert {one.id for one in QueryTag.objects.all()} == {other.id, again.id}
    build(mercy)
    assert count(client, mercy, "studies?SliceThickness=2") == count(client, mercy, "studies?DeviceSerialNumber=7") == 1


def test_an_object_that_cannot_be_read_is_counted(client, mercy) -> None:
    """"progress (objects done / total, errors)": a lost and a torn file stop nothing."""
    store(mercy, *series_of(4, SliceThickness=2))
    with mercy.scope():
        keys = list(Instance.objects.order_by("id").values_list("key", flat=True))
    file_path(keys[0]).unlink()
    file_path(keys[1]).write_bytes(b"torn")
    row = declare(mercy, "SliceThickness", "instance")
    build(mercy)
    shown = client.get(f"/t/{mercy.slug}/api/v1/query-tags/{row.id}", headers=mercy.auth).json()
    assert (shown["state"], shown["objects_done"], shown["objects_bad"]) == ("ready", 4, 2)
    assert count(client, mercy, "instances?SliceThickness=2") == 2


def test_reindex_reads_everything_once_more(client, mercy) -> None:
    """"list, create, delete, reindex": values that got lost come back, each once; every act is audited."""
    store(mercy, *series_of(3, SliceThickness=2))
    made = client.post(
        f"/t/{mercy.slug}/api/v1/query-tags", {"tag": "SliceThickness", "level": "study"}, "application/json", headers=mercy.auth,
    )  # fmt: skip
    assert made.status_code == 201
    row = made.json()
    assert (row["tag"], row["keyword"], row["vr"], row["state"]) == ("00180050", "SliceThickness", "DS", "building")
    assert made.headers["Location"].endswith(f"/query-tags/{row['id']}")
    build(mercy)
    with mercy.scope():
        QueryValue.objects.filter(number=0).first().delete()
    again = client.post(f"/t/{mercy.slug}/api/v1/query-tags/{row['id']}/reindex", headers=mercy.auth)
    assert (again.status_code, again.json()["state"], again.json()["objects_done"]) == (202, "building", 0)
    build(mercy)
    with mercy.scope():
        assert QueryValue.objects.count() == 3
    (listed,) = client.get(f"/t/{mercy.slug}/api/v1/query-tags", headers=mercy.auth).json()["items"]
    assert (listed["state"], listed["objects_done"], listed["objects_total"]) == ("ready", 3, 3)
    client.delete(f"/t/{mercy.slug}/api/v1/query-tags/{row['id']}", headers=mercy.auth)
    with mercy.scope():
        actions = list(AuditEvent.objects.filter(object_type="QueryTag").order_by("id").values_list("action", flat=True))
    assert actions == ["querytag.create", "querytag.reindex", "querytag.delete"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tag": "SliceThikness", "level": "study"}, "tag"), ({"tag": "0018,105", "level": "study"}, "tag"),
        ({"tag": "PatientName", "level": "study"}, "tag"), ({"tag": "PixelData", "level": "instance"}, "tag"),
        ({"tag": "SpecificCharacterSet", "level": "study"}, "tag"), ({"tag": "00020010", "level": "study"}, "tag"),
        ({"tag": "00180000", "level": "study"}, "tag"), ({"tag": "ViewCodeSequence", "level": "study"}, "tag"),
        ({"tag": "RedPaletteColorLookupTableData", "level": "study"}, "tag"), ({"tag": "TriggerTime", "level": "patient"}, "level"),
        ({"tag": "SliceThickness", "level": "study", "vr": "LO"}, "vr"), ({"tag": "SliceThickness", "level": "study", "vr": "XX"}, "vr"),
        ({"tag": "SliceThickness", "level": "study", "private_creator": "X"}, "private_creator"),
        ({"tag": "0019,1010", "level": "study", "vr": "LO"}, "private_creator"),
        ({"tag": "0019,1010", "level": "study", "private_creator": "X"}, "vr"),
        ({"tag": "0019,1010", "level": "study", "private_creator": "X", "vr": "SQ"}, "vr"),
        ({"tag": "0019,1010", "level": "study", "private_creator": "A\\B", "vr": "LO"}, "private_creator"),
        ({"tag": "0019,0010", "level": "study", "private_creator": "X", "vr": "LO"}, "tag"),
        ({"tag": "0018,FFF0", "level": "study"}, "tag"), ({"level": "study"}, "tag"), ({"tag": "SliceThickness"}, "level"),
        ({"tag": "SliceThickness", "level": "study", "levle": "x"}, "levle"), ({"tag": "DeviceSerialNumber", "level": "study"}, "tag"),
    ],
)  # fmt: skip
def test_malformed_declarations_are_refused_with_the_reason(client, mercy, body, field) -> None:
    """"malformed declarations 400 with reason"."""
    declare(mercy, "DeviceSerialNumber")
    answer = client.post(f"/t/{mercy.slug}/api/v1/query-tags", body, "application/json", headers=mercy.auth)
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == [field]
    assert answer.json()["errors"][field][0]


def test_limits(mercy) -> None:
    """"Limit per hospital (e.g. 32)"; a block belongs to one private creator, an attribute is declared once."""
    for number in range(TAGS_CAP - 1):
        declare(mercy, f"0019,10{number:02x}", private_creator="ACME", vr="LO")
    for tag, creator in (("0019,1040", "OTHER"), ("0019,1101", "ACME"), ("0019,1001", "ACME")):
        with pytest.raises(QueryTagError):
            declare(mercy, tag, private_creator=creator, vr="LO")
    declare(mercy, "0019,1140", private_creator="OTHER", vr="LO")
    with pytest.raises(QueryTagError, match="at most 32"):
        declare(mercy, "SliceThickness")


def test_the_command_is_idempotent(mercy, capsys) -> None:
    """"`manage.py query_tag_add --hospital <slug> --tag <keyword|gggg,eeee> --level study ...` (idempotent)"."""
    for said in ("declared", "was declared before"):
        call_command("query_tag_add", hospital=mercy.slug, tag="SliceThickness", level="series")
        assert f"SliceThickness (00180050) {said}, series level" in capsys.readouterr().out
    for _ in range(2):
        call_command("query_tag_add", hospital=mercy.slug, tag="0019,1010", level="study", private_creator="ACME", vr="LO")
    assert "ACME (00191010) was declared before" in capsys.readouterr().out
    with mercy.scope():
        assert QueryTag.objects.count() == 2
    with pytest.raises(CommandError, match="tag: this attribute is declared already"):
        call_command("query_tag_add", hospital=mercy.slug, tag="SliceThickness", level="study")
    with pytest.raises(CommandError, match="no hospital"):
        call_command("query_tag_add", hospital="nowhere", tag="SliceThickness", level="study")


def test_the_two_jobs_of_one_attribute_do_not_meet(mercy) -> None:
    """One lease: a step that lost it meanwhile keeps nothing."""
    store(mercy, *series_of(2, SliceThickness=2))
    row = declare(mercy, "SliceThickness")
    due_now(mercy)
    with mercy.scope():
        mine = job._claim(row.id)
        assert mine is not None
        assert job._claim(row.id) is None
        objects = job._objects_after(mine)
        query_tag_reindex(actor=ACTOR, row=row)
    with pytest.raises(job._LostError):
        job._build(mercy.tenant.id, mine, objects)
    with mercy.scope():
        assert not QueryValue.objects.exists()
        assert QueryTag.objects.get().objects_done == 0
