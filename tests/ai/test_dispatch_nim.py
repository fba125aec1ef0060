"""A job for the VISTA-3D NIM through rows, doors and processes: volume out by the web door, labels back, SEG over the hospital's images."""

import io
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

from ai import dispatch
from ai.models import Job, Report, Result
from ai.outgoing import job_files, job_folder
from imaging.inbox import object_write
from imaging.models import Instance, Series, Study
from imaging.storage import object_path
from journal.models import AuditEvent
from tests import house
from tests.ai.delivery.reports import finish
from tests.ai.encoding.cases import judged
from tests.ai.test_dispatch import ENDED, NAME, chest_store, connect, job_of, run
from tests.ai.volume.stacks import files_written, series_lying
from tests.web import web_run

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("doubles")]

SEG, SR = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34"
VENDOR_WORDS = (b"NVIDIA", b"Clara", b"nvidia", b"clara", b"MONAI")


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    with web_run(tmp_path_factory.mktemp("web")) as found:
        yield found


@pytest.fixture
def nim(mercy, vendors, web, settings):
    """mercy's connection to the NIM double, which fetches through our own web server."""
    settings.MEDHUB_PUBLIC_URL = web.address
    vendors.control("POST", "nim", {"hosts": [urlsplit(web.address).netloc]})
    connect(mercy, "nvidia-clara", vendors, "vista3d", way="nim", url=f"{vendors.url}/nim", structures="lung", workflow="")
    return vendors


def stored(hospital: Any, sop_class: str) -> list[Path]:
    with hospital.scope():
        keys = list(Instance.objects.filter(sop_class_uid=sop_class).order_by("id").values_list("key", flat=True))
    return [Path(str(object_path(key))) for key in keys]


def test_the_whole_walk(mercy, nim, thorax, tmp_path) -> None:
    """"Hub work: DICOM -> NIfTI (.nii.gz), one-time signed URL, labels -> DICOM SEG with source geometry": the SEG refers to the
    hospital's own images, bears the person's name, no vendor's, and its mask is the lungs that were measured."""
    study = chest_store(mercy, thorax, tmp_path)
    job = run(mercy, ENDED, seconds=60)
    assert (job.state, job.reason) == ("done", "")
    house.settle(mercy)
    finish(mercy)
    with mercy.scope():
        report = Report.objects.get()
        ours = set(Instance.objects.filter(sop_class_uid="1.2.840.10008.5.1.4.1.1.2").values_list("sop_instance_uid", flat=True))
        frame = {str(dcmread(str(object_path(key))).FrameOfReferenceUID) for key in Instance.objects.values_list("key", flat=True)[:1]}
        fetched = AuditEvent.objects.get(action="ai.fetch")
        assert fetched.object_id == str(job.uuid)
        assert AuditEvent.objects.get(action="ai.send").recorded_at <= fetched.recorded_at
        assert set(Series.objects.values_list("modality", flat=True)) == {"CT", "SEG", "SR", "DOC"}
    (volume,) = report.content["measurements"]
    (region,) = report.content["regions"]
    (document,) = report.content["documents"]
    (path,) = stored(mercy, SEG)
    ds = dcmread(path)
    judged(ds)
    assert (ds.StudyInstanceUID, str(ds.PatientName), ds.PatientID) == (study.study_uid, NAME, "MRN-4711")
    assert {str(ds.SOPInstanceUID)} == {region["sop_uid"], document["sop_uid"]}
    assert ds.Manufacturer == "MedHub Quantify (test double)"
    assert str(ds.FrameOfReferenceUID) in frame
    found = hd.seg.segread(path)
    uids = sorted(ours)
    again = found.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
    heights = [float(dcmread(file).PixelSpacing[0]) for file in thorax[:1]]
    assert volume["value"] == pytest.approx(np.count_nonzero(again) * 2.5 * heights[0] ** 2 / 1000, abs=0.01)
    (sr,) = stored(mercy, SR)
    named = {str(element.value) for element in dcmread(sr).iterall() if element.keyword == "ReferencedSOPInstanceUID"}
    assert str(ds.SOPInstanceUID) in named, "the SR points at its mask"
    judged(dcmread(sr))
    with mercy.scope():
        derived = list(Instance.objects.exclude(sop_class_uid="1.2.840.10008.5.1.4.1.1.2").values_list("key", flat=True))
    assert len(derived) == 3, "SEG, SR, PDF"
    for key in derived:
        raw = Path(str(object_path(key))).read_bytes()
        assert not [word for word in VENDOR_WORDS if word in raw], "the vendor's name is never on the double's results"
    assert "NVIDIA" not in str(report.content)
    assert job_files(tenant_id=mercy.tenant.id, job_id=job.id) == []
    assert not job_folder(tenant_id=mercy.tenant.id, job_id=job.id).exists()


def test_taken_once_more_it_is_the_same_object(mercy, nim, thorax, tmp_path, monkeypatch) -> None:
    """"a worker that dies repeats it harmlessly": killed between the object and its row, the next one makes the same bytes."""
    from ai import results

    chest_store(mercy, thorax, tmp_path)

    class Killed(BaseException):
        """As SIGKILL: nothing catches it."""

    def die(name: str) -> None:
        if name == "results.after_objects":
            raise Killed

    monkeypatch.setattr(results, "fault", die)
    with pytest.raises(Killed):
        run(mercy, ENDED, seconds=60)
    monkeypatch.undo()
    with mercy.scope():
        assert not Result.objects.exists()
        Job.objects.filter(due_at__isnull=False).update(due_at="2026-01-01T00:00:00Z")
    job = run(mercy, ENDED, seconds=60)
    assert (job.state, job.reason) == ("done", "")
    house.index(mercy)
    assert len(stored(mercy, SEG)) == 1
    with mercy.scope():
        from imaging.models import WorkItem

        assert not WorkItem.objects.exists(), "nobody has to decide between two versions of it"


def test_no_lungs_is_not_analysable(mercy, nim, tmp_path) -> None:
    """"negative (no lungs -> not analysable first class)": a report that says so, no SEG, no number."""
    folder = files_written(series_lying("sagittal"), tmp_path / "series")
    for path in sorted(folder.glob("*.dcm")):
        object_write(tenant_id=mercy.tenant.id, source=0, trace_id="0" * 32, parts=[path.read_bytes()])
    house.index(mercy)
    house.complete(mercy)
    job = run(mercy, ENDED, seconds=60)
    assert (job.state, job.reason) == ("not_analysable", "none of the structures asked for was labelled")
    with mercy.scope():
        assert Report.objects.get().content["measurements"] == []
    assert stored(mercy, SEG) == []


@pytest.mark.parametrize(("fault", "words"), [("label", "labels that were not asked for"), ("shape", "another matrix than the images")])
def test_a_wrong_map_is_kept_aside(mercy, nim, thorax, tmp_path, fault, words) -> None:
    """"Foreign or malformed ones are kept aside, never delivered": quarantined with the reason and the archive as it came."""
    nim.fault(fault)
    chest_store(mercy, thorax, tmp_path)
    job = run(mercy, ENDED, seconds=60)
    assert job.state == "quarantined"
    assert words in job.reason
    with mercy.scope():
        result = Result.objects.get()
        assert [one["name"] for one in result.files] == ["0000.zip"]
        assert Report.objects.count() == 0
    assert stored(mercy, SEG) == []


def test_tilted_slices_never_leave(mercy, nim, thorax, tmp_path) -> None:
    """"eligibility/dispatch failure in words": the job fails with the reason, and nothing was fetched."""
    (out := tmp_path / "tilted").mkdir()
    for number, path in enumerate(sorted(thorax, key=lambda one: float(dcmread(one).ImagePositionPatient[2]))):
        ds = dcmread(path)
        ds.ImagePositionPatient = [ds.ImagePositionPatient[0], float(ds.ImagePositionPatient[1]) + 0.5 * number, ds.ImagePositionPatient[2]]
        target = io.BytesIO()
        ds.save_as(target, enforce_file_format=True)
        (out / f"{number}.dcm").write_bytes(target.getvalue())
    chest_store(mercy, sorted(out.glob("*.dcm")), tmp_path)
    job = run(mercy, ENDED, seconds=60)
    assert (job.state, job.reason) == ("failed", "not one volume: the gantry was tilted: each slice lies 0.50 mm beside the one before")
    with mercy.scope():
        assert not AuditEvent.objects.filter(action="ai.fetch").exists()


def test_a_cancelled_job_offers_nothing(mercy, nim, thorax, tmp_path) -> None:
    nim.fault("slow")
    chest_store(mercy, thorax, tmp_path)
    job = run(mercy, {"sent"}, seconds=60)
    assert dispatch.job_cancel(tenant_id=mercy.tenant.id, job_id=job.id)
    assert not job_folder(tenant_id=mercy.tenant.id, job_id=job.id).exists()
    assert job_of(mercy).state == "cancelled"
    with mercy.scope():
        assert Study.objects.count() == 1
