"""Percent density of one mammogram: the share of the breast's area above Otsu's threshold; run by quantify.worker.

Area after Byng et al., Phys Med Biol 1994;39:1629-1638, with Otsu's threshold in place of a reader's.
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
from quantify.volume import headers_of, numbers_of, record_of, text_of

NAME = "breast-percent-density"
VERSION = "1.0.0"
PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"
PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"
VIEWS = ("CC", "MLO")
PIXEL_MM = 0.4
BREAST_MM2 = (2_000.0, 60_000.0)
NARROW = 0.15  # of the widest row: below the fold under the breast only a strip of the belly is left
TWO_TISSUES = 0.7  # one bell-shaped tissue alone gives 0.64
PECTORAL_MM = (8.0, 40.0)  # the least it reaches along the top and along the chest wall
EDGE_MM = 2.0
EDGE_SHARE = 0.05  # of the breast's range of values: the least step at the muscle's edge
METHOD = "area of the breast above Otsu's threshold / area of the breast"

Grey = NDArray[np.float64]
Mask = NDArray[np.bool_]


def analyse(parts: Sequence[bytes]) -> Analysis:
    """Measure one mammogram given as a Part 10 object, or say why it cannot be measured. Raises UnreadableInputError."""
    headers = headers_of(parts)
    record = record_of(headers, None)
    dataset = attributes_of(parts[0])
    reason = _refusal(parts, dataset)
    if reason:
        return Analysis(record, reason=reason)
    stored, sha256 = pixels_of(parts[0])
    record = record_of(headers, sha256)
    pixel = min(_spacing(dataset) or (PIXEL_MM,))
    block = max(1, round(PIXEL_MM / pixel))
    grey = _turned(reduced(_dense_is_bright(stored, dataset), block), dataset)
    return Analysis(record, *_measured(grey, pixel * block, dataset))


def _refusal(parts: Sequence[bytes], dataset: Dataset) -> Remark | None:
    return _kind(dataset) or single_refusal(parts, dataset) or _view(dataset) or _grey_levels(dataset)


def _kind(dataset: Dataset) -> Remark | None:
    modality = text_of(dataset, "Modality", 16).upper()
    if modality != "MG":
        return Remark("not_mammogram", f"modality {modality or 'not stated'}: not a mammogram")
    if text_of(dataset, "SOPClassUID") not in (PRESENTATION, PROCESSING):
        return Remark("not_mammogram", "not a Digital Mammography X-Ray Image: a capture, a tomosynthesis or another object")
    if text_of(dataset, "ContrastBolusAgent") or dataset.get("ContrastBolusAgentSequence"):
        return Remark("contrast", "contrast agent given: it is as bright as dense tissue")
    if text_of(dataset, "BreastImplantPresent").upper() == "YES":
        return Remark("implant", "breast implant present")
    return None


def _view(dataset: Dataset) -> Remark | None:
    view = text_of(dataset, "ViewPosition", 16).upper()
    if view not in VIEWS:
        return Remark("view", f"view {view or 'not stated'}: neither CC nor MLO")
    if text_of(dataset, "PartialView").upper() == "YES":
        return Remark("view", "partial view: not the whole breast")
    codes_of_view = list(dataset.get("ViewCodeSequence") or [])
    # PS3.3 C.8.11.7: magnification, spot compression, rolled and others that show a part or squeeze it.
    if any(item.get("ViewModifierCodeSequence") for item in codes_of_view):
        return Remark("view", "view with a modifier (spot, magnified, rolled): not the whole breast as it is")
    if view == "MLO" and _head_end(dataset) is None:
        return Remark("no_orientation", "patient orientation missing: the pectoral muscle cannot be looked for")
    return None


def _grey_levels(dataset: Dataset) -> Remark | None:
    if text_of(dataset, "PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        return Remark("not_grey", "pixels are not plain grey values")
    spacing = _spacing(dataset)
    if spacing is None or min(spacing) <= 0:
        return Remark("no_pixel_spacing", "pixel spacing missing")
    if text_of(dataset, "SOPClassUID") == PROCESSING and text_of(dataset, "PixelIntensityRelationship") not in ("LIN", "LOG"):
        return Remark("not_grey", "pixel intensity relationship not stated: dense may be bright or dark")
    return None


def _spacing(dataset: Dataset) -> tuple[float, ...] | None:
    return numbers_of(dataset, "ImagerPixelSpacing", 2) or numbers_of(dataset, "PixelSpacing", 2)


def _head_end(dataset: Dataset) -> str | None:
    """'top' or 'bottom', by PatientOrientation of the columns (PS3.3 C.7.6.1.1.1)."""
    values = text_of(dataset, "PatientOrientation").upper().split("\\")
    if len(values) != 2 or ("F" in values[1]) == ("H" in values[1]):
        return None
    return "top" if "F" in values[1] else "bottom"


def _dense_is_bright(stored: NDArray[Any], dataset: Dataset) -> Grey:
    grey = stored.astype(np.float64)
    if text_of(dataset, "SOPClassUID") == PRESENTATION:
        return grey if text_of(dataset, "PhotometricInterpretation") == "MONOCHROME2" else grey.max() - grey
    # PS3.3 C.8.11.3.1.2: sign 1 means that more X-rays give more value, so dense tissue is dark.
    is_dark = dataset.get("PixelIntensityRelationshipSign") == 1
    if text_of(dataset, "PixelIntensityRelationship") == "LIN":
        return -np.log(np.maximum(grey, 1.0)) if is_dark else -np.log(np.maximum(grey.max() - grey, 1.0))
    return grey.max() - grey if is_dark else grey


def _turned(grey: Grey, dataset: Dataset) -> Grey:
    """Chest wall to the left, head to the top."""
    half = grey.shape[1] // 2
    turned = grey if grey[:, :half].sum() - grey.min() * half * len(grey) >= (grey[:, -half:] - grey.min()).sum() else grey[:, ::-1]
    return turned[::-1] if _head_end(dataset) == "bottom" else turned


def _measured(
    grey: Grey, pixel: float, dataset: Dataset
) -> tuple[tuple[Measurement, ...], Remark | None, tuple[Remark, ...]]:
    breast = _breast(grey)
    area = np.count_nonzero(breast) * pixel**2
    if not BREAST_MM2[0] <= area <= BREAST_MM2[1]:
        text = f"{area / 100:.0f} cm2 found as breast, outside {BREAST_MM2[0] / 100:g} to {BREAST_MM2[1] / 100:g} cm2"
        return (), Remark("no_breast", text), ()
    view = text_of(dataset, "ViewPosition", 16).upper()
    if view == "MLO":
        muscle = _pectoral(grey, breast, pixel)
        if muscle is None:
            return (), Remark("no_pectoral", "the edge of the pectoral muscle was not found"), ()
        breast &= ~muscle
    threshold, apart = otsu(grey[breast])
    if apart < TWO_TISSUES:
        return (), Remark("one_tissue", "fat and dense tissue cannot be told apart by their grey values"), ()
    share = np.count_nonzero(grey[breast] > threshold) / np.count_nonzero(breast) * 100
    method = f"{METHOD}, {view} view" + (", pectoral muscle removed along a straight line" if view == "MLO" else "")
    is_raw = text_of(dataset, "SOPClassUID") == PROCESSING
    notes = (
        Remark("pixels", f"from pixels for {'processing' if is_raw else 'presentation'}; compare only like with like"),
        Remark("area", "an area by one threshold: no volume, no density category, which only a reader gives"),
    )
    return (Measurement(codes.FIBROGLANDULAR, round(float(share), 2), codes.PERCENT, codes.BREAST, method),), None, notes


def _breast(grey: Grey) -> Mask:
    threshold, _ = otsu(grey)
    labels, count = ndimage.label(grey > threshold)
    if count == 0:
        return np.zeros(grey.shape, dtype=bool)
    breast = ndimage.binary_fill_holes(labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1)
    widths = breast.sum(axis=1)
    wide = np.flatnonzero(widths >= NARROW * widths.max())
    breast[wide[-1] + 1 :] = False
    # The belly below the fold: after the widest row, from the first narrow one on.
    widest = int(np.argmax(widths))
    narrow = np.flatnonzero(widths[widest:] < NARROW * widths.max())
    if narrow.size:
        breast[widest + narrow[0] :] = False
    whole: Mask = breast
    return whole


def _pectoral(grey: Grey, breast: Mask, pixel: float) -> Mask | None:
    """The corner above the straight line with the firmest step from bright (above) to dark (below); None without one."""
    rows = np.flatnonzero(breast.any(axis=1))
    top, height = int(rows[0]), int(rows[-1] - rows[0]) + 1
    width = int(breast.sum(axis=1).max())
    smooth = ndimage.gaussian_filter(grey, 1.0 / pixel, mode="nearest")
    low, high = np.percentile(grey[breast], (5, 95))
    least = round(PECTORAL_MM[0] / pixel), round(PECTORAL_MM[1] / pixel)
    most = round(0.7 * width), round(0.95 * height)

    def firmest(acrosses: range, downs: range) -> tuple[float, int, int]:
        lines = ((across, down) for across in acrosses for down in downs)
        return max(((_step(smooth, top, *line, EDGE_MM / pixel), *line) for line in lines), default=(0.0, 0, 0))

    # Coarse first: the step is as wide as the smoothing, so the firmest line lies beside the firmest coarse one.
    _, across, down = firmest(range(least[0], most[0], 4), range(least[1], most[1], 8))
    best = firmest(
        range(max(least[0], across - 4), min(most[0], across + 5)), range(max(least[1], down - 8), min(most[1], down + 9), 2)
    )
    if best[0] < EDGE_SHARE * (high - low):
        return None
    row, column = np.ogrid[: grey.shape[0], : grey.shape[1]]
    corner: Mask = column / best[1] + (row - top) / best[2] < 1
    return corner


def _step(smooth: Grey, top: int, across: int, down: int, reach: float) -> float:
    """The step that three quarters of the line have at least, between points `reach` pixels above and below it."""
    share = np.linspace(0.05, 0.95, 24)
    length = float(np.hypot(across, down))
    row, column = top + share * down, (1 - share) * across
    towards = reach * across / length, reach * down / length
    sides = [
        smooth[
            np.clip(np.rint(row + sign * towards[0]).astype(int), 0, smooth.shape[0] - 1),
            np.clip(np.rint(column + sign * towards[1]).astype(int), 0, smooth.shape[1] - 1),
        ]
        for sign in (-1, 1)
    ]
    return float(np.sort(sides[0] - sides[1])[6])
