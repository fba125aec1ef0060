"""Plain SVG charts: where each bar stands. A table beside them says the same in numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 200, 44, 26, 10
STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Bar:
    """A month. `y` and `height` are of what counted, the other pair of what did not and stands on top of it."""

    month: date
    x: float
    width: float
    middle: float
    counted: int
    y: float
    height: float
    other: int
    other_y: float
    other_height: float
    has_label: bool


@dataclass(frozen=True)
class Chart:
    width: int
    height: int
    left: int
    base: int
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]  # height, number


def months_chart(rows: Sequence[tuple[date, int, int]]) -> Chart:
    """(month, counted, not counted), oldest first."""
    top = ceiling(max((counted + other for _, counted, other in rows), default=0))
    base, room = HEIGHT - BOTTOM, HEIGHT - BOTTOM - TOP
    slot = (WIDTH - LEFT) / max(len(rows), 1)
    every = -(-len(rows) // 12)  # so many names fit side by side
    bars = []
    for at, (month, counted, other) in enumerate(rows):
        height, more = room * counted / top, room * other / top
        x, width = LEFT + slot * (at + 0.14), slot * 0.72
        bars.append(Bar(
            month, round(x, 2), round(width, 2), round(x + width / 2, 2), counted, round(base - height, 2), round(height, 2), other,
            round(base - height - more, 2), round(more, 2), (len(rows) - 1 - at) % every == 0,
        ))  # fmt: skip
    ticks = tuple((round(base - room * share, 2), f"{round(top * share):,}") for share in ((0, 0.5, 1) if top > 1 else (0, 1)))
    return Chart(WIDTH, HEIGHT, LEFT, base, tuple(bars), ticks)


def ceiling(most: int) -> int:
    """A round even number that is not less."""
    if most <= 2:
        return 2
    size = 10 ** (len(str(most)) - 1)
    return next(int(size * step) for step in STEPS if size * step >= most and int(size * step) % 2 == 0)
