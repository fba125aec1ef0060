"""Percent density: known answers, refusals, and a real mammogram on which one threshold cannot tell fat from dense tissue."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from quantify.breast_density import analyse
from quantify.outcome import finding
from sandbox.phantoms.breast import BreastPlan, breast
from tests.quantify.series import changed, opened, with_values, written

PLANS = (
    BreastPlan(), BreastPlan(side="L"), BreastPlan(is_raw=True, side="L"), BreastPlan(view="CC"),
    BreastPlan(view="CC", is_raw=True), BreastPlan(view="CC", pixel=0.2, side="L"),
)  # fmt: skip


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_known_answers(plan: BreastPlan) -> None:
    """"phantoms within 1 %": both views and sides, both kinds of pixels; "pectoral removed for MLO"."""
    drawn = breast(plan)
    analysis = analyse([drawn.part])
    assert analysis.reason is None
    (found,) = analysis.measurements
    assert found.value == pytest.approx(drawn.percent, rel=0.01)
    assert (found.code.code, found.unit.code, found.body_site.code) == ("111046", "%", "76752008")
    assert ("pectoral" in found.method) == (plan.view == "MLO")


def test_the_muscle_would_miss_it() -> None:
    """That the test above can fail: with the muscle left in, the answer of this phantom is another one."""
    parts = with_values([breast(BreastPlan()).part], ViewPosition="CC")
    analysis = analyse(parts)
    assert analysis.reason or abs(analysis.measurements[0].value / breast(BreastPlan()).percent - 1) > 0.1


def test_dark_pixels_and_feet_up() -> None:
    """MONOCHROME1, and an image that stands on its head, give the same number."""
    drawn = breast(BreastPlan())

    def turn(_: int, dataset: Dataset) -> None:
        dataset.PixelData = (4095 - dataset.pixel_array[::-1]).tobytes()
        dataset.PhotometricInterpretation, dataset.PatientOrientation = "MONOCHROME1", ["P", "HR"]

    assert analyse(changed([drawn.part], turn)).measurements == analyse([drawn.part]).measurements


def test_same_pixels_same_bytes() -> None:
    """"same pixels, same bytes"."""
    part = breast(BreastPlan()).part
    assert json.dumps(finding(analyse([part]))) == json.dumps(finding(analyse([bytes(part)])))
    assert len(analyse([part]).input.sha256 or "") == 64


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"Modality": "CR"}, "not_mammogram"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.3"}, "not_mammogram"),
        ({"ContrastBolusAgent": "Iohexol"}, "contrast"),
        ({"BreastImplantPresent": "YES"}, "implant"),
        ({"NumberOfFrames": 2}, "multiframe"),
        ({"SeriesInstanceUID": ""}, "no_uids"),
        ({"Rows": 65535, "Columns": 65535}, "too_large"),
        ({"ViewPosition": "ML"}, "view"),
        ({"PartialView": "YES"}, "view"),
        ({"PatientOrientation": None}, "no_orientation"),
        ({"PhotometricInterpretation": "RGB"}, "not_grey"),
        ({"ImagerPixelSpacing": None}, "no_pixel_spacing"),
        ({"ImagerPixelSpacing": [0.1, 0.1]}, "no_breast"),
    ],
    ids=str,
)
def test_refused_attribute(values: dict[str, object], code: str) -> None:
    """"each with gate"."""
    reason = analyse(with_values([breast(BreastPlan()).part], **values)).reason
    assert reason is not None
    assert reason.code == code


def test_refused_view_with_a_modifier() -> None:
    """"each with gate": a spot view is not the whole breast."""
    dataset = opened(breast(BreastPlan(view="CC")).part)
    spot = Dataset()
    spot.CodeValue, spot.CodingSchemeDesignator, spot.CodeMeaning = "399055006", "SCT", "Spot compression"
    view = Dataset()
    view.ViewModifierCodeSequence = [spot]
    dataset.ViewCodeSequence = [view]
    reason = analyse([written(dataset)]).reason
    assert reason is not None
    assert reason.code == "view"


def test_refused_raw_pixels_of_unknown_meaning() -> None:
    reason = analyse(with_values([breast(BreastPlan(is_raw=True)).part], PixelIntensityRelationship="DISP")).reason
    assert reason is not None
    assert reason.code == "not_grey"


@pytest.mark.parametrize(
    ("plan", "code"),
    [(BreastPlan(has_muscle=False), "no_pectoral"), (BreastPlan(view="CC", has_lobes=False), "one_tissue")],
    ids=["no muscle", "fat alone"],
)
def test_refused_pixels(plan: BreastPlan, code: str) -> None:
    """"each with gate": Otsu always finds a threshold; where there is one tissue alone it means nothing."""
    reason = analyse([breast(plan).part]).reason
    assert reason is not None
    assert reason.code == code


def test_two_images_are_not_one() -> None:
    reason = analyse([breast(BreastPlan()).part, breast(BreastPlan(view="CC")).part]).reason
    assert reason is not None
    assert reason.text == "2 images given, only one can be measured"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("real/cxr-nih-1024.dcm", "modality DX: not a mammogram"),
        ("real/pet-breast-icons.dcm", "modality PT: not a mammogram"),
        ("real/mammo-ge-mlo.dcm", "fat and dense tissue cannot be told apart by their grey values"),
    ],
)
def test_real_files_that_are_refused(shared: Callable[[str], Path], name: str, text: str) -> None:
    """"every gate with a real file that must be refused". The last one was looked at: its muscle is found, and Otsu's
    threshold would call 43 % dense, much of it fat before the chest wall; its grey values have one peak."""
    analysis = analyse([shared(name).read_bytes()])
    assert analysis.reason is not None
    assert (analysis.reason.text, analysis.measurements) == (text, ())
