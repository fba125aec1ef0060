"""A fundus drawn pixel by pixel with vessels of known width and area; used by tests."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from sandbox.phantoms.objects import part10, person, pixels

PHOTOGRAPH = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
GROUND, VESSEL, DISC = (190, 90, 45), (140, 52, 35), (235, 190, 110)


@dataclass(frozen=True)
class FundusPlan:
    """What to draw: how many vessels, how wide they are (pixels), how blurred the picture is."""

    vessels: int = 8
    width: float = 7.0
    blur: float = 0.7
    side: int = 760
    light: float = 1.0
    seed: int = 2


@dataclass(frozen=True)
class Fundus:
    """One object and the share of the field (its rim of 4 % left out) that the vessels cover."""

    part: bytes
    share: float


def fundus(plan: FundusPlan) -> Fundus:
    """Waves from left to right at even distances, on a ground that is darker towards its edge."""
    row, column = np.mgrid[: plan.side, : plan.side].astype(np.float64)
    middle, radius = (plan.side - 1) / 2, plan.side / 2 - 20
    away = np.hypot(row - middle, column - middle) / radius
    vessels = np.zeros(row.shape, dtype=bool)
    for number in range(plan.vessels):
        height = (number + 1) / (plan.vessels + 1) * plan.side + 12 * np.sin(column / 60 + number)
        # Half the width counts across the vessel, not along the rows.
        slope = 12 / 60 * np.cos(column / 60 + number)
        vessels |= np.abs(row - height) / np.sqrt(1 + slope**2) <= plan.width / 2
    shade = (1 - 0.25 * away**2)[..., None] * plan.light
    colour = np.where(vessels[..., None], VESSEL, GROUND) * shade
    noise = np.random.default_rng(plan.seed).normal(0, 1.5, row.shape)[..., None]
    colour = ndimage.gaussian_filter(colour, (plan.blur, plan.blur, 0)) + noise
    colour[away >= 1] = 0
    dataset = person("fundus", "OP", PHOTOGRAPH)
    dataset.ImageType, dataset.ImageLaterality, dataset.BurnedInAnnotation = ["ORIGINAL", "PRIMARY", "", "COLOR"], "L", "NO"
    pixels(dataset, np.clip(np.rint(colour), 0, 255), bits=8)
    field = away * radius < radius - 0.08 * radius
    return Fundus(part10(dataset), float(np.count_nonzero(vessels & field) / np.count_nonzero(field)))
