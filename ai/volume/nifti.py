"""A volume as a NIfTI-1 file, and a label map as a stranger wrote it -> labels over the same voxels (nifti.nimh.nih.gov/nifti-1).

nibabel knows the header: dimensions, byte order, the affine of sform or qform. The bytes themselves are inflated and counted here, with
limits, since nibabel believes what a header says.
"""

import gzip
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from ai.contract import Volume
from ai.reading.part10 import hostile, refusal

HEADER, HEAD = 348, 352  # without and with the four bytes that tell of extensions
MAX_EXTENSIONS = 1 << 20
MAX_ITEM = 4  # bytes of the widest label: whole numbers of 32 bits
SAME_PLACE_MM = 0.1  # at every corner of the volume
LEVEL = 1  # of compression: the other side waits for it, nobody keeps it


def volume_write(target: Path, *, values: NDArray[Any], volume: Volume) -> None:
    """Write .nii.gz: `values` are (slices, rows, columns) of int16 or float32. No word about anybody is in its header."""
    affine = np.array([*volume.affine, (0, 0, 0, 1)])
    image = nibabel.Nifti1Image(values.T, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    with target.open("wb") as file, gzip.GzipFile("", "wb", LEVEL, file, mtime=0) as packed:
        image.to_stream(packed)


def labels_most(volume: Volume) -> int:
    """Bytes of the largest file that a label map of this volume can be."""
    return HEAD + MAX_EXTENSIONS + MAX_ITEM * len(volume.sop_uids) * volume.rows * volume.columns


def labels_read(packed: bytes, *, volume: Volume) -> NDArray[Any]:
    """The label map of `volume`, (slices, rows, columns) of whole numbers. `packed` is .nii.gz or .nii.

    Raises PlatformError, permanent, for what is no NIfTI-1, is cut, has another matrix or lies elsewhere, or holds no whole numbers.
    """
    shape = (volume.columns, volume.rows, len(volume.sop_uids))
    raw = _inflated(packed, labels_most(volume))
    with hostile("the label map is no NIfTI-1 file"):
        header = nibabel.Nifti1Header.from_fileobj(BytesIO(raw[:HEADER]))  # without its extensions, which have parsers of their own
        is_single = bytes(header["magic"].item()).startswith(b"n+1")
        found, kind, offset = header.get_data_shape(), header.get_data_dtype(), int(header.get_data_offset())
        slope, affine = header.get_slope_inter(), header.get_best_affine()
    if not is_single:
        raise refusal("the label map is no NIfTI-1 file")
    if tuple(found[:3]) != shape or any(extent != 1 for extent in found[3:]):
        raise refusal("the label map has another matrix than the images")
    if kind.kind not in "iu" or slope not in ((None, None), (1.0, None), (1.0, 0.0)):
        raise refusal("the label map holds no whole numbers")
    if not _is_same_place(np.asarray(affine), volume):
        raise refusal("the label map lies elsewhere than the images")
    count = shape[0] * shape[1] * shape[2]
    if not HEAD <= offset <= HEAD + MAX_EXTENSIONS or len(raw) < offset + count * kind.itemsize:
        raise refusal("the label map ends before its last voxel")
    labels: NDArray[Any] = np.frombuffer(raw, dtype=kind, count=count, offset=offset).reshape(shape[::-1])
    return labels


def _inflated(packed: bytes, most: int) -> bytes:
    """What lies in a gzip stream, at most so many bytes: a map of these images is never larger."""
    if packed[:2] != b"\x1f\x8b":
        if len(packed) > most:
            raise refusal("the label map is larger than its images allow")
        return packed
    stream = zlib.decompressobj(wbits=31)
    try:
        raw = stream.decompress(packed, most + 1)
    except zlib.error as error:
        raise refusal("the label map cannot be inflated") from error
    if len(raw) > most:
        raise refusal("the label map is larger than its images allow")
    if not stream.eof:
        raise refusal("the label map ends before its last voxel")
    return raw


def _is_same_place(affine: NDArray[Any], volume: Volume) -> bool:
    """Whether the corners of both grids meet; numbers that are none are nowhere."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        return False
    ours = np.array(volume.affine)
    corners = np.array(list(_corners(volume))).T
    return bool(np.linalg.norm((affine[:3] - ours) @ corners, axis=0).max() <= SAME_PLACE_MM)


def _corners(volume: Volume) -> Iterator[tuple[int, int, int, int]]:
    for column in (0, volume.columns - 1):
        for row in (0, volume.rows - 1):
            for place in (0, len(volume.sop_uids) - 1):
                yield column, row, place, 1
