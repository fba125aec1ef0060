"""The same bytes whatever the machine's threads: each algorithm in processes of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.phantoms.breast import BreastPlan, breast
from sandbox.phantoms.calcium import calcium
from sandbox.phantoms.fundus import FundusPlan, fundus
from sandbox.phantoms.head import HeadPlan, head
from tests.quantify.conftest import ROOT

pytestmark = pytest.mark.heavy
DRAWN = {
    "calcium-agatston-like": lambda: calcium().parts,
    "hyperdense-volume": lambda: head(HeadPlan()).parts,
    "breast-percent-density": lambda: (breast(BreastPlan()).part,),
    "fundus-vessel-index": lambda: (fundus(FundusPlan()).part,),
}
CHILD = """
import json, sys
from pathlib import Path
from quantify.algorithms import ALGORITHMS
from quantify.outcome import finding
parts = [path.read_bytes() for path in sorted(Path(sys.argv[2]).iterdir(), reverse=sys.argv[3] == "back")]
print(json.dumps(finding(ALGORITHMS[sys.argv[1]].load()(parts), is_masked=True)))
"""


@pytest.mark.parametrize("name", DRAWN)
def test_same_bytes_with_other_threads_and_another_order(name: str, tmp_path: Path) -> None:
    """"same pixels -> same outcome bytes, independent of file order and of thread count"."""
    for number, part in enumerate(DRAWN[name]()):
        (tmp_path / f"{number:03d}").write_bytes(part)
    said = []
    for threads, order in (("1", "on"), ("4", "back")):
        env = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        command = [sys.executable, "-c", CHILD, name, str(tmp_path), order]
        said.append(subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True).stdout)  # noqa: S603 - ours
    assert said[0] == said[1]
    assert b'"status": "done"' in said[0]
