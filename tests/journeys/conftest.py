"""The whole house as processes, on the test run's own database: what the stack tests walk through."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connections

from ai.models import Report
from ai.services import connection_create, rule_set
from billing.entitlements import entitlement_set
from imaging.models import Study
from medhub.embedded import Home
from medhub.stack import ROOT, Ports, Program, Stack
from tests.imaging.test_dimse_peers import need
from tests.orthanc import port_free
from tests.servers import TEST_HOME

WAIT_SECONDS = 150  # a machine may be three times as slow as the one that this was written on


def free_ports() -> Ports:
    probes = [socket.socket() for _ in fields(Ports)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = Ports(*(probe.getsockname()[1] for probe in probes))
    for probe in probes:
        probe.close()
    return ports


RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # Debian's own, without the wrapper that changes the user


def broker_chosen(home: Path) -> tuple[Program | None, dict[str, str]]:
    """MEDHUB_TEST_BROKER=rabbitmq: a RabbitMQ of our own instead of the embedded Redis, with what its clients must know."""
    if os.environ.get("MEDHUB_TEST_BROKER") != "rabbitmq":
        return None, {}
    need(RABBITMQ.exists(), "Debian's rabbitmq-server")
    folder, (port, distribution) = home / "rabbitmq", (port_free(), port_free())
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "rabbitmq.conf").write_text("loopback_users = none\n")
    (folder / "plugins").write_text("[].\n")
    return Program("rabbitmq", [str(RABBITMQ)], is_base=True), {
        "HOME": str(folder), "RABBITMQ_NODENAME": f"medhub{port}@localhost", "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port), "RABBITMQ_DIST_PORT": str(distribution), "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"), "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"), "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "CELERY_BROKER_URL": f"amqp://guest:guest@127.0.0.1:{port}//",
    }  # fmt: skip


def waited(attempt: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> Any:
    """Ask until there is something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := attempt():
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen in {seconds} s")


class RunningHouse:
    """The house and what a test does with it."""

    def __init__(self, stack: Stack, faults: Path, phantom: Path, archive_port: int) -> None:
        self.stack = stack
        self.archive_port = archive_port  # of this machine, which the house may call
        self.faults = faults
        self.phantom = phantom

    def join(self, hospital: Any) -> Any:
        """Entitle a hospital, connect it and give it the rule."""
        hospital.tenant.quiet_seconds = 1
        hospital.tenant.save()
        with hospital.scope():
            entitlement_set(state="active")
            rule_set(
                name="chest", connection=connection_create(platform="medhub-quantify"), algorithm="lung-density-mask",
                conditions=[{"fact": "modality", "is": ["CT"]}],
            )  # fmt: skip
        return hospital

    def send(self, hospital: Any, path: Path | None = None, *, is_renewed: bool = False, calling: str = "") -> int:
        """C-STORE by the stand-in scanner. Returns its exit code: 0 when everything was taken."""
        command = [
            sys.executable, "-m", "sandbox.modality", str(path or self.phantom), "--port", str(self.stack.ports.dimse),
            "--called", hospital.called_ae, "--calling", calling or hospital.calling_ae,
        ]  # fmt: skip
        return subprocess.run(
            [*command, *([] if is_renewed else ["--keep-uids"])], cwd=ROOT, capture_output=True, timeout=60, check=False
        ).returncode

    def reports(self, hospital: Any) -> list[Report]:
        with hospital.scope():
            return list(Report.objects.select_related("study").order_by("id"))

    def wait(self, attempt: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> Any:
        return waited(attempt, f"{what} (logs in {self.stack.home.root / 'log'})", seconds)

    def wait_report(self, hospital: Any) -> Report:
        return self.wait(lambda: self.reports(hospital), "a report")[0]

    def studies(self, hospital: Any) -> list[Study]:
        with hospital.scope():
            return list(Study.objects.all())


@contextmanager
def stack_running(folder: str, *, allowed: Sequence[str] = (), **environment: str) -> Iterator[Stack]:
    """All processes of a house, on the test run's database. `allowed`: what of this machine it may call; `environment` overrides."""
    database = connections["default"].settings_dict

    def url(role: str) -> str:
        return f"postgresql://{role}@/{database['NAME']}?host={database['HOST']}"

    ports = free_ports()
    broker, broker_environment = broker_chosen(TEST_HOME / folder)
    stack = Stack(
        home=Home(TEST_HOME / folder), ports=ports, has_postgres=False, is_durable=False, broker=broker,
        environment={
            **broker_environment,
            "DATABASE_URL": url("medhub_app"), "DATABASE_OWNER_URL": url("medhub_owner"),
            "DATABASE_SWEEP_URL": url("medhub_sweep"), "MEDHUB_OBJECTS": str(settings.MEDHUB_OBJECTS),
            "MEDHUB_LEASE_SECONDS": "2", "MEDHUB_BACKOFF_UNIT_SECONDS": "0.2",
            "EGRESS_ALLOW": ",".join((f"127.0.0.1:{ports.quantify}", *allowed)),
            "MEDHUB_SWEEP_SECONDS": "1", "MEDHUB_HEARTBEAT_SECONDS": "6", "MEDHUB_LOG_LEVEL": "INFO", **environment,
        },
    )  # fmt: skip
    with stack:
        stack.start_base()
        stack.start_house()
        stack.wait_ready()
        yield stack


@pytest.fixture(scope="package")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHouse]:
    faults = tmp_path_factory.mktemp("faults")
    phantom = tmp_path_factory.mktemp("phantom")
    subprocess.run(
        [sys.executable, "-m", "sandbox.phantoms", "--out", str(phantom), "--slices", "48", "--spacing", "2.5", "--matrix", "96"],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    archive_port = port_free()
    with stack_running("stack", allowed=[f"127.0.0.1:{archive_port}"], MEDHUB_FAULT_DIR=str(faults)) as stack:
        yield RunningHouse(stack, faults, phantom, archive_port)


@pytest.fixture
def joined(house: RunningHouse, mercy: Any) -> Any:
    """Mercy, ready for the walk."""
    return house.join(mercy)


def is_root() -> bool:
    return os.geteuid() == 0
