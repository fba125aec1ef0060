"""Foci of known size and HU set into the drawn heart, so that the Agatston-like score is known exactly; used by tests."""

from dataclasses import dataclass

import numpy as np

from sandbox.phantoms.objects import ct_stack
from sandbox.phantoms.thorax import Plan, draw


@dataclass(frozen=True)
class Focus:
    """A block of voxels of one value: where it begins (slice, row, column), how far it reaches, its HU."""

    start: tuple[int, int, int]
    size: tuple[int, int, int]
    hu: int


# One for each weight; the last below the threshold. Rows and columns are within the heart of the plan below.
FOCI = (
    Focus((18, 38, 52), (2, 2, 3), 150), Focus((20, 44, 50), (1, 2, 2), 250),
    Focus((24, 40, 58), (3, 3, 2), 350), Focus((22, 46, 56), (2, 2, 2), 700), Focus((26, 40, 50), (2, 3, 3), 120),
)  # fmt: skip
PLAN = Plan(slices=60, spacing=3.0, matrix=96, emphysema=0.02, seed=11)


@dataclass(frozen=True)
class Calcium:
    """The series and its answers: score without unit, volume in mm3."""

    parts: tuple[bytes, ...]
    score: float
    volume_mm3: float


def calcium(plan: Plan = PLAN, foci: tuple[Focus, ...] = FOCI) -> Calcium:
    """The thorax of this plan with these foci; the answers are summed from the blocks, not measured."""
    hu = draw(plan).hu.copy()
    score = size = 0.0
    for focus in foci:
        block = tuple(slice(at, at + many) for at, many in zip(focus.start, focus.size, strict=True))
        hu[block] = focus.hu
        weight = sum(focus.hu >= step for step in (130, 200, 300, 400))
        area = focus.size[1] * focus.size[2] * plan.pixel**2
        score += area * weight * focus.size[0] * plan.spacing / 3
        size += area * focus.size[0] * plan.spacing if weight else 0.0
    return Calcium(tuple(ct_stack("thorax", "CHEST", np.asarray(hu), spacing=plan.spacing, pixel=plan.pixel)), score, size)
