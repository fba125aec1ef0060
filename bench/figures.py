"""Arithmetic of the bench: medians, ranges, percentiles, paired ratios, and the outcome of a row."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """Repetitions of one measurement."""

    name: str
    values: Sequence[float]
    unit: str
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def as_data(self) -> dict[str, Any]:
        return {
            "name": self.name, "unit": self.unit, "median": self.median, "lowest": min(self.values),
            "highest": max(self.values), "values": list(self.values), "note": self.note,
        }  # fmt: skip


def paired_ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """One ratio for each repetition: what both saw of the machine in that minute cancels out. Raises ValueError unless paired."""
    if len(ours) != len(theirs) or not ours:
        raise ValueError("ratios need the same number of repetitions on both sides, and at least one")
    return [our / their for our, their in zip(ours, theirs, strict=True)]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values don't exceed (nearest rank). Raises ValueError without values."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    rank = -(-share * len(ordered) // 1)  # rounded up
    return ordered[max(int(rank), 1) - 1]


@dataclass
class Outcome:
    """What a row found: figures to print, words to print under them, and the values that goals are judged by."""

    title: str
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    measured: dict[str, float] = field(default_factory=dict)
    failure: str = ""

    def as_data(self) -> dict[str, Any]:
        return {
            "title": self.title, "figures": [figure.as_data() for figure in self.figures], "notes": self.notes,
            "measured": self.measured, "failure": self.failure,
        }  # fmt: skip
