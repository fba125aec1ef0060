"""Small DICOM objects for tests, made with pydicom, and where the shared real files are."""

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "dicom"


def ct_slice(**attributes: Any) -> Dataset:
    """A CT image of 16 x 16 pixels; keywords override attributes by their DICOM keyword."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "P1", "DOE^JANE", "19600102", "F"
    ds.Modality, ds.StudyDate, ds.StudyTime, ds.BodyPartExamined = "CT", "20260301", "101500", "CHEST"
    ds.AccessionNumber, ds.StudyDescription, ds.SeriesNumber, ds.InstanceNumber = "A1", "CT Chest", 1, 1
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness, ds.RescaleSlope, ds.RescaleIntercept = [1, 1], 2, 1, -1024
    ds.Rows = ds.Columns = 16
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation, ds.SamplesPerPixel = 16, 12, 11, 0, 1
    ds.PhotometricInterpretation, ds.PixelData = "MONOCHROME2", bytes(512)
    for keyword, value in attributes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def part10(ds: Dataset) -> bytes:
    """The object as a Part 10 file in Explicit VR Little Endian."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", CTImageStorage)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2.3")
    target = io.BytesIO()
    ds.save_as(target, enforce_file_format=True)
    return target.getvalue()


def series_of(count: int, **attributes: Any) -> list[Dataset]:
    """`count` slices of one series, 2 mm apart."""
    common = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), **attributes}
    return [
        ct_slice(**common, InstanceNumber=n + 1, ImagePositionPatient=[0, 0, 2.0 * n]) for n in range(count)
    ]


def shared_file(name: str) -> Path:
    """A file of ../shared/dicom; one named skip where it is absent, a failure under REQUIRE_PEERS=1."""
    path = SHARED / name
    if not path.exists():
        if os.environ.get("REQUIRE_PEERS") == "1":
            pytest.fail(f"shared/dicom/{name} is missing and REQUIRE_PEERS=1")
        pytest.skip(f"shared/dicom/{name} is not here")
    return path


def shared_series(name: str) -> Iterator[Dataset]:
    """The slices of a zipped series of ../shared/dicom."""
    with zipfile.ZipFile(shared_file(f"series/{name}.zip")) as archive:
        for entry in archive.namelist():
            if not entry.endswith("/"):
                yield dcmread(io.BytesIO(archive.read(entry)), force=True)
