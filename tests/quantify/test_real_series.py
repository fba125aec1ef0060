"""Real patients' images that nobody here wrote, from the shared folder."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from quantify.lung_density import analyse
from quantify.volume import geometry_of, headers_of, volume_of
from tests.quantify.series import opened, written
from tests.quantify.serving import QuantifyServer

SYNTAXES = ["implicit-le", "big-endian", "deflated", "rle", "jpegls", "j2k-lossless"]


def test_six_millimetre_series(shared_series: Callable[[str], list[bytes]], server: QuantifyServer) -> None:
    """Its gate takes the larger of SliceThickness and the spacing by ImagePositionPatient: chest-ct-lidc-0314.zip must
    yield *not analysable: slices 6.0 mm apart, at most 2.5*."""
    job = server.run(shared_series("chest-ct-lidc-0314"))
    assert job["status"] == "not_analysable"
    assert job["reason"] == {"code": "spacing", "text": "slices 6.0 mm apart, at most 2.5"}
    assert job["measurements"] == []
    assert job["input"]["instances"] == 46


def test_two_millimetre_series(shared_series: Callable[[str], list[bytes]]) -> None:
    """chest-ct-lidc-0314-2mm.zip must yield plausible numbers, a 138-slice CT in 3 s or less of compute on one core."""
    parts = shared_series("chest-ct-lidc-0314-2mm")
    started = time.process_time()
    analysis = analyse(parts)
    spent = time.process_time() - started
    numbers = {measurement.code.code: measurement.value for measurement in analysis.measurements}
    # Checked by eye on the rendered mask: left lung whole, right lung small above a raised diaphragm, airways left out.
    assert numbers["118565006"] == pytest.approx(2700, rel=0.02)
    assert 1 < numbers["laa-950"] < 5
    assert -920 < numbers["perc15"] < -880
    assert analysis.notes[0].text.startswith("reconstruction kernel D")
    assert spent <= 3


def test_head_is_refused_for_what_it_is(shared_series: Callable[[str], list[bytes]]) -> None:
    """Head CT refused for what it is, not for its spacing; without a stated body part by its own words."""
    parts = shared_series("head-ct-ge")
    reason = analyse(parts).reason
    assert reason is not None
    assert reason.text == "body part HEAD: not a chest CT"
    unstated = []
    for content in parts:
        dataset = opened(content)
        del dataset.BodyPartExamined
        unstated.append(written(dataset))
    reason = analyse(unstated).reason
    assert reason is not None
    assert reason.text == "described as HEAD: not a chest CT"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("real/cxr-nih-1024.dcm", "modality DX (digital radiograph): not a CT"),
        ("real/cxr-mono1-440.dcm", "modality CR (computed radiograph): not a CT"),
        ("real/lung-ct-lctsc.dcm", "1 slice, at least 40"),
        ("real/mr-brain-lgg.dcm", "modality MR (magnetic resonance): not a CT"),
        ("syntax/ect-2f-fragments-nobot.dcm", "multi-frame CT is not read; send CT Image Storage slices"),
    ],
)
def test_refused_for_what_it_is(shared: Callable[[str], Path], name: str, text: str) -> None:
    """Chest X-ray, single slice and others must be refused for what they are."""
    reason = analyse([shared(name).read_bytes()]).reason
    assert reason is not None
    assert reason.text == text


def test_every_syntax_decodes_alike(shared: Callable[[str], Path]) -> None:
    """Compressed transfer syntaxes pydicom can decode with the installed plug-ins: six encodings, one digest."""
    digests = set()
    for syntax in SYNTAXES:
        pair = []
        for index in range(2):
            dataset = opened(shared(f"syntax/ct-{syntax}.dcm").read_bytes())
            dataset.ImagePositionPatient = [0, 0, 2.0 * index]
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"2.25.{index + 1}"
            pair.append(written(dataset))
        geometry = geometry_of(headers_of(pair))
        assert geometry is not None
        digests.add(volume_of(pair, geometry).sha256)
    assert len(digests) == 1
