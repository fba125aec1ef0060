"""The mask of what was measured: given when asked for, the very voxels of the numbers, the same pixels the same bytes."""

import base64
import hashlib
import uuid
import zlib
from typing import Any

import numpy as np
import pytest

from quantify import outcome
from quantify.lung_density import analyse
from quantify.outcome import finding
from sandbox.phantoms.thorax import draw
from tests.quantify.conftest import Phantom
from tests.quantify.series import opened
from tests.quantify.serving import RELATED, QuantifyServer, body_of


def asked(server: QuantifyServer, parts: Any, query: str) -> Any:
    headers = {"Content-Type": RELATED, "Idempotency-Key": uuid.uuid4().hex}
    reply = server.ask("POST", f"/v1/jobs?algorithm=lung-density-mask{query}", body=body_of(parts), headers=headers)
    assert reply.status == 202
    return server.ended(reply.json["job_id"])


def voxels(mask: dict[str, Any]) -> np.ndarray:
    shape = len(mask["sop_uids"]), mask["rows"], mask["columns"]
    raw = zlib.decompress(base64.b64decode(mask["bits"]))
    assert hashlib.sha256(raw).hexdigest() == mask["sha256"]
    return np.unpackbits(np.frombuffer(raw, np.uint8), count=int(np.prod(shape))).reshape(shape).astype(bool)


def test_only_when_it_is_asked_for(server: QuantifyServer, phantom: Phantom) -> None:
    """"let its outcome optionally carry the mask": without `mask=1` the outcome is what it was."""
    plain, masked = asked(server, phantom.parts, ""), asked(server, phantom.parts, "&mask=1")
    assert "mask" not in plain
    assert {name for name in masked if name not in plain} == {"mask"}
    assert masked["measurements"] == plain["measurements"]


def test_it_is_what_the_numbers_are_of(phantom: Phantom) -> None:
    """Volume and %LAA-950 counted anew under the mask, slice by slice of its own order of UIDs, are the outcome's."""
    found = finding(analyse(phantom.parts), is_masked=True)
    mask = found["mask"]
    heads = {str(ds.SOPInstanceUID): ds for ds in map(opened, phantom.parts)}
    heights = [float(heads[uid].ImagePositionPatient[2]) for uid in mask["sop_uids"]]
    assert heights == sorted(heights)
    hu = np.stack([heads[uid].pixel_array.astype(int) - 1024 for uid in mask["sop_uids"]])
    lungs = voxels(mask)
    numbers = {one["code"]["code"]: one["value"] for one in found["measurements"]}
    assert numbers["118565006"] == round(np.count_nonzero(lungs) * phantom.plan.pixel**2 * phantom.plan.spacing / 1000, 1)
    assert numbers["laa-950"] == round(np.count_nonzero(hu[lungs] < -950) / np.count_nonzero(lungs) * 100, 3)
    assert (mask["label"], mask["site"]["code"]) == ("Lungs", "39607008")


def test_it_lies_on_the_drawn_lungs(phantom: Phantom) -> None:
    """Against the drawing itself: overlap (Dice) above 0.99."""
    lungs, drawn = voxels(finding(analyse(phantom.parts), is_masked=True)["mask"]), draw(phantom.plan).lungs
    assert 2 * np.count_nonzero(lungs & drawn) / (np.count_nonzero(lungs) + np.count_nonzero(drawn)) > 0.99


def test_the_same_pixels_give_the_same_bytes(phantom: Phantom) -> None:
    """"deterministic bytes ("same pixels, same bytes")": whatever order the instances come in."""
    one, other = (finding(analyse(parts), is_masked=True)["mask"] for parts in (phantom.parts, phantom.parts[::-1]))
    assert one == other


def test_a_mask_that_is_too_large_is_left_out_and_that_is_said(phantom: Phantom, monkeypatch: pytest.MonkeyPatch) -> None:
    """"bounded"."""
    monkeypatch.setattr(outcome, "MAX_MASK_BYTES", 100)
    found = finding(analyse(phantom.parts), is_masked=True)
    assert "mask" not in found
    assert found["notes"][-1]["code"] == "no_mask"


def test_what_is_not_analysable_has_none(server: QuantifyServer, phantom: Phantom) -> None:
    found = asked(server, phantom.parts[:10], "&mask=1")
    assert (found["status"], "mask" in found) == ("not_analysable", False)
