"""What the tests of query and retrieve share: a listener with the real domain behind it, and peers that ask."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.presentation import build_role
from pynetdicom.sop_class import (
    CTImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from imaging import associations, finding
from imaging.commitment.door import OTHERS, handlers
from imaging.dimse.contract import Services
from imaging.dimse.listener import Listener
from imaging.ingest import IncomingObject
from imaging.nodes import node_add
from imaging.part10 import part10_split
from imaging.query import doors
from imaging.scu.association import reactor_still
from tests import house
from tests.imaging.test_dimse_peers import need

pytestmark = [pytest.mark.database, pytest.mark.peers]
_config.LOG_HANDLER_LEVEL = "none"
STUDY_FIND, PATIENT_FIND = StudyRootQueryRetrieveInformationModelFind, PatientRootQueryRetrieveInformationModelFind
STUDY_MOVE, PATIENT_MOVE = StudyRootQueryRetrieveInformationModelMove, PatientRootQueryRetrieveInformationModelMove
STUDY_GET, PATIENT_GET = StudyRootQueryRetrieveInformationModelGet, PatientRootQueryRetrieveInformationModelGet
ALL = ("store", "find", "move", "get")


@contextmanager
def serving() -> Iterator[Listener]:
    """The listener as the worker runs it."""
    services = Services(
        admit=associations.association_admit, receive=IncomingObject, alive=associations.associations_alive,
        ended=associations.association_end, thread_end=associations.thread_end, find=finding.identifier_find,
        retrieve=doors.identifier_retrieve, others=OTHERS, handlers=handlers,
    )  # fmt: skip
    found = Listener("127.0.0.1", 0, services=services)
    found.start()
    try:
        yield found
    finally:
        found.stop(2)


def allow(hospital: Any, *services: str, **facts: Any) -> None:
    """What the hospital's CT may ask for."""
    with hospital.scope():
        node_add(ae_title=hospital.calling_ae, services=services or ALL, **facts)


def fill(hospital: Any, datasets: list[Dataset]) -> None:
    house.store(hospital, datasets)
    house.index(hospital)


def identifier(level: str, **keys: Any) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds


@contextmanager
def asking(listener: Listener, hospital: Any, *classes: str, called: str = "", **options: Any) -> Iterator[Association]:
    """An association of the hospital's CT for these SOP classes."""
    ae = AE(ae_title=hospital.calling_ae)
    for sop_class in classes or (STUDY_FIND, PATIENT_FIND):
        ae.add_requested_context(sop_class, options.get("syntaxes"))
    association = ae.associate(
        "127.0.0.1", listener.port, ae_title=called or hospital.called_ae, ext_neg=options.get("ext_neg"),
        evt_handlers=options.get("handlers"),
    )
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def ask(association: Association, level: str, *, model: str = STUDY_FIND, **keys: Any) -> list[Dataset]:
    """The matches of a query that must succeed."""
    reactor_still(association)
    answers = list(association.send_c_find(identifier(level, **keys), model))
    assert answers[-1][0].Status == 0, hex(answers[-1][0].Status)
    assert all(status.Status in (0xFF00, 0xFF01) for status, _ in answers[:-1])
    return [ds for _, ds in answers[:-1]]


def refusal(association: Association, level: str, *, model: str = STUDY_FIND, **keys: Any) -> tuple[int, str]:
    """Status and comment of a query that must not succeed."""
    reactor_still(association)
    answers = list(association.send_c_find(identifier(level, **keys), model))
    assert len(answers) == 1
    return answers[0][0].Status, answers[0][0].get("ErrorComment", "")


def roles(*classes: str) -> list[Any]:
    return [build_role(sop_class, scp_role=True) for sop_class in classes or (CTImageStorage,)]


@contextmanager
def storescp(folder: Path, *options: str, title: str = "RECV") -> Iterator[int]:
    """dcmtk's storescp, keeping what it gets bit for bit; the port it listens on."""
    need(shutil.which("storescp") is not None, "dcmtk's storescp")
    folder.mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        ["storescp", "-aet", title, "-od", str(folder), "+B", *options, str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={k: v for k, v in os.environ.items() if k != "TCP_NODELAY"},
    )
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait(5)


def received(folder: Path) -> dict[str, bytes]:
    """Data sets by SOP Instance UID, as bytes behind group 2."""
    found = {}
    for path in folder.iterdir():
        ds = dcmread(path, stop_before_pixels=True, force=True)
        found[str(ds.SOPInstanceUID)] = data_set_bytes(path)
    return found


def data_set_bytes(path: Path) -> bytes:
    data = path.read_bytes()
    return data[part10_split(data)[1] :]


@pytest.mark.parametrize("program", ["findscu", "movescu", "getscu", "storescp"])
def test_the_real_peers_are_installed(program: str) -> None:
    """"Real peers": dcmtk's four programs of query and retrieve, so a green run says what it ran with."""
    need(shutil.which(program) is not None, f"dcmtk's {program}")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    assert "dcmtk" in done.stdout.lower()
