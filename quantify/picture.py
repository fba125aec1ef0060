"""Reading one projection image or photograph: the attributes its gate asks for, its pixels, made smaller; used by algorithms."""

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from quantify.findings import Remark, UnreadableInputError
from quantify.volume import number_of, text_of

MAX_SAMPLES = 80_000_000  # what the memory limit of one job carries
BINS = 256


def attributes_of(content: bytes) -> Dataset:
    """All attributes before the pixels. Raises UnreadableInputError."""
    try:
        return pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
    except MemoryError:
        raise
    except Exception as error:  # pydicom raises many kinds on hostile bytes; only the kind is repeated, never a value
        raise UnreadableInputError("unreadable", f"the image cannot be read as DICOM ({type(error).__name__})") from error


def single_refusal(parts: Sequence[bytes], dataset: Dataset) -> Remark | None:
    """What every single image must be: alone, with UIDs, one frame, of a size that one job may hold."""
    if len(parts) > 1:
        return Remark("many_images", f"{len(parts)} images given, only one can be measured")
    if not all(text_of(dataset, name) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")):
        return Remark("no_uids", "study, series or instance UID missing")
    if (number_of(dataset, "NumberOfFrames") or 1) > 1:
        return Remark("multiframe", "several frames, only a single image can be measured")
    size = [number_of(dataset, name) or 0 for name in ("Rows", "Columns", "SamplesPerPixel")]
    if not 0 < size[0] * size[1] * size[2] <= MAX_SAMPLES:
        return Remark("too_large", "no pixels, or more than one job may hold")
    return None


def pixels_of(content: bytes) -> tuple[NDArray[Any], str]:
    """The stored values (row, column[, RGB]) and the digest of UID, zero byte and values. Raises UnreadableInputError."""
    try:
        dataset = pydicom.dcmread(io.BytesIO(content))
        stored = dataset.pixel_array
    except MemoryError:
        raise
    except Exception as error:  # as in quantify.volume: decoders raise anything
        text = f"the pixels cannot be decoded ({type(error).__name__})"
        raise UnreadableInputError("pixels_unreadable", text) from error
    if stored.shape[:2] != (dataset.Rows, dataset.Columns):
        raise UnreadableInputError("pixels_unreadable", f"{stored.ndim}-dimensional pixels")
    digest = hashlib.sha256(str(dataset.SOPInstanceUID).encode("ascii", "replace") + b"\0")
    digest.update(np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("<")).data)
    return stored, digest.hexdigest()


def reduced(image: NDArray[Any], block: int) -> NDArray[np.float64]:
    """The mean of each block of `block` x `block` pixels; what is left over at the far edges is dropped."""
    rows, columns = (size // block * block for size in image.shape[:2])
    shape = (rows // block, block, columns // block, block, *image.shape[2:])
    small: NDArray[np.float64] = image[:rows, :columns].reshape(shape).mean(axis=(1, 3), dtype=np.float64)
    return small


def otsu(values: NDArray[Any]) -> tuple[float, float]:
    """Otsu's threshold (IEEE Trans Syst Man Cybern 1979;9:62-66) over 256 bins, and the share of the variance between both sides."""
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return high, 0.0
    counts, edges = np.histogram(values, bins=BINS, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    sums = np.cumsum(counts * centres)
    above = values.size - below
    apart = np.zeros(BINS - 1)
    is_split = (below > 0) & (above > 0)
    means = sums[:-1][is_split] / below[is_split], (sums[-1] - sums[:-1][is_split]) / above[is_split]
    apart[is_split] = below[is_split] / values.size * (above[is_split] / values.size) * (means[1] - means[0]) ** 2
    # Empty bins between two peaks are all as good: the middle of them, so that neither side's tail decides.
    best = np.flatnonzero(apart >= apart.max() * (1 - 1e-12))
    threshold = float((edges[best[0] + 1] + edges[best[-1] + 1]) / 2)
    variance = float(np.var(values, dtype=np.float64))
    return threshold, float(apart.max()) / variance if variance else 0.0
