"""The algorithms on offer; the server reads names, the worker imports the module. A new one is one line here."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quantify.findings import Analysis

MANUFACTURER = "MedHub Quantify"
NOTICE = "MedHub Quantify is not a medical device. For evaluation only."


@dataclass(frozen=True)
class Algorithm:
    """A name and version for the job's JSON; `module` is imported only in the child, so the server needs no numpy."""

    name: str
    version: str
    module: str

    def load(self) -> Callable[[Sequence[bytes]], Analysis]:
        """Its `analyse`."""
        analyse: Callable[[Sequence[bytes]], Analysis] = importlib.import_module(self.module).analyse
        return analyse


ALGORITHMS = {
    algorithm.name: algorithm
    for algorithm in (Algorithm(name="lung-density-mask", version="1.0.0", module="quantify.lung_density"),)
}
