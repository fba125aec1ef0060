"""UCUM or not."""

import pytest

from ai.reading.units import is_ucum


@pytest.mark.parametrize(
    "code",
    ["mm", "cm2", "mL", "ml", "mL/min/{1.73_m2}", "[hnsf'U]", "10*3/uL", "{score}", "1", "%", "mm/s2", "/min", "mm[Hg]", "g/mL",
     "kBq/mL", "{SUVbw}g/ml", "um2/ms", "s-1", "rad", "deg", "10*-6.mm2/s", "[arb'U]", "{ratio}"],
)  # fmt: skip
def test_ucum(code: str) -> None:
    assert is_ucum(code)


@pytest.mark.parametrize(
    "code", ["", "furlong", "HU", "mm^2", "ml (x)", "mm mm", "sqmm", "<b>", "mm//", "1e5", "x/mm", "-1", "-", ".", "é", "m" * 65, "{a b}"]
)
def test_not_ucum(code: str) -> None:
    assert not is_ucum(code)
