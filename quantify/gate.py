"""The gate before every CT algorithm: what may be measured at all, and in which words the rest is refused.

A refusal is a result, not an error. Called by the algorithms with the headers of all instances, before any pixel.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from quantify.findings import Remark
from quantify.volume import Geometry, Header, geometry_of, is_parallel, normal_of

MAX_VOXELS = 300_000_000  # what the memory limit of one job carries (up to 12 bytes each at the peak)
MAX_SIDE = 2048
STEP_TOLERANCE = 0.05
STEP_TOLERANCE_MM = 0.1
SIDEWAYS_MM = 1.0
AXIAL = 0.9  # cosine of the gantry tilts in use, up to 25 degrees
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
PLAIN_MODALITIES = {
    "CR": "computed radiograph",
    "DX": "digital radiograph",
    "MR": "magnetic resonance",
    "US": "ultrasound",
    "PT": "positron emission tomography",
    "NM": "nuclear medicine",
    "MG": "mammogram",
    "XA": "X-ray angiography",
    "RF": "fluoroscopy",
    "SC": "secondary capture",
}
NO_CONTRAST = frozenset(("", "NONE", "NO", "N", "WITHOUT", "NO CONTRAST"))
PROJECTIONS = frozenset(("MIP", "MINIP", "PROJECTION IMAGE"))



@dataclass(frozen=True)
class Scan:
    """The CT that an algorithm takes. `words` are whole words of free text that speak for it, `others` those that speak against."""

    name: str
    code: str  # of the refusal when it is another part of the body
    parts: tuple[str, ...]
    words: re.Pattern[str]
    others: re.Pattern[str]
    why_no_contrast: str
    min_slices: int
    max_spacing_mm: float


Rule = Callable[[Sequence[Header], Scan], Remark | None]


def whole_words(*words: str) -> re.Pattern[str]:
    """Any of these words in upper case text, not as a part of a longer one."""
    return re.compile(rf"(?<![^\W_])({'|'.join(words)})(?![^\W_])")


def refusal_of(headers: Sequence[Header], scan: Scan, rules: Sequence[Rule] = ()) -> Remark | None:
    """The first rule that refuses these images, from what they are to how they lie; None when they may be measured.

    `rules` are those of a CT unless others are given.
    """
    return next((refusal for rule in rules or RULES if (refusal := rule(headers, scan))), None)


def spacing_of(geometry: Geometry) -> float:
    """The larger of SliceThickness and the distance by ImagePositionPatient: thin slices far apart miss lung too."""
    thickness = max((header.thickness or 0.0 for header in geometry.headers), default=0.0)
    return max(thickness, geometry.step)


def _modality(headers: Sequence[Header], _: Scan) -> Remark | None:
    for header in headers:
        if header.modality != "CT":
            known = PLAIN_MODALITIES.get(header.modality)
            name = f"{header.modality} ({known})" if known else header.modality or "not stated"
            return Remark("not_ct", f"modality {name}: not a CT")
    return None


def _image_kind(headers: Sequence[Header], _: Scan) -> Remark | None:
    if any("LOCALIZER" in header.image_type for header in headers):
        return Remark("localizer", "localizer (scout) image among the slices")
    if any(PROJECTIONS & set(header.image_type) for header in headers):
        return Remark("projection", "projection images (MIP or MinIP), not slices")
    if any(header.sop_class == ENHANCED_CT or header.frames > 1 for header in headers):
        return Remark("multiframe", "multi-frame CT is not read; send CT Image Storage slices")
    if any(header.sop_class != CT_IMAGE for header in headers):
        return Remark("not_ct_image", "not CT Image Storage: a capture or derived object has no measured HU")
    return None


def _body_part(headers: Sequence[Header], scan: Scan) -> Remark | None:
    for stated in {header.body_part: None for header in headers}:
        if stated and not any(part in stated for part in scan.parts):
            return Remark(scan.code, f"body part {stated}: not a {scan.name}")
    if all(header.body_part for header in headers):
        return None
    # BodyPartExamined is type 3 (PS3.3 C.7.3.1): where it is absent, people's own words come next, then the pixels.
    described = " | ".join(sorted({text.upper() for header in headers for text in header.descriptions}))
    other = scan.others.search(described)
    if other and not scan.words.search(described):
        return Remark(scan.code, f"described as {other[1]}: not a {scan.name}")
    return None


def _contrast(headers: Sequence[Header], scan: Scan) -> Remark | None:
    for header in headers:
        if header.contrast.upper() not in NO_CONTRAST or header.has_contrast_sequence:
            return Remark("contrast", f"contrast agent given: {scan.why_no_contrast}")
    return None


def _one_series(headers: Sequence[Header], _: Scan) -> Remark | None:
    if any(not header.series_uid or not header.study_uid or not header.sop_uid for header in headers):
        return Remark("no_uids", "study, series or instance UID missing")
    series = {(header.study_uid, header.series_uid) for header in headers}
    if len(series) > 1:
        return Remark("many_series", f"{len(series)} series given, only one can be measured")
    if len({header.sop_uid for header in headers}) < len(headers):
        return Remark("duplicate_instances", "the same instance was given twice")
    return None


def _orientation(headers: Sequence[Header], _: Scan) -> Remark | None:
    first = headers[0]
    if any(header.position is None or header.orientation is None for header in headers):
        return Remark("no_position", "image position or orientation missing")
    if any(not is_parallel(first, header) for header in headers):
        return Remark("many_orientations", "slices of different orientations")
    return None


def _axial(headers: Sequence[Header], _: Scan) -> Remark | None:
    if normal_of(headers[0].orientation or ())[2] < AXIAL:
        return Remark("not_axial", "slices are not axial")
    return None


def _in_plane(headers: Sequence[Header], _: Scan) -> Remark | None:
    first = headers[0]
    spacing = first.pixel_spacing
    if spacing is None or min(spacing) <= 0:
        return Remark("no_pixel_spacing", "pixel spacing missing")
    if first.samples != 1 or first.photometric != "MONOCHROME2" or first.bits_allocated not in (8, 16, 32):
        return Remark("not_grey", "pixels are not plain grey values")
    for header in headers:
        is_alike = (header.rows, header.columns) == (first.rows, first.columns)
        if not is_alike or not np.allclose(header.pixel_spacing or (0.0, 0.0), spacing, rtol=1e-3):
            return Remark("uneven_in_plane", "slices of different size or pixel spacing")
    if max(first.rows, first.columns) > MAX_SIDE or len(headers) * first.rows * first.columns > MAX_VOXELS:
        return Remark("too_large", "more voxels than one job may hold")
    return None


def _rescale(headers: Sequence[Header], _: Scan) -> Remark | None:
    for header in headers:
        # PS3.3 C.8.2.1.1.2 makes HU the meaning when RescaleType is absent from an original CT image.
        if header.rescale_type not in ("", "HU"):
            return Remark("not_hu", f"pixel values in {header.rescale_type}, not in HU")
        if header.has_modality_lut or not header.slope or header.slope < 0 or header.intercept is None:
            return Remark("not_hu", "no linear rescale to HU")
    return None


def _count(headers: Sequence[Header], scan: Scan) -> Remark | None:
    if len(headers) < scan.min_slices:
        noun = "slice" if len(headers) == 1 else "slices"
        return Remark("too_few_slices", f"{len(headers)} {noun}, at least {scan.min_slices}")
    return None


def _spacing(headers: Sequence[Header], scan: Scan) -> Remark | None:
    geometry = geometry_of(headers)
    if geometry is None or min(geometry.steps) < 0.01:
        return Remark("same_position", "two slices at the same position")
    # Compared as it is shown, so that a refusal never reads "2.5 mm apart, at most 2.5".
    spacing = round(spacing_of(geometry), 1)
    if spacing > scan.max_spacing_mm:
        return Remark("spacing", f"slices {spacing:.1f} mm apart, at most {scan.max_spacing_mm:g}")
    return _gaps(geometry) or _sideways(geometry)


def _gaps(geometry: Geometry) -> Remark | None:
    usual = geometry.step
    allowed = max(STEP_TOLERANCE_MM, STEP_TOLERANCE * usual)
    odd = [step for step in geometry.steps if abs(step - usual) > allowed]
    if not odd:
        return None
    whole = [step for step in odd if round(step / usual) >= 2 and abs(step / usual - round(step / usual)) < 0.1]
    if len(whole) == len(odd):
        missing = sum(round(step / usual) - 1 for step in odd)
        text = f"{missing} missing in the stack: a gap of {max(odd):.1f} mm, usual {usual:.1f}"
        return Remark("missing_slices", text)
    low, high = min(geometry.steps), max(geometry.steps)
    return Remark("uneven_spacing", f"slices unevenly spaced, from {low:.2f} to {high:.2f} mm")


def _sideways(geometry: Geometry) -> Remark | None:
    """A tilted gantry shifts every slice alike; a jump means two table positions in one series."""
    places = np.array([header.position for header in geometry.headers])
    drift = np.diff(places, axis=0)
    if np.abs(drift - np.median(drift, axis=0)).max() > SIDEWAYS_MM:
        return Remark("sideways", "slices shifted sideways against each other")
    return None


RULES: tuple[Rule, ...] = (
    _modality,
    _image_kind,
    _body_part,
    _contrast,
    _one_series,
    _orientation,
    _axial,
    _count,
    _in_plane,
    _rescale,
    _spacing,
)
# Of any stack of slices, whatever was measured in them.
STACK_RULES: tuple[Rule, ...] = (_body_part, _contrast, _one_series, _orientation, _count, _in_plane, _spacing)
