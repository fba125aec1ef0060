"""The networks that some algorithms need, an optional part: whether one is installed, and its files once their digests are right.

Read by the server (for /healthz) and by the algorithms; made by quantify.brain_make. Without any package of its own.
"""

import hashlib
import importlib.util
import os
from pathlib import Path

from quantify.durable import read_json

FOLDER_VARIABLE = "QUANTIFY_MODELS"


class ModelError(Exception):
    """A network is not installed, or its files are not those that were made; the text is for people."""


def models_folder() -> Path | None:
    """Where the networks lie, by QUANTIFY_MODELS; None when nothing is said."""
    stated = os.environ.get(FOLDER_VARIABLE, "").strip()
    return Path(stated) if stated else None


def missing_of(model: str) -> str:
    """Why this network cannot be used, in words; empty when it can. Digests are not checked here."""
    folder = models_folder()
    if folder is None:
        return "the optional part is not installed: no folder of networks"
    manifest = read_json(folder / f"{model}.json")
    if manifest is None or not all((folder / name).is_file() for name in manifest.get("sha256", {})):
        return "the optional part is not installed: the network was not made"
    if importlib.util.find_spec("onnxruntime") is None:
        return "the optional part is not installed: no ONNX Runtime"
    return ""


def model_read(model: str) -> dict[str, bytes]:
    """The network's files by name. Raises ModelError when one is missing or has other bytes than when it was made."""
    missing = missing_of(model)
    folder = models_folder()
    if missing or folder is None:
        raise ModelError(missing)
    manifest = read_json(folder / f"{model}.json") or {}
    found = {}
    for name, sha256 in manifest["sha256"].items():
        content = (folder / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ModelError("the optional part is spoilt: a file of the network has changed since it was made")
        found[name] = content
    return found
