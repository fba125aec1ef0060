"""Drawn pictures as Part 10 objects in memory: CT stacks and single images, with fresh UIDs; used by phantoms and tests."""

import io
import uuid
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

INTERCEPT = -1024
IMPLEMENTATION_UID = UID("2.25.302913446893512394811325604382937519613")


def new_uid() -> str:
    """PS3.5 B.2: a UID made of a UUID needs no registered root."""
    return f"2.25.{uuid.uuid4().int}"


def person(name: str, modality: str, sop_class: str) -> Dataset:
    """Patient, study and series of a picture that is no person's."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID = f"PHANTOM^{name.upper()}", f"PHANTOM-{name.upper()}"
    dataset.IssuerOfPatientID = "MEDHUB-PHANTOM"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientComments = "19610412", "O", "Drawn, no person"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = new_uid(), new_uid(), new_uid()
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber, dataset.StudyID = "20260101", "080000", "", "1"
    dataset.ReferringPhysicianName, dataset.SeriesNumber, dataset.InstanceNumber = "", 1, 1
    dataset.StudyDescription, dataset.Modality, dataset.SOPClassUID = f"Phantom of {name}", modality, sop_class
    dataset.Manufacturer, dataset.ManufacturerModelName = "MedHub", "Phantom"
    return dataset


def pixels(dataset: Dataset, image: NDArray[Any], *, bits: int = 16) -> None:
    """Rows, columns and samples of the array, and its bytes."""
    dataset.Rows, dataset.Columns = image.shape[:2]
    dataset.SamplesPerPixel = 3 if image.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if image.ndim == 3 else "MONOCHROME2"
    if image.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = 8 if bits <= 8 else 16
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
    dataset.PixelData = np.ascontiguousarray(image, dtype="<u1" if bits <= 8 else "<u2").tobytes()


def part10(dataset: Dataset) -> bytes:
    """The object's bytes, Explicit VR Little Endian."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ExplicitVRLittleEndian, IMPLEMENTATION_UID
    dataset.file_meta = meta
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def ct_stack(name: str, body_part: str, hu: NDArray[Any], *, spacing: float, pixel: float) -> list[bytes]:
    """An axial CT: `hu` (slice from feet to head, row, column), distances in mm."""
    dataset = person(name, "CT", CTImageStorage)
    dataset.ImageType, dataset.BodyPartExamined = ["ORIGINAL", "PRIMARY", "AXIAL"], body_part
    dataset.PatientPosition, dataset.PositionReferenceIndicator, dataset.FrameOfReferenceUID = "HFS", "", new_uid()
    dataset.KVP, dataset.ConvolutionKernel, dataset.AcquisitionNumber = 120, "STANDARD", 1
    dataset.SliceThickness, dataset.PixelSpacing = spacing, [f"{pixel:.10g}"] * 2
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = INTERCEPT, 1, "HU"
    corner = round(-(hu.shape[1] - 1) / 2 * pixel, 4)
    made = []
    for index, image in enumerate(hu):
        dataset.SOPInstanceUID, dataset.InstanceNumber = new_uid(), index + 1
        dataset.ImagePositionPatient = [corner, corner, round((index - (len(hu) - 1) / 2) * spacing, 4)]
        pixels(dataset, image.astype("<i4") - INTERCEPT, bits=12)
        made.append(part10(dataset))
    return made


def mr_stack(name: str, image: NDArray[Any], *, spacing: float) -> list[bytes]:
    """A 3D T1 MR of a head in cubes of `spacing` mm: `image` (right, front, up) as sagittal slices, the way scanners give them."""
    dataset = person(name, "MR", MRImageStorage)
    dataset.ImageType, dataset.BodyPartExamined = ["ORIGINAL", "PRIMARY", "M", "NORM"], "HEAD"
    dataset.PatientPosition, dataset.PositionReferenceIndicator, dataset.FrameOfReferenceUID = "HFS", "", new_uid()
    dataset.MRAcquisitionType, dataset.ScanningSequence, dataset.SequenceVariant = "3D", "GR", ["SP", "MP"]
    dataset.EchoTime, dataset.RepetitionTime, dataset.InversionTime = 2.9, 2300, 900
    dataset.SliceThickness, dataset.PixelSpacing = spacing, [spacing, spacing]
    # Columns run to the back (+y), rows to the feet (-z); slices from the right to the left (+x).
    dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    made = []
    for index in range(image.shape[0]):
        dataset.SOPInstanceUID, dataset.InstanceNumber = new_uid(), index + 1
        dataset.ImagePositionPatient = [round((index - image.shape[0] / 2) * spacing, 4), -100, 100]
        pixels(dataset, image[index].T[::-1, ::-1])
        made.append(part10(dataset))
    return made
