"""What one image's header says of its series: device, kernel, thickness, orientation, contrast. Nothing where it cannot be read."""

from collections.abc import Sequence
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from imaging.storage import object_path

KEYWORDS = [
    "ImageType", "Manufacturer", "ManufacturerModelName", "StationName", "InstitutionName", "ProtocolName", "ConvolutionKernel",
    "SliceThickness", "ImageOrientationPatient", "ContrastBolusAgent", "SharedFunctionalGroupsSequence",
]  # fmt: skip
# Enhanced objects keep them in functional groups (PS3.3 C.7.6.16): keyword -> (group, keyword there)
GROUPS = {
    "SliceThickness": ("PixelMeasuresSequence", "SliceThickness"),
    "ImageOrientationPatient": ("PlaneOrientationSequence", "ImageOrientationPatient"),
    "ConvolutionKernel": ("CTReconstructionSequence", "ConvolutionKernel"),
}
NONE = {"", "NONE", "NO", "N"}
PLANES = ("SAGITTAL", "CORONAL", "AXIAL")
STRAIGHT = 0.9  # cosine of 25 degrees: a tilted gantry is still axial


def header_facts(*, key: str) -> dict[str, Any]:
    """Fields of SeriesFacts; those that are not stated are left out."""
    try:
        return dataset_facts(dcmread(str(object_path(key)), stop_before_pixels=True, specific_tags=KEYWORDS))
    except (OSError, InvalidDicomError, ValueError, TypeError, AttributeError, KeyError):
        return {}


def dataset_facts(found: Dataset) -> dict[str, Any]:
    """Fields of SeriesFacts from a header. Raises ValueError and TypeError for values that are none."""
    facts: dict[str, Any] = {
        "image_types": frozenset(_texts(found.get("ImageType"))),
        "manufacturer": _text(found, "Manufacturer"), "model": _text(found, "ManufacturerModelName").upper(),
        "station": _text(found, "StationName"), "institution": _text(found, "InstitutionName"),
        "protocol": _text(found, "ProtocolName"), "kernel": (_texts(_value(found, "ConvolutionKernel")) or [""])[0].upper(),
        "orientation": orientation_of(_value(found, "ImageOrientationPatient")),
    }  # fmt: skip
    thickness = _value(found, "SliceThickness")
    if thickness is not None and float(thickness) > 0:
        facts["slice_thickness_mm"] = float(thickness)
    if "ContrastBolusAgent" in found:  # else it is not stated, and not guessed
        facts["is_contrast"] = _text(found, "ContrastBolusAgent").upper() not in NONE
    return {name: value for name, value in facts.items() if value not in ("", frozenset())}


def _value(found: Dataset, keyword: str) -> Any:
    if found.get(keyword) not in (None, ""):
        return found[keyword].value
    group, name = GROUPS[keyword]
    for shared in found.get("SharedFunctionalGroupsSequence") or ():
        for item in shared.get(group) or ():
            if item.get(name) not in (None, ""):
                return item[name].value
    return None


def _text(found: Dataset, keyword: str) -> str:
    return str(found.get(keyword) or "").strip()[:64]


def _texts(value: Any) -> list[str]:
    values = [value] if isinstance(value, str) else value or ()
    return [str(one).strip() for one in values if str(one).strip()]


def orientation_of(cosines: Sequence[float] | None) -> str:
    """AXIAL, CORONAL or SAGITTAL by the normal of the plane (PS3.3 C.7.6.2.1.1), OBLIQUE between them; "" where it is not stated."""
    if cosines is None or len(cosines) != 6:
        return ""
    rx, ry, rz, cx, cy, cz = (float(one) for one in cosines)
    normal = (ry * cz - rz * cy, rz * cx - rx * cz, rx * cy - ry * cx)
    length = sum(part * part for part in normal) ** 0.5
    if not 0.9 < length < 1.1:
        return ""
    best = max(range(3), key=lambda axis: abs(normal[axis]))
    return PLANES[best] if abs(normal[best]) / length >= STRAIGHT else "OBLIQUE"
