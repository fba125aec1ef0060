"""A relative vessel index of one colour fundus photograph: vessel pixels / pixels of the field; run by quantify.worker.

Vesselness after Frangi et al., MICCAI 1998, LNCS 1496:130-137. The thinnest vessels are missed and blurred ones count wider,
so it compares like with like only.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy import ndimage

from quantify import codes
from quantify.findings import Analysis, Measurement, Remark
from quantify.picture import attributes_of, otsu, pixels_of, reduced, single_refusal
from quantify.volume import headers_of, number_of, record_of, text_of

NAME = "fundus-vessel-index"
VERSION = "1.1.0"
PHOTOGRAPHS = ("1.2.840.10008.5.1.4.1.1.77.1.5.1", "1.2.840.10008.5.1.4.1.1.77.1.5.2")
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
WORKING_PIXELS = 700  # the field's diameter when it is measured: all cameras' images come down to about this
LEAST_PIXELS = 500
ROUND = (0.6, 0.95)  # a disc fills 0.785 of its box; cut at top and bottom a little more
ASPECT = 1.5
RIM = 0.04  # of the diameter: beside the black frame everything looks like a vessel
BACKGROUND = 1 / 28  # of the diameter: wider than a vessel, narrower than the disc and the macula
SIGMAS = (1 / 700, 1 / 440, 1 / 280, 1 / 200)  # of the diameter: vessels of about 2 to 10 working pixels
BETA = 0.5
EXPOSED = (25.0, 230.0)
CORE = 0.85  # of the greatest contrast nearby: the middle of a vessel
EDGE = (0.3, 0.7)  # of the way from ground to vessel: below none of a pixel is vessel, above all of it
SHARP = 0.05  # the least contrast of the clearest hundredth of the field
METHOD = "pixels of tubes darker than their surroundings (Frangi, green channel, Otsu) / pixels of the field"

Image = NDArray[np.float64]
Mask = NDArray[np.bool_]


def analyse(parts: Sequence[bytes]) -> Analysis:
    """Measure one photograph given as a Part 10 object, or say why it cannot be measured. Raises UnreadableInputError."""
    headers = headers_of(parts)
    record = record_of(headers, None)
    dataset = attributes_of(parts[0])
    reason = _kind(dataset) or single_refusal(parts, dataset)
    if reason:
        return Analysis(record, reason=reason)
    stored, sha256 = pixels_of(parts[0])
    record = record_of(headers, sha256)
    scale = 255.0 / (2 ** int(number_of(dataset, "BitsStored") or 8) - 1)
    field, diameter = _field(stored * scale)
    if field is None:
        return Analysis(record, reason=Remark("no_field", f"no round field of at least {LEAST_PIXELS} pixels found"))
    block = max(1, round(diameter / WORKING_PIXELS))
    colours = reduced(stored, block) * scale
    inside = reduced(field, block) > 0.99
    return Analysis(record, *_measured(colours[..., 1], inside, diameter / block))


def _kind(dataset: Dataset) -> Remark | None:
    modality = text_of(dataset, "Modality", 16).upper()
    if modality != "OP":
        return Remark("not_fundus", f"modality {modality or 'not stated'}: not an ophthalmic photograph")
    if text_of(dataset, "SOPClassUID") not in PHOTOGRAPHS:
        return Remark("not_fundus", "not an Ophthalmic Photography Image")
    if number_of(dataset, "SamplesPerPixel") != 3 or text_of(dataset, "PhotometricInterpretation") not in COLOURS:
        return Remark("not_colour", "not a colour photograph")
    return None


def _field(stored: NDArray[Any]) -> tuple[Mask | None, float]:
    """The lit disc and its diameter in pixels, by its area; None when there is none."""
    bright = stored.max(axis=2)
    threshold, _ = otsu(bright)
    labels, count = ndimage.label(bright > threshold / 2)
    if count == 0:
        return None, 0.0
    largest = int(np.argmax(np.bincount(labels.ravel())[1:])) + 1
    box = ndimage.find_objects(labels)[largest - 1]
    field = ndimage.binary_fill_holes(labels == largest)
    height, width = (side.stop - side.start for side in box)
    area = float(np.count_nonzero(field))
    diameter = float(np.sqrt(4 * area / np.pi))
    is_round = ROUND[0] <= area / (height * width) <= ROUND[1] and max(height, width) <= ASPECT * min(height, width)
    return (field, diameter) if is_round and min(height, width) >= LEAST_PIXELS else (None, 0.0)


def _measured(
    green: Image, inside: Mask, diameter: float
) -> tuple[tuple[Measurement, ...], Remark | None, tuple[Remark, ...]]:
    lit = float(np.median(green[inside]))
    if not EXPOSED[0] <= lit <= EXPOSED[1]:
        return (), Remark("exposure", f"too {'dark' if lit < EXPOSED[0] else 'bright'} to tell vessels from the ground"), ()
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    field = depth > RIM * diameter
    contrast = _contrast(green, inside, BACKGROUND * diameter)
    sigmas = [share * diameter for share in SIGMAS]
    if np.percentile(_curvature(contrast, sigmas[1])[2][field], 99) < SHARP:
        return (), Remark("no_contrast", "too blurred or too flat: no vessels stand out"), ()
    vesselness = _vesselness(contrast, sigmas, field)
    threshold, _ = otsu(vesselness[field])
    covered = _coverage(contrast, inside, vesselness > threshold, sigmas)
    share = covered[field].sum() / np.count_nonzero(field)
    notes = (
        Remark("relative", "the thinnest vessels are missed, blurred ones count wider: compare only photographs of one camera"),
        Remark("field", f"field of {round(diameter)} pixels when measured, its rim left out"),
    )
    return (Measurement(codes.VESSEL_INDEX, round(float(share), 4), codes.INDEX, codes.RETINA, METHOD),), None, notes


def _contrast(green: Image, inside: Mask, sigma: float) -> Image:
    """How much darker than its surroundings within the field, as a share of them; 0 outside."""
    weight = ndimage.gaussian_filter(inside.astype(np.float64), sigma)
    ground = ndimage.gaussian_filter(green * inside, sigma) / np.maximum(weight, 1e-6)
    contrast: Image = np.where(inside, (ground - green) / np.maximum(ground, 1.0), 0.0)
    return contrast


def _curvature(contrast: Image, sigma: float) -> tuple[Image, Image, Image]:
    """Smaller and larger eigenvalue of the Hessian at this scale, and its norm."""
    rr, cc, rc = (sigma**2 * ndimage.gaussian_filter(contrast, sigma, order=order) for order in ((2, 0), (0, 2), (1, 1)))
    root = np.sqrt(((rr - cc) / 2) ** 2 + rc**2)
    middle = (rr + cc) / 2
    return middle - root, middle + root, np.hypot(middle - root, middle + root)


def _vesselness(contrast: Image, sigmas: list[float], field: Mask) -> Image:
    best = np.zeros_like(contrast)
    for sigma in sigmas:
        across, along, strength = _curvature(contrast, sigma)
        half = strength[field].max() / 2
        blob = np.divide(along, across, out=np.zeros_like(along), where=across < 0)
        seen = np.exp(-(blob**2) / (2 * BETA**2)) * (1 - np.exp(-(strength**2) / (2 * half**2 + 1e-30)))
        # A tube of darkness: along it nothing changes, across it the contrast has its peak.
        best = np.maximum(best, np.where((across < 0) & (np.abs(along) <= np.abs(across)), seen, 0.0))
    return best


def _coverage(contrast: Image, inside: Mask, found: Mask, sigmas: list[float]) -> Image:
    """How much of each pixel is vessel, 0 to 1: by how far its contrast lies between that of the ground and of the vessel nearby.

    What was found and its nearest surroundings, since the scale widens thin vessels. Counting whole pixels instead loses those that an
    edge cuts, up to 8 % of the vessels in a picture that was made smaller.
    """
    smooth = ndimage.gaussian_filter(contrast, sigmas[0] / 2)
    widest, step = sigmas[-1], max(1, round(sigmas[1]))
    peak = ndimage.maximum_filter(np.where(found, smooth, 0.0), size=2 * round(2 * widest) + 1)
    depth, has_depth = _level(contrast, found & (smooth >= CORE * peak), 1.5 * widest)
    ground, has_ground = _level(contrast, inside & ~ndimage.binary_dilation(found, iterations=step + 1), 3 * widest)
    near = ndimage.binary_dilation(found, iterations=step) & has_depth & has_ground & (depth > ground)
    height = np.divide(smooth - ground, depth - ground, out=np.zeros_like(smooth), where=near)
    covered: Image = np.clip((height - EDGE[0]) / (EDGE[1] - EDGE[0]), 0.0, 1.0) * near
    return covered


def _level(contrast: Image, where: Mask, sigma: float) -> tuple[Image, Mask]:
    """The mean contrast of these pixels nearby, and where any of them is near."""
    weight = ndimage.gaussian_filter(where.astype(np.float64), sigma)
    level: Image = ndimage.gaussian_filter(np.where(where, contrast, 0.0), sigma) / np.maximum(weight, 1e-9)
    return level, weight > 1e-4
