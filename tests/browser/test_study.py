"""The study page in a real browser: the pixels that are really drawn, the slider, what AI says and on whose word."""

import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from imaging.models import Study
from tests import house
from tests.browser import scenes
from tests.browser.conftest import Visitor
from tests.conftest import Hospital
from tests.dicom_files import ct_slice

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

SIDE = 16


def ramp(number: int) -> np.ndarray:
    """Slice `number`: stored values that rise along the rows, another ramp for each slice, all from 0 to 4095."""
    values = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) * 16
    values[-1, -1] = 4095
    return np.roll(values, number, axis=0)


def ramps_take(hospital: Hospital, **attributes: Any) -> Study:
    """Three slices of ramps, without a window: from the darkest to the brightest value."""
    first = ct_slice()
    common = {"StudyInstanceUID": first.StudyInstanceUID, "SeriesInstanceUID": first.SeriesInstanceUID, **attributes}
    house.store(hospital, [
        ct_slice(**common, InstanceNumber=n, ImagePositionPatient=[0, 0, 2.0 * n], PixelData=ramp(n).tobytes()) for n in (1, 2, 3)
    ])  # fmt: skip
    house.index(hospital)
    with hospital.scope():
        return Study.objects.get(study_uid=first.StudyInstanceUID)


def drawn(image: Locator) -> np.ndarray:
    """What the browser holds of the picture, read back from a canvas; waits until it is decoded."""
    pixels = image.evaluate("""async (image) => {
      await image.decode();
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
      const context = canvas.getContext("2d");
      context.drawImage(image, 0, 0);
      return [...context.getImageData(0, 0, canvas.width, canvas.height).data];
    }""")
    return np.array(pixels, dtype=np.uint8).reshape(SIDE, SIDE, 4)[..., :3]


def brightness(number: int) -> np.ndarray:
    return np.round(ramp(number) / 4095 * 255)


def open_study(reader: Visitor, clinic: Hospital, study: Study) -> Page:
    reader.open(f"/t/{clinic.slug}/studies/{study.uuid}")
    return reader.page


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_the_slice_is_drawn_as_stored(reader: Visitor, clinic: Hospital, photometric: str) -> None:
    """"study page with a rendered slice": each pixel as the server sent it and as bright as PS3.3 C.7.6.3.1.2 wants it."""
    study = ramps_take(clinic, PhotometricInterpretation=photometric)
    page = open_study(reader, clinic, study)
    image = page.get_by_role("img", name="CT, image 2 of 3")
    seen = drawn(image)
    answer = reader.context.request.get(reader.address + str(image.get_attribute("src")))
    sent = np.asarray(Image.open(io.BytesIO(answer.body())).convert("RGB"))
    assert np.array_equal(seen, sent)
    wanted = brightness(2) if photometric == "MONOCHROME2" else 255 - brightness(2)
    assert np.abs(seen[..., 0] - wanted).max() <= 1
    box = image.bounding_box()
    assert box
    assert min(box["width"], box["height"]) > 200


def test_slider_wheel_and_keys_change_the_slice(reader: Visitor, clinic: Hospital) -> None:
    """The slider, the arrow keys on it and the mouse wheel all lead to the same picture and say which it is."""
    page = open_study(reader, clinic, ramps_take(clinic))
    image, slider = page.locator(".mh-viewer img"), page.get_by_role("slider", name="Image number")
    steps = (
        (lambda: slider.press("ArrowRight"), 3), (lambda: slider.fill("1"), 1),
        (lambda: _wheel(page, image, 100), 2), (lambda: _wheel(page, image, -100), 1), (lambda: _wheel(page, image, -100), 1),
    )  # fmt: skip
    for step, number in steps:
        step()
        expect(page.get_by_text(f"Image {number} of 3", exact=True)).to_be_visible()
        expect(image).to_have_attribute("src", re.compile(rf"/{number}\.png$"))
        expect(slider).to_have_attribute("aria-valuetext", f"Image {number} of 3")
        assert np.abs(drawn(image)[..., 0] - brightness(number)).max() <= 1


def _wheel(page: Page, image: Locator, distance: int) -> None:
    image.hover()
    page.mouse.wheel(0, distance)
    page.wait_for_timeout(50)


def test_an_object_without_a_picture_says_so(reader: Visitor, clinic: Hospital) -> None:
    """No broken image: words, and that nothing is lost."""
    page = open_study(reader, clinic, scenes.study_take(clinic, count=1, PixelData=None))
    expect(page.get_by_text("This object has no picture that can be drawn here. It is kept as it came.")).to_be_visible()
    expect(page.locator(".mh-viewer img")).to_be_hidden()
    reader.forgive("422")


def test_the_panel_says_who_computed_what_and_how(reader: Visitor, clinic: Hospital) -> None:
    """"Provenance beside every AI word": value, unit, method and threshold, algorithm, version, time, and what it is not."""
    study = scenes.study_take(clinic)
    scenes.report_make(clinic, study)
    page = open_study(reader, clinic, study)
    panel = page.get_by_role("region", name="AI report")
    expect(panel.get_by_role("heading")).to_have_text("Lung density mask")
    expect(panel).to_contain_text("AI-generated, preliminary, not a medical device")
    volume, share = panel.locator(".mh-finding").all()
    assert volume.inner_text().split("\n") == ["Volume, lung structure", "4,215 mL", "enclosed air below -500 HU"]
    assert share.inner_text().split("\n") == [
        "Low attenuation area, lung structure", "12.0 %", "density mask · threshold attenuation coefficient -950 HU",
    ]  # fmt: skip
    expect(panel).to_contain_text("quantification · Preliminary, version 1")
    expect(panel.locator(".mh-source")).to_have_text(re.compile(
        r"MedHub Quantify · lung-density-mask 1\.4\.2 ·\s+\d\d \w{3} \d{4} [\d:]{8} C[SD]T\s*computed from 3 images, SHA-256 5bc79a06f809…"
    ))
    expect(page.get_by_text("1 image", exact=True)).to_have_count(0)


def test_not_analysable_says_why_and_gives_no_number(reader: Visitor, clinic: Hospital) -> None:
    """"answers "not analysable, because..." when its gate fails": the reason, the notice, no value and no claim of pixels read."""
    study = scenes.study_take(clinic, PatientName="GATE^CLOSED", PatientID="GATE")
    scenes.report_make(clinic, study, reason="slices 6.0 mm apart, at most 2.5")
    page = open_study(reader, clinic, study)
    panel = page.get_by_role("region", name="AI report")
    expect(panel).to_contain_text("Not analysable")
    expect(panel).to_contain_text("slices 6.0 mm apart, at most 2.5")
    expect(panel).to_contain_text("AI-generated, preliminary, not a medical device")
    expect(panel).not_to_contain_text("SHA-256")
    expect(panel).not_to_contain_text("computed from")
    expect(panel.locator(".mh-finding")).to_have_count(0)
    reader.open(f"/t/{clinic.slug}/worklist")
    row = page.get_by_role("row").filter(has_text="GATE, CLOSED")
    expect(row.locator(".mh-state-note")).to_have_text(re.compile("not analysable\\s*slices 6.0 mm apart"))


def test_the_timeline_says_how_long_each_hop_took(reader: Visitor, clinic: Hospital) -> None:
    """"timeline (received -> complete -> sent -> result -> delivered)" with the time since the hop before."""
    study = scenes.study_take(clinic)
    scenes.report_make(clinic, study)
    page = open_study(reader, clinic, study)
    hops = {hop.locator("> span").nth(1).inner_text().split("\n")[0]: hop for hop in page.locator(".mh-line li").all()}
    assert list(hops) == [
        "Received", "Stored", "Study complete", "ImagingStudy", "Rule matched", "Job sent", "Result received", "Report issued",
    ]  # fmt: skip
    expect(hops["Report issued"]).to_contain_text("+1.2 s")
    expect(hops["ImagingStudy"]).to_contain_text("not yet")
    expect(hops["Received"]).not_to_contain_text("+")
    expect(hops["Received"].locator("time")).to_have_attribute("datetime", re.compile(r"^\d{4}-\d\d-\d\dT[\d:]{8}Z$"))
    expect(page.get_by_text(re.compile(r"^\d+\.\d s from first image to report$"))).to_be_visible()
