"""Trachea and main bronchi: followed slice by slice from the neck downwards; called by quantify.lungs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]

# A trachea measures 13-27 mm across in adults (Breatnach et al., AJR 1984;142:903-906), less in children.
SEED_MM2 = (40.0, 700.0)
SEED_OFF_CENTRE_MM = 40.0
SEED_LONGEST_RATIO = 2.5
TRACK_AT_LEAST_MM = 20.0
LARGEST_MM2 = 900.0
GROWTH = 2.0
GROWTH_MM2 = 60.0


@dataclass(frozen=True)
class _Island:
    """One air region of one slice."""

    mask: Mask
    area_mm2: float


def airways_of(air: Mask, spacing: tuple[float, float, float], centre_column: float) -> Mask:
    """The central airways within `air` (slices from feet to head); empty when no trachea is recognised."""
    airways = np.zeros_like(air)
    top = air.shape[0] - 1
    for start in range(top, top // 2, -1):
        seed = _seed(air[start], spacing, centre_column)
        if seed is None:
            continue
        track = _track(air, start, seed, spacing)
        if len(track) * spacing[0] >= TRACK_AT_LEAST_MM:
            for index, mask in track.items():
                airways[index] = mask
            break
    return airways


def _seed(air: Mask, spacing: tuple[float, float, float], centre_column: float) -> _Island | None:
    """The largest compact region near the midline: lung tips lie further out, the gullet is smaller."""
    labels, _ = ndimage.label(air)
    best: _Island | None = None
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        mask = labels == label if _is_compact(box, spacing, centre_column) else None
        if mask is None:
            continue
        area = float(mask.sum()) * spacing[1] * spacing[2]
        if SEED_MM2[0] <= area <= SEED_MM2[1] and (best is None or area > best.area_mm2):
            best = _Island(mask, area)
    return best


def _is_compact(box: tuple[slice, slice], spacing: tuple[float, float, float], centre_column: float) -> bool:
    height = (box[0].stop - box[0].start) * spacing[1]
    width = (box[1].stop - box[1].start) * spacing[2]
    off_centre = abs((box[1].start + box[1].stop) / 2 - centre_column) * spacing[2]
    is_round = max(height, width) <= SEED_LONGEST_RATIO * min(height, width)
    return bool(is_round and off_centre <= SEED_OFF_CENTRE_MM)


def _track(air: Mask, start: int, seed: _Island, spacing: tuple[float, float, float]) -> dict[int, Mask]:
    """Walk towards the feet while the air stays a small island; where it opens into the lung it is lung."""
    track = {start: seed.mask}
    current = seed
    for index in range(start - 1, -1, -1):
        labels, _ = ndimage.label(air[index])
        limit = min(LARGEST_MM2, GROWTH * current.area_mm2 + GROWTH_MM2)
        below = np.zeros_like(current.mask)
        for label in np.unique(labels[current.mask]):
            island = labels == label
            if label and float(island.sum()) * spacing[1] * spacing[2] <= limit:
                below |= island
        if not below.any():
            break
        current = _Island(below, float(below.sum()) * spacing[1] * spacing[2])
        track[index] = below
    return track
