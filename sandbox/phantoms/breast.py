"""A mammogram drawn pixel by pixel, so that its percent density is known exactly; used by tests."""

from dataclasses import dataclass

import numpy as np

from sandbox.phantoms.objects import part10, person, pixels

PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"
PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"
FAT, DENSE, MUSCLE = 1200, 2000, 2300
# Centre (down, across) and half axes in mm, counted from the chest wall at mid height.
LOBES = (((-5.0, 45.0), (30.0, 22.0)), ((25.0, 25.0), (14.0, 12.0)))


@dataclass(frozen=True)
class BreastPlan:
    """What to draw: the view, the side that the chest wall lies on, the kind of pixels."""

    view: str = "MLO"
    side: str = "R"
    is_raw: bool = False
    has_lobes: bool = True
    has_muscle: bool = True
    pixel: float = 0.4
    seed: int = 3


@dataclass(frozen=True)
class Breast:
    """One object and its answer in percent of the breast's area without the muscle."""

    part: bytes
    percent: float


def breast(plan: BreastPlan) -> Breast:
    """A half ellipse of fat with two lobes; MLO has a triangle of muscle in the upper corner of the chest wall."""
    rows, columns = round(200 / plan.pixel), round(110 / plan.pixel)
    down, across = np.meshgrid((np.arange(rows) - rows / 2) * plan.pixel, np.arange(columns) * plan.pixel, indexing="ij")
    inside = (down / 95) ** 2 + (across / 90) ** 2 < 1
    dense = np.zeros_like(inside)
    for centre, half in LOBES if plan.has_lobes else ():
        dense |= ((down - centre[0]) / half[0]) ** 2 + ((across - centre[1]) / half[1]) ** 2 < 1
    is_cut = plan.view == "MLO" and plan.has_muscle
    muscle = inside & (across / 35 + (down + 95) / 110 < 1) if is_cut else np.zeros_like(inside)
    rng = np.random.default_rng(plan.seed)
    grey = np.where(dense, DENSE, FAT) + rng.normal(0, 25, inside.shape)
    grey = np.where(muscle, MUSCLE, grey) * inside
    measured = inside & ~muscle
    dataset = person("breast", "MG", PROCESSING if plan.is_raw else PRESENTATION)
    dataset.ImageType, dataset.BodyPartExamined = ["ORIGINAL", "PRIMARY"], "BREAST"
    dataset.ViewPosition, dataset.ImageLaterality, dataset.PatientOrientation = plan.view, plan.side, ["P", "FL"]
    dataset.PresentationIntentType = "FOR PROCESSING" if plan.is_raw else "FOR PRESENTATION"
    dataset.ImagerPixelSpacing = [plan.pixel, plan.pixel]
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = ("LIN", 1) if plan.is_raw else ("LOG", -1)
    # Raw: what is left of 16,000 after the tissue has taken its part.
    stored = np.rint(16000 * np.exp(-grey / 1000) if plan.is_raw else np.clip(grey, 0, 4095))
    pixels(dataset, stored[:, ::-1] if plan.side == "R" else stored, bits=14 if plan.is_raw else 12)
    return Breast(part10(dataset), float(100 * np.count_nonzero(dense & measured) / np.count_nonzero(measured)))
