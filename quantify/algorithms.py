"""The algorithms on offer: every module of this folder that states NAME and VERSION and has `analyse`. A new one is one file.

The server reads the names from the text, the worker imports the module.
"""

import ast
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from quantify.findings import Analysis

MANUFACTURER = "MedHub Quantify"
NOTICE = "MedHub Quantify is not a medical device. For evaluation only."


@dataclass(frozen=True)
class Algorithm:
    """A name and version for the job's JSON; `module` is imported only in the child, so the server needs no numpy."""

    name: str
    version: str
    module: str
    model: str = ""  # the network that it needs, an optional part

    def load(self) -> Callable[[Sequence[bytes]], Analysis]:
        """Its `analyse`."""
        analyse: Callable[[Sequence[bytes]], Analysis] = importlib.import_module(self.module).analyse
        return analyse


def _stated(text: str) -> dict[str, str]:
    """NAME, VERSION and MODEL of a module, from its text."""
    pairs = ((node.targets[0], node.value) for node in ast.parse(text).body if isinstance(node, ast.Assign))
    return {
        target.id: value.value
        for target, value in pairs
        if isinstance(target, ast.Name) and target.id in ("NAME", "VERSION", "MODEL") and isinstance(value, ast.Constant)
    }


def _offered() -> dict[str, Algorithm]:
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        stated = _stated(path.read_text(encoding="utf-8"))
        if "NAME" in stated and "VERSION" in stated:
            module = f"quantify.{path.stem}"
            found[stated["NAME"]] = Algorithm(stated["NAME"], stated["VERSION"], module, stated.get("MODEL", ""))
    return found


ALGORITHMS = _offered()
