"""The volume of hyperdensity inside the skull of a non-contrast head CT; run by quantify.worker.

A number of voxels, and no statement of what they are: blood, calcification, a dense vein and an artefact weigh the same.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from quantify import codes
from quantify.findings import Analysis, Measurement, Parameter, Remark
from quantify.gate import Scan, refusal_of, whole_words
from quantify.volume import Header, Volume, geometry_of, headers_of, record_of, volume_of

NAME = "hyperdense-volume"
VERSION = "1.0.0"
SCAN = Scan(
    name="head CT", code="not_head", parts=("HEAD", "BRAIN", "SKULL"),
    words=whole_words("HEAD", "BRAIN", "SKULL", "CRANIUM", "CRANIAL", "NEURO", "KOPF", "SCHÄDEL", "HIRN", "TETE", "TÊTE", "CRANE", "CRÂNE"),
    others=whole_words(
        "CHEST", "THORAX", "LUNGS?", "PULMONARY", "HEART", "NECK", "[CTL]?SPINE", "LUMBAR", "ABDOMEN", "ABDOMINAL", "LIVER", "KIDNEYS?",
        "PELVIS", "HIPS?", "KNEES?", "ANKLE", "FOOT", "WRIST", "HAND", "ELBOW", "SHOULDER", "FEMUR", "LEG", "ARM", "HALS", "BECKEN",
    ),
    why_no_contrast="vessels become as dense as blood clots", min_slices=20, max_spacing_mm=5.0,
)  # fmt: skip
LOW_HU, HIGH_HU = 50, 100
SMALLEST_ML = 0.5
BONE_HU = 250
SOFT_HU = (-20, 120)
BRIDGED_MM = 6.0  # gaps of the skull that the closing bridges: sutures, small foramina
BONE_EDGE_MM = 3.0  # beside bone its blur reaches into the range
THICK_MM = 12.0  # a ball that fits into the cranial cavity, and not into an orbit's fat or a sinus
SKULL_ML = (500.0, 2_500.0)
METHOD = (
    f"voxels of {LOW_HU} to {HIGH_HU} HU inside the skull, {BONE_EDGE_MM:g} mm or more from bone, "
    f"in connected pieces of more than {SMALLEST_ML:g} mL"
)

Voxels = NDArray[np.bool_]


def analyse(parts: Sequence[bytes]) -> Analysis:
    """Measure one series given as Part 10 objects, or say why it cannot be measured. Raises UnreadableInputError."""
    headers = headers_of(parts)
    record = record_of(headers, None)
    reason = refusal_of(headers, SCAN)
    geometry = None if reason else geometry_of(headers)
    if geometry is None:
        return Analysis(record, reason=reason)
    volume = volume_of(parts, geometry)
    record = record_of(headers, volume.sha256)
    inside = _inside(volume)
    inside_ml = np.count_nonzero(inside) * volume.voxel_ml
    if not SKULL_ML[0] <= inside_ml <= SKULL_ML[1]:
        text = f"{inside_ml:.0f} mL found inside the skull, outside {SKULL_ML[0]:g} to {SKULL_ML[1]:g} mL"
        return Analysis(record, reason=Remark("no_skull", text))
    dense = _dense(volume, inside)
    return Analysis(record, _measurements(volume, dense), notes=_notes(headers, volume))


def _inside(volume: Volume) -> Voxels:
    """The cranial cavity: soft tissue that the closed skull surrounds within each slice, its largest thick piece."""
    bone = volume.hu >= BONE_HU
    in_plane = volume.spacing[1:]
    closed = np.zeros_like(bone)
    margin = int(np.ceil(BRIDGED_MM / min(in_plane))) + 1
    for index, image in enumerate(bone):
        if not image.any():
            continue
        padded = np.pad(image, margin)
        grown = ndimage.distance_transform_edt(~padded, sampling=in_plane) <= BRIDGED_MM / 2
        shrunk = ndimage.distance_transform_edt(grown, sampling=in_plane) > BRIDGED_MM / 2
        filled = ndimage.binary_fill_holes(shrunk | padded)
        closed[index] = filled[margin:-margin, margin:-margin]
    soft = closed & ~bone & (volume.hu >= SOFT_HU[0]) & (volume.hu <= SOFT_HU[1])
    # One voxel of noise must not make a hole: what the soft tissue surrounds in its slice belongs to it.
    for index, image in enumerate(soft):
        soft[index] = ndimage.binary_fill_holes(image) & closed[index] & ~bone[index]
    depth = ndimage.distance_transform_edt(np.pad(soft, ((1, 1), (0, 0), (0, 0)), mode="edge"), sampling=volume.spacing)[1:-1]
    labels, count = ndimage.label(depth > THICK_MM)
    if count == 0:
        return np.zeros_like(bone)
    core = labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1
    near_core = ndimage.distance_transform_edt(~core, sampling=volume.spacing) <= THICK_MM + 1.0
    inside: Voxels = soft & near_core
    return inside


def _dense(volume: Volume, inside: Voxels) -> Voxels:
    bone = volume.hu >= BONE_HU
    off_bone = ndimage.distance_transform_edt(~bone, sampling=volume.spacing) >= BONE_EDGE_MM
    dense = inside & off_bone & (volume.hu >= LOW_HU) & (volume.hu <= HIGH_HU)
    labels, _ = ndimage.label(dense)
    is_large = np.bincount(labels.ravel()) * volume.voxel_ml > SMALLEST_ML
    is_large[0] = False
    kept: Voxels = is_large[labels]
    return kept


def _measurements(volume: Volume, dense: Voxels) -> tuple[Measurement, ...]:
    limits = tuple(Parameter(codes.THRESHOLD, limit, codes.HOUNSFIELD) for limit in (LOW_HU, HIGH_HU))
    size_ml = round(np.count_nonzero(dense) * volume.voxel_ml, 2)
    found = [Measurement(codes.HYPERDENSE_VOLUME, float(size_ml), codes.MILLILITRE, codes.BRAIN, METHOD, limits)]
    values: NDArray[Any] = volume.hu[dense]
    if values.size:
        mean = round(float(values.mean(dtype=np.float64)), 1)
        found.append(Measurement(codes.ATTENUATION, mean, codes.HOUNSFIELD, codes.BRAIN, f"mean; {METHOD}", limits))
    return tuple(found)


def _notes(headers: Sequence[Header], volume: Volume) -> tuple[Remark, ...]:
    kernels = ", ".join(sorted({header.kernel for header in headers if header.kernel})) or "not recorded"
    return (
        Remark("unspecific", "calcification, dense veins, bone edges and streaks count too: the number does not say what is dense"),
        Remark("edge", f"what lies within {BONE_EDGE_MM:g} mm of bone is not counted: thin layers along the skull are missed"),
        Remark("slices", f"{len(headers)} slices, {volume.spacing[0]:.2f} mm apart, reconstruction kernel {kernels}"),
    )
