"""What Quantify's algorithms really answer passes the hub's own check of its shape, and each has its card."""

from pathlib import Path
from typing import Any

import pytest

from ai.contract import Payload, platforms
from ai.ways import platform_ways
from quantify.algorithms import ALGORITHMS, MANUFACTURER
from quantify.outcome import finding
from sandbox.phantoms.breast import BreastPlan, breast
from sandbox.phantoms.calcium import calcium
from sandbox.phantoms.fundus import FundusPlan, fundus
from sandbox.phantoms.head import HeadPlan, head
from tests.quantify.serving import KEY, QuantifyServer

PLATFORM = platforms()["medhub-quantify"]
DRAWN = {
    "calcium-agatston-like": lambda: calcium().parts,
    "hyperdense-volume": lambda: head(HeadPlan()).parts,
    "breast-percent-density": lambda: [breast(BreastPlan()).part],
    "fundus-vessel-index": lambda: [fundus(FundusPlan()).part],
}


def outcome(name: str, parts: Any) -> dict[str, Any]:
    algorithm = ALGORITHMS[name]
    made_by = {"name": name, "version": algorithm.version, "manufacturer": MANUFACTURER}
    return {"algorithm": made_by, **finding(algorithm.load()(parts), is_masked=True)}


def test_each_algorithm_has_a_card() -> None:
    """"Cards in ai/platforms/medhub_quantify.py: one AlgorithmCard each"."""
    assert {card.name for card in PLATFORM.card.algorithms} == set(ALGORITHMS)
    for card in PLATFORM.card.algorithms:
        assert card.clearance.startswith("none: not a medical device")
        assert card.role == "quantification"


@pytest.mark.parametrize("name", DRAWN)
def test_its_answer_is_taken(name: str) -> None:
    """"coded output": the outcome of a phantom, and that of a refusal, are read as they are."""
    parts = DRAWN[name]()
    answer = PLATFORM.parse(Payload(kind="json", data=outcome(name, parts)), name)
    assert answer.measurements
    assert answer.not_analysable is None
    assert all(one.code.system and one.code.code and one.unit and one.method for one in answer.measurements)
    codes = {one.code.code for one in answer.measurements}
    assert len(codes) == len(answer.measurements)
    refused = PLATFORM.parse(Payload(kind="json", data=outcome(name, parts[:1] if len(parts) > 1 else parts * 2)), name)
    assert refused.measurements == ()
    assert refused.not_analysable is not None


def test_check_says_what_is_not_installed(quantify_server: QuantifyServer, settings: Any, tmp_path: Path) -> None:
    """"the card and `check` say when it isn't installed"."""
    settings.EGRESS_ALLOW = [*settings.EGRESS_ALLOW, f"127.0.0.1:{quantify_server.port}"]
    link = {"base_url": f"http://127.0.0.1:{quantify_server.port}", "api_key": KEY}
    with platform_ways(PLATFORM, link, folder=tmp_path) as ways:
        said = PLATFORM.check(link, ways)
    assert said == "MedHub Quantify is up; not installed: brain-volume"
    assert "the connection check says so" in PLATFORM.card.limits
