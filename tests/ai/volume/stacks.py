"""Series in every direction that a scanner may lie, with pixels that tell where they are. For the tests of volumes and masks."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from tests.dicom_files import part10, series_of

ROWS, COLUMNS, SLICES = 12, 10, 14
OBLIQUE = (math.cos(0.3), math.sin(0.3), 0.0, 0.0, 0.0, -1.0)
DIRECTIONS: dict[str, tuple[float, ...]] = {
    "axial": (1, 0, 0, 0, 1, 0), "feet-first": (-1, 0, 0, 0, 1, 0), "prone": (-1, 0, 0, 0, -1, 0), "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1), "oblique": OBLIQUE,
}  # fmt: skip

def series_lying(direction: str, *, gap: float = 1.5, spacing: tuple[float, float] = (0.8, 0.6), **attributes: Any) -> list[Dataset]:
    """Single CT slices in this direction, the last one first; pixel (slice, row, column) holds its own number."""
    cosines = DIRECTIONS[direction]
    normal = np.cross(cosines[:3], cosines[3:])
    made = series_of(SLICES, FrameOfReferenceUID="2.25.77", Rows=ROWS, Columns=COLUMNS, **attributes)
    for place, ds in enumerate(made):
        ds.ImageOrientationPatient = [round(value, 6) for value in cosines]
        ds.ImagePositionPatient = [round(float(value), 4) for value in np.array([-20.0, 31.0, 107.5]) + normal * gap * place]
        ds.PixelSpacing, ds.SliceThickness = list(spacing), gap
        ds.InstanceNumber = place + 1
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.PositionReferenceIndicator = ""
        ds.PixelData = pixels_of(place).tobytes()
    return made[::-1]

def pixels_of(place: int) -> NDArray[np.uint16]:
    return (place * ROWS * COLUMNS + np.arange(ROWS * COLUMNS, dtype="<u2")).reshape(ROWS, COLUMNS)

def files_written(made: list[Dataset], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, ds in enumerate(made):
        (folder / f"{number:06d}.dcm").write_bytes(part10(ds))
    return folder
