"""Quantify's packed mask: the same voxels, or a refusal; what it says of its size is never believed."""

import base64
import hashlib
import zlib
from typing import Any

import numpy as np
import pytest

from ai.contract import PlatformError
from ai.volume.bits import bits_read

VOXELS = np.random.default_rng(5).random((3, 5, 7)) > 0.6


def said(raw: bytes | None = None, **more: Any) -> dict[str, Any]:
    raw = np.packbits(VOXELS).tobytes() if raw is None else raw
    told = {
        "sop_uids": ["2.25.1", "2.25.2", "2.25.3"], "rows": 5, "columns": 7, "sha256": hashlib.sha256(raw).hexdigest(),
        "bits": base64.b64encode(zlib.compress(raw)).decode(),
    }  # fmt: skip
    return {**told, **more}


def test_the_same_voxels() -> None:
    """"deterministic bytes": 105 voxels do not fill their last byte."""
    mask = bits_read(said())
    assert mask.sop_uids == ("2.25.1", "2.25.2", "2.25.3")
    assert np.array_equal(mask.labels, VOXELS.astype(np.uint8))


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"bits": "no base64!"}, "cannot be unpacked"), ({"bits": base64.b64encode(b"no zlib").decode()}, "cannot be unpacked"),
     ({"sha256": "0" * 64}, "not whole"), ({"rows": 6}, "not whole"), ({"columns": 6}, "not whole"),
     ({"bits": base64.b64encode(zlib.compress(np.packbits(VOXELS).tobytes())[:-6]).decode()}, "not whole"),
     ({"bits": base64.b64encode(zlib.compress(bytes(64 << 20))).decode()}, "not whole"),
     ({"sop_uids": ["2.25.1"] * 3, "rows": 2048, "columns": 2048 * 64}, "more voxels")],
    ids=["text", "zlib", "digest", "rows", "columns", "cut", "bomb", "large"],
)  # fmt: skip
def test_what_is_no_mask(changes, words) -> None:
    with pytest.raises(PlatformError, match=words) as raised:
        bits_read(said(**changes))
    assert raised.value.is_permanent


def test_an_empty_mask_is_none() -> None:
    with pytest.raises(PlatformError, match="empty"):
        bits_read(said(bytes(14)))
