"""DICOM -> NIfTI: every voxel where the patient has it, in every direction; and why the rest is no volume."""

import gzip
from typing import Any

import nibabel
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless, RLELossless

from ai.contract import PlatformError
from ai.room.tickets import VOLUME
from ai.room.volumes import volume_made
from ai.volume.stack import stack_of
from tests.ai.volume.stacks import COLUMNS, DIRECTIONS, ROWS, SLICES, files_written, series_lying
from tests.dicom_files import shared_series


def lps_of(image: Dataset, row: int, column: int) -> np.ndarray:
    """Where a pixel lies, by the words of PS3.3 C.7.6.2.1.1."""
    cosines, position = np.array(image.ImageOrientationPatient, float), np.array(image.ImagePositionPatient, float)
    return position + cosines[:3] * float(image.PixelSpacing[1]) * column + cosines[3:] * float(image.PixelSpacing[0]) * row


@pytest.mark.parametrize("direction", sorted(DIRECTIONS))
def test_every_voxel_lies_where_the_patient_has_it(tmp_path, direction) -> None:
    """"correct affine (LPS->RAS, row/column spacing, slice order by projection on the normal)": read back by nibabel, voxel by voxel."""
    made = series_lying(direction)
    volume = volume_made(files_written(made, tmp_path))
    image = nibabel.load(tmp_path / VOLUME)
    data = np.asarray(image.dataobj)
    assert image.get_data_dtype() == np.int16
    assert data.shape == (COLUMNS, ROWS, SLICES)
    assert set(volume.sop_uids) == {str(ds.SOPInstanceUID) for ds in made}
    by_uid = {str(ds.SOPInstanceUID): ds for ds in made}
    for place, uid in enumerate(volume.sop_uids):
        ds = by_uid[uid]
        assert np.array_equal(data[:, :, place].T, ds.pixel_array.astype(int) - 1024), "stored value + RescaleIntercept"
        for row, column in ((0, 0), (ROWS - 1, 2), (5, COLUMNS - 1)):
            right, front, up = (image.affine @ (column, row, place, 1))[:3]
            assert np.allclose((-right, -front, up), lps_of(ds, row, column), atol=1e-3)


def test_nothing_of_anybody_stands_in_it(tmp_path) -> None:
    """"never PHI": the file is a header of numbers and the voxels."""
    volume_made(files_written(series_lying("axial"), tmp_path))
    raw = gzip.decompress((tmp_path / VOLUME).read_bytes())
    header = nibabel.load(tmp_path / VOLUME).header
    assert (bytes(header["descrip"].item()), bytes(header["db_name"].item()), bytes(header["aux_file"].item())) == (b"", b"", b"")
    assert len(raw) == 352 + 2 * ROWS * COLUMNS * SLICES
    for word in (b"DOE", b"P1", b"A1", b"1.2.826"):
        assert word not in raw[:352]


def test_the_same_series_gives_the_same_bytes(tmp_path) -> None:
    made = series_lying("oblique")
    for name in ("one", "other"):
        volume_made(files_written(made, tmp_path / name))
    assert (tmp_path / "one" / VOLUME).read_bytes() == (tmp_path / "other" / VOLUME).read_bytes()


def test_a_slope_makes_floating_point(tmp_path) -> None:
    """"rescale slope/intercept applied, int16/float32"."""
    made = series_lying("axial", RescaleSlope="0.5", RescaleIntercept="-10.25")
    volume = volume_made(files_written(made, tmp_path))
    image = nibabel.load(tmp_path / VOLUME)
    assert image.get_data_dtype() == np.float32
    first = next(ds for ds in made if str(ds.SOPInstanceUID) == volume.sop_uids[0])
    assert np.allclose(np.asarray(image.dataobj)[:, :, 0].T, first.pixel_array * 0.5 - 10.25)


def test_padding_is_air(tmp_path) -> None:
    """PS3.3 C.7.5.1.1.2: what lies outside the circle is no measured value."""
    made = series_lying("axial", PixelPaddingValue=3)
    volume_made(files_written(made, tmp_path))
    data = np.asarray(nibabel.load(tmp_path / VOLUME).dataobj)
    assert data[3, 0, 0] == -1024
    assert data[4, 0, 0] == 4 - 1024


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_images_are_decoded(tmp_path, syntax) -> None:
    folder = files_written(series_lying("axial"), tmp_path / "plain")
    (packed := tmp_path / "packed").mkdir()
    for path in folder.glob("*.dcm"):
        ds = dcmread(path)
        ds.compress(syntax)
        ds.save_as(packed / path.name)
    volume_made(folder)
    volume_made(packed)
    assert (folder / VOLUME).read_bytes() == (packed / VOLUME).read_bytes()


def test_a_real_chest_ct(tmp_path) -> None:
    """A chest CT of a person. Whoever made it public gave each slice a frame of reference of its own: refused; under one, a volume."""
    made = list(shared_series("chest-ct-lidc-0314-2mm"))
    with pytest.raises(PlatformError, match="no frame of reference, or several"):
        stack_of(made)
    each(made, FrameOfReferenceUID="2.25.78")
    volume = volume_made(files_written(made, tmp_path / "job"))
    data = nibabel.load(tmp_path / "job" / VOLUME)
    assert data.shape == (volume.columns, volume.rows, len(made))
    by_uid = {str(ds.SOPInstanceUID): ds for ds in made}
    heights = [float(by_uid[uid].ImagePositionPatient[2]) for uid in volume.sop_uids]
    assert heights == sorted(heights)
    middle = by_uid[volume.sop_uids[len(made) // 2]]
    right, front, up = (data.affine @ (7, 9, len(made) // 2, 1))[:3]
    assert np.allclose((-right, -front, up), lps_of(middle, 9, 7), atol=0.05)


def moved(made: list[Dataset], place: int, by: tuple[float, float, float]) -> None:
    made[place].ImagePositionPatient = [float(value) + more for value, more in zip(made[place].ImagePositionPatient, by, strict=True)]


def tilted(made: list[Dataset]) -> None:
    for place, ds in enumerate(made):
        moved([ds], 0, (0, 0.2 * place, 0))


def each(made: list[Dataset], **values: Any) -> None:
    for ds in made:
        for keyword, value in values.items():
            setattr(ds, keyword, value)


REFUSED = {
    "gap": (lambda made: made.pop(5), "slices are missing: a gap of 3.0 mm, usually 1.5"),
    "uneven": (lambda made: moved(made, 5, (0, 0, 0.5)), "slices unevenly spaced, from 1.00 to 2.00 mm"),
    "tilt": (tilted, "the gantry was tilted: each slice lies 0.20 mm beside the one before"),
    "sideways": (lambda made: moved(made, 5, (0, 2, 0)), "slices shifted against each other"),
    "one place": (lambda made: moved(made, 0, (0, 0, -1.5)), "two slices at one place"),
    "orientation": (lambda made: each(made[:1], ImageOrientationPatient=[0, 1, 0, -1, 0, 0]), "slices of different orientations"),
    "no orientation": (lambda made: each(made, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "the orientation is none"),
    "no position": (lambda made: each(made[3:4], ImagePositionPatient=""), "position or orientation is missing"),
    "words": (lambda made: each(made[3:4], ImagePositionPatient=["1", "2", "nan"]), "position or orientation is missing"),
    "few": (lambda made: made.__delitem__(slice(9, None)), "9 slices, at least 10"),
    "frames": (lambda made: each(made[:1], FrameOfReferenceUID="2.25.78"), "no frame of reference, or several"),
    "no frame": (lambda made: each(made, FrameOfReferenceUID=""), "no frame of reference, or several"),
    "series": (lambda made: each(made[:1], SeriesInstanceUID="2.25.5"), "images of several series"),
    "twice": (lambda made: made.append(made[0]), "an image is there twice"),
    "size": (lambda made: each(made[:1], Rows=11), "slices of different sizes"),
    "large": (lambda made: each(made, Rows=4096), "more voxels than a volume may have"),
    "spacing": (lambda made: each(made[:1], PixelSpacing=[0.8, 0.7]), "slices of different pixel spacing"),
    "no spacing": (lambda made: each(made, PixelSpacing=""), "no pixel spacing"),
    "localizer": (lambda made: each(made[:1], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "a localizer or a projection"),
    "class": (lambda made: each(made[:1], SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), "not every image is a single CT slice"),
    "enhanced": (lambda made: each(made[:1], NumberOfFrames=2), "not every image is a single CT slice"),
    "colour": (lambda made: each(made, SamplesPerPixel=3), "pixels are not plain grey values"),
    "no rescale": (lambda made: each(made, RescaleSlope=""), "pixel values have no linear way to Hounsfield units"),
    "unit": (lambda made: each(made, RescaleType="US"), "pixel values have no linear way to Hounsfield units"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_volume_is_refused_in_words(name) -> None:
    """"refusing what is not a volume: gaps / uneven spacing (tolerance stated), gantry tilt (shear), mixed orientation, fewer than N
    slices, several frames of reference; each refusal is a reason in words": nothing is resampled, nothing is sent."""
    change, words = REFUSED[name]
    made = series_lying("axial")
    change(made)
    with pytest.raises(PlatformError) as raised:
        stack_of(made)
    assert raised.value.is_permanent
    assert raised.value.user_message.startswith("not one volume: ")
    assert words in raised.value.user_message


def test_the_tolerance_is_that_of_rounding() -> None:
    """Positions with one decimal, 0.1 mm off, are a volume; 5 % of a large step too."""
    made = series_lying("axial", gap=0.65)
    for ds in made:
        ds.ImagePositionPatient = [round(float(value), 1) for value in ds.ImagePositionPatient]
    assert len(stack_of(made).volume.sop_uids) == SLICES
    made = series_lying("axial", gap=10)
    moved(made, 5, (0, 0, 0.4))
    assert len(stack_of(made).volume.sop_uids) == SLICES


def test_pixels_that_cannot_be_decoded(tmp_path) -> None:
    made = series_lying("axial")
    made[4].PixelData = b"\0\0"
    with pytest.raises(PlatformError, match="an image cannot be decoded") as raised:
        volume_made(files_written(made, tmp_path))
    assert raised.value.is_permanent
    assert not (tmp_path / VOLUME).exists()
