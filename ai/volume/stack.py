"""Images of a series -> a stack: their order along the normal and the way from voxels to the patient, or why they are no volume.

A volume of NIfTI has one affine: slices of one size, parallel, evenly spaced and straight above each other. What is not so is
refused in words and never resampled. Called by the room of a job (ai/rooms.py) before anything leaves.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ai.contract import PlatformError, Volume

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
MIN_SLICES = 10
MAX_SIDE = 2_048
MAX_VOXELS = 250_000_000  # half a gigabyte as 16 bits, a whole one as 32
STEP_SHARE, STEP_MM = 0.05, 0.1  # a step may differ from the usual one by the larger of the two
TILT = 0.01  # sideways per mm of height: half a degree of gantry tilt
COSINE = 1e-3  # orientations are written with six decimals, some with four
ONE_PLACE_MM = 0.01
ROUNDING_MM = 1e-6
MIXED = frozenset({"LOCALIZER", "MIP", "MINIP", "PROJECTION IMAGE"})
KEYWORDS = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality", "ImageType", "Rows",
    "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "PixelSpacing", "ImagePositionPatient",
    "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence",
)  # fmt: skip
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Stack:
    """`order[n]` is the place among the images of slice n of `volume`."""

    order: tuple[int, ...]
    volume: Volume


def stack_of(images: Sequence[Dataset]) -> Stack:
    """The headers of one series, in any order (KEYWORDS are read). Raises PlatformError, permanent: "not one volume: ..."."""
    for rule in RULES:
        if words := rule(images):
            raise PlatformError(f"not one volume: {words}", is_permanent=True)
    along, down, normal = _axes(images[0])
    places = np.array([numbers_of(image, "ImagePositionPatient", 3) for image in images])
    order = np.argsort(places @ normal, kind="stable")
    places = places[order]
    if words := _heights(places @ normal) or _straight(places, normal):
        raise PlatformError(f"not one volume: {words}", is_permanent=True)
    between_rows, between_columns = numbers_of(images[0], "PixelSpacing", 2) or (0.0, 0.0)
    step = (places[-1] - places[0]) / (len(places) - 1)
    # PS3.3 C.7.6.2.1.1 in LPS; NIfTI counts x to the right and y to the front.
    lps = np.column_stack((along * between_columns, down * between_rows, step, places[0]))
    ras = lps * np.array([[-1.0], [-1.0], [1.0]])
    return Stack(
        order=tuple(int(place) for place in order),
        volume=Volume(
            sop_uids=tuple(str(images[place].SOPInstanceUID) for place in order), rows=int(images[0].Rows),
            columns=int(images[0].Columns), affine=tuple(tuple(float(value) for value in row) for row in ras),
        ),
    )  # fmt: skip


def numbers_of(image: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """So many finite numbers, or None: values of strangers need not keep to their VR."""
    try:
        value: Any = image.get(keyword)
        values = [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)
        found = tuple(float(item) for item in values)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return found if len(found) == count and all(math.isfinite(one) and abs(one) < 1e6 for one in found) else None


def rescale_of(image: Dataset) -> tuple[float, float] | None:
    """Slope and intercept (PS3.3 C.11.1.1.2); None where there is no linear way to the modality's values."""
    slope, intercept = numbers_of(image, "RescaleSlope", 1), numbers_of(image, "RescaleIntercept", 1)
    return (slope[0], intercept[0]) if slope and intercept and slope[0] > 0 else None


def _axes(image: Dataset) -> tuple[Array, Array, Array]:
    """Along a row, down a column, and their normal."""
    cosines = np.array(numbers_of(image, "ImageOrientationPatient", 6))
    return cosines[:3], cosines[3:], np.cross(cosines[:3], cosines[3:])


def _kind(images: Sequence[Dataset]) -> str:
    for image in images:
        if str(image.get("SOPClassUID")) != CT_IMAGE or str(image.get("NumberOfFrames") or 1) != "1":
            return "not every image is a single CT slice"
        if MIXED & _image_type(image):
            return "a localizer or a projection is among the slices"
        if image.get("SamplesPerPixel") != 1 or image.get("PhotometricInterpretation") != "MONOCHROME2":
            return "pixels are not plain grey values"
        if rescale_of(image) is None or image.get("ModalityLUTSequence") or image.get("RescaleType") not in (None, "", "HU"):
            return "pixel values have no linear way to Hounsfield units"
    return ""


def _image_type(image: Dataset) -> set[str]:
    value = image.get("ImageType") or ()
    return {str(one).upper() for one in ((value,) if isinstance(value, str) else value)}


def _count(images: Sequence[Dataset]) -> str:
    return f"{len(images)} slices, at least {MIN_SLICES}" if len(images) < MIN_SLICES else ""


def _one_of_each(images: Sequence[Dataset]) -> str:
    if len({str(image.get("SOPInstanceUID")) for image in images}) < len(images):
        return "an image is there twice"
    if len({(str(image.get("StudyInstanceUID")), str(image.get("SeriesInstanceUID"))) for image in images}) > 1:
        return "images of several series"
    frames = {str(image.get("FrameOfReferenceUID") or "") for image in images}
    if len(frames) > 1 or frames == {""}:
        return "no frame of reference, or several"
    return ""


def _size(images: Sequence[Dataset]) -> str:
    sizes = {(image.get("Rows"), image.get("Columns")) for image in images}
    rows, columns = next(iter(sizes))
    if len(sizes) > 1 or not isinstance(rows, int) or not isinstance(columns, int) or min(rows, columns) < 1:
        return "slices of different sizes"
    if max(rows, columns) > MAX_SIDE or rows * columns * len(images) > MAX_VOXELS:
        return "more voxels than a volume may have"
    first = numbers_of(images[0], "PixelSpacing", 2)
    if first is None or min(first) <= 0:
        return "no pixel spacing"
    if any(not np.allclose(numbers_of(image, "PixelSpacing", 2) or (0, 0), first, rtol=1e-3) for image in images):
        return "slices of different pixel spacing"
    return ""


def _orientation(images: Sequence[Dataset]) -> str:
    first = numbers_of(images[0], "ImageOrientationPatient", 6)
    if first is None or any(numbers_of(image, "ImagePositionPatient", 3) is None for image in images):
        return "position or orientation is missing"
    along, down = np.array(first[:3]), np.array(first[3:])
    if not np.allclose((along @ along, down @ down, along @ down), (1, 1, 0), atol=2 * COSINE):
        return "the orientation is none"
    if any(not np.allclose(numbers_of(image, "ImageOrientationPatient", 6) or (9,) * 6, first, atol=COSINE) for image in images):
        return "slices of different orientations"
    return ""


def _heights(heights: Array) -> str:
    steps = np.diff(heights)
    usual = float(np.median(steps))
    if steps.min() < ONE_PLACE_MM:
        return "two slices at one place"
    if np.abs(steps - usual).max() <= max(STEP_MM, STEP_SHARE * usual) + ROUNDING_MM:
        return ""
    if steps.max() > 1.5 * usual:
        return f"slices are missing: a gap of {steps.max():.1f} mm, usually {usual:.1f}"
    return f"slices unevenly spaced, from {steps.min():.2f} to {steps.max():.2f} mm"


def _straight(places: Array, normal: Array) -> str:
    """Each slice above the one before: a tilted gantry shifts all alike, a moved table some."""
    step = (places[-1] - places[0]) / (len(places) - 1)
    height = float(step @ normal)
    sideways = float(np.linalg.norm(step - height * normal))
    if sideways > TILT * height:
        return f"the gantry was tilted: each slice lies {sideways:.2f} mm beside the one before"
    ideal = places[0] + np.arange(len(places))[:, None] * step
    if np.linalg.norm(places - ideal, axis=1).max() > max(STEP_MM, 2 * STEP_SHARE * height) + ROUNDING_MM:
        return "slices shifted against each other"
    return ""


RULES: tuple[Callable[[Sequence[Dataset]], str], ...] = (_kind, _count, _one_of_each, _size, _orientation)
