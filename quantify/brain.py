"""Brain volume and mask of a 3D T1 MR of the head, by a network that is an optional part; run by quantify.worker."""

import importlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantify import codes
from quantify.findings import Analysis, Mask, Measurement, Remark
from quantify.gate import STACK_RULES, Scan, refusal_of, whole_words
from quantify.models import ModelError, missing_of
from quantify.picture import attributes_of
from quantify.volume import Geometry, Header, geometry_of, headers_of, normal_of, number_of, record_of, text_of, volume_of

NAME = "brain-volume"
VERSION = "1.0.0"
MODEL = "deepbet-1.0.2"
SCAN = Scan(
    name="head MR", code="not_head", parts=("HEAD", "BRAIN", "SKULL"),
    words=whole_words("HEAD", "BRAIN", "SKULL", "CRANIUM", "CRANIAL", "NEURO", "KOPF", "SCHÄDEL", "HIRN", "TETE", "TÊTE", "CRANE", "CRÂNE"),
    others=whole_words(
        "CHEST", "THORAX", "HEART", "CARDIAC", "NECK", "[CTL]?SPINE", "LUMBAR", "ABDOMEN", "LIVER", "KIDNEYS?", "PELVIS", "PROSTATE",
        "BREAST", "HIPS?", "KNEES?", "ANKLE", "FOOT", "WRIST", "HAND", "ELBOW", "SHOULDER", "FEMUR", "LEG", "ARM", "HALS", "BECKEN",
    ),
    why_no_contrast="the network has not seen such images", min_slices=80, max_spacing_mm=1.5,
)  # fmt: skip
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
LONGEST_ECHO_MS = 10.0
BRAIN_ML = (700.0, 2_200.0)
CUT = 0.01  # of a face of the stack
METHOD = f"voxels inside the brain's outline with its fluid, by the networks of {MODEL} on ONNX Runtime"

Voxels = NDArray[np.bool_]


def analyse(parts: Sequence[bytes]) -> Analysis:
    """Measure one series given as Part 10 objects, or say why it cannot be measured. Raises UnreadableInputError."""
    headers = headers_of(parts)
    record = record_of(headers, None)
    reason = _kind(headers) or refusal_of(headers, SCAN, STACK_RULES) or _weighting(parts[0], headers) or _installed()
    geometry = None if reason else geometry_of(headers)
    if geometry is None:
        return Analysis(record, reason=reason)
    volume = volume_of(parts, replace(geometry, headers=tuple(_scaled(header) for header in geometry.headers)))
    record = record_of(headers, volume.sha256)
    axes = _axes(geometry)
    if axes is None:
        return Analysis(record, reason=Remark("oblique", "the volume lies askew: its axes cannot be named"))
    order, flips = axes
    image = np.flip(np.maximum(volume.hu, 0).astype(np.float32).transpose(order), flips)
    try:
        found: Voxels = importlib.import_module("quantify.brain_net").brain_of(np.ascontiguousarray(image), MODEL)
    except ModelError as error:
        return Analysis(record, reason=Remark("not_installed", str(error)))
    brain = np.ascontiguousarray(np.flip(found, flips).transpose(np.argsort(order)))
    size_ml = np.count_nonzero(brain) * volume.voxel_ml
    reason = _implausible(brain, size_ml)
    if reason:
        return Analysis(record, reason=reason)
    uids = tuple(header.sop_uid for header in geometry.headers)
    mask = Mask("Brain", codes.BRAIN, uids, brain.shape[1], brain.shape[2], lambda: np.packbits(brain).tobytes())
    measurement = Measurement(codes.VOLUME, round(float(size_ml), 1), codes.MILLILITRE, codes.BRAIN, METHOD)
    notes = (
        Remark("outline", "the ventricles and the fluid in the furrows are counted: it is no volume of tissue"),
        Remark("slices", f"{len(headers)} slices, {volume.spacing[0]:.2f} mm apart; no normal range is known to it"),
    )
    return Analysis(record, (measurement,), notes=notes, mask=mask)


def _kind(headers: Sequence[Header]) -> Remark | None:
    for header in headers:
        if header.modality != "MR":
            return Remark("not_mr", f"modality {header.modality or 'not stated'}: not a magnetic resonance")
        if {"LOCALIZER", "MIP", "PROJECTION IMAGE"} & set(header.image_type):
            return Remark("localizer", "localizer or projection among the slices")
        if header.frames > 1 or header.sop_class != MR_IMAGE:
            return Remark("multiframe", "only MR Image Storage slices are read: no multi-frame, no derived objects")
    return None


def _weighting(first: bytes, headers: Sequence[Header]) -> Remark | None:
    dataset = attributes_of(first)
    if text_of(dataset, "MRAcquisitionType") != "3D":
        return Remark("not_3d", "not stated to be a 3D acquisition")
    echo = number_of(dataset, "EchoTime")
    is_gradient = "GR" in text_of(dataset, "ScanningSequence").upper().split("\\")
    # A T1 volume is a gradient echo with a short echo; T2 and FLAIR volumes are spin echoes.
    if not is_gradient or echo is None or echo > LONGEST_ECHO_MS:
        return Remark("not_t1", f"not recognised as T1: a gradient echo with an echo time of at most {LONGEST_ECHO_MS:g} ms is needed")
    if max(headers[0].pixel_spacing or (0.0,)) > SCAN.max_spacing_mm:
        return Remark("spacing", f"pixels larger than {SCAN.max_spacing_mm:g} mm")
    return None


def _installed() -> Remark | None:
    missing = missing_of(MODEL)
    return Remark("not_installed", missing) if missing else None


def _scaled(header: Header) -> Header:
    """MR values have no unit: without a rescale they are taken as stored."""
    return header if header.slope and header.intercept is not None else replace(header, slope=1.0, intercept=0.0)


def _axes(geometry: Geometry) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """How (slice, row, column) become (right, front, up): the order of the axes, and which new ones are turned round."""
    orientation = geometry.headers[0].orientation or ()
    patient = np.array([normal_of(orientation), orientation[3:], orientation[:3]])
    # PS3.3 C.7.6.2.1.1: +x is left and +y the back, so both are turned for right and front.
    ras = patient * np.array([-1.0, -1.0, 1.0])
    nearest = np.argmax(np.abs(ras), axis=1)
    if sorted(nearest) != [0, 1, 2]:
        return None
    order = tuple(int(axis) for axis in np.argsort(nearest))
    return order, tuple(new for new, old in enumerate(order) if ras[old, new] < 0)


def _implausible(brain: Voxels, size_ml: Any) -> Remark | None:
    if not BRAIN_ML[0] <= size_ml <= BRAIN_ML[1]:
        return Remark("no_brain", f"{size_ml:.0f} mL found as brain, outside {BRAIN_ML[0]:g} to {BRAIN_ML[1]:g} mL")
    faces = [brain.take(end, axis=axis) for axis in range(3) for end in (0, -1)]
    if any(face.mean() > CUT for face in faces):
        return Remark("brain_cut", "the brain reaches the edge of the images: it is not whole")
    return None
