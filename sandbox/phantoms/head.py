"""A head drawn voxel by voxel with dense pieces of known volume inside the skull; used by tests."""

from dataclasses import dataclass

import numpy as np

from sandbox.phantoms.objects import ct_stack

AIR, SCALP, BONE, TISSUE, FLUID = -1000, 40, 900, 34, 8
FIELD_OF_VIEW_MM = 230.0
# Centre and half axes in mm, and HU. The third is smaller than half a millilitre, the fourth as dense as calcium.
PIECES = (((30.0, 10.0, 10.0), (14.0, 12.0, 13.0), 70), ((-35.0, -20.0, 0.0), (9.0, 9.0, 10.0), 62),
          ((0.0, 45.0, -5.0), (4.0, 4.0, 4.0), 75), ((-20.0, 40.0, 15.0), (7.0, 7.0, 8.0), 180))  # fmt: skip


@dataclass(frozen=True)
class HeadPlan:
    """What to draw."""

    slices: int = 40
    spacing: float = 4.0
    matrix: int = 96
    seed: int = 5
    has_pieces: bool = True

    @property
    def pixel(self) -> float:
        """Pixel spacing in mm."""
        return FIELD_OF_VIEW_MM / self.matrix


@dataclass(frozen=True)
class Head:
    """The series and its answer: the volume of 50 to 100 HU in pieces of more than 0.5 mL, and their mean HU."""

    parts: tuple[bytes, ...]
    volume_ml: float
    mean_hu: float


def head(plan: HeadPlan) -> Head:
    """The head of this plan; the answer is counted on the voxels as drawn."""
    rng = np.random.default_rng(plan.seed)
    across = (np.arange(plan.matrix) - (plan.matrix - 1) / 2) * plan.pixel
    up = (np.arange(plan.slices) - (plan.slices - 1) / 2) * plan.spacing
    z, y, x = np.meshgrid(up, across, across, indexing="ij")
    hu = np.full(z.shape, float(AIR))
    for axes, value in (((80, 98, 88), SCALP), ((76, 94, 84), BONE), ((69, 87, 77), TISSUE)):
        hu[(x / axes[0]) ** 2 + (y / axes[1]) ** 2 + (z / axes[2]) ** 2 < 1] = value
    for side in (-1, 1):
        hu[((x - side * 12) / 8) ** 2 + ((y + 5) / 25) ** 2 + ((z - 20) / 12) ** 2 < 1] = FLUID
    counted = np.zeros(z.shape, dtype=bool)
    voxel_ml = plan.pixel**2 * plan.spacing / 1000
    hu += rng.normal(0, 2.5, hu.shape)
    for centre, axes, value in PIECES if plan.has_pieces else ():
        piece = sum(((axis - at) / half) ** 2 for axis, at, half in zip((x, y, z), centre, axes, strict=True)) < 1
        hu[piece] = value
        if value <= 100 and piece.sum() * voxel_ml > 0.5:
            counted |= piece
    whole = np.clip(np.rint(hu), -1024, 3071)
    parts = tuple(ct_stack("head", "HEAD", whole, spacing=plan.spacing, pixel=plan.pixel))
    return Head(parts, float(counted.sum() * voxel_ml), float(whole[counted].mean()) if counted.any() else 0.0)
