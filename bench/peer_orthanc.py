"""Orthanc from Debian beside us, with the harness of ../shared/bench: the same clients, data and commands for both."""

import contextlib
import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings

from bench.dicom_peers import port_free
from bench.environment import BENCH
from bench.house import BenchError
from medhub.stack import ROOT

HARNESS = ROOT.parent / "shared" / "bench"
PLUGINS = Path("/usr/share/orthanc/plugins")
DICOMWEB, SERVE_FOLDERS = PLUGINS / "libOrthancDicomWeb.so", PLUGINS / "libServeFolders.so"
# tuned as the issue says; StableAge keeps its housekeeping out of the measured minutes
ORTHANC = ["--nodelay", "--set", "MaximumPduLength=131072", "--set", "StableAge=86400"]


def missing() -> list[str]:
    """What is not here of all that the comparison needs."""
    lacks = [name for name in ("Orthanc", "storescu", "findscu", "movescu", "getscu", "storescp", "echoscu") if not shutil.which(name)]
    return lacks if (HARNESS / "bench_dicom.py").exists() else [*lacks, "../shared/bench"]


def harness() -> Any:
    """The harness as a module; its clients run with TCP_NODELAY=1."""
    sys.path.insert(0, str(HARNESS))
    return importlib.import_module("bench_dicom")


def data_make() -> Path:
    """The deterministic data sets, made once and kept."""
    folder = BENCH / "harness-data"
    if not (folder / "manifest.json").exists():
        subprocess.run([sys.executable, str(HARNESS / "make_data.py"), "--out", str(folder)], check=True, stdout=subprocess.DEVNULL)  # noqa: S603 the harness, arguments made here
    return folder


@contextlib.contextmanager
def orthanc(folder: Path) -> Iterator[dict[str, Any]]:
    """A throw-away Orthanc; yields its target."""
    folder.mkdir(parents=True)
    target = folder / "orthanc.json"
    command = [
        sys.executable, str(HARNESS / "orthanc_up.py"), "--dir", str(folder), "--http", str(port_free()), "--dimse",
        str(port_free()), *ORTHANC, *_viewer_settings(),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 the harness, arguments made here
    try:
        end = time.monotonic() + 60
        while not target.exists() or not _listens(json.loads(target.read_text() or "{}")):
            if process.poll() is not None or time.monotonic() > end:
                raise BenchError("Orthanc did not start")
            time.sleep(0.2)
        yield json.loads(target.read_text())
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)  # the group that we made: the script and its Orthanc
        process.wait(20)


def _viewer_settings() -> list[str]:
    """Orthanc's own way to serve the scripts of a viewer, where both are here."""
    folder = settings.MEDHUB_VIEWER / "viewer"
    if not SERVE_FOLDERS.exists() or not folder.exists():
        return []
    served = {"AllowCache": True, "GenerateETag": True, "Extensions": {".wasm": "application/wasm"}, "Folders": {"/viewer": str(folder)}}
    plugins = [str(DICOMWEB), str(SERVE_FOLDERS)]
    return ["--set", f"Plugins={json.dumps(plugins)}", "--set", f"ServeFolders={json.dumps(served)}"]


def _listens(target: dict[str, Any]) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return bool(target) and probe.connect_ex(("127.0.0.1", int(target["dimse_port"]))) == 0
