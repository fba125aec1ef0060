"""The doubles compute with the algorithm that fits, or say that nothing does."""

import io
import json
from collections.abc import Sequence

import pytest
from pydicom import dcmread

from quantify.algorithms import ALGORITHMS
from sandbox.phantoms.breast import BreastPlan, breast
from sandbox.phantoms.fundus import FundusPlan, fundus
from sandbox.phantoms.head import HeadPlan, head
from sandbox.vendors.archive import Held
from sandbox.vendors.computing import BY_MODALITY, LUNGS, MAKER, Quantify
from sandbox.vendors.results import hook_json, sr_bytes
from tests.quantify.serving import KEY, QuantifyServer

HEAD = head(HeadPlan())
BREAST = breast(BreastPlan())
FUNDUS = fundus(FundusPlan())


def held(parts: Sequence[bytes]) -> list[Held]:
    heads = [dcmread(io.BytesIO(part), stop_before_pixels=True) for part in parts]
    return [
        Held(
            study=str(one.StudyInstanceUID), series=str(one.SeriesInstanceUID), sop=str(one.SOPInstanceUID),
            sop_class=str(one.SOPClassUID), modality=str(one.Modality), patient=str(one.PatientID), content=part, number=number,
        )
        for number, (part, one) in enumerate(zip(parts, heads, strict=True))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("modality", "parts", "algorithm", "code", "drawn"),
    [
        ("CT", HEAD.parts, "hyperdense-volume", "hyperdense-volume", HEAD.volume_ml),
        ("MG", (BREAST.part,), "breast-percent-density", "111046", BREAST.percent),
        ("OP", (FUNDUS.part,), "fundus-vessel-index", "relative-vessel-index", FUNDUS.share),
    ],
    ids=["head", "mammogram", "fundus"],
)
def test_it_computes_with_what_fits(
    quantify_server: QuantifyServer, modality: str, parts: tuple[bytes, ...], algorithm: str, code: str, drawn: float
) -> None:
    """"let doubles of other platforms compute with the algorithm that fits the modality (head CT, mammography, fundus)"."""
    outcome = Quantify(f"http://127.0.0.1:{quantify_server.port}", KEY).compute(parts, modality)
    assert (outcome.algorithm, outcome.reason) == (algorithm, None)
    found = {one["code"]["code"]: one["value"] for one in outcome.measurements}
    assert found[code] == pytest.approx(drawn, rel=0.02)
    images = held(parts)
    report = dcmread(io.BytesIO(sr_bytes(outcome, images)))
    assert report.Manufacturer == MAKER
    assert algorithm in report.to_json()
    assert json.dumps(hook_json("1", outcome, images)).count(MAKER) == 1


def test_what_nothing_fits_stays_not_analysable(quantify_server: QuantifyServer) -> None:
    """"a platform that none fits stays *not analysable*"."""
    outcome = Quantify(f"http://127.0.0.1:{quantify_server.port}", KEY).compute((FUNDUS.part,), "SM")
    assert outcome.measurements == ()
    assert outcome.reason == ("modality", "modality is SM; the test double measures CT, MR, MG and OP only")
    assert {*BY_MODALITY.values(), LUNGS} <= set(ALGORITHMS)
