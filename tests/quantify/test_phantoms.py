"""Known answers: what the phantom generator promises and the density mask must find."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from quantify.gate import refusal_of
from quantify.lung_density import SCAN, analyse
from quantify.outcome import finding
from quantify.volume import headers_of
from sandbox.phantoms.thorax import Plan, draw
from tests.quantify.conftest import ROOT, Phantom
from tests.quantify.series import changed, opened, written

PLANS = [
    Plan(slices=64, spacing=2.0, matrix=128, emphysema=0.12, seed=1),
    Plan(slices=56, spacing=2.5, matrix=128, emphysema=0.03, seed=2),
    Plan(slices=120, spacing=1.0, matrix=96, emphysema=0.30, seed=3),
    Plan(slices=80, spacing=1.5, matrix=160, emphysema=0.01, seed=4),
    Plan(slices=50, spacing=2.5, matrix=96, emphysema=0.60, seed=5),
    Plan(slices=48, spacing=2.5, matrix=192, emphysema=0.0, seed=6),
]


def measured(parts: object) -> dict[str, float]:
    """The numbers by code."""
    analysis = analyse(parts)  # type: ignore[arg-type]
    assert analysis.reason is None, analysis.reason
    return {measurement.code.code: measurement.value for measurement in analysis.measurements}


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: "-".join(f"{value:g}" for value in astuple(plan)))
def test_known_answers(plan: Plan, phantom_of: Callable[[Plan], Phantom]) -> None:
    """Phantoms with known answers within 1 %: seeds, spacings, matrices and emphysema shares."""
    phantom = phantom_of(plan)
    numbers = measured(phantom.parts)
    assert numbers["118565006"] == pytest.approx(phantom.truth.lung_volume_ml, rel=0.01)
    assert numbers["laa-950"] == pytest.approx(phantom.truth.laa_950_percent, rel=0.01, abs=1e-9)
    assert numbers["perc15"] == pytest.approx(phantom.truth.perc15_hu, abs=1)


def test_truth_is_of_the_voxels() -> None:
    """The phantom's answers are counted on the voxels as written, by other code than the density mask's."""
    plan = Plan(slices=40, spacing=2.5, matrix=64, emphysema=0.2)
    thorax = draw(plan)
    values = thorax.hu[thorax.lungs]
    assert thorax.truth.laa_950_percent == pytest.approx(100 * np.mean(values < -950))
    assert thorax.truth.laa_950_percent == pytest.approx(20, abs=0.1)
    assert thorax.truth.perc15_hu in (np.floor(np.percentile(values, 15)), np.ceil(np.percentile(values, 15)))
    assert thorax.truth.lung_volume_ml == pytest.approx(values.size * (380 / 64) ** 2 * 2.5 / 1000)


def test_a_wrong_threshold_would_show(phantom: Phantom) -> None:
    """The 1 % bound can fail: a threshold 20 HU off, or airways counted as lung, misses it."""
    thorax = draw(phantom.plan)
    truth = thorax.truth.laa_950_percent
    off = 100 * np.mean(thorax.hu[thorax.lungs] < -930)
    assert abs(off / truth - 1) > 0.01
    air = np.count_nonzero((thorax.hu < -950) & ~thorax.lungs) * phantom.plan.pixel**2 * phantom.plan.spacing / 1000
    assert air > 1000


def test_same_pixels_same_measurements(phantom: Phantom) -> None:
    """Same pixels -> same result bytes for measurements, in whatever order the instances come."""
    first = finding(analyse(phantom.parts))
    second = finding(analyse(phantom.parts[::-1]))
    assert json.dumps(first["measurements"]) == json.dumps(second["measurements"])
    assert first["input"] == second["input"]
    assert len(first["input"]["sha256"]) == 64


def test_other_pixels_other_digest(phantom: Phantom) -> None:
    """The digest covers the decoded pixels: one changed voxel changes it."""
    dataset = opened(phantom.parts[3])
    pixels = bytearray(dataset.PixelData)
    pixels[1000] ^= 1
    dataset.PixelData = bytes(pixels)
    altered = [*phantom.parts[:3], written(dataset), *phantom.parts[4:]]
    assert analyse(altered).input.sha256 != analyse(phantom.parts).input.sha256


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless], ids=["rle", "j2k"])
def test_compressed_instances(phantom: Phantom, syntax: str) -> None:
    """Compressed transfer syntaxes give the same measurements and the same digest of decoded pixels."""
    packed = changed(phantom.parts, lambda _, dataset: dataset.compress(syntax, generate_instance_uid=False))
    assert opened(packed[0]).file_meta.TransferSyntaxUID == syntax
    assert analyse(packed) == analyse(phantom.parts)


def test_fractional_rescale(phantom: Phantom) -> None:
    """HU come from RescaleSlope and RescaleIntercept, whole numbers or not."""

    def halve(_: int, dataset: object) -> None:
        stored = dataset.pixel_array.astype(np.uint16)  # type: ignore[attr-defined]
        dataset.PixelData = (stored * 2).tobytes()  # type: ignore[attr-defined]
        dataset.RescaleSlope = "0.5"  # type: ignore[attr-defined]
        dataset.BitsStored, dataset.HighBit = 16, 15  # type: ignore[attr-defined]

    assert analyse(changed(phantom.parts, halve)).measurements == analyse(phantom.parts).measurements


def test_command_writes_a_valid_series(tmp_path: Path) -> None:
    """`python -m sandbox.phantoms` writes CT Image Storage in Explicit VR LE, truth.json, and fresh UIDs every run."""
    studies = []
    for run in ("a", "b"):
        command = [sys.executable, "-m", "sandbox.phantoms", "--out", str(tmp_path / run), "--slices", "40"]
        command += ["--matrix", "64", "--spacing", "2.5", "--emphysema", "0.2", "--seed", "3"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)  # noqa: S603 - our own command
        files = sorted((tmp_path / run).glob("*.dcm"))
        truth = json.loads((tmp_path / run / "truth.json").read_text())
        assert set(truth) == {"lung_volume_ml", "laa_950_percent", "perc15_hu", "study_uid", "instances"}
        assert truth["instances"] == len(files) == 40
        datasets = [opened(path.read_bytes()) for path in files]
        assert {str(dataset.StudyInstanceUID) for dataset in datasets} == {truth["study_uid"]}
        assert len({dataset.SOPInstanceUID for dataset in datasets}) == 40
        studies.append((truth, datasets[0]))
    (truth_a, first), (truth_b, second) = studies
    assert first.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert first.SOPClassUID == first.file_meta.MediaStorageSOPClassUID == CTImageStorage
    assert (first.PatientName, first.BodyPartExamined, first.Manufacturer) == ("PHANTOM^THORAX", "CHEST", "MedHub")
    assert first.PixelData == second.PixelData
    assert truth_a["study_uid"] != truth_b["study_uid"]
    assert first.SeriesInstanceUID != second.SeriesInstanceUID
    assert first.SOPInstanceUID.startswith("2.25.")


def test_default_phantom_passes_the_gate(phantom: Phantom) -> None:
    """The phantom is sensible enough for an ingest pipeline: every attribute the gate asks for is there."""
    assert refusal_of(headers_of(phantom.parts), SCAN) is None
    dataset = opened(phantom.parts[0])
    for keyword in ("IssuerOfPatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate", "StudyTime"):
        assert dataset.get(keyword), keyword
    assert dataset.TimezoneOffsetFromUTC == "+0000"
