"""Orthanc (Debian's package) and dcmtk's dcmqrscp as real archives: processes of their own, each with its folder, port and AE title."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE

from tests.dicom_files import part10

PROGRAMS = {"Orthanc": "orthanc", "dcmqrscp": "dcmtk", "node": "nodejs"}


def need_program(name: str) -> str:
    """Its path; one named skip where it is missing, a failure under REQUIRE_PEERS=1."""
    path = shutil.which(name)
    if path is None:
        (pytest.fail if os.environ.get("REQUIRE_PEERS") == "1" else pytest.skip)(f"needs {name}: apt-get install {PROGRAMS[name]}")
    return str(path)


DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def need_dicomweb() -> str:
    """Orthanc's plug-in; one named skip where it is missing, a failure under REQUIRE_PEERS=1."""
    if not DICOMWEB.exists():
        (pytest.fail if os.environ.get("REQUIRE_PEERS") == "1" else pytest.skip)("needs DICOMweb: apt-get install orthanc-dicomweb")
    return str(DICOMWEB)


def port_free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def port_wait(port: int, process: subprocess.Popen[bytes], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"nothing listens on port {port}")


@dataclass
class Orthanc:
    """One running Orthanc. `modality` tells it who we are; `put` gives it objects over REST."""

    ae_title: str
    port: int
    http: int

    def rest(self, path: str, data: bytes | None = None, method: str = "GET") -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data=data, method=method)  # noqa: S310 loopback
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 loopback
            body = answer.read()
        return json.loads(body) if body else None

    def file(self, instance: str) -> bytes:
        """The Part 10 file of one of its instances."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/instances/{instance}/file", timeout=10) as answer:  # noqa: S310
            found: bytes = answer.read()
        return found

    def modality(self, ae_title: str, port: int) -> None:
        facts = {"AET": ae_title, "Host": "127.0.0.1", "Port": port}
        self.rest(f"/modalities/{ae_title.lower()}", json.dumps(facts).encode(), "PUT")

    def put(self, datasets: Iterable[Dataset]) -> None:
        for ds in datasets:
            self.rest("/instances", part10(ds), "POST")

    def instances(self) -> list[str]:
        found: list[str] = self.rest("/instances")
        return found

    def clear(self) -> None:
        for patient in self.rest("/patients"):
            self.rest(f"/patients/{patient}", method="DELETE")


@contextmanager
def orthanc_run(folder: Path, ae_title: str = "ORTHANC", **more: Any) -> Iterator[Orthanc]:
    """`more` are settings of its configuration."""
    program = need_program("Orthanc")
    found = Orthanc(ae_title, port_free(), port_free())
    configuration = {
        "Name": "test", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"), "Plugins": [],
        "DicomAet": ae_title, "DicomPort": found.port, "DicomServerEnabled": True, "HttpPort": found.http, "HttpServerEnabled": True,
        "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "SslEnabled": False, "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True, "DicomAlwaysAllowMove": True, "DicomAlwaysAllowEcho": True, "DicomAlwaysAllowStore": True,
        "DicomCheckCalledAet": True, "UnknownSopClassAccepted": True, "DefaultEncoding": "Utf8", "ConcurrentJobs": 2,
        **more,
    }  # fmt: skip
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, str(path)], stdout=log, stderr=log, cwd=folder)
    try:
        port_wait(found.http, process)
        port_wait(found.port, process)
        yield found
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="session")
def orthanc_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """One for all tests of a session; `orthanc` empties it for each."""
    with orthanc_run(tmp_path_factory.mktemp("orthanc")) as found:
        yield found


@pytest.fixture
def orthanc(orthanc_server: Orthanc) -> Orthanc:
    orthanc_server.clear()
    return orthanc_server


@contextmanager
def dcmqrscp_run(
    folder: Path, ae_title: str = "ARCHIVE", movers: dict[str, int] | None = None, *, port: int = 0
) -> Iterator[int]:
    """dcmtk's archive; `movers` are the AE titles and ports that it may move to. Yields its port."""
    program, port = need_program("dcmqrscp"), port or port_free()
    (folder / "db").mkdir(parents=True)
    hosts = "".join(f"m{n} = ({title}, 127.0.0.1, {to})\n" for n, (title, to) in enumerate((movers or {}).items()))
    (folder / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 65536\nMaxAssociations = 16\n\nHostTable BEGIN\n{hosts}HostTable END\n\n"
        f"VendorTable BEGIN\nVendorTable END\n\nAETable BEGIN\n{ae_title} {folder}/db RW (500, 1024mb) ANY\nAETable END\n"
    )
    with (folder / "dcmqrscp.log").open("wb") as log:
        process = subprocess.Popen([program, "-c", str(folder / "dcmqrscp.cfg")], stdout=log, stderr=log)
    try:
        port_wait(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def store(port: int, ae_title: str, datasets: Iterable[Dataset]) -> None:
    """C-STORE into an archive."""
    objects = list(datasets)
    ae = AE(ae_title="FILLER")
    for sop_class in {ds.SOPClassUID for ds in objects}:
        ae.add_requested_context(sop_class, ["1.2.840.10008.1.2.1"])
    association = ae.associate("127.0.0.1", port, ae_title=ae_title)
    assert association.is_established
    for ds in objects:
        part10(ds)
        assert association.send_c_store(ds).Status == 0
    association.release()
