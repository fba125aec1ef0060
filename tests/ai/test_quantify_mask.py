"""MedHub Quantify's own mask through the walk: the lungs that were measured, as a SEG over the images that they were measured in."""

from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from ai.models import Report
from ai.services import connection_create, rule_set
from billing.entitlements import entitlement_set
from imaging.models import Instance, Series
from imaging.storage import object_path
from tests import house
from tests.ai.delivery.reports import finish
from tests.ai.encoding.cases import judged
from tests.ai.test_dispatch import ENDED, NAME, chest_store, run
from tests.quantify.serving import KEY

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("doubles")]

SEG, SR = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34"


@pytest.fixture
def hospital(mercy, settings, quantify_server) -> Any:
    settings.QUANTIFY_URL, settings.QUANTIFY_KEY = f"http://127.0.0.1:{quantify_server.port}", KEY
    settings.EGRESS_ALLOW = [f"127.0.0.1:{quantify_server.port}"]
    with mercy.scope():
        entitlement_set(state="active")
        rule_set(
            name="chest", connection=connection_create(platform="medhub-quantify"), algorithm="lung-density-mask",
            conditions=[{"fact": "modality", "is": ["CT"]}],
        )  # fmt: skip
    return mercy


def stored(hospital: Any, sop_class: str) -> list[Path]:
    with hospital.scope():
        return [Path(str(object_path(key))) for key in Instance.objects.filter(sop_class_uid=sop_class).values_list("key", flat=True)]


def test_the_lungs_that_were_measured(hospital, thorax, tmp_path) -> None:
    """"the platform file turns it into the same SEG path": the volume of the report is that of the voxels in the archive."""
    study = chest_store(hospital, thorax, tmp_path)
    job = run(hospital, ENDED, seconds=60)
    assert (job.state, job.reason) == ("done", "")
    house.settle(hospital)
    finish(hospital)
    (path,) = stored(hospital, SEG)
    ds = dcmread(path)
    judged(ds)
    assert (ds.StudyInstanceUID, str(ds.PatientName)) == (study.study_uid, NAME)
    assert ds.Manufacturer == "MedHub Quantify"
    assert ds.ContentDescription == "AI-generated, preliminary, not a medical device"
    with hospital.scope():
        report = Report.objects.get()
        images = dict(Instance.objects.filter(sop_class_uid="1.2.840.10008.5.1.4.1.1.2").values_list("sop_instance_uid", "key"))
        assert set(Series.objects.values_list("modality", flat=True)) == {"CT", "SEG", "SR", "DOC"}
    found = hd.seg.segread(path).get_pixels_by_source_instance(
        sorted(images), combine_segments=True, assert_missing_frames_are_empty=True
    )
    first = dcmread(str(object_path(next(iter(images.values())))))
    volume = next(one["value"] for one in report.content["measurements"] if one["unit"] == "mL")
    assert volume == pytest.approx(np.count_nonzero(found) * 2.5 * float(first.PixelSpacing[0]) ** 2 / 1000, abs=0.06)
    hu = np.stack([dcmread(str(object_path(images[uid]))).pixel_array.astype(int) - 1024 for uid in sorted(images)])
    share = next(one["value"] for one in report.content["measurements"] if one["unit"] == "%")
    assert share == round(np.count_nonzero(hu[found > 0] < -950) / np.count_nonzero(found) * 100, 3)
    assert [one["label"] for one in report.content["regions"]] == ["Lungs"]
    assert "1 region outlined" in report.conclusion
    (sr,) = stored(hospital, SR)
    named = {str(one.value) for one in dcmread(sr).iterall() if one.keyword == "ReferencedSOPInstanceUID"}
    assert str(ds.SOPInstanceUID) in named


def test_images_that_can_bear_no_mask_keep_their_numbers(hospital, thorax, tmp_path) -> None:
    """Each slice in a frame of reference of its own, as in public archives: the numbers hold, and a note says why there is no SEG."""
    (out := tmp_path / "frames").mkdir()
    for path in thorax:
        ds = dcmread(path)
        ds.FrameOfReferenceUID = generate_uid()
        ds.save_as(out / path.name)
    chest_store(hospital, sorted(out.glob("*.dcm")), tmp_path)
    job = run(hospital, ENDED, seconds=60)
    assert (job.state, job.reason) == ("done", "")
    with hospital.scope():
        content = Report.objects.get().content
    assert len(content["measurements"]) == 3
    assert content["regions"] == content["documents"] == []
    assert content["notes"][-1]["text"].startswith("the mask was not kept: a mask is over images of one series, one size and one frame")
    assert stored(hospital, SEG) == []


def test_a_mask_over_somebody_elses_images_is_refused(hospital, thorax, tmp_path, monkeypatch) -> None:
    """"wrong-patient guard": an outcome whose mask names other images is kept aside, numbers and all."""
    from ai.platforms.medhub_quantify import MedHubQuantify

    whole = MedHubQuantify.poll

    def poll(self: Any, *args: Any) -> Any:
        payload = whole(self, *args)
        if payload is not None:
            payload.data["mask"]["sop_uids"][0] = "2.25.666"
        return payload

    monkeypatch.setattr(MedHubQuantify, "poll", poll)
    chest_store(hospital, thorax, tmp_path)
    job = run(hospital, ENDED, seconds=60)
    assert (job.state, job.reason) == ("quarantined", "the mask lies over images that were not sent")
    with hospital.scope():
        assert Report.objects.count() == 0
    assert stored(hospital, SEG) == []

