"""The Agatston-like score: known answers, refusals, and what it must not be taken for."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from quantify.calcium import analyse
from quantify.outcome import finding
from sandbox.phantoms.calcium import FOCI, PLAN, Calcium, Focus, calcium
from tests.quantify.series import changed, opened, with_values

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def drawn() -> Calcium:
    return calcium()


def numbers(parts: object) -> dict[str, float]:
    analysis = analyse(parts)  # type: ignore[arg-type]
    assert analysis.reason is None, analysis.reason
    return {one.code.code: one.value for one in analysis.measurements}


def test_known_answers(drawn: Calcium) -> None:
    """"phantoms within 1 %": four weights, and a focus below 130 HU that counts for nothing."""
    found = numbers(drawn.parts)
    assert found["agatston-like"] == pytest.approx(drawn.score, rel=0.01)
    assert found["122660"] == pytest.approx(drawn.volume_mm3, rel=0.01)
    assert drawn.score > 1000


@pytest.mark.parametrize("focus", FOCI, ids=lambda focus: str(focus.hu))
def test_each_weight(focus: Focus) -> None:
    """"phantoms within 1 %": each focus alone, so that one weight cannot stand in for another."""
    alone = calcium(PLAN, (focus,))
    assert numbers(alone.parts)["agatston-like"] == pytest.approx(alone.score, rel=0.01, abs=0.05)


def test_no_calcium_is_zero_and_no_refusal() -> None:
    assert numbers(calcium(PLAN, ()).parts) == {"agatston-like": 0.0, "122660": 0.0}


def test_bone_is_no_calcium() -> None:
    """Vertebrae, ribs and breast bone of the phantom are above 130 HU in every slice: none of it is scored."""
    parts = calcium(PLAN, ()).parts
    assert all((opened(part).pixel_array.astype(int) - 1024 >= 300).sum() > 20 for part in parts)
    assert numbers(parts)["agatston-like"] == 0.0


def test_same_pixels_same_bytes(drawn: Calcium) -> None:
    """"same pixels, same bytes": whatever order the instances come in."""
    one, other = (json.dumps(finding(analyse(parts))) for parts in (drawn.parts, drawn.parts[::-1]))
    assert one == other


def test_it_says_that_it_is_only_like_one(drawn: Calcium) -> None:
    """Name, code and note say "like"; no code of a coronary score is used."""
    found = finding(analyse(drawn.parts))
    assert {one["code"]["code"] for one in found["measurements"]} == {"agatston-like", "122660"}
    assert all(one["method"].startswith("Agatston-like, ungated") for one in found["measurements"])
    assert [one["parameters"] for one in found["measurements"]][0][0]["code"]["code"] == "122657"
    assert found["notes"][0]["text"].startswith("like an Agatston score, and not comparable with one")
    assert "the definition has 3 mm at 120 kV" not in found["notes"][0]["text"]
    thin = finding(analyse(with_values(drawn.parts, KVP=100)))
    assert thin["notes"][0]["text"].endswith("slices 3.00 mm apart at 100 kV, the definition has 3 mm at 120 kV")


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"Modality": "MR"}, "not_ct"),
        ({"BodyPartExamined": "HEAD"}, "not_chest"),
        ({"ContrastBolusAgent": "Iohexol"}, "contrast"),
        ({"SliceThickness": "5"}, "spacing"),
        ({"RescaleSlope": None}, "not_hu"),
    ],
)
def test_refused_attribute(drawn: Calcium, values: dict[str, str | None], code: str) -> None:
    """"each with gate"."""
    reason = analyse(with_values(drawn.parts[:40], **values)).reason
    assert reason is not None
    assert reason.code == code


@pytest.mark.parametrize(("low", "high", "value", "code"), [(0, 500, 1064, "no_lungs"), (824, 1154, 724, "no_heart")])
def test_refused_pixels(drawn: Calcium, low: int, high: int, value: int, code: str) -> None:
    """"each with gate": lungs filled with tissue; and no tissue between them in which a heart could lie."""

    def fill(_: int, dataset: object) -> None:
        stored = dataset.pixel_array.copy()  # type: ignore[attr-defined]
        stored[(stored > low) & (stored < high)] = value
        dataset.PixelData = stored.tobytes()  # type: ignore[attr-defined]

    analysis = analyse(changed(drawn.parts, fill))
    assert analysis.reason is not None
    assert (analysis.reason.code, analysis.measurements) == (code, ())


def test_real_files_that_are_refused(
    shared_series: Callable[[str], list[bytes]], shared: Callable[[str], Path]
) -> None:
    """"every gate with a real file that must be refused"."""
    reason = analyse(shared_series("chest-ct-lidc-0314")).reason
    assert reason is not None
    assert reason.text == "slices 6.0 mm apart, at most 3"
    reason = analyse(shared_series("head-ct-ge")).reason
    assert reason is not None
    assert reason.text == "body part HEAD: not a chest or heart CT"
    reason = analyse([shared("real/lung-ct-lctsc.dcm").read_bytes()]).reason
    assert reason is not None
    assert reason.text == "1 slice, at least 30"


def test_a_real_chest(shared_series: Callable[[str], list[bytes]]) -> None:
    """"the real files of ../shared/dicom": a real chest is scored, within what one heart and aorta can hold."""
    found = numbers(shared_series("chest-ct-lidc-0314-2mm"))
    assert 0 < found["agatston-like"] < 5000
    assert 0 < found["122660"] < 10_000
