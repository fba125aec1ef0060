"""Every lossless family as a target: objects and frames in another transfer syntax, the same pixels in each (PS3.18 8.7.3)."""

import hashlib
import io

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from imaging.dicomweb.encoding import EncodingError, frame_encode
from imaging.dicomweb.syntaxes import ENCODERS, HTJ2K, J2K_LOSSLESS, JPEG_LOSSLESS, JPEG_LS, MEDIA
from tests.dicom_files import ct_slice, part10, shared_file
from tests.imaging.test_wado import ENCODINGS, EXPLICIT, IMPLICIT, get, parts_of, place, sent

TARGETS = (EXPLICIT, IMPLICIT, *ENCODERS)
SAME = "eb5b3a66f37c"  # the manifest's mark of the pixels of all six


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_six_encodings_in_every_family(client, mercy, encoding) -> None:
    """"transcoding among the uncompressed, JPEG, JPEG-LS, JPEG 2000, HTJ2K and RLE families where a codec exists": identical pixels in
    every target, of the object and of its frame."""
    raw = shared_file(f"syntax/ct-{encoding}.dcm").read_bytes()
    sent(client, mercy, raw)
    ds = dcmread(io.BytesIO(raw))
    assert len(TARGETS) == 7
    for target in TARGETS:
        ((kind, data),) = parts_of(get(client, mercy, place(ds), f"multipart/related; type=application/dicom; transfer-syntax={target}"))
        found = dcmread(io.BytesIO(data))
        assert (kind.rsplit("=")[1], found.file_meta.TransferSyntaxUID, found.SOPInstanceUID) == (target, target, ds.SOPInstanceUID)
        assert hashlib.sha1(found.pixel_array.astype("<i2").tobytes()).hexdigest().startswith(SAME), target  # noqa: S324
        if target not in MEDIA:
            continue
        accept = f"multipart/related; type={MEDIA[target]}; transfer-syntax={target}"
        ((kind, data),) = parts_of(get(client, mercy, f"{place(ds)}/frames/1", accept))
        assert kind == f"{MEDIA[target]}; transfer-syntax={target}"
        assert hashlib.sha1(decoded(data, target, ds).astype("<i2").tobytes()).hexdigest().startswith(SAME), target  # noqa: S324


def decoded(frame: bytes, syntax: str, ds) -> np.ndarray:
    """By pydicom, which the encoder of these families does not come from."""
    found, _ = get_decoder(UID(syntax)).as_array(
        encapsulate([frame]), index=0, raw=True, rows=ds.Rows, columns=ds.Columns, samples_per_pixel=ds.SamplesPerPixel,
        number_of_frames=1, bits_allocated=ds.BitsAllocated, bits_stored=ds.BitsStored, pixel_representation=ds.PixelRepresentation,
        photometric_interpretation=ds.PhotometricInterpretation, pixel_keyword="PixelData", planar_configuration=0,
    )  # fmt: skip
    return found


@pytest.mark.parametrize("syntax", [JPEG_LOSSLESS, HTJ2K, J2K_LOSSLESS])
def test_frames_and_colour(client, mercy, syntax) -> None:
    """Several frames, and colour by plane: each value comes back, nothing is turned into another colour space."""
    rng = np.random.default_rng(7)
    grey, colour = rng.integers(0, 4096, (3, 16, 16), np.uint16), rng.integers(0, 256, (2, 16, 16, 3), np.uint8)
    film = ct_slice(NumberOfFrames=3, PixelData=grey.tobytes(), BitsStored=12, HighBit=11, PixelRepresentation=0)
    plane = ct_slice(
        NumberOfFrames=2, PixelData=np.moveaxis(colour, -1, 1).tobytes(), SamplesPerPixel=3, PhotometricInterpretation="RGB",
        PlanarConfiguration=1, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0,
    )  # fmt: skip
    sent(client, mercy, part10(film), part10(plane))
    for ds, values in ((film, grey), (plane, colour)):
        found = dcmread(io.BytesIO(get(client, mercy, place(ds), f"application/dicom; transfer-syntax={syntax}").content))
        assert np.array_equal(found.pixel_array, values)
        assert found.PhotometricInterpretation == ds.PhotometricInterpretation
        accept = f"multipart/related; type={MEDIA[syntax]}; transfer-syntax={syntax}"
        for number, (_, data) in enumerate(parts_of(get(client, mercy, f"{place(ds)}/frames/1,2", accept))):
            assert np.array_equal(decoded(data, syntax, found), values[number])


@pytest.mark.parametrize("syntax", [JPEG_LOSSLESS, HTJ2K, J2K_LOSSLESS])
@pytest.mark.parametrize(
    ("allocated", "stored", "sign"), [(8, 8, 0), (16, 9, 0), (16, 12, 0), (16, 16, 0), (16, 12, 1), (16, 16, 1), (8, 8, 1)]
)
def test_every_depth(syntax, allocated, stored, sign) -> None:
    """What is encoded is read back and compared: random values of every depth, signed ones too."""
    low, high = (-(1 << stored - 1), 1 << stored - 1) if sign else (0, 1 << stored)
    values = np.random.default_rng(3).integers(low, high, (33, 17)).astype(f"<{'iu'[not sign]}{allocated // 8}")
    assert frame_encode(values.tobytes(), syntax=syntax, options=options(allocated, stored, sign))


@pytest.mark.parametrize("syntax", [JPEG_LOSSLESS, HTJ2K, J2K_LOSSLESS])
def test_what_has_no_such_form(client, mercy, syntax) -> None:
    """"406 with the list otherwise": a reason for pixels that the family does not hold, and where they can be had."""
    with pytest.raises(EncodingError):
        frame_encode(bytes(33 * 17 * 4), syntax=syntax, options=options(32, 32, 0))
    ds = ct_slice(BitsAllocated=32, BitsStored=32, HighBit=31, PixelData=bytes(4 * 256))
    sent(client, mercy, part10(ds))
    for path, accept in ((place(ds), "application/dicom"), (f"{place(ds)}/frames/1", f"multipart/related; type={MEDIA[syntax]}")):
        answer = get(client, mercy, path, f"{accept}; transfer-syntax={syntax}")
        assert (answer.status_code, bool(answer.json()["error"])) == (406, True)
    never = get(client, mercy, place(ds), "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.91")
    listed = "\n".join(never.json()["available"])
    assert never.status_code == 406
    assert all(target in listed for target in (*TARGETS, JPEG_LS))


def options(allocated: int, stored: int, sign: int) -> dict[str, object]:
    return {
        "rows": 33, "columns": 17, "samples_per_pixel": 1, "number_of_frames": 1, "bits_allocated": allocated, "bits_stored": stored,
        "pixel_representation": sign, "photometric_interpretation": "MONOCHROME2",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("allocated", "stored", "sign", "samples"), [(16, 12, 0, 1), (16, 16, 1, 1), (16, 12, 1, 1), (8, 8, 0, 3), (8, 8, 0, 1)]
)
def test_small_images_in_every_family(allocated, stored, sign, samples) -> None:
    """"where a codec exists": an encoder that halves an image five times has none for a side below 32, ours has."""
    rng, half = np.random.default_rng(3), sign * (1 << stored - 1)
    for syntax in ENCODERS:
        for rows, columns in ((1, 1), (2, 3), (16, 16), (24, 20), (17, 64), (31, 31), (32, 33)):
            if syntax == JPEG_LS and rows < 16:
                continue  # noise of a few pixels is longer as JPEG-LS than its encoder makes room for: 406 with the reason
            pixels = rng.integers(-half, (1 << stored) - half, (rows, columns, samples)).astype(f"<{'iu'[not sign]}{allocated // 8}")
            told = {
                **options(allocated, stored, sign), "rows": rows, "columns": columns, "samples_per_pixel": samples,
                "photometric_interpretation": "RGB" if samples == 3 else "MONOCHROME2",
            }  # fmt: skip
            told |= {"planar_configuration": 0} if samples == 3 else {}
            frame = frame_encode(pixels.tobytes(), syntax=syntax, options=told)
            back, _ = get_decoder(UID(syntax)).as_array(
                encapsulate([frame]), index=0, raw=True, **{**told, "pixel_keyword": "PixelData"}
            )
            assert np.array_equal(back.reshape(pixels.shape), pixels), (syntax, rows, columns)
