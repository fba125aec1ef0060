"""The objects that left for a job, as one NIfTI volume beside them: decoded, rescaled, written once. CPU work, outside of a scope."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

import imaging.decoding  # noqa: F401 chooses who decodes
from ai.contract import PlatformError, Volume
from ai.room.tickets import VOLUME
from ai.volume.nifti import volume_write
from ai.volume.stack import KEYWORDS, Stack, rescale_of, stack_of

FACTS = "volume.json"
AIR_HU = -1024
INT16 = np.iinfo(np.int16)


def volume_made(folder: Path) -> Volume:
    """Of the .dcm files in the folder, which are de-identified. Raises PlatformError, permanent, when they are not one volume."""
    if (known := volume_known(folder)) is not None:
        return known
    files = sorted(folder.glob("*.dcm"))
    if not files:
        raise PlatformError("the job's objects are not there any more", is_permanent=True)
    try:
        stack = stack_of([dcmread(path, stop_before_pixels=True, specific_tags=list(KEYWORDS)) for path in files])
        values = _values(files, stack)
    except (PlatformError, OSError):
        raise
    except Exception as error:  # noqa: BLE001 decoders raise whatever they like, and their words may hold a value
        raise PlatformError(f"not one volume: an image cannot be decoded ({type(error).__name__})", is_permanent=True) from error
    volume_write(folder / f"{VOLUME}.part", values=values, volume=stack.volume)
    os.replace(folder / f"{VOLUME}.part", folder / VOLUME)
    (part := folder / f"{FACTS}.part").write_bytes(orjson.dumps(stack.volume))
    os.replace(part, folder / FACTS)  # last: who finds it finds the volume
    return stack.volume


def volume_known(folder: Path) -> Volume | None:
    """What was made before; None when nothing was."""
    try:
        facts: dict[str, Any] = orjson.loads((folder / FACTS).read_bytes())
    except FileNotFoundError:
        return None
    return Volume(
        sop_uids=tuple(facts["sop_uids"]), rows=facts["rows"], columns=facts["columns"],
        affine=tuple(tuple(row) for row in facts["affine"]),
    )  # fmt: skip


def _values(files: Sequence[Path], stack: Stack) -> NDArray[Any]:
    """Hounsfield units, (slices, rows, columns): 16 bits where every value is a whole number, else floating point."""
    shape = (len(stack.order), stack.volume.rows, stack.volume.columns)
    heads = [dcmread(path, stop_before_pixels=True, specific_tags=["RescaleSlope", "RescaleIntercept"]) for path in files]
    is_whole = all(slope == 1.0 and intercept.is_integer() for slope, intercept in map(_rescale, heads))
    found = np.empty(shape, np.int16 if is_whole else np.float32)
    for place, number in enumerate(stack.order):
        image = dcmread(files[number])
        stored = image.pixel_array
        if stored.shape != shape[1:]:
            raise PlatformError("not one volume: an image holds other pixels than its header says", is_permanent=True)
        slope, intercept = _rescale(image)
        wide = stored.astype(np.int32) + int(intercept) if is_whole else stored.astype(np.float32) * slope + intercept
        if is_whole:
            wide = np.clip(wide, INT16.min, INT16.max)
        # PS3.3 C.7.5.1.1.2: padding lies outside the reconstruction circle and is no measured value.
        padding = _padding(image, stored)
        found[place] = wide if padding is None else np.where(padding, AIR_HU, wide)
    return found


def _rescale(image: Dataset) -> tuple[float, float]:
    return rescale_of(image) or (1.0, 0.0)  # stack_of has refused what has none


def _padding(image: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    value = image.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = image.get("PixelPaddingRangeLimit", value)
    low, high = sorted((value, limit if isinstance(limit, int) else value))
    return (stored >= low) & (stored <= high)
