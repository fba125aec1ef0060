"""Who decodes: no header and no code stream of a stranger may end the process that looks at it."""

import io
import random
import re
from contextlib import suppress
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from medhub.stack import ROOT
from tests.dicom_files import ct_slice, part10
from tests.imaging.test_dimse_fuzz import SEED, mutated
from tests.imaging.test_wado import content, get, place, sent

JPEG = [f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70)]
OTHERS = [f"1.2.840.10008.1.2.4.{n}" for n in (80, 81, 90, 91, 201)]


def test_whoever_decodes_has_chosen() -> None:
    """A module that asks pydicom for pixels imports `imaging.decoding` first."""
    asks = re.compile(r"^from pydicom\.pixels|dataset\.decompress\(", re.M)
    for path in (one for app in ("imaging", "ai", "portal", "fhirapi") for one in (ROOT / app).rglob("*.py")):
        text = path.read_text()
        if asks.search(text) and path.name not in {"decoding.py", "encoding.py"}:
            assert "import imaging.decoding" in text, path


def stream(bits: int = 8, samples: int = 1, *, is_lossless: bool = True) -> bytes:
    shape = (16, 16) if samples == 1 else (16, 16, samples)
    values = np.random.default_rng(bits).integers(0, 1 << bits, shape).astype("u1" if bits <= 8 else "<u2")
    space = {"colorspace": "RGB", "outcolorspace": "RGB"} if samples == 3 else {}
    lossless = {"lossless": True, "predictor": 1, **space} if is_lossless else {}
    return bytes(imagecodecs.jpeg8_encode(values, bitspersample=bits, **lossless))


def compressed(syntax: str, frame: bytes, **attributes: Any) -> Any:
    ds = dcmread(io.BytesIO(part10(ct_slice(**attributes))))
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    target = io.BytesIO()
    ds.save_as(target)
    return ds, target.getvalue()


def test_gdcm_is_never_asked() -> None:
    """GDCM ends the process on headers that it does not expect: it is no decoder of ours, and every family still has one."""
    for syntax in (*JPEG, *OTHERS):
        plugins = get_decoder(UID(syntax)).available_plugins
        assert plugins, syntax
        assert "gdcm" not in plugins, syntax


@pytest.mark.parametrize("syntax", JPEG)
@pytest.mark.parametrize(("allocated", "stored"), [(32, 32), (32, 9), (8, 7), (8, 6), (1, 1), (64, 64), (16, 7), (8, 16)])
def test_headers_that_ended_the_process(client, mercy, syntax, allocated, stored) -> None:
    """Everything from outside is hostile: an answer of frames, pictures and the object, whatever it is, and the process is there."""
    ds, raw = compressed(syntax, stream(), BitsAllocated=allocated, BitsStored=stored, HighBit=stored - 1, PixelRepresentation=0)
    sent(client, mercy, raw)
    for path, accept in (("/frames/1", ""), ("/rendered", "image/png"), ("", "application/dicom; transfer-syntax=1.2.840.10008.1.2.1")):
        answer = get(client, mercy, f"{place(ds)}{path}", accept)
        assert answer.status_code in {200, 406}, path
        assert content(answer)


def test_a_stream_of_another_size_allocates_nothing(client, mercy) -> None:
    """A few bytes that claim 65,000 x 65,000 pixels: 406, from the frame header alone."""
    frame = bytearray(stream())
    at = frame.index(b"\xff\xc3") + 5
    frame[at : at + 4] = (65_000).to_bytes(2, "big") * 2
    ds, raw = compressed(JPEG[3], bytes(frame), BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0)
    sent(client, mercy, raw)
    assert get(client, mercy, f"{place(ds)}/frames/1").status_code == 406
    assert get(client, mercy, f"{place(ds)}/rendered").status_code == 406


def test_twelve_bits_of_jpeg_extended(client, mercy) -> None:
    """JPEG Extended of 12 bits, which GDCM refused: as near as a lossy form is."""
    values = (np.arange(256, dtype="<u2").reshape(16, 16) * 8).astype("<u2")
    frame = bytes(imagecodecs.jpeg8_encode(values, level=100, bitspersample=12))
    ds, raw = compressed(JPEG[1], frame, BitsAllocated=16, BitsStored=12, HighBit=11, PixelRepresentation=0)
    sent(client, mercy, raw)
    answer = get(client, mercy, f"{place(ds)}/frames/1", "application/octet-stream")
    assert answer.status_code == 200, content(answer)
    assert np.abs(np.frombuffer(content(answer), "<u2").reshape(16, 16).astype(int) - values).max() < 16


def test_mutated_streams_under_random_headers() -> None:
    """Exceptions, never the end of the process; the seed is printed and MEDHUB_FUZZ_SEED repeats a run."""
    print(f"fuzz seed {SEED}")  # noqa: T201
    rng = random.Random(SEED)
    soil = [stream(bits, samples) for bits in (8, 12, 16) for samples in (1, 3)] + [stream(8, 1, is_lossless=False)]
    for _ in range(1500):
        allocated, samples = rng.choice([1, 8, 8, 16, 16, 32]), rng.choice([1, 1, 3])
        options = {
            "rows": rng.choice([16, 16, 1, 40]), "columns": rng.choice([16, 16, 1, 30]), "samples_per_pixel": samples,
            "bits_allocated": allocated, "bits_stored": rng.randrange(1, allocated + 1), "pixel_representation": rng.randrange(2),
            "photometric_interpretation": rng.choice(["RGB", "YBR_FULL"]) if samples == 3 else "MONOCHROME2", "number_of_frames": 1,
            "pixel_keyword": "PixelData", "planar_configuration": rng.randrange(2),
        }  # fmt: skip
        frame = encapsulate([mutated(rng, rng.choice(soil)) or b"\0\0"])
        found: Any = None
        with suppress(Exception):
            found, _ = get_decoder(UID(rng.choice(JPEG))).as_array(frame, index=0, raw=True, **options)
        assert found is None or found.shape[:2] == (options["rows"], options["columns"])
