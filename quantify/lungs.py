"""Finding the lungs in a chest CT: air inside the body, central airways removed; called by lung_density.

Follows the order of Hu, Hoffman and Reinhardt (IEEE Trans Med Imaging 2001;20:490-498): grey-level threshold,
airways taken out slice by slice from the trachea, then the two lungs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from quantify.airways import airways_of
from quantify.volume import Volume

AIR_BELOW_HU = -500
LUNG_AT_LEAST_ML = 150.0
INSIDE_AT_LEAST = 0.9
# Of stomach and bowel gas more than four fifths lie below; a lung keeps more tissue, even when destroyed.
GAS_PERCENTILE, GAS_BELOW_HU = 80, -940
SIDE_BY_SIDE_MM = 50.0
COARSE_MM = 3.0
CUT_MM2 = 500.0

Mask = NDArray[np.bool_]
Box = tuple[slice, slice, slice]


class NoLungsError(Exception):
    """The picture holds no pair of lungs that could be measured; the text is for people."""


@dataclass(frozen=True)
class Lungs:
    """The lung voxels inside `box` of the volume, vessels denser than the threshold left out."""

    box: Box
    mask: Mask
    is_cut: bool


@dataclass(frozen=True)
class _Body:
    """The body without the table: its box in the volume, and a coarse mask of everything inside its outline."""

    box: Box
    coarse: Mask
    strides: tuple[int, int, int]
    centre_column: float


def lungs_of(volume: Volume) -> Lungs:
    """The two lungs, or NoLungsError."""
    body = _body_of(volume)
    hu = volume.hu[body.box]
    air = _enclosed(hu < AIR_BELOW_HU)
    air &= ~airways_of(air, volume.spacing, body.centre_column - body.box[2].start)
    tight = _tight_box(air)
    lungs, box = _pair(air[tight], hu[tight], body, tight, volume)
    ends = lungs[[0, -1]].sum(axis=(1, 2)) * volume.spacing[1] * volume.spacing[2]
    reaches = (box[0].start == 0, box[0].stop == volume.hu.shape[0])
    is_cut = any(is_end and area > CUT_MM2 for is_end, area in zip(reaches, ends, strict=True))
    return Lungs(box=box, mask=lungs, is_cut=is_cut)


def _body_of(volume: Volume) -> _Body:
    strides = tuple(max(1, round(COARSE_MM / size)) for size in volume.spacing)
    coarse = volume.hu[tuple(slice(None, None, stride) for stride in strides)] >= AIR_BELOW_HU
    # Opening drops what is thinner than two coarse voxels: table shells, sheets, cables.
    solid = ndimage.binary_opening(coarse)
    labels, count = ndimage.label(solid)
    if count == 0:
        raise NoLungsError("no body found in the images")
    body = labels == np.argmax(np.bincount(labels[solid])[1:]) + 1
    box = []
    for axis, stride in enumerate(strides):
        used = np.flatnonzero(body.any(axis=tuple(other for other in range(3) if other != axis)))
        first, last = int(used[0]), int(used[-1])
        box.append(slice(max(0, (first - 1) * stride), min(volume.hu.shape[axis], (last + 2) * stride)))
    box[0] = slice(0, volume.hu.shape[0])
    columns = np.flatnonzero(body.any(axis=(0, 1)))
    centre = float(columns[0] + columns[-1]) / 2 * strides[2]
    return _Body((box[0], box[1], box[2]), _outline(body), (strides[0], strides[1], strides[2]), centre)


def _outline(body: Mask) -> Mask:
    """Everything with body on all four sides in its slice; unlike hole filling it survives a gap in the chest wall."""
    rows = np.logical_or.accumulate(body, 1) & np.logical_or.accumulate(body[:, ::-1], 1)[:, ::-1]
    columns = np.logical_or.accumulate(body, 2) & np.logical_or.accumulate(body[:, :, ::-1], 2)[:, :, ::-1]
    outline: Mask = rows & columns
    return outline


def _enclosed(air: Mask) -> Mask:
    """Air that does not reach the sides of the body's box; top and bottom may be reached (trachea, cut lungs)."""
    labels, count = ndimage.label(air)
    sides = (labels[:, 0, :], labels[:, -1, :], labels[:, :, 0], labels[:, :, -1])
    keep = np.ones(count + 1, dtype=bool)
    keep[0] = False
    for side in sides:
        keep[np.unique(side)] = False
    enclosed: Mask = keep[labels]
    return enclosed


def _tight_box(mask: Mask) -> Box:
    if not mask.any():
        raise NoLungsError("no two lungs found")
    spans = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        spans.append(slice(int(used[0]), int(used[-1]) + 1))
    return spans[0], spans[1], spans[2]


def _pair(air: Mask, hu: NDArray[Any], body: _Body, tight: Box, volume: Volume) -> tuple[Mask, Box]:
    labels, count = ndimage.label(air)
    sizes = np.bincount(labels[air], minlength=count + 1) * volume.voxel_ml
    boxes = ndimage.find_objects(labels)
    origin = [outer.start + inner.start for outer, inner in zip(body.box, tight, strict=True)]
    found: list[int] = []
    for label in np.argsort(-sizes, kind="stable"):
        if sizes[label] < LUNG_AT_LEAST_ML or len(found) == 2:
            break
        inner = boxes[label - 1]
        part = labels[inner] == label
        corner = [start + piece.start for start, piece in zip(origin, inner, strict=True)]
        if _is_inside(part, corner, body) and np.percentile(hu[inner][part], GAS_PERCENTILE) >= GAS_BELOW_HU:
            found.append(int(label))
    if not found:
        raise NoLungsError("no two lungs found")
    lungs = np.isin(labels, found)
    if not _has_two_sides(labels, lungs, found, volume.spacing):
        raise NoLungsError("no two lungs found")
    box = tuple(slice(start, start + size) for start, size in zip(origin, lungs.shape, strict=True))
    return lungs, (box[0], box[1], box[2])


def _is_inside(part: Mask, corner: list[int], body: _Body) -> bool:
    """Whether the component lies in the body: hollow tables and cushions hold litres of enclosed air too."""
    places = np.argwhere(part[:: body.strides[0], :: body.strides[1], :: body.strides[2]])
    coarse = places + np.array(corner) // np.array(body.strides)
    coarse = np.minimum(coarse, np.array(body.coarse.shape) - 1)
    return bool(body.coarse[tuple(coarse.T)].mean() >= INSIDE_AT_LEAST)


def _has_two_sides(labels: NDArray[np.int32], lungs: Mask, found: list[int], spacing: tuple[float, ...]) -> bool:
    if len(found) == 2:
        return _are_side_by_side([labels == label for label in found], spacing[2])
    # Lungs may touch in front of the heart; eroding breaks the thin bridge without changing what is measured.
    strides = tuple(max(1, round(COARSE_MM / size)) for size in spacing)
    coarse = np.pad(lungs[tuple(slice(None, None, stride) for stride in strides)], 1)
    total = int(coarse.sum())
    for rounds in range(1, 6):
        pieces, _ = ndimage.label(ndimage.binary_erosion(coarse, iterations=rounds))
        sizes = np.bincount(pieces.ravel())[1:]
        large = [int(label) + 1 for label in np.argsort(-sizes, kind="stable")[:2] if sizes[label] > 0.1 * total]
        if len(large) == 2:
            return _are_side_by_side([pieces == label for label in large], spacing[2] * strides[2])
    return False


def _are_side_by_side(pair: list[Mask], column_mm: float) -> bool:
    middles = []
    for part in pair:
        profile = part.sum(axis=(0, 1))
        middles.append(float((profile * np.arange(len(profile))).sum() / profile.sum()) * column_mm)
    return abs(middles[0] - middles[1]) >= SIDE_BY_SIDE_MM
