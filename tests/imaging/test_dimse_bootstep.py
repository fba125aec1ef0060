"""The listener inside a real Celery worker, without a broker."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from imaging.dimse.bootstep import address_parse
from tests.imaging.test_dimse_peers import connected, eventually, peer

HOSPITAL = """
    from celery import Celery
    from imaging.dimse.bootstep import add_dimse_option
    from imaging.dimse.contract import Admission, StoreAnswer

    # nothing listens on port 9: the broker is down for the whole test
    app = Celery("hospital", broker="redis://127.0.0.1:9/0")
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        medhub_dimse={name: f"hospital.{name}" for name in ("admit", "receive", "alive", "ended", "thread_end")},
    )
    add_dimse_option(app)

    def admit(*, called_ae, calling_ae, address):
        return Admission(7, 1, "trace", calling_ae, called_ae, address)

    class Arriving:
        def __init__(self, **uids):
            self.bytes = 0

        def write(self, fragment):
            self.bytes += len(fragment)

        def finish(self):
            return StoreAnswer(0)

        def close(self):
            pass

    def receive(*, admission, **uids):
        return Arriving()

    def alive(*, admissions):
        pass

    def ended(*, admission, outcome, stored):
        with open("ended.txt", "a") as file:
            file.write(f"{outcome} {stored}\\n")

    def thread_end():
        pass
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


@contextmanager
def worker(folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    (folder / "hospital.py").write_text(textwrap.dedent(HOSPITAL))
    checkout = Path(__file__).resolve().parents[2]
    # no Django in this worker: the door must not need it
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO")}
    environment["PYTHONPATH"] = f"{folder}:{checkout}"
    with open(folder / "log.txt", "wb") as log:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "celery", "-A", "hospital", "worker", "--concurrency", "1", *options],
            cwd=folder, env=environment, stdout=log, stderr=log,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def log_of(folder: Path) -> str:
    return (folder / "log.txt").read_text()


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_worker_receives_while_the_broker_is_down_and_ends_on_sigterm(pool: str, tmp_path: Path) -> None:
    """"A bootstep of the worker blueprint, alive while the broker is down"; SIGTERM ends it within 5 s."""
    port = free_port()
    with worker(tmp_path, "--pool", pool, "--dimse", f"127.0.0.1:{port}") as process:
        assert eventually(lambda: "DIMSE listening" in log_of(tmp_path), 20), log_of(tmp_path)
        assert eventually(lambda: "Cannot connect to redis" in log_of(tmp_path), 10), log_of(tmp_path)
        assert "exit 0" in peer("echoscu", port)
        assert eventually(lambda: (tmp_path / "ended.txt").exists())
        assert (tmp_path / "ended.txt").read_text() == "released 0\n"
        before = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert time.monotonic() - before < 5
    with pytest.raises(ConnectionRefusedError), connected(port):
        pass


def test_a_worker_without_the_option_does_not_listen_nor_load_pynetdicom(tmp_path: Path) -> None:
    """"Only active when --dimse is given": other workers pay nothing for it."""
    with worker(tmp_path, "--pool", "solo"):
        assert eventually(lambda: "Cannot connect to redis" in log_of(tmp_path), 20), log_of(tmp_path)
        assert "DIMSE listening" not in log_of(tmp_path)
    loaded = subprocess.run(  # noqa: S603
        [sys.executable, "-c", "import sys, imaging.dimse.bootstep; print('pynetdicom' in sys.modules)"],
        capture_output=True, text=True, check=True, cwd=Path(__file__).resolve().parents[2],
    )
    assert loaded.stdout.strip() == "False"


def test_a_taken_port_ends_the_worker_with_its_name(tmp_path: Path) -> None:
    """"Port taken -> an error naming port and the variable": a worker that cannot receive does not pretend to run."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with worker(tmp_path, "--pool", "solo", "--dimse", f"127.0.0.1:{port}") as process:
            assert process.wait(20) != 0
    assert f"127.0.0.1:{port}" in log_of(tmp_path)
    assert "MEDHUB_DIMSE_PORT" in log_of(tmp_path)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:104", ("127.0.0.1", 104)),
        ("[::1]:11112", ("::1", 11112)),
        (":11112", ("0.0.0.0", 11112)),  # noqa: S104
    ],
)
def test_an_address_is_host_and_port(text: str, address: tuple[str, int]) -> None:
    """`--dimse HOST:PORT`, also with IPv6 and without a host."""
    assert address_parse(text) == address


@pytest.mark.parametrize("text", ["localhost", "host:port", "1.2.3.4:70000", ""])
def test_what_is_no_address_is_named(text: str) -> None:
    """A typing error in the option is a message of the command line, not a traceback."""
    with pytest.raises(click.BadParameter, match="HOST:PORT"):
        address_parse(text)
