"""Reading: the headers of every instance, the geometry of the stack, its HU; called by algorithms and the gate."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import config as pydicom_config
from pydicom.dataset import Dataset

from quantify.findings import InputRecord, UnreadableInputError

# Values out of their VR's rules are common and harmless here; each value we use is checked when it is read.
pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE

PARALLEL = 0.999  # cosine: 2.5 degrees, wider than the rounding of ImageOrientationPatient
AIR_HU = -1024
SHORT = 16  # PS3.5 6.2: the length of CS; what is repeated in a reason must not carry free text
KEYWORDS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "ImageType",
    "BodyPartExamined",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "ContrastBolusAgent",
    "ContrastBolusAgentSequence",
    "SliceThickness",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "BitsAllocated",
    "PhotometricInterpretation",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ModalityLUTSequence",
    "ConvolutionKernel",
    "KVP",
]


@dataclass(frozen=True)
class Header:
    """The attributes of one instance that decide whether and how it is measured; numbers already checked."""

    part: int
    sop_class: str
    sop_uid: str
    study_uid: str
    series_uid: str
    modality: str
    image_type: tuple[str, ...]
    body_part: str
    descriptions: tuple[str, ...]
    contrast: str
    has_contrast_sequence: bool
    thickness: float | None
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    photometric: str
    slope: float | None
    intercept: float | None
    rescale_type: str
    has_modality_lut: bool
    kernel: str
    kvp: float | None


@dataclass(frozen=True)
class Geometry:
    """A stack sorted along its normal, feet first; `offsets` are the positions projected on the normal, in mm."""

    headers: tuple[Header, ...]
    offsets: tuple[float, ...]

    @property
    def steps(self) -> tuple[float, ...]:
        """Distances between neighbours."""
        return tuple(b - a for a, b in zip(self.offsets, self.offsets[1:], strict=False))

    @property
    def step(self) -> float:
        """The usual distance: the median survives a missing slice, a mean would not."""
        return float(np.median(self.steps)) if len(self.offsets) > 1 else 0.0


@dataclass(frozen=True)
class Volume:
    """HU of the stack (slice from feet to head, row, column), its voxel size in mm and a digest of what was decoded."""

    hu: NDArray[Any]
    spacing: tuple[float, float, float]
    sha256: str

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel."""
        return self.spacing[0] * self.spacing[1] * self.spacing[2] / 1000.0


def headers_of(parts: Sequence[bytes]) -> tuple[Header, ...]:
    """The header of each part, in the order given; one that cannot be parsed fails the whole job."""
    return tuple(_header(number, content) for number, content in enumerate(parts))


def record_of(headers: Sequence[Header], sha256: str | None) -> InputRecord:
    """What the outcome says about its input; the UIDs of study and series only where all headers agree."""
    studies = {header.study_uid for header in headers}
    series = {header.series_uid for header in headers}
    return InputRecord(
        study_uid=studies.pop() if len(studies) == 1 else None,
        series_uid=series.pop() if len(series) == 1 else None,
        instances=len(headers),
        sop_uids=tuple(sorted(header.sop_uid for header in headers)),
        sha256=sha256,
    )


def normal_of(orientation: tuple[float, ...]) -> NDArray[np.float64]:
    """Unit normal of the image plane, turned towards the head (PS3.3 C.7.6.2.1.1: +z of the patient)."""
    normal = np.cross(orientation[:3], orientation[3:])
    length = float(np.linalg.norm(normal))
    if length < 1e-6:
        return np.zeros(3)
    normal = normal / length
    return normal if normal[2] >= 0 else -normal


def geometry_of(headers: Sequence[Header]) -> Geometry | None:
    """Sort by ImagePositionPatient along the common normal; None when a position or orientation is missing."""
    if any(header.position is None or header.orientation is None for header in headers):
        return None
    normal = normal_of(headers[0].orientation or ())
    placed = [(float(np.dot(header.position or (), normal)), header) for header in headers]
    placed.sort(key=lambda place: (place[0], place[1].sop_uid))
    return Geometry(headers=tuple(header for _, header in placed), offsets=tuple(offset for offset, _ in placed))


def is_parallel(first: Header, other: Header) -> bool:
    """Whether two images lie in the same plane orientation, rows and columns included."""
    a, b = np.array(first.orientation), np.array(other.orientation)
    return bool(np.dot(a[:3], b[:3]) > PARALLEL and np.dot(a[3:], b[3:]) > PARALLEL)


def volume_of(parts: Sequence[bytes], geometry: Geometry) -> Volume:
    """Decode every slice into one HU array; called after the gate has found all slices alike."""
    first = geometry.headers[0]
    is_whole = all(header.slope == 1.0 and float(header.intercept or 0.0).is_integer() for header in geometry.headers)
    shape = (len(geometry.headers), first.rows, first.columns)
    hu = np.empty(shape, dtype=np.int16 if is_whole else np.float32)
    digest = hashlib.sha256()
    for index, header in enumerate(geometry.headers):
        stored, padding = _decoded(parts[header.part], header)
        digest.update(header.sop_uid.encode("ascii", "replace") + b"\0")
        digest.update(np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("<")).data)
        hu[index] = _hounsfield(stored, header, padding, is_whole)
    row_mm, column_mm = first.pixel_spacing or (0.0, 0.0)
    pitch = (geometry.offsets[-1] - geometry.offsets[0]) / (len(geometry.offsets) - 1)
    return Volume(hu=hu, spacing=(pitch, row_mm, column_mm), sha256=digest.hexdigest())


def _hounsfield(
    stored: NDArray[Any], header: Header, padding: NDArray[np.bool_] | None, is_whole: bool
) -> NDArray[Any]:
    # PS3.3 C.11.1.1.2: output units = slope * stored value + intercept.
    if is_whole:
        wide = stored.astype(np.int32) + int(header.intercept or 0.0)
        hu: NDArray[Any] = np.clip(wide, -32768, 32767)
    else:
        hu = stored.astype(np.float32) * np.float32(header.slope) + np.float32(header.intercept)
    # PS3.3 C.7.5.1.1.2: padding lies outside the reconstruction circle and is no measured value.
    return hu if padding is None else np.where(padding, AIR_HU, hu)


def _decoded(content: bytes, header: Header) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    try:
        dataset = pydicom.dcmread(io.BytesIO(content))
        stored = dataset.pixel_array
        padding = _padding(dataset, stored)
    except MemoryError:
        raise
    except Exception as error:  # decoders of many makers raise anything; the class name is safe to show, values not
        text = f"the pixels of instance {header.part + 1} cannot be decoded ({type(error).__name__})"
        raise UnreadableInputError("pixels_unreadable", text) from error
    if stored.shape != (header.rows, header.columns):
        text = f"instance {header.part + 1} holds {stored.ndim}-dimensional pixels"
        raise UnreadableInputError("pixels_unreadable", text)
    return stored, padding


def _padding(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = dataset.get("PixelPaddingRangeLimit", value)
    low, high = sorted((value, limit if isinstance(limit, int) else value))
    return (stored >= low) & (stored <= high)


def _header(part: int, content: bytes) -> Header:
    try:
        dataset = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True, specific_tags=KEYWORDS)
        return _header_from(part, dataset)
    except MemoryError:
        raise
    except RecursionError as error:
        raise UnreadableInputError("unreadable", f"instance {part + 1}: sequences nested too deeply") from error
    except Exception as error:  # pydicom raises many kinds on hostile bytes; only the kind is repeated, never a value
        raise UnreadableInputError(
            "unreadable", f"instance {part + 1} cannot be read as DICOM ({type(error).__name__})"
        ) from error


def _header_from(part: int, dataset: Dataset) -> Header:
    return Header(
        part=part,
        sop_class=text_of(dataset, "SOPClassUID"),
        sop_uid=text_of(dataset, "SOPInstanceUID"),
        study_uid=text_of(dataset, "StudyInstanceUID"),
        series_uid=text_of(dataset, "SeriesInstanceUID"),
        modality=text_of(dataset, "Modality", SHORT).upper(),
        image_type=tuple(value.upper() for value in text_of(dataset, "ImageType").split("\\")),
        body_part=text_of(dataset, "BodyPartExamined", SHORT).upper(),
        descriptions=tuple(text_of(dataset, name) for name in ("StudyDescription", "SeriesDescription", "ProtocolName")),
        contrast=text_of(dataset, "ContrastBolusAgent"),
        has_contrast_sequence=bool(dataset.get("ContrastBolusAgentSequence")),
        thickness=number_of(dataset, "SliceThickness"),
        position=numbers_of(dataset, "ImagePositionPatient", 3),
        orientation=numbers_of(dataset, "ImageOrientationPatient", 6),
        pixel_spacing=numbers_of(dataset, "PixelSpacing", 2),
        rows=int(number_of(dataset, "Rows") or 0),
        columns=int(number_of(dataset, "Columns") or 0),
        frames=int(number_of(dataset, "NumberOfFrames") or 1),
        samples=int(number_of(dataset, "SamplesPerPixel") or 1),
        bits_allocated=int(number_of(dataset, "BitsAllocated") or 0),
        photometric=text_of(dataset, "PhotometricInterpretation").upper(),
        slope=number_of(dataset, "RescaleSlope"),
        intercept=number_of(dataset, "RescaleIntercept"),
        rescale_type=text_of(dataset, "RescaleType", SHORT).upper(),
        has_modality_lut=bool(dataset.get("ModalityLUTSequence")),
        kernel=text_of(dataset, "ConvolutionKernel", 2 * SHORT),
        kvp=number_of(dataset, "KVP"),
    )


def text_of(dataset: Dataset, keyword: str, longest: int = 256) -> str:
    """The attribute as printable text, its values joined by a backslash; empty when it is absent."""
    value = dataset.get(keyword)
    if value is None:
        return ""
    values = [value] if isinstance(value, str | bytes) or not isinstance(value, Sequence) else list(value)
    joined = "\\".join(str(item).strip() for item in values)
    # Control characters have no place in a reason or note that a person reads.
    return "".join(letter for letter in joined if letter.isprintable())[:longest]


def number_of(dataset: Dataset, keyword: str) -> float | None:
    """The attribute as one finite number; None when it is none."""
    numbers = numbers_of(dataset, keyword, 1)
    return numbers[0] if numbers else None


def numbers_of(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """The attribute as `count` finite numbers; None when it is anything else."""
    try:
        value = dataset.get(keyword)
        values = list(value) if not isinstance(value, str) and isinstance(value, Sequence) else [value]
        numbers = tuple(float(item) for item in values)
    except (TypeError, ValueError, ArithmeticError):
        return None
    is_usable = len(numbers) == count and all(np.isfinite(number) and abs(number) < 1e6 for number in numbers)
    return numbers if is_usable else None
