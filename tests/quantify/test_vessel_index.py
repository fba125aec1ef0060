"""The relative vessel index: known answers, order kept, refusals."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from quantify.outcome import finding
from quantify.vessel_index import analyse
from sandbox.phantoms.fundus import FundusPlan, fundus
from tests.quantify.series import changed, with_values

pytestmark = pytest.mark.heavy


def index(plan: FundusPlan) -> tuple[float, float]:
    """Measured, drawn."""
    drawn = fundus(plan)
    analysis = analyse([drawn.part])
    assert analysis.reason is None, analysis.reason
    (found,) = analysis.measurements
    assert (found.code.code, found.unit.code, found.body_site.code) == ("relative-vessel-index", "{index}", "5665001")
    return found.value, drawn.share


@pytest.mark.parametrize(
    "plan",
    [
        FundusPlan(width=3), FundusPlan(width=7), FundusPlan(width=10), FundusPlan(vessels=4), FundusPlan(vessels=12),
        FundusPlan(blur=0.3), FundusPlan(blur=1.2), FundusPlan(light=0.8), FundusPlan(width=6, side=1400),
        FundusPlan(width=14, side=1400), FundusPlan(width=20, side=2100),
    ],
    ids=str,
)  # fmt: skip
def test_known_answers(plan: FundusPlan) -> None:
    """"phantoms within 1 %": sharp vessels of three working pixels or more, also where two or three pixels become one."""
    found, drawn = index(plan)
    assert found == pytest.approx(drawn, rel=0.01)


def test_it_keeps_the_order_and_the_ratio() -> None:
    """"it is a *relative* index": more or wider vessels give more, and three times as many nearly three times."""
    few, some, many = (index(FundusPlan(vessels=count)) for count in (4, 8, 12))
    assert few[0] < some[0] < many[0]
    assert many[0] / few[0] == pytest.approx(many[1] / few[1], rel=0.01)
    assert index(FundusPlan(width=3))[0] < index(FundusPlan(width=5))[0] < some[0]


def test_same_pixels_same_bytes() -> None:
    """"same pixels, same bytes"."""
    part = fundus(FundusPlan()).part
    assert json.dumps(finding(analyse([part]))) == json.dumps(finding(analyse([bytes(part)])))


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"Modality": "OPT"}, "not_fundus"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "not_fundus"),
        ({"SamplesPerPixel": 1}, "not_colour"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "not_colour"),
        ({"NumberOfFrames": 2}, "multiframe"),
        ({"StudyInstanceUID": ""}, "no_uids"),
        ({"Rows": 60000, "Columns": 60000}, "too_large"),
    ],
    ids=str,
)
def test_refused_attribute(values: dict[str, object], code: str) -> None:
    """"each with gate"."""
    reason = analyse(with_values([fundus(FundusPlan()).part], **values)).reason
    assert reason is not None
    assert reason.code == code


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        (FundusPlan(light=0.2), "exposure"),
        (FundusPlan(blur=8), "no_contrast"),
        (FundusPlan(vessels=0), "no_contrast"),
        (FundusPlan(side=480), "no_field"),
    ],
    ids=["dark", "blurred", "empty", "small"],
)
def test_refused_picture(plan: FundusPlan, code: str) -> None:
    """"each with gate": the picture's quality."""
    reason = analyse([fundus(plan).part]).reason
    assert reason is not None
    assert reason.code == code


@pytest.mark.parametrize(("fill", "code"), [((250, 240, 235), "exposure"), (None, "no_field")], ids=["too bright", "no disc"])
def test_refused_light(fill: tuple[int, int, int] | None, code: str) -> None:
    """"each with gate": over-exposed, and a picture that is lit from edge to edge."""

    def change(_: int, dataset: Dataset) -> None:
        stored = dataset.pixel_array.copy()
        stored[stored.sum(axis=2) > 0] = fill or (190, 90, 45)
        dataset.PixelData = (stored if fill else np.full_like(stored, 120)).tobytes()

    reason = analyse(changed([fundus(FundusPlan()).part], change)).reason
    assert reason is not None
    assert reason.code == code


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("objects/fundus-op-synthetic.dcm", "not a colour photograph"),
        ("real/us-palette.dcm", "modality US: not an ophthalmic photograph"),
    ],
)
def test_real_files_that_are_refused(shared: Callable[[str], Path], name: str, text: str) -> None:
    """"every gate with a real file that must be refused"."""
    reason = analyse([shared(name).read_bytes()]).reason
    assert reason is not None
    assert reason.text == text


def test_a_real_photograph(shared: Callable[[str], Path]) -> None:
    """"the real files of ../shared/dicom": looked at, the arcades and their branches are found, the thinnest are not."""
    analysis = analyse([shared("real/fundus-op-retina.dcm").read_bytes()])
    assert analysis.measurements[0].value == pytest.approx(0.0842, abs=0.002)
