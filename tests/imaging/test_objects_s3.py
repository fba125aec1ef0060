"""Objects in an S3 store, with a real server that checks signatures: OpenStack Swift, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connections
from django.urls import reverse
from django.utils import timezone

from imaging import storage, uploads
from imaging.commitment.evidence import held_select, references_judge
from imaging.inbox import inbox_objects
from imaging.models import Instance, QueryTag, Series, Study, Upload, WorkItem
from imaging.querytags.run import AWAY_SECONDS, query_tag_step
from imaging.rendering import slice_render
from imaging.storage import cache as cache_module
from imaging.storage import object_delete, object_digest, object_path, object_range, object_stream
from imaging.storage.files import file_path
from imaging.storage.s3 import PART_BYTES, etag_of
from medhub import health
from medhub.stack import ROOT
from tests import house
from tests.conftest import PASSWORD
from tests.dicom_files import ct_slice, part10, series_of
from tests.imaging.tag_jobs import build, count, declare
from tests.imaging.test_dimse_peers import peer
from tests.imaging.test_ingest import send
from tests.imaging.test_query_peers import allow, received, serving
from tests.journeys.test_faults import points
from tests.s3 import BUCKET, SwiftServer
from tests.servers import TEST_HOME

pytestmark = [pytest.mark.swift, pytest.mark.xdist_group("swift")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwiftServer]:
    found = SwiftServer(tmp_path_factory.mktemp("swift"))
    yield found
    found.stop()


@pytest.fixture
def swift(server: SwiftServer, settings: Any, tmp_path: Path) -> Iterator[SwiftServer]:
    """The house with its objects in Swift."""
    server.settings_set(settings, tmp_path / "cache")
    reopen()
    yield server
    storage.bucket.cache_clear()


def reopen() -> None:
    """What a restart with other settings does."""
    storage.bucket.cache_clear()
    health._objects_seen = (-60.0, "")


def upload(hospital: Any) -> None:
    """The upload worker's turns until nothing is due."""
    for _ in range(20):
        if not uploads.uploads_run(tenant_id=hospital.tenant.id):
            return
    raise AssertionError("uploads never end")


def due_now(hospital: Any) -> None:
    with hospital.scope():
        Upload.objects.update(due_at=timezone.now())


def instances(hospital: Any) -> list[Instance]:
    with hospital.scope():
        return list(Instance.objects.order_by("id"))


def test_objects_move_and_the_local_copy_goes_when_the_upload_is_verified(swift, mercy) -> None:
    """"With S3 the acknowledgement follows the durable inbox, the upload comes after, and the local copy goes only when the upload
    is verified"; laid out under the tenant's prefix with keys from our ids."""
    slices = series_of(3)
    house.store(mercy, slices)
    house.index(mercy)
    rows = instances(mercy)
    kept = {row.key: file_path(row.key).read_bytes() for row in rows}
    assert swift.keys(f"t/{mercy.tenant.id}/") == []
    assert uploads.uploads_run(tenant_id=mercy.tenant.id) == 3
    assert all(file_path(key).exists() for key in kept)  # verified, and still lingering
    upload(mercy)
    with mercy.scope():
        assert not Upload.objects.exists()
    assert not any(file_path(key).exists() for key in kept)
    assert swift.keys(f"t/{mercy.tenant.id}/") == sorted(kept)
    assert all(row.key.endswith(f"/{row.id}.dcm") for row in rows)
    for key, content in kept.items():
        assert swift.read(key) == content
        storage.bucket().cache.drop(key)
        assert object_path(key).read_bytes() == content
        assert (object_range(key, start=128, length=4), object_range(key, start=len(content) - 2, length=9)) == (b"DICM", content[-2:])
        storage.bucket().cache.drop(key)
        assert object_range(key, start=128, length=4) == b"DICM"  # a range of the store's own, without fetching the rest
        assert not storage.bucket().cache.path(key).exists()
        assert b"".join(object_stream(key)) == content


def test_reading_back_serves_retrieve_and_pictures(swift, mercy, client, tmp_path) -> None:
    """All that reads objects works with S3: dcmtk's getscu gets them back byte for byte, the study page draws them."""
    slices = series_of(4)
    house.store(mercy, slices)
    house.index(mercy)
    upload(mercy)
    rows = instances(mercy)
    for row in rows:
        storage.bucket().cache.drop(row.key)
    allow(mercy)
    (tmp_path / "got").mkdir()
    with serving() as listener:
        output = peer(
            "getscu", listener.port, "-S", "+B", "-od", str(tmp_path / "got"), "-k", "0008,0052=STUDY", "-k",
            f"0020,000d={slices[0].StudyInstanceUID}", called=mercy.called_ae, calling=mercy.calling_ae,
        )  # fmt: skip
    assert "exit 0" in output
    assert set(received(tmp_path / "got")) == {ds.SOPInstanceUID for ds in slices}
    storage.bucket().cache.drop(rows[0].key)
    assert slice_render(object_path(rows[0].key))[:4] == b"\x89PNG"
    with object_path(rows[0].key).open() as file:  # as the wires to AI platforms read
        assert file.read(132)[-4:] == b"DICM"
    mercy.member("radiologist")
    client.post("/accounts/login/", {"login": f"radiologist@{mercy.slug}.example", "password": PASSWORD})
    with mercy.scope():
        study, series = Study.objects.get(), Series.objects.get()
    assert client.get(reverse("study-slice", args=[mercy.slug, study.uuid, series.id, 1])).status_code == 200


def test_a_wrong_secret_is_refused_and_images_are_taken_all_the_same(swift, mercy, client, settings) -> None:
    """"tested against a real server that checks signatures": SignatureDoesNotMatch; nothing is lost, it shows, and it heals."""
    settings.MEDHUB_OBJECTS_SECRET_KEY = "wrong"  # noqa: S105
    reopen()
    assert send(mercy, ct_slice()).status == 0
    house.index(mercy)
    for _ in range(uploads.STUCK_ATTEMPTS):
        assert uploads.uploads_run(tenant_id=mercy.tenant.id) == 1
        due_now(mercy)
    (row,) = instances(mercy)
    assert object_path(row.key).read_bytes()[128:132] == b"DICM"
    with pytest.raises(storage.StoreAwayError, match="SignatureDoesNotMatch"):
        storage.bucket().range(row.key, start=0, length=4)
    mercy.member("admin")
    client.post("/accounts/login/", {"login": f"admin@{mercy.slug}.example", "password": PASSWORD})
    page = client.get(reverse("attention", args=[mercy.slug])).content.decode()
    assert "1 object waits" in page
    assert "refused" in page
    settings.MEDHUB_OBJECTS_SECRET_KEY = swift.environment["MEDHUB_OBJECTS_SECRET_KEY"]
    reopen()
    client.post(reverse("uploads-retry", args=[mercy.slug]))
    upload(mercy)
    assert len(swift.keys(f"t/{mercy.tenant.id}/")) == 1
    with mercy.scope():
        assert uploads.uploads_stuck() is None


def test_an_outage_stops_nothing_and_is_seen(swift, mercy) -> None:
    """"Outage of S3: images still accepted, uploads retried with backoff, visible in health": the server is killed and comes back."""
    swift.stop()
    reopen()
    try:
        assert send(mercy, ct_slice()).status == 0
        house.index(mercy)
        uploads.uploads_run(tenant_id=mercy.tenant.id)
        with mercy.scope():
            row = Upload.objects.get()
        assert "not reached" in row.last_error
        assert row.due_at > row.created_at
        report = health.health_report()
        assert (report["ok"], report["database"]) == (True, "ok")
        assert "not reached" in report["objects"]
        assert report["uploads_waiting"] >= 1
        assert object_path(instances(mercy)[0].key).read_bytes()
    finally:
        swift.start()
    reopen()
    due_now(mercy)
    upload(mercy)
    assert health.health_report()["objects"] == "ok"
    assert len(swift.keys(f"t/{mercy.tenant.id}/")) == 1


WORKER = "import django; django.setup(); from imaging.uploads import uploads_run\nwhile uploads_run(tenant_id={tenant}): pass"


@pytest.mark.parametrize("point", [point for point in points() if point.startswith("upload.")])
def test_killed_there_the_object_is_uploaded_once(swift, mercy, tmp_path, point) -> None:
    """"kill between upload and verify, restart": a worker process dies by SIGKILL at the point; the next one ends the work."""
    house.store(mercy, [ct_slice()])
    house.index(mercy)
    (row,) = instances(mercy)
    content = file_path(row.key).read_bytes()
    (tmp_path / point).touch()
    database = connections["default"].settings_dict
    environment = {
        **os.environ, **swift.environment, "DJANGO_SETTINGS_MODULE": "medhub.settings", "MEDHUB_FAULT_DIR": str(tmp_path),
        "DATABASE_URL": f"postgresql://medhub_app@/{database['NAME']}?host={database['HOST']}", "MEDHUB_HOME": str(TEST_HOME),
        "MEDHUB_OBJECTS": str(django_settings.MEDHUB_OBJECTS), "MEDHUB_OBJECTS_CACHE": str(tmp_path / "cache"),
    }  # fmt: skip
    command = [sys.executable, "-c", WORKER.format(tenant=mercy.tenant.id)]
    assert subprocess.run(command, cwd=ROOT, env=environment, timeout=30, check=False).returncode == -9
    assert file_path(row.key).read_bytes() == content
    with mercy.scope():
        assert Upload.objects.get().verified_at is None
    due_now(mercy)  # the lease of the dead is over
    assert subprocess.run(command, cwd=ROOT, env=environment, timeout=30, check=False).returncode == 0
    with mercy.scope():
        assert not Upload.objects.exists()
    assert not file_path(row.key).exists()
    assert swift.keys(f"t/{mercy.tenant.id}/") == [row.key]
    assert swift.read(row.key) == content


def test_the_acknowledgement_can_wait_for_the_store(swift, mercy, settings) -> None:
    """"a setting makes the acknowledgement wait for the PUT": there before the answer; with the store away A700 and nothing kept."""
    settings.MEDHUB_OBJECTS_ACK = "store"
    assert send(mercy, ct_slice()).status == 0
    (key,) = swift.keys(f"t/{mercy.tenant.id}/")
    house.index(mercy)
    assert instances(mercy)[0].key == key
    upload(mercy)
    assert not file_path(key).exists()
    settings.MEDHUB_OBJECTS_SECRET_KEY = "wrong"  # noqa: S105
    reopen()
    answer = send(mercy, ct_slice())
    assert (answer.status, "object store" in answer.comment) == (0xA700, True)
    assert not [found for found in inbox_objects(limit=9) if found[0].tenant_id == mercy.tenant.id]


def test_one_fetch_for_all_who_ask_at_once(swift, mercy) -> None:
    """Single flight: eight readers of one object make one GET; a cut-off draft is never taken for the object."""
    house.store(mercy, [ct_slice()])
    house.index(mercy)
    upload(mercy)
    (row,) = instances(mercy)
    storage.bucket().cache.drop(row.key)
    gets: list[str] = []
    events = storage.bucket()._client.meta.events
    events.register("before-send.s3.GetObject", lambda request, **_: gets.append(request.url) and None)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: object_path(row.key).read_bytes(), range(8)))
    assert len(set(found)) == 1
    assert len(gets) == 1


def test_the_cache_is_bounded_and_forgets_the_least_recently_used(swift, mercy, settings, monkeypatch) -> None:
    """A bounded local cache for reading back: by bytes, what was used last stays."""
    monkeypatch.setattr(cache_module, "GRACE_SECONDS", -1)
    house.store(mercy, [ct_slice(PixelData=bytes(2 * 100 * 100), Rows=100, Columns=100) for _ in range(6)])
    house.index(mercy)
    upload(mercy)
    rows = instances(mercy)
    settings.MEDHUB_OBJECTS_CACHE_BYTES = sum(row.size for row in rows[:3]) + 10
    reopen()
    cache = storage.bucket().cache
    for row in rows:
        cache.drop(row.key)
    for at, row in enumerate([*rows[:3], rows[0], *rows[3:5]]):
        path = Path(object_path(row.key))
        os.utime(path, (1000 + at, 1000 + at))
    cache.trim()
    assert {row.id for row in rows if cache.path(row.key).exists()} == {rows[0].id, rows[3].id, rows[4].id}


def test_a_large_object_goes_in_parts(swift, mercy) -> None:
    """Multipart uploads are verified by the ETag of their parts."""
    key, path = f"t/{mercy.tenant.id}/x/1.dcm", file_path(f"t/{mercy.tenant.id}/x/1.dcm")
    path.parent.mkdir(parents=True)
    path.write_bytes(os.urandom(PART_BYTES * 2 + 5))
    size, sha256 = object_digest(key)
    storage.bucket().put(key, path, size=size, sha256=sha256)
    head = swift.client.head_object(Bucket=BUCKET, Key=key)
    assert head["ETag"].strip('"') == etag_of(path)
    assert head["ETag"].strip('"').endswith("-3")
    object_delete(key)
    object_delete(key)  # again without harm
    assert swift.keys(f"t/{mercy.tenant.id}/x/") == []


def test_damage_in_the_store_is_found_and_never_served(swift, mercy) -> None:
    """"works on S3": the scrub finds other bytes and gone ones; a reader is told, not given them."""
    from imaging.scrub import scrub_step

    house.store(mercy, series_of(3))
    house.index(mercy)
    upload(mercy)
    first, second, _ = rows = instances(mercy)
    for row in rows:
        storage.bucket().cache.drop(row.key)
    content = bytearray(swift.read(first.key))
    content[-1] ^= 1
    swift.client.put_object(Bucket=BUCKET, Key=first.key, Body=bytes(content), Metadata={"sha256": first.sha256})
    swift.client.delete_object(Bucket=BUCKET, Key=second.key)
    step = scrub_step(tenant_id=mercy.tenant.id)
    assert (step.objects, step.bad) == (3, 2)
    assert [row.scrub_result for row in instances(mercy)] == ["damaged", "missing", "ok"]
    with mercy.scope():
        assert WorkItem.objects.filter(kind="damaged").count() == 2
    with pytest.raises(storage.ObjectMissingError):
        object_path(first.key).read_bytes()


def test_an_address_that_is_not_allowed_is_not_called(swift, mercy, settings) -> None:
    """Outgoing connections go through the egress check: a private address that EGRESS_ALLOW does not list is refused."""
    settings.EGRESS_ALLOW = []
    reopen()
    with pytest.raises(storage.StoreAwayError, match="EGRESS_ALLOW"):
        storage.bucket().check()


def test_duplicates_and_replacement_work_in_the_store(swift, mercy) -> None:
    """Replace under S3: the row points at the newcomer's key, both objects reach the store."""
    mercy.tenant.duplicate_policy = "replace"
    mercy.tenant.save()
    ds = ct_slice()
    house.store(mercy, [ds])
    house.index(mercy)
    other = ct_slice(SOPInstanceUID=ds.SOPInstanceUID, StudyInstanceUID=ds.StudyInstanceUID, SeriesInstanceUID=ds.SeriesInstanceUID,
                     StudyDescription="other")  # fmt: skip
    house.store(mercy, [other])
    house.index(mercy)
    upload(mercy)
    (row,) = instances(mercy)
    assert object_path(row.key).read_bytes() == part10(other)
    with mercy.scope():
        assert object_path(WorkItem.objects.get().key).read_bytes() == part10(ds)
    assert len(swift.keys(f"t/{mercy.tenant.id}/")) == 2


def test_commitment_asks_the_store(swift, mercy) -> None:
    """"answered only from COMMITTED instance rows whose file exists": while it uploads, in the store, removed there; and while the
    store is away nothing is said at all, neither yes nor no.
    """
    slices = series_of(3)
    house.store(mercy, slices)
    house.index(mercy)
    uids = [str(ds.SOPInstanceUID) for ds in slices]
    references = {str(slices[0].SOPClassUID): uids}

    def failures() -> dict[str, int]:
        with mercy.scope():
            held = held_select(uids=uids)
        return references_judge(references=references, held=held)

    assert failures() == {}
    upload(mercy)
    rows = {row.sop_instance_uid: row.key for row in instances(mercy)}
    assert not any(file_path(key).exists() for key in rows.values())
    assert failures() == {}
    swift.client.delete_object(Bucket=BUCKET, Key=rows[uids[1]])
    assert failures() == {uids[1]: 0x0110}
    swift.stop()
    try:
        with pytest.raises(storage.StoreAwayError):
            failures()
    finally:
        swift.start()
        reopen()


def test_a_declared_attribute_is_read_from_the_heads(swift, mercy, client) -> None:
    """"re-index ... of stored objects" in the store: heads by range, past the cache; it waits while the store is away, and goes on."""
    house.store(mercy, series_of(3, SliceThickness=2))
    house.index(mercy)
    upload(mercy)
    for row in instances(mercy):
        storage.bucket().cache.drop(row.key)
    declare(mercy, "SliceThickness", "instance")
    swift.stop()
    try:
        with mercy.scope():
            QueryTag.objects.update(due_at=timezone.now())
            tag_id = QueryTag.objects.get().id
        assert query_tag_step(tenant_id=mercy.tenant.id, tag_id=tag_id) == AWAY_SECONDS
    finally:
        swift.start()
    with mercy.scope():
        waiting = QueryTag.objects.get()
    assert (waiting.state, waiting.objects_done, waiting.objects_bad) == ("building", 0, 0)
    assert waiting.last_error == "the object store is away"
    build(mercy)
    with mercy.scope():
        done = QueryTag.objects.get()
    assert (done.state, done.objects_done, done.objects_bad, done.last_error) == ("ready", 3, 0, "")
    assert not any(storage.bucket().cache.path(row.key).exists() for row in instances(mercy))
    assert count(client, mercy, "instances?SliceThickness=2") == 3
