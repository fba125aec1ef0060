"""A number in words: what, where, on which side."""

import pytest

from ai.reports import conclusion_words, finding_words

VOLUME, KIDNEY = {"display": "Volume"}, {"display": "Kidney structure"}


@pytest.mark.parametrize(
    ("measurement", "words"),
    [({"code": VOLUME}, "Volume"), ({"code": VOLUME, "body_site": KIDNEY}, "Volume, kidney structure"),
     ({"code": VOLUME, "body_site": KIDNEY, "laterality": {"display": "Left"}}, "Volume, kidney structure, left"),
     ({"code": {"display": "Kidney length"}, "body_site": KIDNEY, "laterality": {"display": "Right"}}, "Kidney length, right")],
)  # fmt: skip
def test_two_kidneys_are_told_apart(measurement, words) -> None:
    """Two volumes of one report that differ in their side only must not read alike."""
    assert finding_words(measurement) == words


def test_one_region_is_one() -> None:
    content = {"measurements": [], "regions": [{}]}
    assert conclusion_words(content=content).startswith("1 region outlined.")
    assert conclusion_words(content={**content, "regions": [{}, {}]}).startswith("2 regions outlined.")
