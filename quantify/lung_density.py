"""The lung density mask: %LAA-950, Perc15 and lung volume of a non-contrast chest CT; run by quantify.worker.

Definitions: Mueller et al., Chest 1988;94:782-787 (density mask); Gevenois et al., AJRCCM 1995;152:653-657 (-950 HU).
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quantify import codes
from quantify.chest import CHEST_WORDS, ELSEWHERE_WORDS
from quantify.codes import Code, Unit
from quantify.findings import Analysis, Mask, Measurement, Parameter, Remark
from quantify.gate import Scan, refusal_of
from quantify.lungs import AIR_BELOW_HU, Lungs, NoLungsError, lungs_of
from quantify.volume import Header, Volume, geometry_of, headers_of, record_of, volume_of

NAME = "lung-density-mask"
VERSION = "1.0.0"
SCAN = Scan(
    name="chest CT", code="not_chest", parts=("CHEST", "THORAX", "LUNG"), words=CHEST_WORDS, others=ELSEWHERE_WORDS,
    why_no_contrast="it raises lung attenuation", min_slices=40, max_spacing_mm=2.5,
)  # fmt: skip
LAA_BELOW_HU = -950
PERCENTILE = 15
VOLUME_ML = (1_000.0, 10_000.0)
METHOD = f"lungs as enclosed air below {AIR_BELOW_HU} HU, central airways and vessels left out"


def analyse(parts: Sequence[bytes]) -> Analysis:
    """Measure one series given as Part 10 objects, or say why it cannot be measured."""
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
        return Analysis(record, reason=Remark("no_lungs", str(error)))
    values = volume.hu[lungs.box][lungs.mask]
    size_ml = values.size * volume.voxel_ml
    if not VOLUME_ML[0] <= size_ml <= VOLUME_ML[1]:
        text = f"lung volume {size_ml / 1000:.1f} L, outside 1 to 10 L"
        return Analysis(record, reason=Remark("lung_volume", text))
    mask = Mask(
        "Lungs", codes.LUNG, tuple(header.sop_uid for header in geometry.headers), volume.hu.shape[1], volume.hu.shape[2],
        partial(_bits, volume.hu.shape, lungs),
    )  # fmt: skip
    return Analysis(record, _measurements(values, size_ml), notes=_notes(headers, volume, lungs), mask=mask)


def _bits(shape: tuple[int, ...], lungs: Lungs) -> bytes:
    whole = np.zeros(shape, dtype=bool)
    whole[lungs.box] = lungs.mask
    return np.packbits(whole).tobytes()


def _measurements(values: NDArray[Any], size_ml: float) -> tuple[Measurement, ...]:
    share = np.count_nonzero(values < LAA_BELOW_HU) / values.size * 100
    # inverted_cdf answers with a value that occurs, so integer HU give an integer and no interpolation rule is needed.
    perc15 = np.percentile(values, PERCENTILE, method="inverted_cdf")
    lung_limit = Parameter(codes.THRESHOLD, AIR_BELOW_HU, codes.HOUNSFIELD)
    laa_limit = Parameter(codes.THRESHOLD, LAA_BELOW_HU, codes.HOUNSFIELD)
    return (
        _measurement(codes.VOLUME, round(size_ml, 1), codes.MILLILITRE, METHOD, lung_limit),
        _measurement(codes.LAA_950, round(share, 3), codes.PERCENT, f"density mask; {METHOD}", laa_limit),
        _measurement(codes.PERC15, round(float(perc15), 1), codes.HOUNSFIELD, f"histogram; {METHOD}"),
    )


def _measurement(code: Code, value: float, unit: Unit, method: str, *parameters: Parameter) -> Measurement:
    return Measurement(code, float(value), unit, codes.LUNG, method, parameters)


def _notes(headers: Sequence[Header], volume: Volume, lungs: Lungs) -> tuple[Remark, ...]:
    kernels = sorted({header.kernel for header in headers if header.kernel})
    recorded = f"reconstruction kernel {', '.join(kernels)}" if kernels else "reconstruction kernel not recorded"
    thickness = max((header.thickness or 0.0 for header in headers), default=0.0)
    stated = f"{thickness:.2f} mm" if thickness else "not recorded"
    notes = [
        Remark("kernel", f"{recorded}; sharp kernels raise %LAA-950 and lower Perc15, compare only like with like"),
        Remark("slices", f"{len(headers)} slices, thickness {stated}, {volume.spacing[0]:.2f} mm apart"),
    ]
    if lungs.is_cut:
        notes.append(Remark("lungs_cut", "the lungs reach the first or last slice: the volume is a lower bound"))
    return tuple(notes)
