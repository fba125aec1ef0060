"""Each refusal of the gate: a first-class result with a reason people can read."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, SecondaryCaptureImageStorage

from quantify.lung_density import analyse
from quantify.lungs import LUNG_AT_LEAST_ML, NoLungsError, lungs_of
from quantify.volume import Volume
from sandbox.phantoms.thorax import draw
from tests.quantify.conftest import Phantom
from tests.quantify.series import changed, with_values


def reason_of(parts: list[bytes]) -> tuple[str, str]:
    """Code and text of the refusal; such a result holds no number."""
    analysis = analyse(parts)
    assert analysis.reason is not None, analysis.measurements
    assert analysis.measurements == ()
    return analysis.reason.code, analysis.reason.text


def moved(parts: tuple[bytes, ...], shift: Callable[[int], tuple[float, float, float]]) -> list[bytes]:
    """Every slice moved by `shift(index)`."""

    def change(index: int, dataset: Dataset) -> None:
        place = [float(value) for value in dataset.ImagePositionPatient]
        dataset.ImagePositionPatient = [round(a + b, 4) for a, b in zip(place, shift(index), strict=True)]

    return changed(parts, change)


@pytest.mark.parametrize(
    ("values", "code", "text"),
    [
        ({"Modality": "DX"}, "not_ct", "modality DX (digital radiograph): not a CT"),
        ({"Modality": "MR"}, "not_ct", "modality MR (magnetic resonance): not a CT"),
        ({"Modality": ""}, "not_ct", "modality not stated: not a CT"),
        ({"BodyPartExamined": "HEAD"}, "not_chest", "body part HEAD: not a chest CT"),
        ({"BodyPartExamined": "ABDOMEN"}, "not_chest", "body part ABDOMEN: not a chest CT"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer", "localizer (scout) image among the slices"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "projection", "projection images (MIP or MinIP), not slices"),
        (
            {"SOPClassUID": EnhancedCTImageStorage},
            "multiframe",
            "multi-frame CT is not read; send CT Image Storage slices",
        ),
        (
            {"SOPClassUID": SecondaryCaptureImageStorage},
            "not_ct_image",
            "not CT Image Storage: a capture or derived object has no measured HU",
        ),
        ({"ContrastBolusAgent": "Iohexol 300"}, "contrast", "contrast agent given: it raises lung attenuation"),
        ({"SliceThickness": "5"}, "spacing", "slices 5.0 mm apart, at most 2.5"),
        ({"SliceThickness": "2.6"}, "spacing", "slices 2.6 mm apart, at most 2.5"),
        ({"ImagePositionPatient": None}, "no_position", "image position or orientation missing"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "not_axial", "slices are not axial"),
        ({"PixelSpacing": None}, "no_pixel_spacing", "pixel spacing missing"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "not_grey", "pixels are not plain grey values"),
        ({"RescaleType": "ED"}, "not_hu", "pixel values in ED, not in HU"),
        ({"RescaleSlope": None}, "not_hu", "no linear rescale to HU"),
        ({"RescaleSlope": "0"}, "not_hu", "no linear rescale to HU"),
        ({"RescaleIntercept": None}, "not_hu", "no linear rescale to HU"),
        ({"Rows": 65535, "Columns": 65535}, "too_large", "more voxels than one job may hold"),
        ({"SeriesInstanceUID": ""}, "no_uids", "study, series or instance UID missing"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_refused_attribute(phantom: Phantom, values: dict[str, Any], code: str, text: str) -> None:
    """The gate: Modality, body part, localizer, contrast, orientation, rescale; each refusal with a human reason."""
    assert reason_of(with_values(phantom.parts[:40], **values)) == (code, text)


@pytest.mark.parametrize("agent", ["", "NONE"])
def test_no_contrast_is_measured(phantom: Phantom, agent: str) -> None:
    """Contrast refuses, but an empty ContrastBolusAgent (or the word NONE) says there was none."""
    assert analyse(with_values(phantom.parts, ContrastBolusAgent=agent)).reason is None


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ({"StudyDescription": "CT HEAD W/O"}, "not_chest"),
        ({"StudyDescription": "", "SeriesDescription": "Schädel nativ"}, "not_chest"),
        ({"StudyDescription": "", "ProtocolName": "BRAIN_ROUTINE"}, "not_chest"),
        ({"StudyDescription": "CT thoracic spine"}, "not_chest"),
        ({"StudyDescription": "CT HEAD AND CHEST"}, None),
        ({"StudyDescription": "Thorax nativ"}, None),
        ({"StudyDescription": "Study 7"}, None),
    ],
)
def test_body_part_absent(phantom: Phantom, words: dict[str, str], code: str | None) -> None:
    """If BodyPartExamined is absent the descriptions' words decide, and finally the pixels."""
    plain = {"BodyPartExamined": None, "StudyDescription": "", "SeriesDescription": "", "ProtocolName": ""}
    reason = analyse(with_values(phantom.parts, **plain | words)).reason
    assert (reason.code if reason else None) == code


def test_unstated_head_has_no_lungs(phantom: Phantom) -> None:
    """Finally: no two lungs found, here in a body whose lungs were filled with tissue."""

    def fill(_: int, dataset: Dataset) -> None:
        hu = dataset.pixel_array.astype(np.int32) - 1024
        dataset.PixelData = (np.where(hu < -300, np.where(hu < -990, hu, 40), hu) + 1024).astype(np.uint16).tobytes()
        dataset.BodyPartExamined = dataset.StudyDescription = dataset.SeriesDescription = dataset.ProtocolName = ""

    assert reason_of(changed(phantom.parts, fill)) == ("no_lungs", "no two lungs found")


def test_one_lung_is_not_two(phantom: Phantom) -> None:
    """Lungs are two: a single one (here the left is filled) is refused rather than measured as a pair."""

    def fill_left(_: int, dataset: Dataset) -> None:
        stored = dataset.pixel_array.copy()
        half = stored[:, stored.shape[1] // 2 + 5 :]
        half[(half > 40) & (half < 524)] = 1064
        dataset.PixelData = stored.tobytes()

    assert reason_of(changed(phantom.parts, fill_left)) == ("no_lungs", "no two lungs found")


def test_a_cushion_is_no_lung(phantom: Phantom) -> None:
    """Lungs are air inside the body: a cushion beside the patient does not stand in for a missing lung."""
    volume = drawn_volume(phantom)
    grid = (np.arange(96) - 47.5) * phantom.plan.pixel
    right, back = np.meshgrid(grid, grid)
    volume.hu[:, (right > 20) & (back < 60) & ((volume.hu < -500) & (volume.hu > -990)).any(axis=0)] = 40
    outside = (right / 170) ** 2 + ((back - 4) / 124) ** 2
    for margin, gap, ends, value in ((0, 1.05, 2, 60), (6, 1.15, 4, -850)):
        is_cushion = (right > 60) & (right < 170 - margin) & (back > 40) & (back < 126 - margin) & (outside > gap)
        volume.hu[ends:-ends, is_cushion] = value
    foam = np.count_nonzero(volume.hu == -850) * volume.voxel_ml
    assert foam > LUNG_AT_LEAST_ML
    with pytest.raises(NoLungsError, match="no two lungs found"):
        lungs_of(volume)


def test_a_touching_pair_is_two(phantom: Phantom) -> None:
    """Lungs that touch in front of the heart are one component and still two lungs; nothing of them is lost."""
    volume = drawn_volume(phantom)
    whole = lungs_of(volume)
    middle = volume.hu[30, 30:34]
    middle[:, 38:58] = -850
    joined = lungs_of(volume)
    assert joined.mask.sum() == pytest.approx(whole.mask.sum(), rel=0.01)
    assert joined.mask.sum() > whole.mask.sum()


def drawn_volume(phantom: Phantom) -> Volume:
    """A copy of the phantom's HU that a test may change."""
    spacing = (phantom.plan.spacing, phantom.plan.pixel, phantom.plan.pixel)
    return Volume(hu=draw(phantom.plan).hu, spacing=spacing, sha256="")


def test_small_lungs_are_refused(phantom: Phantom) -> None:
    """Lungs of 1 to 10 L: the same picture at half its in-plane size is no adult chest."""
    parts = with_values(phantom.parts, PixelSpacing=[phantom.plan.pixel / 1.8] * 2)
    code, text = reason_of(parts)
    assert code == "lung_volume"
    assert text.startswith("lung volume 0.")
    assert text.endswith("outside 1 to 10 L")


def test_spacing_takes_the_larger(phantom: Phantom) -> None:
    """The larger of SliceThickness and the spacing by ImagePositionPatient: thin slices 6 mm apart are refused."""
    apart = moved(with_values(phantom.parts, SliceThickness="1.0"), lambda index: (0, 0, -4.0 * index))
    assert reason_of(apart) == ("spacing", "slices 6.0 mm apart, at most 2.5")


def test_spacing_is_projected_on_the_normal(phantom: Phantom) -> None:
    """The positions are projected on the normal: a tilted gantry's z steps overstate the distance, here 2.6 for 2.5."""
    tilt = np.deg2rad(18)

    def change(index: int, dataset: Dataset) -> None:
        dataset.ImageOrientationPatient = [1, 0, 0, 0, round(np.cos(tilt), 6), round(np.sin(tilt), 6)]
        place = [float(value) for value in dataset.ImagePositionPatient]
        dataset.ImagePositionPatient = [place[0], place[1], round(2.6 * (56 - index), 4)]

    analysis = analyse(changed(phantom.parts, change))
    assert analysis.reason is None
    assert analysis.notes[1].text == "56 slices, thickness 2.00 mm, 2.47 mm apart"


def test_missing_slices(phantom: Phantom) -> None:
    """Missing slices (a gap) are refused."""
    code, text = reason_of([*phantom.parts[:20], *phantom.parts[22:]])
    assert (code, text) == ("missing_slices", "2 missing in the stack: a gap of 6.0 mm, usual 2.0")


def test_uneven_spacing(phantom: Phantom) -> None:
    """Uneven spacing is refused."""
    uneven = moved(phantom.parts, lambda index: (0, 0, 0.4 if index % 3 == 0 else 0))
    assert reason_of(uneven) == ("uneven_spacing", "slices unevenly spaced, from 1.60 to 2.40 mm")


def test_same_position_twice(phantom: Phantom) -> None:
    """Two reconstructions of one place in a series are no stack."""
    doubled = moved(phantom.parts, lambda index: (0, 0, -2.0 if index == 30 else 0))
    assert reason_of(doubled) == ("same_position", "two slices at the same position")


def test_two_table_positions(phantom: Phantom) -> None:
    """A jump sideways inside a series is refused."""
    jumped = moved(phantom.parts, lambda index: (0, 12.0 if index > 30 else 0, 0))
    assert reason_of(jumped) == ("sideways", "slices shifted sideways against each other")


def test_one_series_only(phantom: Phantom) -> None:
    """One series only."""

    def change(index: int, dataset: Dataset) -> None:
        dataset.SeriesInstanceUID += ".1" if index % 2 else ".2"

    assert reason_of(changed(phantom.parts, change)) == ("many_series", "2 series given, only one can be measured")
    code, _ = reason_of([*phantom.parts, phantom.parts[0]])
    assert code == "duplicate_instances"


def test_one_orientation(phantom: Phantom) -> None:
    """One orientation only."""

    def change(index: int, dataset: Dataset) -> None:
        if index == 10:
            dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]

    assert reason_of(changed(phantom.parts, change)) == ("many_orientations", "slices of different orientations")


def test_uniform_in_plane(phantom: Phantom) -> None:
    """Uniform in-plane: one slice of another pixel spacing is refused."""

    def change(index: int, dataset: Dataset) -> None:
        if index == 10:
            dataset.PixelSpacing = [1, 1]

    code, text = reason_of(changed(phantom.parts, change))
    assert (code, text) == ("uneven_in_plane", "slices of different size or pixel spacing")


def test_at_least_n_slices(phantom: Phantom) -> None:
    """At least N slices."""
    assert reason_of(list(phantom.parts[:12])) == ("too_few_slices", "12 slices, at least 40")


def test_cut_lungs_are_noted(phantom: Phantom) -> None:
    """Lungs that leave the stack are measured, and the volume is said to be a lower bound."""
    analysis = analyse(phantom.parts[:42])
    assert analysis.reason is None
    assert [note.code for note in analysis.notes] == ["kernel", "slices", "lungs_cut"]


def test_kernel_is_noted(phantom: Phantom) -> None:
    """The convolution kernel is recorded with every result: sharp kernels bias."""
    texts = [analyse(with_values(phantom.parts, ConvolutionKernel=kernel)).notes[0].text for kernel in ("B70f", None)]
    assert texts[0].startswith("reconstruction kernel B70f; sharp kernels raise %LAA-950")
    assert texts[1].startswith("reconstruction kernel not recorded")
