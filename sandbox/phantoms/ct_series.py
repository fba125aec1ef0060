"""Writing a drawn thorax as a CT series of Part 10 files plus truth.json; used by `python -m sandbox.phantoms`."""

import copy
import json
import time
import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from sandbox.phantoms.thorax import Plan, Thorax

INTERCEPT = -1024
IMPLEMENTATION_UID = UID("2.25.302913446893512394811325604382937519613")


def write_series(thorax: Thorax, plan: Plan, folder: Path) -> str:
    """Write one file per slice and truth.json; returns the new study's UID."""
    folder.mkdir(parents=True, exist_ok=True)
    common = _common(plan)
    stored = (thorax.hu.astype("<i4") - INTERCEPT).astype("<u2")
    bottom = -(plan.slices - 1) * plan.spacing / 2
    for index in range(plan.slices):
        position = bottom + index * plan.spacing
        _write_slice(common, stored[index].tobytes(), position, plan.slices - index, folder)
    truth = {**asdict(thorax.truth), "study_uid": str(common.StudyInstanceUID), "instances": plan.slices}
    (folder / "truth.json").write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")
    return str(common.StudyInstanceUID)


def _new_uid() -> str:
    # PS3.5 B.2: a UID made of a UUID needs no registered root and is fresh in every run.
    return f"2.25.{uuid.uuid4().int}"


def _write_slice(common: Dataset, pixels: bytes, position: float, number: int, folder: Path) -> None:
    dataset = copy.copy(common)
    dataset.SOPInstanceUID = _new_uid()
    dataset.InstanceNumber = number
    dataset.ImagePositionPatient = [*common.ImagePositionPatient[:2], round(position, 4)]
    dataset.SliceLocation = round(position, 4)
    dataset.PixelData = pixels
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = "MEDHUB_PHANTOM"
    dataset.file_meta = meta
    dataset.save_as(folder / f"CT{number:04d}.dcm", enforce_file_format=True)


def _common(plan: Plan) -> Dataset:
    dataset = Dataset()
    now = datetime.fromtimestamp(time.time(), UTC)
    _describe_patient(dataset, plan)
    _describe_study(dataset, now)
    _describe_series(dataset, plan, now)
    _describe_pixels(dataset, plan)
    return dataset


def _describe_patient(dataset: Dataset, plan: Plan) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = "PHANTOM^THORAX"
    dataset.PatientID = f"PHANTOM-{plan.seed}"
    dataset.IssuerOfPatientID = "MEDHUB-PHANTOM"
    dataset.PatientBirthDate = "19610412"
    dataset.PatientSex = "O"
    dataset.PatientComments = "Drawn, no person"


def _describe_study(dataset: Dataset, now: datetime) -> None:
    dataset.StudyInstanceUID = _new_uid()
    dataset.StudyDate = now.strftime("%Y%m%d")
    dataset.StudyTime = now.strftime("%H%M%S")
    dataset.TimezoneOffsetFromUTC = "+0000"
    dataset.AccessionNumber = f"PH{uuid.uuid4().hex[:12].upper()}"
    dataset.StudyID = "1"
    dataset.StudyDescription = "CT Chest phantom"
    dataset.ReferringPhysicianName = ""


def _describe_series(dataset: Dataset, plan: Plan, now: datetime) -> None:
    dataset.SOPClassUID = CTImageStorage
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SeriesInstanceUID = _new_uid()
    dataset.FrameOfReferenceUID = _new_uid()
    dataset.PositionReferenceIndicator = ""
    dataset.SeriesNumber = 2
    dataset.SeriesDescription = f"Thorax {plan.spacing:g} mm"
    dataset.ProtocolName = "Chest phantom"
    dataset.BodyPartExamined = "CHEST"
    dataset.PatientPosition = "HFS"
    dataset.Manufacturer = "MedHub"
    dataset.ManufacturerModelName = "Thorax phantom"
    dataset.SoftwareVersions = "1"
    dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = now.strftime("%Y%m%d")
    dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = now.strftime("%H%M%S")
    dataset.AcquisitionNumber = 1
    dataset.KVP = 120
    dataset.ConvolutionKernel = "STANDARD"
    dataset.SliceThickness = plan.spacing
    dataset.SpacingBetweenSlices = plan.spacing


def _describe_pixels(dataset: Dataset, plan: Plan) -> None:
    corner = round(-(plan.matrix - 1) / 2 * plan.pixel, 4)
    dataset.ImagePositionPatient = [corner, corner, 0]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [f"{plan.pixel:.10g}"] * 2
    dataset.Rows = dataset.Columns = plan.matrix
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = 16
    dataset.BitsStored = 12
    dataset.HighBit = 11
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept = INTERCEPT
    dataset.RescaleSlope = 1
    dataset.RescaleType = "HU"
    dataset.WindowCenter = -600
    dataset.WindowWidth = 1500
    dataset.WindowCenterWidthExplanation = "LUNG"
