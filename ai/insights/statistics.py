"""Intervals and drift, pure. A rate of fewer than 20 cases is no rate."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

TOO_FEW = 20
Z95 = 1.959963984540054
LEAST_SHARE = 0.0005  # an empty bin would make the index infinite
STEADY, SHIFTED = 0.1, 0.25  # the usual reading of a population stability index (Siddiqi 2006)


@dataclass(frozen=True, kw_only=True)
class Share:
    """`count` of `total`; `low` and `high` are Wilson's 95 % interval (Wilson 1927). All three are None when there are too few."""

    count: int
    total: int
    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def is_too_few(self) -> bool:
        return self.value is None


def share_of(*, count: int, total: int) -> Share:
    if total < TOO_FEW:
        return Share(count=count, total=total)
    share = count / total
    spread = Z95 * math.sqrt(share * (1 - share) / total + Z95**2 / (4 * total**2))
    middle, size = share + Z95**2 / (2 * total), 1 + Z95**2 / total
    return Share(count=count, total=total, value=share, low=max((middle - spread) / size, 0.0), high=min((middle + spread) / size, 1.0))


@dataclass(frozen=True, kw_only=True)
class Drift:
    """One input of an algorithm, this month against the quarter before it. `index` is None when either has too few cases."""

    name: str
    index: float | None
    now: Mapping[str, int]
    before: Mapping[str, int]

    @property
    def word(self) -> str:
        if self.index is None:
            return "too-few"
        return "steady" if self.index < STEADY else "shifting" if self.index < SHIFTED else "changed"


def drift_of(*, name: str, now: Mapping[str, int], before: Mapping[str, int]) -> Drift:
    """Population stability index over the bins of both: the sum of (p - q) ln(p / q)."""
    total, earlier = sum(now.values()), sum(before.values())
    if min(total, earlier) < TOO_FEW:
        return Drift(name=name, index=None, now=now, before=before)
    index = 0.0
    for key in now.keys() | before.keys():
        p, q = max(now.get(key, 0) / total, LEAST_SHARE), max(before.get(key, 0) / earlier, LEAST_SHARE)
        index += (p - q) * math.log(p / q)
    return Drift(name=name, index=index, now=now, before=before)
