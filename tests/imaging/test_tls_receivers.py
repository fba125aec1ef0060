"""TLS with receiver processes: the raw descriptor goes over, hands are shaken there, the worker decides who enters."""

import json
import os
import signal
import socket
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imaging.dimse.contract import Admission, Knock, Refusal
from imaging.dimse.listener import Listener
from imaging.dimse.process import Questions, services_load
from tests.imaging.test_dimse_peers import (
    CT_REQUEST,
    associate_request,
    eventually,
    is_closed,
    next_pdu,
    peer,
    status,
    store_pdus,
)
from tests.imaging.test_receivers import DESK, lines
from tests.imaging.tls_peers import Device, device

pytestmark = [pytest.mark.database, pytest.mark.peers]

SECURE_DESK = """
    import ssl

    def secure():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain("own/certificate.pem", "own/key.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations("own/trust.pem")
        return context

    def admit(*, called_ae, calling_ae, address, certificate=""):
        write(did="admit", certificate=certificate, calling=calling_ae)
        if calling_ae == "STRANGER":
            from imaging.dimse.contract import Refusal
            return Refusal(1, 1, 3, "a stranger")
        if calling_ae == "BROKEN":
            raise RuntimeError("the database is away")
        return Admission(7, next(numbers), "trace", calling_ae, called_ae, address)
"""
PATHS = {name: f"desk.{name}" for name in ("admit", "receive", "alive", "ended", "thread_end", "secure")}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the callables of a hospital, importable here and in the receivers."""
    (tmp_path / "desk.py").write_text(textwrap.dedent(DESK) + textwrap.dedent(SECURE_DESK))
    checkout = Path(__file__).resolve().parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{checkout}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("desk", None)


@pytest.fixture
def who(desk: Path, mercy) -> Device:
    return device(mercy, desk / "own", hosts=["localhost"])


@pytest.fixture
def listener(desk: Path, who: Device) -> Iterator[Listener]:
    found = Listener("", None, secure=("127.0.0.1", 0), services=services_load(PATHS), paths=PATHS, receivers=2)
    found.start()
    yield found
    found.stop(1)


def call(listener: Listener, who: Device, calling: str = "CT01") -> str:
    return peer("echoscu", listener.secure_port, *who.options(), calling=calling)


def test_hands_are_shaken_in_the_receivers(listener: Listener, desk: Path, who: Device) -> None:
    """"a TLS port's raw descriptor goes at once to a receiver": stores land there, the worker admits with the fingerprint."""
    assert listener.port == 0
    assert eventually(lambda: len(set(listener.receivers.pids)) == 2)
    time.sleep(0.5)
    socks = []
    for _ in range(2):
        plain = socket.create_connection(("127.0.0.1", listener.secure_port), timeout=5)
        sock = who.context().wrap_socket(plain, server_hostname="localhost")
        sock.sendall(CT_REQUEST)
        assert next_pdu(sock)[0] == 2
        sock.sendall(store_pdus(b"x" * 200_000))
        assert status(sock) == 0
        socks.append(sock)
    assert {line["pid"] for line in lines(desk, "receive")} == set(listener.receivers.pids)
    assert {line["pid"] for line in lines(desk, "admit")} == {os.getpid()}
    assert {line["certificate"] for line in lines(desk, "admit")} == {who.row.fingerprint}
    for sock in socks:
        sock.close()
    assert eventually(lambda: [line["outcome"] for line in lines(desk, "ended")] == ["lost", "lost"])
    assert eventually(lambda: (listener._taken, listener._knocking.total()) == (0, 0))


def test_refusals_and_faults_leave_nothing_behind(listener: Listener, desk: Path, who: Device) -> None:
    """A stranger, a database that is away, a peer without a certificate: the books are even afterwards, others are served."""
    assert "Calling AE Title Not Recognized" in call(listener, who, "STRANGER")
    assert "exit 0" not in call(listener, who, "BROKEN")
    assert "exit 0" not in peer("echoscu", listener.secure_port, "+tla", "+cf", str(who.trust))
    assert "exit 0" in call(listener, who)
    assert eventually(lambda: [line["outcome"] for line in lines(desk, "ended")] == ["released"])
    assert eventually(lambda: (listener._taken, listener._knocking.total()) == (0, 0))


def test_a_receiver_that_dies_between_knock_and_end(listener: Listener, desk: Path, who: Device) -> None:
    """Its handshakes are forgotten, its associations are told of as lost; another one starts."""
    time.sleep(0.5)
    plain = socket.create_connection(("127.0.0.1", listener.secure_port), timeout=5)
    with who.context().wrap_socket(plain, server_hostname="localhost") as sock:
        sock.sendall(associate_request())
        assert next_pdu(sock)[0] == 2
        with socket.create_connection(("127.0.0.1", listener.secure_port)) as half:
            half.sendall(b"\x16\x03\x01\x00\x10" + b"\1" * 16)
            half.sendall(b"")
            for pid in listener.receivers.pids:
                os.kill(pid, signal.SIGKILL)
            assert is_closed(sock, 2)
    assert eventually(lambda: [line["outcome"] for line in lines(desk, "ended")] == ["lost"])
    assert eventually(lambda: (listener._taken, listener._knocking.total()) == (0, 0))
    assert eventually(lambda: "exit 0" in call(listener, who), 10)


def test_an_answer_that_nobody_waits_for_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """An admission that comes too late is given back, so that its end can be told; a late refusal needs nothing."""
    monkeypatch.setattr("imaging.dimse.process.ANSWER_SECONDS", 0.05)
    told: list[dict[str, object]] = []
    questions = Questions(lambda **said: told.append(said))
    knock = Knock(5, "192.0.2.1")
    answer = questions.ask(knock, "MERCY", "CT01", "ab" * 32)
    assert isinstance(answer, Refusal)
    assert json.loads(json.dumps(told)) == [{"ask": {"key": -5, "called": "MERCY", "calling": "CT01", "certificate": "ab" * 32}}]
    fields = {"tenant_id": 7, "association_id": 9, "trace_id": "t", "calling_ae": "CT01", "called_ae": "MERCY", "services": ["store"]}
    late = questions.answer({"answer": -5, "admission": fields})
    assert isinstance(late, Admission)
    assert late.key == 9
    assert questions.answer({"answer": -5, "refusal": {"result": 1, "source": 1, "diagnostic": 1, "text": ""}}) is None
