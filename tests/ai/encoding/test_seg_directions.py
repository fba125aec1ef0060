"""A mask from a label map to a Segmentation and back: the same voxels at the same places, however the patient lay."""

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from ai.encoding.seg import Segment, seg_encode
from ai.encoding.stamp import bytes_of
from ai.findings import Coding
from ai.reading.schemes import SCT
from ai.room.tickets import VOLUME
from ai.room.volumes import volume_made
from ai.volume.nifti import labels_read
from tests.ai.encoding.cases import EDITION, LUNG, content_of, judged
from tests.ai.volume.stacks import DIRECTIONS, files_written, series_lying

ANATOMY = Coding(system=SCT, code="91723000", display="Anatomical Structure")
LIVER = Coding(system=SCT, code="10200004", display="Liver structure")
SEGMENTS = (Segment(label="Lung", category=ANATOMY, type=LUNG), Segment(label="Liver", category=ANATOMY, type=LIVER))


def label_map(path: Path) -> tuple[bytes, np.ndarray]:
    """Over the volume that left: blobs without any symmetry, as another program would write them."""
    image = nibabel.load(path)
    labels = np.zeros(image.shape, np.uint8)
    labels[1:4, 2:9, 3:8] = 1
    labels[5, 1, 4:11] = 2
    labels[8, 10, 12] = 1
    return nibabel.Nifti1Image(labels, image.affine).to_bytes(), labels


def encoded(made: list[Dataset], folder: Path) -> tuple[Dataset, list[Dataset], np.ndarray, nibabel.Nifti1Image]:
    volume = volume_made(files_written(made, folder))
    raw, labels = label_map(folder / VOLUME)
    read = labels_read(raw, volume=volume)
    by_uid = {str(ds.SOPInstanceUID): ds for ds in made}
    sources = [by_uid[uid] for uid in volume.sop_uids]
    content = content_of(sources)
    ds = seg_encode(mask=read.astype(np.uint8), segments=SEGMENTS, sources=sources, content=content, edition=EDITION)
    return ds, sources, labels, nibabel.load(folder / VOLUME)


@pytest.mark.parametrize("direction", sorted(DIRECTIONS))
def test_mask_in_is_mask_out(tmp_path, direction) -> None:
    """"voxel-exact: mask in -> SEG -> mask out identical, ... also for feet-first / oblique / sagittal series"."""
    ds, sources, labels, _ = encoded(series_lying(direction), tmp_path / "job")
    judged(ds)
    (tmp_path / "seg.dcm").write_bytes(bytes_of(ds))
    found = hd.seg.segread(tmp_path / "seg.dcm")
    uids = [str(source.SOPInstanceUID) for source in sources]
    again = found.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
    assert np.array_equal(again, labels.T)


@pytest.mark.parametrize("direction", sorted(DIRECTIONS))
def test_geometry_is_that_of_the_images(tmp_path, direction) -> None:
    """"geometry identical": position, orientation and spacing of each frame are its source's, and a voxel of the label map lies
    in the patient where the frame's pixel lies."""
    ds, sources, labels, image = encoded(series_lying(direction), tmp_path / "job")
    by_uid = {str(source.SOPInstanceUID): source for source in sources}
    shared = ds.SharedFunctionalGroupsSequence[0]
    first = sources[0]
    assert np.allclose(shared.PlaneOrientationSequence[0].ImageOrientationPatient, first.ImageOrientationPatient, atol=1e-6)
    assert np.allclose(shared.PixelMeasuresSequence[0].PixelSpacing, first.PixelSpacing)
    assert (ds.Rows, ds.Columns, ds.FrameOfReferenceUID) == (first.Rows, first.Columns, first.FrameOfReferenceUID)
    pixels = np.atleast_3d(ds.pixel_array)
    for number, frame in enumerate(ds.PerFrameFunctionalGroupsSequence):
        position = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        uid = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert np.allclose(position, np.array(by_uid[uid].ImagePositionPatient, float), atol=1e-4)
        place = [str(source.SOPInstanceUID) for source in sources].index(uid)
        segment = int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        for row, column in np.argwhere(pixels[number])[:5]:
            assert labels[column, row, place] == segment
            cosines = np.array(first.ImageOrientationPatient, float)
            lps = position + cosines[:3] * float(first.PixelSpacing[1]) * column + cosines[3:] * float(first.PixelSpacing[0]) * row
            right, front, up = (image.affine @ (column, row, place, 1))[:3]
            assert np.allclose((-right, -front, up), lps, atol=1e-3)


def test_the_same_mask_gives_the_same_bytes(tmp_path) -> None:
    made = series_lying("oblique")
    one, other = (bytes_of(encoded(made, tmp_path / name)[0]) for name in ("one", "other"))
    assert one == other


def test_a_header_is_enough(tmp_path) -> None:
    """As the house reads them: the first image's header whole, of the others what says where they lie."""
    from ai.encoding.seg import GEOMETRY

    made = series_lying("axial")
    ds, sources, labels, _ = encoded(made, tmp_path / "job")
    paths = {str(dcmread(path).SOPInstanceUID): path for path in (tmp_path / "job").glob("*.dcm")}
    uids = [str(source.SOPInstanceUID) for source in sources]
    heads = [dcmread(paths[uids[0]], stop_before_pixels=True)]
    heads += [dcmread(paths[uid], stop_before_pixels=True, specific_tags=list(GEOMETRY)) for uid in uids[1:]]
    again = seg_encode(
        mask=labels.T.copy(), segments=SEGMENTS, sources=heads, content=replace(content_of(sources)), edition=EDITION
    )
    assert bytes_of(again) == bytes_of(ds)
