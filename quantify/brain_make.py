"""`python -m quantify.brain_make --wheel deepbet-1.0.2-py3-none-any.whl --out DIR`: the brain network as ONNX, once, with torch.

The wheel (MIT) ships its weights as TorchScript. Afterwards only ONNX Runtime is needed (docs/quantify.md).
"""

import argparse
import hashlib
import io
import sys
import zipfile
from pathlib import Path

import torch

from quantify.brain import MODEL
from quantify.durable import write_json

# What the wheel of deepbet 1.0.2 holds; other bytes are not loaded.
WEIGHTS = {
    "bbox_model": "39a7b2b5f799faa1391ea97bfcdc0b9299f20d84f2316a4ff8918dc4685e40aa",
    "model": "de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd",
}
SIDE = 64  # the traced size; the axes are free


def main() -> None:
    """Check, export, write both networks and their manifest."""
    parser = argparse.ArgumentParser(prog="quantify.brain_make", description="Makes the brain network for MedHub Quantify.")
    parser.add_argument("--wheel", type=Path, required=True, help="the wheel of deepbet 1.0.2")
    parser.add_argument("--out", type=Path, required=True, help="the folder that QUANTIFY_MODELS names, made when missing")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    digests = {}
    with zipfile.ZipFile(given.wheel) as wheel:
        for name, sha256 in WEIGHTS.items():
            content = wheel.read(f"data/models/{name}.pt")
            if hashlib.sha256(content).hexdigest() != sha256:
                parser.error(f"{name} is not the network of deepbet 1.0.2")
            file = f"{MODEL}-{name}.onnx"
            made = _exported(content)
            (given.out / file).write_bytes(made)
            digests[file] = hashlib.sha256(made).hexdigest()
    write_json(given.out / f"{MODEL}.json", {"model": MODEL, "sha256": digests})
    sys.stdout.write("".join(f"{digest}  {file}\n" for file, digest in digests.items()))


def _exported(content: bytes) -> bytes:
    network = torch.jit.load(io.BytesIO(content), map_location="cpu").eval()
    buffer = io.BytesIO()
    torch.onnx.export(
        network, (torch.zeros(1, 1, SIDE, SIDE, SIDE),), buffer, dynamo=False, opset_version=17,
        input_names=["image"], output_names=["mask"], dynamic_axes={"image": {2: "x", 3: "y", 4: "z"}},
    )  # fmt: skip
    return buffer.getvalue()


if __name__ == "__main__":
    main()
