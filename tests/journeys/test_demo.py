"""`make demo` as a newcomer meets it: what it prints, writes and leaves. Each run is a real house in a folder of its own."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from medhub.stack import PORT_VARIABLES, ROOT
from tests.journeys.conftest import free_ports, is_root

# Four houses one after the other, minutes in all: with the faults in CI. `make demo` itself runs there too.
pytestmark = [pytest.mark.stack, pytest.mark.faults, pytest.mark.xdist_group("demo")]
HOPS = (
    "Received", "Stored", "Study complete", "ImagingStudy", "Rule matched", "Job sent", "Result received", "Report issued",
)  # fmt: skip


class DemoFolder:
    """A MEDHUB_HOME and ports for one demo."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.started: list[subprocess.Popen[str]] = []
        ports = free_ports()
        names = {variable: getattr(ports, name) for name, variable in PORT_VARIABLES.items()}
        keep = {"PATH", "HOME", "LANG", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"}
        self.environment = {k: v for k, v in os.environ.items() if k in keep}
        self.environment |= {"MEDHUB_HOME": str(home), **{name: str(port) for name, port in names.items()}}

    def start(self, *options: str, prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*prefix, sys.executable, "manage.py", "demo", *options], cwd=ROOT, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.started.append(process)
        return process

    def run(self, *options: str) -> tuple[int, str]:
        process = self.start(*options)
        text, _ = process.communicate(timeout=300)
        return process.returncode, text

    def facts(self) -> dict:
        return json.loads((self.home / "demo.json").read_text(encoding="utf-8"))

    def left(self) -> list[str]:
        """Processes that still have this folder in their command or environment."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                except OSError:
                    continue
                if str(self.home).encode() in text:
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:120])
        return found

    def end(self) -> None:
        """Whatever a failed test left: the supervisor ends when the demo it belongs to does."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait(10)
        self.wait_gone()

    def wait_gone(self) -> None:
        for _ in range(600):
            if not self.left():
                return
            time.sleep(0.1)
        raise AssertionError(f"left running: {self.left()}")


def wait_line(process: subprocess.Popen[str], words: str) -> str:
    """Read the demo's output up to a line with these words."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return "".join(lines)
    raise AssertionError(f"never said {words!r}:\n{''.join(lines)}")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoFolder]:
    folder = DemoFolder(tmp_path_factory.mktemp("demo"))
    yield folder
    folder.end()


def test_once_walks_a_study_and_leaves_nothing(demo) -> None:
    """"`make demo ONCE=1` does the same, then stops everything and exits 0"; every hop, the report beside the truth, demo.json."""
    status, text = demo.run("--once")
    assert status == 0, text
    for hop in HOPS:
        assert hop in text
    for words in ("lung-density-mask", "truth", "12.0", "preliminary", "not a medical device", "owner@mercy.example", "Portal"):
        assert words in text
    demo.wait_gone()
    facts = demo.facts()
    for block in (facts, facts["other"]):
        assert set(block) >= {"portal", "fhir", "dicomweb", "dimse", "token", "admin_token", "users"}
        assert set(block["dimse"]) == {"host", "port", "called_ae", "calling_ae"}
        assert {user["role"] for user in block["users"]} == {"owner", "admin", "radiologist", "integrator", "auditor", "billing"}
        assert all(set(user) == {"email", "password", "role"} for user in block["users"])
    assert facts["study_uid"].startswith("2.25.")
    assert facts["report_id"]
    assert facts["token"] != facts["other"]["token"]
    assert (demo.home / "demo.json").stat().st_mode & 0o077 == 0


def test_a_second_run_shows_every_hop_again_with_a_study_of_ones_own(demo, tmp_path) -> None:
    """"each run sends a new study with fresh UIDs"; "`STUDY=path` takes ... a zip"; "SIGTERM ends all of them"."""
    before = demo.facts()
    slices = sorted((demo.home / "demo" / "phantom").glob("*.dcm"))[:45]
    own = tmp_path / "own.zip"
    with zipfile.ZipFile(own, "w") as archive:
        for file in slices:
            archive.write(file, f"folder/{file.name}")
    process = demo.start("--study", str(own))
    text = wait_line(process, "Running. Ctrl-C stops everything.")
    for hop in HOPS:
        assert hop in text
    after = demo.facts()
    assert after["study_uid"] != before["study_uid"]
    assert (after["token"], after["admin_token"]) == (before["token"], before["admin_token"])
    assert "45 images" in text
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", after["dimse"]["port"])) == 0
    second = demo.run("--once")
    assert second[0] != 0
    assert "is running" in second[1]
    process.send_signal(signal.SIGTERM)
    assert process.wait(90) == 0
    demo.wait_gone()


def test_a_taken_port_is_named_with_its_variable(demo) -> None:
    """"a taken port is a clear message naming the port and the variable that changes it"."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        other = DemoFolder(demo.home)
        other.environment["MEDHUB_DIMSE_PORT"] = str(port)
        status, text = other.run("--once")
    assert status != 0
    assert f"port {port} is taken" in text
    assert "MEDHUB_DIMSE_PORT" in text
    other.wait_gone()


def test_a_study_that_is_none_is_a_reason_and_a_status(demo, tmp_path) -> None:
    """"exits 0, or non-zero with the reason"."""
    (tmp_path / "readme.txt").write_text("no DICOM")
    status, text = demo.run("--once", "--study", str(tmp_path))
    assert status != 0
    assert "no DICOM object found" in text
    assert demo.run("--once", "--study", str(tmp_path / "absent"))[0] != 0
    demo.wait_gone()


def test_as_a_user_and_killed_hard(tmp_path_factory) -> None:
    """"as root or as a user"; even SIGKILL of the demo leaves no house behind."""
    # A user namespace makes us uid 1000 with the files of this checkout still ours: no account, no copy of the venv.
    as_user = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    if not is_root():
        pytest.skip("this run is a user's already")
    if shutil.which("unshare") is None or subprocess.run([*as_user, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no user namespace")
    folder = DemoFolder(tmp_path_factory.mktemp("user"))
    process = folder.start(prefix=as_user)
    try:
        assert "Report issued" in wait_line(process, "Running. Ctrl-C stops everything.")
    finally:
        folder.end()  # SIGKILL of the demo, then nothing may be left
