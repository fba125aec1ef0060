"""An Agatston-like score: dense foci in the thick tissue between the lungs of a non-contrast CT; run by quantify.worker.

Definition: Agatston et al., J Am Coll Cardiol 1990;15:827-832. It is only *like* it: the region is found without a reader,
so coronary arteries, valves and aorta are not told apart, and no ECG gating is asked for.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from quantify import codes
from quantify.chest import CHEST_WORDS, ELSEWHERE_WORDS
from quantify.findings import Analysis, Measurement, Parameter, Remark
from quantify.gate import Scan, refusal_of
from quantify.lungs import Box, Lungs, Mask, NoLungsError, lungs_of
from quantify.volume import Header, Volume, geometry_of, headers_of, record_of, volume_of

NAME = "calcium-agatston-like"
VERSION = "1.0.0"
SCAN = Scan(
    name="chest or heart CT", code="not_chest", parts=("CHEST", "THORAX", "LUNG", "HEART", "CARDIAC", "CORONARY"), words=CHEST_WORDS,
    others=ELSEWHERE_WORDS, why_no_contrast="it is as dense as calcium", min_slices=30, max_spacing_mm=3.0,
)  # fmt: skip
CALCIUM_HU = 130
SMALLEST_MM2 = 1.0
REFERENCE_MM = 3.0
REFERENCE_KVP = 120.0
WEIGHTS_FROM_HU = (130, 200, 300, 400)
# A plaque is far below 10 mL; what is dense, connected and larger is bone.
BONE_FROM_ML = 10.0
BONE_MARGIN_MM = 4.0
TISSUE_HU = -200
COARSE_MM = 3.0
# A ball of this radius fits into the heart and not into the great vessels, the gullet or the vessels of the lung.
BALL_MM = 20.0
SURFACE_MM = 8.0  # the coronary arteries lie on the surface that the ball rounds off
IN_PLANE = np.zeros((3, 3, 3), dtype=bool)
IN_PLANE[1] = True
METHOD = (
    "Agatston-like, ungated, region found without a reader: foci of 130 HU or more, 1 mm2 or more, in the thick tissue between the "
    "lungs, weight 1 to 4 by peak HU, per slice, times slice distance / 3 mm"
)


def analyse(parts: Sequence[bytes]) -> Analysis:
    """Score one series given as Part 10 objects, or say why it cannot be scored. Raises UnreadableInputError."""
    headers = headers_of(parts)
    record = record_of(headers, None)
    reason = refusal_of(headers, SCAN)
    geometry = None if reason else geometry_of(headers)
    if geometry is None:
        return Analysis(record, reason=reason)
    volume = volume_of(parts, geometry)
    record = record_of(headers, volume.sha256)
    try:
        lungs = lungs_of(volume)
    except NoLungsError as error:
        return Analysis(record, reason=Remark("no_lungs", f"{error}, and the heart lies between them"))
    bone = _bone(volume.hu[lungs.box], volume.voxel_ml)
    heart = _heart(volume, lungs, bone)
    if not heart.any():
        return Analysis(record, reason=Remark("no_heart", "no heart found between the lungs"))
    score, volume_mm3 = _scored(volume, lungs.box, heart & ~bone)
    limit = (Parameter(codes.AGATSTON_THRESHOLD, CALCIUM_HU, codes.HOUNSFIELD),)
    measurements = (
        Measurement(codes.AGATSTON_LIKE, round(score, 1), codes.SCORE, codes.HEART, METHOD, limit),
        Measurement(codes.CALCIUM_VOLUME, round(volume_mm3, 1), codes.CUBIC_MILLIMETRE, codes.HEART, METHOD, limit),
    )
    return Analysis(record, measurements, notes=_notes(headers, volume))


def _bone(hu: NDArray[Any], voxel_ml: float) -> Mask:
    labels, _ = ndimage.label(hu >= CALCIUM_HU)
    is_bone = np.bincount(labels.ravel()) * voxel_ml >= BONE_FROM_ML
    is_bone[0] = False
    bone: Mask = is_bone[labels]
    return bone


def _heart(volume: Volume, lungs: Lungs, bone: Mask) -> Mask:
    """The largest thick piece of tissue with lung on both sides, in the lungs' box; found on a coarse grid."""
    strides = tuple(max(1, round(COARSE_MM / size)) for size in volume.spacing)
    pick = tuple(slice(None, None, stride) for stride in strides)
    size = tuple(stride * step for stride, step in zip(strides, volume.spacing, strict=True))
    lung = lungs.mask[pick]
    left = np.logical_or.accumulate(lung, 2)
    between = left & np.logical_or.accumulate(lung[:, :, ::-1], 2)[:, :, ::-1] & ~lung
    tissue = between & (volume.hu[lungs.box][pick] > TISSUE_HU)
    coarse_bone = bone[pick]
    if coarse_bone.any():
        tissue &= ndimage.distance_transform_edt(~coarse_bone, sampling=size) > BONE_MARGIN_MM
    # The stack may end inside the heart: its first and last slice are no surface.
    padded = np.pad(tissue, ((1, 1), (0, 0), (0, 0)), mode="edge")
    core = ndimage.distance_transform_edt(padded, sampling=size)[1:-1] > BALL_MM
    labels, count = ndimage.label(core)
    if count == 0:
        return np.zeros_like(bone)
    largest = labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1
    heart = tissue & (ndimage.distance_transform_edt(~largest, sampling=size) <= BALL_MM + SURFACE_MM)
    for axis, stride in enumerate(strides):
        heart = np.repeat(heart, stride, axis=axis)
    whole: Mask = heart[: bone.shape[0], : bone.shape[1], : bone.shape[2]]
    return whole


def _scored(volume: Volume, box: Box, region: Mask) -> tuple[float, float]:
    """Score and volume in mm3. Foci are joined within a slice only, corners included."""
    hu = volume.hu[box]
    labels, count = ndimage.label(region & (hu >= CALCIUM_HU), structure=IN_PLANE)
    if count == 0:
        return 0.0, 0.0
    pitch, row_mm, column_mm = volume.spacing
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:] * (row_mm * column_mm)
    peaks = ndimage.maximum(hu, labels, np.arange(1, count + 1))
    weights = np.searchsorted(WEIGHTS_FROM_HU, peaks, side="right")
    is_counted = areas >= SMALLEST_MM2
    score = float((areas * weights)[is_counted].sum()) * pitch / REFERENCE_MM
    return score, float(areas[is_counted].sum()) * pitch


def _notes(headers: Sequence[Header], volume: Volume) -> tuple[Remark, ...]:
    voltages = sorted({header.kvp for header in headers if header.kvp})
    stated = ", ".join(f"{value:g}" for value in voltages) or "not recorded"
    kernels = ", ".join(sorted({header.kernel for header in headers if header.kernel})) or "not recorded"
    text = "like an Agatston score, and not comparable with one: ungated, and the region was found without a reader"
    if abs(volume.spacing[0] - REFERENCE_MM) > 0.05 or voltages != [REFERENCE_KVP]:
        text += f"; slices {volume.spacing[0]:.2f} mm apart at {stated} kV, the definition has 3 mm at 120 kV"
    return (
        Remark("not_comparable", text),
        Remark("region", "coronary arteries, valves and aorta are not told apart; noise and metal of 130 HU count too"),
        Remark("kernel", f"reconstruction kernel {kernels}; sharp kernels raise the score"),
    )
