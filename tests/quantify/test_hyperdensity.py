"""The volume of hyperdensity: known answers, refusals, and no word of what it could be."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from quantify.hyperdensity import analyse
from quantify.outcome import finding
from sandbox.phantoms.head import Head, HeadPlan, head
from tests.quantify.series import changed, with_values

PLANS = (HeadPlan(), HeadPlan(slices=64, spacing=2.5, matrix=96, seed=6), HeadPlan(slices=34, spacing=5.0, matrix=128, seed=7))


@pytest.fixture(scope="module")
def drawn() -> Head:
    return head(HeadPlan())


def numbers(parts: object) -> dict[str, float]:
    analysis = analyse(parts)  # type: ignore[arg-type]
    assert analysis.reason is None, analysis.reason
    return {one.code.code: one.value for one in analysis.measurements}


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"{plan.spacing:g}")
def test_known_answers(plan: HeadPlan) -> None:
    """"phantoms within 1 %": two pieces count; one under 0.5 mL, one of 180 HU, scalp and skull do not."""
    drawn = head(plan)
    found = numbers(drawn.parts)
    assert found["hyperdense-volume"] == pytest.approx(drawn.volume_ml, rel=0.01)
    assert found["112031"] == pytest.approx(drawn.mean_hu, rel=0.01)
    assert drawn.volume_ml > 10


def test_none_is_zero_and_no_refusal() -> None:
    assert numbers(head(HeadPlan(has_pieces=False)).parts) == {"hyperdense-volume": 0.0}


def test_same_pixels_same_bytes(drawn: Head) -> None:
    """"same pixels, same bytes": whatever order the instances come in."""
    one, other = (json.dumps(finding(analyse(parts))) for parts in (drawn.parts, drawn.parts[::-1]))
    assert one == other


def test_it_names_no_disease(drawn: Head) -> None:
    """"volume of hyperdensity", never haemorrhage."""
    text = json.dumps(finding(analyse(drawn.parts))).lower()
    assert "volume of hyperdensity" in text
    assert not any(word in text for word in ("haemorrhage", "hemorrhage", "bleed", "blood", "stroke", "1386000"))


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"Modality": "MR"}, "not_ct"),
        ({"BodyPartExamined": "CHEST"}, "not_head"),
        ({"BodyPartExamined": None, "StudyDescription": "CT Thorax"}, "not_head"),
        ({"ContrastBolusAgent": "Iohexol"}, "contrast"),
        ({"SliceThickness": "7"}, "spacing"),
        ({"RescaleType": "ED"}, "not_hu"),
        ({"PixelSpacing": ["0.5", "0.5"]}, "no_skull"),
    ],
)
def test_refused_attribute(drawn: Head, values: dict[str, object], code: str) -> None:
    """"each with gate"."""
    reason = analyse(with_values(drawn.parts, **values)).reason
    assert reason is not None
    assert reason.code == code


def test_an_open_skull_is_refused(drawn: Head) -> None:
    """"each with gate": without bone around it nothing is inside."""

    def soften(_: int, dataset: object) -> None:
        stored = dataset.pixel_array.copy()  # type: ignore[attr-defined]
        stored[stored > 1274] = 1064
        dataset.PixelData = stored.tobytes()  # type: ignore[attr-defined]

    reason = analyse(changed(drawn.parts, soften)).reason
    assert reason is not None
    assert reason.code == "no_skull"


def test_real_files_that_are_refused(
    shared_series: Callable[[str], list[bytes]], shared: Callable[[str], Path]
) -> None:
    """"every gate with a real file that must be refused"."""
    for name, text in (
        ("head-ct-ge", "slices 7.0 mm apart, at most 5"),
        ("chest-ct-lidc-0314", "body part CHEST: not a head CT"),
    ):
        reason = analyse(shared_series(name)).reason
        assert reason is not None
        assert reason.text == text
    reason = analyse([shared("real/mr-brain-lgg.dcm").read_bytes()]).reason
    assert reason is not None
    assert reason.text == "modality MR (magnetic resonance): not a CT"
