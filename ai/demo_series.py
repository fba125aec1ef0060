"""A few small CT slices of nobody, for `manage.py demo_ai`: whole enough to be stored, de-identified and sent."""

from io import BytesIO

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SIDE = 32  # pixels
SPACING_MM = 2.0


def series_make(*, images: int) -> tuple[str, list[bytes]]:
    """(StudyInstanceUID, DICOM files of one new series). A disc of water in air, chest by its label."""
    study_uid, series_uid, frame_uid = generate_uid(), generate_uid(), generate_uid()
    return study_uid, [_file(study_uid, series_uid, frame_uid, number) for number in range(1, images + 1)]


def _file(study_uid: str, series_uid: str, frame_uid: str, number: int) -> bytes:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study_uid, series_uid, frame_uid
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "PHANTOM^PERFORMER", "DEMO-AI", "19700101", "O"
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = "20260301"
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = "120000"
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber, ds.AccessionNumber = "1", 1, number, ""
    ds.StudyDescription, ds.Modality, ds.BodyPartExamined, ds.Manufacturer = "Phantom for a performer", "CT", "CHEST", "MedHub"
    ds.ReferringPhysicianName, ds.PositionReferenceIndicator, ds.PatientPosition = "", "", "HFS"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.ImageOrientationPatient, ds.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, number * SPACING_MM]
    ds.PixelSpacing, ds.SliceThickness = [SPACING_MM, SPACING_MM], SPACING_MM
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.Rows, ds.Columns = 1, "MONOCHROME2", SIDE, SIDE
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
    ds.PixelData = _disc().tobytes()
    with BytesIO() as out:
        ds.save_as(out, enforce_file_format=True)
        return out.getvalue()


def _disc() -> "np.ndarray[tuple[int, int], np.dtype[np.uint16]]":
    """Water (0 HU) within, air (-1000 HU) around."""
    across, down = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    inside = across**2 + down**2 < (SIDE / 3) ** 2
    disc: np.ndarray[tuple[int, int], np.dtype[np.uint16]] = np.where(inside, 1024, 24).astype("<u2")
    return disc
