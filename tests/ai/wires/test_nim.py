"""The VISTA-3D NIM's wire against its double: a volume by a one-time address, minutes of work beside the worker, a label map back."""

import gzip
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import orjson
import pytest
from pydicom import dcmread
from pydicom.sr._concepts_dict import concepts

from ai.contract import Handle, Payload, Platform, PlatformError, Sent, Ways, platforms
from ai.room.asking import FATE, LOCK
from ai.room.tickets import VOLUME
from ai.wires.nim import Info, labels_check
from ai.wires.structures import BY_NAME, BY_NUMBER, STRUCTURES
from medhub.stack import ROOT
from tenants.egress import Egress, EgressFailed
from tests.ai.handles import asked, handle_of, until
from tests.ai.platforms.connections import connected
from tests.ai.room.serving import room_open
from tests.ai.volume.stacks import files_written, series_lying
from tests.dicom_files import shared_series

pytestmark = pytest.mark.xdist_group("doubles-wires")

MAKER = "MedHub Quantify (test double)"
PERMANENT = {"shape": "another matrix", "affine": "lies elsewhere", "label": "labels that were not asked for",
             "float": "no whole numbers", "cut": "ends before its last voxel", "bomb": "larger than its images allow"}  # fmt: skip


@contextmanager
def nim(vendors: Any, handle: Handle, folder: Path, **more: str) -> Iterator[tuple[Platform, dict[str, str], Ways]]:
    settings = {"way": "nim", "url": f"{vendors.url}/nim", "structures": "lung, liver", **more}
    with (
        room_open(handle, folder / "room", vendors) as room,
        connected("nvidia-clara", vendors, folder, room=room, **settings) as (platform, values, ways),
    ):
        yield platform, values, ways


def answered(vendors: Any, handle: Handle, folder: Path, **more: str) -> tuple[Platform, Payload]:
    with nim(vendors, handle, folder, **more) as (platform, settings, ways):
        remote_id = platform.send(handle, settings, ways)
        assert remote_id == handle.idempotency_key
        payload = until(lambda: platform.poll(remote_id, asked(handle), settings, ways))
    return platform, payload


@pytest.fixture
def chest(study: Handle) -> Handle:
    return replace(study, algorithm="vista3d")


def test_lungs_come_back_as_a_volume_and_a_mask(vendors, chest, tmp_path, quantify_server) -> None:
    """"Whole loop test on real pixels positive": what MedHub Quantify measures in the DICOM series is what comes back through NIfTI."""
    platform, payload = answered(vendors, chest, tmp_path)
    answer = platform.parse(payload, "vista3d")
    (lung,) = answer.measurements
    own = quantify_server.run([path.read_bytes() for path in chest.files])
    volume = next(one["value"] for one in own["measurements"] if one["unit"] == "mL")
    assert lung.value == pytest.approx(volume, abs=0.06)  # it rounds to a tenth
    assert (lung.code.code, lung.unit, lung.body_site.code) == ("118565006", "mL", "39607008")
    assert (answer.algorithm.name, answer.algorithm.version, answer.algorithm.manufacturer) == ("vista3d", "0.0.1", MAKER)
    (region,) = answer.regions
    assert (region.segment_number, region.label, region.sop_uid) == (1, "Lung", "")
    assert [(note.code, note.text) for note in answer.notes] == [
        ("not_labelled", "not labelled: liver; that does not say that it is not there")
    ]
    mask = platform.mask(payload, answer)
    assert set(np.unique(mask.labels)) == {0, 1}
    heads = [dcmread(path, stop_before_pixels=True) for path in chest.files]
    by_height = [str(head.SOPInstanceUID) for head in sorted(heads, key=lambda head: float(head.ImagePositionPatient[2]))]
    assert list(mask.sop_uids) == by_height
    assert lung.value == pytest.approx(np.count_nonzero(mask.labels) * 2.5 * float(heads[0].PixelSpacing[0]) ** 2 / 1000, abs=0.01)


def test_no_lungs_is_not_analysable(vendors, tmp_path) -> None:
    """"negative (no lungs -> not analysable first class)": nothing labelled is no volume of zero and no finding."""
    (folder := tmp_path / "files").mkdir()
    handle = handle_of(sorted(files_written(series_lying("axial"), folder).glob("*.dcm")), algorithm="vista3d")
    platform, payload = answered(vendors, handle, tmp_path)
    answer = platform.parse(payload, "vista3d")
    assert not answer.is_seen
    assert answer.not_analysable is not None
    assert answer.not_analysable.code == "nothing_labelled"
    assert answer.regions == ()


@pytest.mark.faults  # not one, but half a minute
def test_a_real_chest_ct_of_a_person(vendors, tmp_path, quantify_server) -> None:
    """"on real pixels": 138 slices of 512 x 512 out as a volume, lungs back; the same millilitres as from the DICOM objects themselves."""
    (folder := tmp_path / "files").mkdir()
    made = list(shared_series("chest-ct-lidc-0314-2mm"))
    for number, ds in enumerate(made):
        ds.FrameOfReferenceUID = "2.25.78"  # who made it public gave each slice one of its own
        ds.save_as(folder / f"{number:06d}.dcm")
    handle = handle_of(sorted(folder.glob("*.dcm")), algorithm="vista3d")
    platform, payload = answered(vendors, handle, tmp_path, structures="lung")
    answer = platform.parse(payload, "vista3d")
    own = quantify_server.run([path.read_bytes() for path in handle.files])
    volume = next(one["value"] for one in own["measurements"] if one["unit"] == "mL")
    assert answer.measurements[0].value == pytest.approx(volume, abs=0.06)


def test_what_is_no_volume_is_not_sent(vendors, tmp_path) -> None:
    """A real head CT with uneven slices: refused in words before anything is offered."""
    (folder := tmp_path / "files").mkdir()
    for number, ds in enumerate(shared_series("head-ct-ge")):
        ds.save_as(folder / f"{number:06d}.dcm")
    handle = handle_of(sorted(folder.glob("*.dcm")), algorithm="vista3d")
    with nim(vendors, handle, tmp_path) as (platform, settings, ways):
        with pytest.raises(PlatformError, match="not one volume: slices are missing") as raised:
            platform.send(handle, settings, ways)
        assert raised.value.is_permanent
        assert not (tmp_path / "room" / VOLUME).exists()


@pytest.mark.parametrize("fault", PERMANENT)
def test_a_map_that_is_not_of_this_job_is_no_answer(vendors, chest, tmp_path, fault) -> None:
    """"faults: ... bomb, wrong shape, wrong affine, foreign labels, float labels, truncated gzip": refused for good, to be kept aside."""
    vendors.fault(fault)
    platform, payload = answered(vendors, chest, tmp_path)
    with pytest.raises(PlatformError, match=PERMANENT[fault]) as raised:
        platform.parse(payload, "vista3d")
    assert raised.value.is_permanent


@pytest.mark.parametrize(
    ("fault", "is_permanent"),
    [({"kind": "no-zip"}, False), ({"kind": "html"}, False), ({"kind": "drop"}, False), ({"kind": "status", "status": 500}, False),
     ({"kind": "status", "status": 429}, False), ({"kind": "status", "status": 422}, True), ({"kind": "status", "status": 403}, True)],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)  # fmt: skip
def test_trouble_is_tried_again_and_a_refusal_is_not(vendors, chest, tmp_path, fault, is_permanent) -> None:
    """"not a zip, ... HTML, time-out": the next question begins anew, with an address of its own, and brings the answer."""
    vendors.fault(**fault, **({} if fault["kind"] == "no-zip" else {"path": "/nim/v1/vista3d/inference"}))
    with nim(vendors, chest, tmp_path) as (platform, settings, ways):
        remote_id = platform.send(chest, settings, ways)
        with pytest.raises((PlatformError, EgressFailed)) as raised:
            until(lambda: platform.poll(remote_id, asked(chest), settings, ways))
        assert getattr(raised.value, "is_permanent", False) is is_permanent
        assert not [word for word in ("asked for", "Sign in", chest.study_uid, str(tmp_path)) if word in str(raised.value)]
        payload = until(lambda: platform.poll(remote_id, asked(chest), settings, ways))
        assert platform.parse(payload, "vista3d").measurements


def test_a_nim_that_never_answers_is_given_up(vendors, chest, tmp_path, settings) -> None:
    """A poll that only waits proves nothing: failures add up in the room, come later and later, and end as one reason."""
    settings.MEDHUB_BACKOFF_UNIT_SECONDS = 0.001
    vendors.fault("status", path="/nim/v1/vista3d/inference", status=503, times=100)
    with nim(vendors, chest, tmp_path) as (platform, values, ways):
        remote_id = platform.send(chest, values, ways)
        failed = []
        while not failed or not failed[-1].is_permanent:
            try:
                assert platform.poll(remote_id, asked(chest), values, ways) is None
            except PlatformError as error:
                failed.append(error)
            assert len(failed) <= 10
            time.sleep(0.01)
    assert [str(error) for error in failed] == ["the platform answered 503"] * 9 + ["the platform failed 10 times to answer"]


def test_after_a_failure_nobody_is_asked_at_once(vendors, chest, tmp_path, settings) -> None:
    """A busy NIM is left alone for a moment: no request is begun before its time."""
    settings.MEDHUB_BACKOFF_UNIT_SECONDS = 60
    vendors.fault("status", path="/nim/v1/vista3d/inference", status=503)
    with nim(vendors, chest, tmp_path) as (platform, values, ways):
        remote_id = platform.send(chest, values, ways)
        with pytest.raises(PlatformError, match="answered 503"):
            until(lambda: platform.poll(remote_id, asked(chest), values, ways))
        (tmp_path / "room" / LOCK).unlink()
        for _ in range(5):
            assert platform.poll(remote_id, asked(chest), values, ways) is None
        assert not (tmp_path / "room" / LOCK).exists(), "the door was not even tried"


def test_a_silent_nim_is_given_up_and_asked_again(vendors, chest, tmp_path) -> None:
    """"time-out"."""
    vendors.fault("timeout", path="/nim/v1/vista3d/inference", seconds=3)
    with (
        room_open(chest, tmp_path / "room", vendors, http=lambda: Egress(read_seconds=0.5)) as room,
        connected("nvidia-clara", vendors, tmp_path, room=room, way="nim", url=f"{vendors.url}/nim", structures="lung") as (
            platform, settings, ways,
        ),
    ):  # fmt: skip
        remote_id = platform.send(chest, settings, ways)
        with pytest.raises(EgressFailed):
            until(lambda: platform.poll(remote_id, asked(chest), settings, ways))


def test_a_slow_answer_blocks_nobody(vendors, chest, tmp_path) -> None:
    """"a worker is not blocked for minutes by others' jobs": each question comes back at once; one request is under way, whoever asks."""
    vendors.fault("slow")
    with nim(vendors, chest, tmp_path) as (platform, settings, ways):
        remote_id = platform.send(chest, settings, ways)
        longest, looks = 0.0, 0
        while True:
            began = time.monotonic()
            payload = platform.poll(remote_id, asked(chest), settings, ways)
            if payload is not None:
                break
            longest, looks = max(longest, time.monotonic() - began), looks + 1
            time.sleep(0.02)
        assert looks > 20
        assert longest < 0.5, longest
        again = platform.poll(remote_id, asked(chest), settings, ways)
        assert again is not None, "asked once more it is the same answer, without another request"
        assert again.files == payload.files


DIE = """
import django; django.setup()
import sys, os, signal, time
from pathlib import Path
from ai.room.asking import asked
from tenants.egress import Egress
asked(Path(sys.argv[1]), http=lambda: Egress(read_seconds=60), url=sys.argv[2], headers={"Content-Type": "application/json"},
      content=lambda: sys.argv[3].encode(), max_bytes=1 << 20)
time.sleep(0.5)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_dead_worker_is_followed_by_another(vendors, chest, tmp_path, settings) -> None:
    """"a worker that dies repeats it harmlessly": the lock went with the process, the next poll asks anew and gets the answer."""
    vendors.fault("timeout", path="/nim/v1/vista3d/inference", seconds=3)
    with nim(vendors, chest, tmp_path) as (platform, values, ways):
        remote_id = platform.send(chest, values, ways)
        environment = {
            **os.environ, "DJANGO_SETTINGS_MODULE": "medhub.settings", "EGRESS_ALLOW": ",".join(settings.EGRESS_ALLOW),
            "EGRESS_CA_FILE": settings.EGRESS_CA_FILE, "MEDHUB_HOME": str(settings.MEDHUB_HOME), "MEDHUB_DB_NAME": "none",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", DIE, str(tmp_path / "room"), f"{vendors.url}/nim/v1/vista3d/inference",
             orjson.dumps({"image": "https://nobody.example/v.nii.gz", "prompts": {"classes": ["lung"]}}).decode()],
            cwd=ROOT, env=environment, check=False, capture_output=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == -9, done.stderr.decode()[-800:]
        assert (tmp_path / "room" / LOCK).exists()
        assert not (tmp_path / "room" / FATE).exists()
        payload = until(lambda: platform.poll(remote_id, asked(chest), values, ways))
        assert platform.parse(payload, "vista3d").measurements


def test_the_job_ends_while_it_is_asked(vendors, chest, tmp_path) -> None:
    """Cancelled: the folder goes, the request that is under way leaves nothing behind, the next question says so."""
    vendors.fault("slow")
    with nim(vendors, chest, tmp_path) as (platform, settings, ways):
        remote_id = platform.send(chest, settings, ways)
        assert platform.poll(remote_id, asked(chest), settings, ways) is None
        shutil.rmtree(tmp_path / "room")
        time.sleep(2.5)
        assert not (tmp_path / "room").exists()
        with pytest.raises(PlatformError, match="not there any more"):
            platform.poll(remote_id, asked(chest), settings, ways)


def test_the_check_says_what_answered(vendors, chest, tmp_path) -> None:
    """"the connection check says what answered"; a model that numbers its labels otherwise is not asked."""
    with nim(vendors, chest, tmp_path) as (platform, settings, ways):
        assert platform.check(settings, ways) == "the VISTA-3D NIM is up, model version 0.0.1"
        vendors.fault("status", path="/nim/v1/health/ready", status=503)
        with pytest.raises(PlatformError, match="answered 503"):
            platform.check(settings, ways)
        with pytest.raises(PlatformError, match="a name that is not offered"):
            platform.check({**settings, "structures": "liver tumor"}, ways)
    with pytest.raises(PlatformError, match="numbers its labels otherwise"):
        labels_check(Info(version="", maker="", labels={"spleen": 1}), [BY_NAME["spleen"]])


def told(folder: Path, labels: np.ndarray, asked_for: list[int]) -> Payload:
    """A label map of an upright volume of 10 slices of 6 x 5 voxels of 0.6 x 0.8 x 1.5 mm, as a NIM would send it."""
    affine = np.array([[-0.6, 0, 0, 20.0], [0, -0.8, 0, -31.0], [0, 0, 1.5, 107.5], [0, 0, 0, 1]])
    path = folder / "answer"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.nii.gz", gzip.compress(nibabel.Nifti1Image(labels, affine).to_bytes()))
    volume = {"sop_uids": [f"2.25.{n}" for n in range(1, 11)], "rows": 6, "columns": 5, "affine": affine[:3].tolist()}
    sent = Sent(study_uid="2.25.100", series_uid="2.25.101", sop_uids=tuple(volume["sop_uids"]))
    data = {"structures": asked_for, "version": "1", "manufacturer": "", "volume": volume}
    return Payload(kind="labels", data=data, files=(path,), sent=sent)


def test_each_structure_by_its_own_code_and_side(tmp_path) -> None:
    """"Label map -> volumes per label as measurements (ml, voxel count x voxel volume; ... SCT codes)": both kidneys, told apart."""
    labels = np.zeros((5, 6, 10), np.uint8)
    labels[0, :5, 3] = 14
    labels[2, :4, 4:6] = 5
    platform, payload = platforms()["nvidia-clara"], told(tmp_path, labels, [5, 14, 1])
    answer = platform.parse(payload, "vista3d")
    voxel = 0.6 * 0.8 * 1.5 / 1000
    said = {one.laterality.display: (one.value, one.body_site.code, one.unit) for one in answer.measurements}
    assert said == {"Right": (round(8 * voxel, 2), "64033007", "mL"), "Left": (round(5 * voxel, 2), "64033007", "mL")}
    assert [one.label for one in answer.regions] == ["Right kidney", "Left kidney"]
    assert answer.algorithm.manufacturer == "not stated", "never the vendor of the connection"
    assert "liver" in answer.notes[0].text
    mask = platform.mask(payload, answer)
    assert np.array_equal(mask.labels, np.where(labels.T == 5, 1, np.where(labels.T == 14, 2, 0)))


def test_a_lung_may_come_as_its_lobes_and_a_cut_one_is_said(tmp_path) -> None:
    """A structure that the model splits: each lobe as itself; at the end of the stack a volume is a lower bound."""
    labels = np.zeros((5, 6, 10), np.uint8)
    labels[1, 1, 0:4], labels[3, 1, 2:5] = 30, 28
    answer = platforms()["nvidia-clara"].parse(told(tmp_path, labels, [20]), "vista3d")
    assert [one.label for one in answer.regions] == ["Left lung upper lobe", "Right lung upper lobe"]
    (note,) = answer.notes
    assert (note.code, note.text) == (
        "cut", "reaches the first or last slice, so its volume is a lower bound: right lung upper lobe"
    )


def test_no_code_is_made_up() -> None:
    """"SCT codes ..., never invented": each is in DICOM's dictionaries as this structure, and no lesion is offered."""
    names = {code: {entry[code][0].casefold() for entry in concepts["SCT"].values() if code in entry} for one in STRUCTURES
             for code in (one.site.code,)}  # fmt: skip
    for one in STRUCTURES:
        assert one.site.display.casefold() in {name.removesuffix(" (body structure)") for name in names[one.site.code]}, one.name
        assert not [word for word in ("tumor", "lesion", "cyst", "mass", "cancer") if word in one.name]
    assert len({one.number for one in STRUCTURES}) == len({one.name for one in STRUCTURES}) == len(STRUCTURES)
    assert all(part in BY_NUMBER for one in STRUCTURES for part in one.parts)


def test_a_connection_goes_one_way(vendors, chest, tmp_path) -> None:
    """The gateway's algorithm does not go to a NIM, nor VISTA-3D to a gateway."""
    for way, algorithm in (("push", "vista3d"), ("pull", "vista3d"), ("nim", "monai-app")):
        with nim(vendors, chest, tmp_path / f"{way}{algorithm}", way=way) as (platform, settings, ways):
            with pytest.raises(PlatformError, match="another way") as raised:
                platform.send(replace(chest, algorithm=algorithm), settings, ways)
            assert raised.value.is_permanent


def test_what_was_asked_decides_what_may_come(vendors, chest, tmp_path) -> None:
    """"integer labels only from those asked": the same map is no answer to another question."""
    platform, payload = answered(vendors, chest, tmp_path, structures="lung")
    assert platform.parse(payload, "vista3d").measurements
    other = replace(payload, data={**payload.data, "structures": [1]})
    with pytest.raises(PlatformError, match="labels that were not asked for"):
        platform.parse(other, "vista3d")
    for data in ({}, {"volume": 5, "structures": [20]}, {**payload.data, "structures": [23]}):
        with pytest.raises(PlatformError):
            platforms()["nvidia-clara"].parse(replace(payload, data=data), "vista3d")


def test_the_double_keeps_to_the_contract(vendors, chest, tmp_path) -> None:
    """"enforces contract (URL fetched from us, allow-list of hosts, ready/live/info, 422 for bad prompts)"."""
    http, base = Egress(), f"{vendors.url}/nim/v1"

    def post(body: Any) -> int:
        content = orjson.dumps(body)
        return http.request("POST", f"{base}/vista3d/inference", headers={"Content-Type": "application/json"}, content=content)[0]

    for path in ("health/live", "health/ready", "vista3d/info"):
        assert http.request("GET", f"{base}/{path}", headers={})[0] == 200
    image = "https://hub.example/v.nii.gz"
    for body in ({}, {"image": "file:///etc/passwd"}, {"image": image, "prompts": {"classes": ["unicorn"]}},
                 {"image": image, "prompts": {"classes": [0]}}, {"image": image, "prompts": {"classes": []}},
                 {"image": image, "prompts": {"boxes": []}}):  # fmt: skip
        assert post(body) == 422, body
    assert post({"image": image, "prompts": {"classes": ["lung"]}}) == 400, "a host that is not allowed"
    with room_open(chest, tmp_path / "room", vendors) as room:
        room.volume()
        address = room.offer()
        assert post({"image": f"{address}x", "prompts": {"classes": [20]}}) == 422, "404 there"
        assert post({"image": address, "prompts": {"classes": [20]}}) == 200
