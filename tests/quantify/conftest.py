"""Fixtures of the Quantify tests: drawn phantoms, shared real files, one real server for the session."""

import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox.phantoms.ct_series import write_series
from sandbox.phantoms.thorax import Plan, Truth, draw
from tests.quantify.serving import QuantifyServer

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "dicom"


@dataclass(frozen=True)
class Phantom:
    """A written phantom: its answers and its files' bytes."""

    plan: Plan
    truth: Truth
    parts: tuple[bytes, ...]


@pytest.fixture(scope="session", autouse=True)
def _database() -> None:
    """Replaces the suite's database: Quantify has none."""


@pytest.fixture(scope="session")
def phantom_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Plan], Phantom]:
    """Draws and writes a phantom once per plan."""
    drawn: dict[Plan, Phantom] = {}

    def make(plan: Plan) -> Phantom:
        if plan not in drawn:
            folder = tmp_path_factory.mktemp("phantom")
            thorax = draw(plan)
            write_series(thorax, plan, folder)
            parts = tuple(path.read_bytes() for path in sorted(folder.glob("*.dcm")))
            drawn[plan] = Phantom(plan, thorax.truth, parts)
        return drawn[plan]

    return make


@pytest.fixture(scope="session")
def phantom(phantom_of: Callable[[Plan], Phantom]) -> Phantom:
    """The small phantom that most tests share."""
    return phantom_of(Plan(slices=56, spacing=2.0, matrix=96))


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """A real file handed out beside the checkout; missing ones skip, or fail where REQUIRE_PEERS=1."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.exists():
            if os.environ.get("REQUIRE_PEERS") == "1":
                pytest.fail(f"missing {name}")
            pytest.skip(f"missing {name}")
        return path

    return find


@pytest.fixture(scope="session")
def shared_series(shared: Callable[[str], Path]) -> Callable[[str], list[bytes]]:
    """All instances of a zipped real series."""

    def load(name: str) -> list[bytes]:
        with zipfile.ZipFile(shared(f"series/{name}.zip")) as archive:
            return [archive.read(entry) for entry in sorted(archive.namelist()) if not entry.endswith("/")]

    return load


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuantifyServer]:
    """A real gunicorn with small limits, so that hostile input meets them soon."""
    limits = {"MAX_BYTES": 32 * 1024**2, "JOB_SECONDS": 3, "JOB_MEMORY": 512 * 1024**2}
    settings = {f"QUANTIFY_{name}": str(value) for name, value in limits.items()}
    with QuantifyServer(tmp_path_factory.mktemp("quantify"), settings) as running:
        yield running
