"""One acceptor, N listener processes: descriptors handed over, a receiver that dies, a worker that dies."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from imaging.dimse.listener import Listener
from imaging.dimse.process import services_load
from tests.imaging.test_dimse_peers import CT_REQUEST, ECHO, connected, eventually, is_closed, peer, status, store_pdus

DESK = """
    import json, os, threading
    from imaging.dimse.contract import Admission, StoreAnswer

    numbers = iter(range(1, 1000))

    def write(**line):
        with open("desk.txt", "a") as file:
            file.write(json.dumps({"pid": os.getpid(), **line}) + "\\n")

    def admit(*, called_ae, calling_ae, address):
        return Admission(7, next(numbers), "trace", calling_ae, called_ae, address)

    class Arriving:
        def __init__(self, **uids):
            self.bytes = 0

        def write(self, fragment):
            self.bytes += len(fragment)

        def finish(self):
            write(did="receive", bytes=self.bytes)
            return StoreAnswer(0)

        def close(self):
            pass

    def receive(*, admission, **uids):
        return Arriving()

    def alive(*, admissions):
        pass

    def ended(*, admission, outcome, stored):
        write(did="ended", id=admission.association_id, outcome=outcome, stored=stored)

    def thread_end():
        pass
"""
PATHS = {name: f"desk.{name}" for name in ("admit", "receive", "alive", "ended", "thread_end")}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the callables of a hospital, importable here and in the receivers."""
    (tmp_path / "desk.py").write_text(textwrap.dedent(DESK))
    checkout = Path(__file__).resolve().parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{checkout}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("desk", None)


@pytest.fixture
def listener(desk: Path) -> Iterator[Listener]:
    found = Listener("127.0.0.1", 0, services=services_load(PATHS), paths=PATHS, receivers=2)
    found.start()
    yield found
    found.stop(1)


def lines(desk: Path, did: str) -> list[dict[str, object]]:
    path = desk / "desk.txt"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in found if line["did"] == did]


def test_associations_spread_over_the_processes(listener: Listener, desk: Path) -> None:
    """"One acceptor, N listener processes; a study may arrive over several associations to several processes at once"."""
    assert eventually(lambda: listener.receivers.ready == 2, 20)
    with connected(listener.port, CT_REQUEST) as one, connected(listener.port, CT_REQUEST) as two:
        for sock in (one, two):
            sock.sendall(store_pdus(b"x" * 1000))
        assert [status(one), status(two)] == [0, 0]
        pids = {line["pid"] for line in lines(desk, "receive")}
        assert pids == set(listener.receivers.pids)
    assert eventually(lambda: [line["outcome"] for line in lines(desk, "ended")] == ["lost", "lost"])


def test_a_receiver_that_is_killed_loses_its_own_associations_only(listener: Listener, desk: Path) -> None:
    """"Parsing that may die without taking the listener along": its end is told, others go on, another one starts."""
    assert eventually(lambda: listener.receivers.ready == 2, 20)
    with connected(listener.port, CT_REQUEST) as one, connected(listener.port, CT_REQUEST) as two:
        for sock in (one, two):
            sock.sendall(store_pdus(b"x"))
            assert status(sock) == 0
        first = lines(desk, "receive")[0]["pid"]
        os.kill(int(first), signal.SIGKILL)
        assert is_closed(one, 2)
        two.sendall(store_pdus(b"yy"))
        assert status(two) == 0
        assert eventually(lambda: [line["outcome"] for line in lines(desk, "ended")] == ["lost"])
        assert eventually(lambda: first not in listener.receivers.pids and listener.receivers.ready == 2, 20)
        assert "exit 0" in peer("echoscu", listener.port)


def test_all_receivers_dead_is_a_closed_connection_and_soon_over(listener: Listener) -> None:
    """A peer that comes while no receiver lives is not left waiting; the next one is served."""
    for pid in listener.receivers.pids:
        os.kill(pid, signal.SIGKILL)

    def is_served() -> bool:
        return "exit 0" in peer("echoscu", listener.port)

    assert eventually(is_served, 10)


def test_a_graceful_stop_lets_the_object_under_way_be_answered(desk: Path) -> None:
    """"Graceful stop": the receivers finish what arrives, then end; no process is left."""
    listener = Listener("127.0.0.1", 0, services=services_load(PATHS), paths=PATHS, receivers=1)
    listener.start()
    pids = listener.receivers.pids
    with connected(listener.port, CT_REQUEST) as sock:
        sock.sendall(ECHO)
        assert status(sock) == 0
        listener.stop(0.5)
        assert is_closed(sock, 1)
    assert eventually(lambda: [line["outcome"] for line in lines(desk, "ended")] == ["aborted"], 5)
    assert all(not Path(f"/proc/{pid}").exists() for pid in pids)


def test_receivers_end_with_a_worker_that_was_killed(desk: Path) -> None:
    """No process is left behind, and no socket held open, when the worker dies hard."""
    script = textwrap.dedent(f"""
        import os, signal, time
        from imaging.dimse.listener import Listener
        from imaging.dimse.process import services_load
        paths = {PATHS!r}
        listener = Listener("127.0.0.1", 0, services=services_load(paths), paths=paths, receivers=2)
        listener.start()
        if os.fork() == 0:  # as a prefork pool does
            time.sleep(30)
        print(listener.port, *listener.receivers.pids, flush=True)
        time.sleep(30)
    """)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True)  # noqa: S603
    try:
        assert process.stdout is not None
        port, *pids = map(int, process.stdout.readline().split())
        with connected(port, CT_REQUEST) as sock:
            os.kill(process.pid, signal.SIGKILL)
            assert is_closed(sock, 5)
        assert eventually(lambda: not any(_is_running(pid) for pid in pids), 5)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
