"""The conformance doubles (`sandbox.vendors`) as a process of its own, with a real MedHub Quantify behind them. Fixtures for tests."""

import json
import os
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from medhub.stack import ROOT, _die_with_parent
from tests.quantify.serving import KEY, QuantifyServer


class Vendors:
    """One running process of doubles: addresses, credentials, mishaps on demand."""

    def __init__(self, folder: Path, quantify: str, *more: str) -> None:
        self.folder = folder
        log = (folder / "log").open("wb")
        command = [sys.executable, "-W", "ignore", "-m", "sandbox.vendors", "--folder", str(folder), "--quantify", quantify, *more]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "QUANTIFY_KEY": KEY}, stdout=subprocess.PIPE, stderr=log, preexec_fn=_die_with_parent
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, (folder / "log").read_text(errors="replace")[-2000:]
        self.addresses: dict[str, Any] = json.loads(line)
        self.url: str = self.addresses["url"]
        self.credentials: dict[str, str] = json.loads((folder / "credentials.json").read_text())
        self.ca_file = str(folder / "ca.pem")

    @property
    def allowed(self) -> list[str]:
        return [urlsplit(self.addresses[name]).netloc for name in ("url", "mutual_url")]

    def pem(self, name: str) -> tuple[str, str]:
        """Certificate and key: server, client, or the stranger whom another authority signed."""
        return (self.folder / f"{name}.pem").read_text(), (self.folder / f"{name}.key").read_text()

    def fault(self, kind: str, **more: Any) -> None:
        """One mishap; see sandbox/vendors/faults.py."""
        self.control("POST", "faults", {"kind": kind, **more})

    def control(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        request = urllib.request.Request(  # noqa: S310 loopback
            f"{self.url}/control/{path}", method=method, data=json.dumps(body or {}).encode(),
            headers={"X-Control": self.credentials["control"]},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=70, context=ssl.create_default_context(cafile=self.ca_file)):  # noqa: S310
            pass

    @property
    def google_account(self) -> str:
        """As the file that Google gives."""
        kept = self.credentials
        return json.dumps(
            {
                "type": "service_account", "client_email": kept["google_email"], "private_key": kept["google_key"],
                "private_key_id": "1", "token_uri": "https://169.254.169.254/token", "project_id": "p1",
            }
        )  # fmt: skip

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)


@pytest.fixture(scope="session")
def quantify_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuantifyServer]:
    with QuantifyServer(tmp_path_factory.mktemp("doubles-quantify")) as running:
        yield running


@pytest.fixture(scope="session")
def vendors_process(tmp_path_factory: pytest.TempPathFactory, quantify_server: QuantifyServer) -> Iterator[Vendors]:
    found = Vendors(tmp_path_factory.mktemp("vendors"), f"http://127.0.0.1:{quantify_server.port}")
    yield found
    found.stop()


@pytest.fixture
def vendors(vendors_process: Vendors, settings: Any) -> Iterator[Vendors]:
    """Reachable through egress, which trusts their authority for this test; no mishap of another test is left."""
    settings.EGRESS_ALLOW = [*settings.EGRESS_ALLOW, *vendors_process.allowed]
    settings.EGRESS_CA_FILE = vendors_process.ca_file
    vendors_process.control("POST", "rest")  # what another test left under way would meet this test's mishaps
    yield vendors_process
    vendors_process.control("DELETE", "faults")


def phantom_files(folder: Path, *, slices: int = 40, spacing: float = 2.5, matrix: int = 64, emphysema: float | None = None) -> list[Path]:
    """A drawn thorax that Quantify can measure, as Part 10 files."""
    from sandbox.phantoms.ct_series import write_series
    from sandbox.phantoms.thorax import Plan, draw

    more = {} if emphysema is None else {"emphysema": emphysema}
    plan = Plan(slices=slices, spacing=spacing, matrix=matrix, **more)
    write_series(draw(plan), plan, folder)
    return sorted(folder.glob("*.dcm"))


@pytest.fixture(scope="session")
def thorax(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The small thorax that the tests of wires and platforms share."""
    return phantom_files(tmp_path_factory.mktemp("thorax"))
