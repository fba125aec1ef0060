"""MedHub Quantify's mask, as its outcome holds it (docs/quantify.md) -> labels over its slices. Checked before anything is unpacked."""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ai.contract import Mask
from ai.reading.part10 import refusal

MAX_SIDE, MAX_SLICES, MAX_VOXELS = 2_048, 10_000, 300_000_000  # as Quantify's own gate
MAX_TEXT = 24 << 20  # base64 of the 16 MiB that it may send
UID = {"type": "string", "minLength": 1, "maxLength": 64}
SIDE = {"type": "integer", "minimum": 1, "maximum": MAX_SIDE}
SHAPE: dict[str, Any] = {
    "type": "object",
    "required": ["label", "site", "sop_uids", "rows", "columns", "sha256", "bits"],
    "properties": {
        "label": {"type": "string", "minLength": 1, "maxLength": 64},
        "sop_uids": {"type": "array", "minItems": 1, "maxItems": MAX_SLICES, "items": UID},
        "rows": SIDE,
        "columns": SIDE,
        "sha256": {"type": "string", "maxLength": 64},
        "bits": {"type": "string", "maxLength": MAX_TEXT},
    },
}


def bits_read(said: Mapping[str, Any]) -> Mask:
    """Of a `mask` that fits SHAPE: label 1 where its bits are set. Raises PlatformError, permanent, where it is not whole."""
    shape = len(said["sop_uids"]), int(said["rows"]), int(said["columns"])
    count = shape[0] * shape[1] * shape[2]
    if count > MAX_VOXELS:
        raise refusal("the mask has more voxels than a series may have")
    size = -(-count // 8)
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(base64.b64decode(said["bits"], validate=True), size + 1)
    except (binascii.Error, zlib.error) as error:
        raise refusal("the mask cannot be unpacked") from error
    if len(raw) != size or not stream.eof or hashlib.sha256(raw).hexdigest() != said["sha256"]:
        raise refusal("the mask is not whole")
    labels = np.unpackbits(np.frombuffer(raw, np.uint8), count=count).reshape(shape)
    if not labels.any():
        raise refusal("the mask is empty")
    return Mask(sop_uids=tuple(said["sop_uids"]), labels=labels)
