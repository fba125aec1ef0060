"""Deterministic DICOM series to send, and fresh UIDs for them in place: digits are exchanged, nothing is encoded again."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SALT_DIGITS = 12
FIRST_SALT = "7" + "0" * (SALT_DIGITS - 1)
UID_ROOT = "1.2.826.0.1.3680043.8.498"  # pydicom's own, free for generated UIDs
HEAD_BYTES = 8192  # no UID of ours lies behind it; pixels may, and are never touched


class RenewError(Exception):
    """A file does not carry the salt it should."""


@dataclass
class Series:
    """Part 10 files of one series whose UIDs all carry `salt`."""

    folder: Path
    files: list[Path]
    size: int
    salt: str = FIRST_SALT

    @property
    def study_uid(self) -> str:
        return f"{UID_ROOT}.{self.salt}.1"

    def renew(self) -> None:
        """Give every file never-seen UIDs of the same length, and put them on disk so that no write-back disturbs a run."""
        fresh = salt_new(after=self.salt)
        for file in self.files:
            file_renew(file, old=self.salt, new=fresh)
        self.salt = fresh

    def payloads(self) -> list[bytes]:
        return [file.read_bytes() for file in self.files]


def salt_new(*, after: str) -> str:
    """Digits that no earlier run used: the clock in tenths of milliseconds behind a 7, for a UID's part may not begin with 0."""
    digits = SALT_DIGITS - 1
    fresh = max(time.time_ns() // 100_000 % 10**digits, (int(after[1:]) + 1) % 10**digits)
    return f"7{fresh:0{digits}d}"


def head_renew(head: bytes, *, old: str, new: str) -> bytes:
    """The head of a file with its UIDs' salt exchanged. Raises RenewError when the salt is not there or lengths differ."""
    if len(old) != len(new):
        raise RenewError("a UID may not change its length")
    if old.encode() not in head:
        raise RenewError("the file does not carry the salt")
    return head.replace(old.encode(), new.encode())


def file_renew(file: Path, *, old: str, new: str) -> None:
    fd = os.open(file, os.O_RDWR)
    try:
        head = os.pread(fd, HEAD_BYTES, 0)
        os.pwrite(fd, head_renew(head, old=old, new=new), 0)
        os.fsync(fd)
    finally:
        os.close(fd)


def series_write(folder: Path, *, slices: int, matrix: int, seed: int = 1) -> Series:
    """A CT series of `slices` files, 16 bits a pixel, noise of `seed`. The same arguments write the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed)
    files, size = [], 0
    for number in range(1, slices + 1):
        dataset = _slice(number, matrix)
        # 12 of 16 bits: no two bytes side by side are ever digits, so no pixel looks like the salt.
        dataset.PixelData = noise.integers(0, 4096, matrix * matrix, dtype="<u2").tobytes()
        file = folder / f"CT{number:04d}.dcm"
        dataset.save_as(file, enforce_file_format=True)
        files.append(file)
        size += file.stat().st_size
    return Series(folder, files, size)


def _slice(number: int, matrix: int) -> Dataset:
    dataset = Dataset()
    root = f"{UID_ROOT}.{FIRST_SALT}"
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"{root}.1.1.{number}"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20260102"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "030405"
    dataset.AccessionNumber = "BENCH1"
    dataset.Modality = "CT"
    dataset.Manufacturer = "MedHub bench"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription, dataset.SeriesDescription = "CT noise", "Noise 1 mm"
    dataset.PatientName, dataset.PatientID = "BENCH^NOBODY", "BENCH-1"
    dataset.IssuerOfPatientID = "MEDHUB-BENCH"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    dataset.BodyPartExamined = "CHEST"
    dataset.SliceThickness, dataset.KVP = 1, 120
    dataset.PatientPosition = "HFS"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{root}.1", f"{root}.1.1"
    dataset.StudyID, dataset.SeriesNumber, dataset.AcquisitionNumber, dataset.InstanceNumber = "1", 1, 1, number
    dataset.ImagePositionPatient = [-250, -250, number]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.FrameOfReferenceUID = f"{root}.1.9"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = matrix
    dataset.PixelSpacing = [1, 1]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleIntercept, dataset.RescaleSlope = -1024, 1
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    return dataset
