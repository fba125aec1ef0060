"""The peers the DIMSE tests talk with: dcmtk programs, hand-made sockets, and a hospital that records what arrives."""

import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imaging.dimse.contract import Admission, DoorLimits, Refusal, Services, StoreAnswer
from imaging.dimse.listener import Listener

SHARED = Path(__file__).resolve().parents[3] / "shared" / "dicom"
VERIFICATION, CT, IMPLICIT, EXPLICIT = (
    "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1",
)


def need(is_there: bool, what: str) -> None:
    """One named skip for what this machine lacks; a failure where all peers are promised."""
    if not is_there:
        (pytest.fail if os.environ.get("REQUIRE_PEERS") == "1" else pytest.skip)(f"needs {what}")


def real_file(name: str) -> Path:
    path = SHARED / name
    need(path.exists(), f"the real file {name}")
    return path


def peer(
    program: str, port: int, *options: str, files: Iterable[Path] = (), called: str = "MERCY", calling: str = "CT01",
) -> str:
    """Run a dcmtk program against us; its output with the exit code in front."""
    need(shutil.which(program) is not None, f"dcmtk's {program}")
    # stock clients: a TCP_NODELAY in the caller's environment would hide the delayed ACK
    environment = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    done = subprocess.run(  # noqa: S603
        [program, "-v", *options, "-aet", calling, "-aec", called, "127.0.0.1", str(port), *map(str, files)],
        capture_output=True, text=True, timeout=30, env=environment, check=False,
    )
    return f"exit {done.returncode}\n{done.stdout}{done.stderr}"


class Hospital:
    """Real callables for a Listener; what they were given stays readable."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.received: list[dict[str, Any]] = []
        self.outcomes: list[tuple[str, int]] = []
        self.renewed: list[list[int]] = []
        self.admission_seconds: dict[str, float] = {}
        self.receive_seconds = 0.0
        self.answers: list[StoreAnswer | Exception] = []
        self.ended_threads: set[str] = set()

    def admit(self, *, called_ae: str, calling_ae: str, address: str) -> Admission | Refusal:
        self.asked.append((called_ae, calling_ae, address))
        time.sleep(self.admission_seconds.get(calling_ae, 0))
        if called_ae != "MERCY":
            return Refusal(1, 1, 7, "nobody here has this AE title")
        if calling_ae == "STRANGER":
            return Refusal(1, 1, 3, "this AE title may not call")
        if calling_ae == "DATABASE":
            raise ConnectionError("the database is down")
        return Admission(7, len(self.asked), f"trace-{len(self.asked)}", calling_ae, called_ae, address)

    def receive(self, *, admission: Admission, **uids: str) -> "Arriving":
        return Arriving(self, {"tenant": admission.tenant_id, **uids})

    def alive(self, *, admissions: list[Admission]) -> None:
        self.renewed.append([admission.association_id for admission in admissions])

    def ended(self, *, admission: Admission, outcome: str, stored: int) -> None:
        assert admission.tenant_id == 7
        self.outcomes.append((outcome, stored))

    def services(self) -> Services:
        return Services(
            admit=self.admit, receive=self.receive, alive=self.alive, ended=self.ended, thread_end=self.thread_end,
        )  # fmt: skip

    def thread_end(self) -> None:
        self.ended_threads.add(threading.current_thread().name)


class Arriving:
    """One object on its way in: recorded when it is whole."""

    def __init__(self, hospital: Hospital, facts: dict[str, Any]) -> None:
        self._hospital, self._facts, self._data = hospital, facts, bytearray()

    def write(self, fragment: memoryview) -> None:
        self._data += fragment

    def finish(self) -> StoreAnswer:
        time.sleep(self._hospital.receive_seconds)
        self._hospital.received.append({**self._facts, "dataset": bytes(self._data)})
        answer = self._hospital.answers.pop(0) if self._hospital.answers else StoreAnswer(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self._data.clear()


@contextmanager
def listening(hospital: Hospital, **options: Any) -> Iterator[Listener]:
    own = {name: options.pop(name) for name in ("find", "retrieve", "others", "handlers") if name in options}
    services = replace(hospital.services(), **own)
    listener = Listener("127.0.0.1", 0, services=services, **options)
    listener.start()
    try:
        yield listener
    finally:
        listener.stop(0)


def eventually(condition: Any, seconds: float = 3.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(condition())


# A-ASSOCIATE-RQ, P-DATA-TF and commands by hand (PS3.8 9.3, PS3.7 6.3): what no well-behaved client would send


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def associate_request(
    *, called: str = "MERCY", calling: str = "CT01", sop_class: str = VERIFICATION, syntax: str = IMPLICIT,
    max_length: int = 16384,
) -> bytes:
    context = struct.pack(">Bxxx", 1) + _item(0x30, sop_class.encode()) + _item(0x40, syntax.encode())
    user = _item(0x51, struct.pack(">I", max_length)) + _item(0x52, b"1.2.3.4")
    items = _item(0x10, b"1.2.840.10008.3.1.1.1") + _item(0x20, context) + _item(0x50, user)
    body = struct.pack(">Hxx", 1) + called.ljust(16).encode() + calling.ljust(16).encode() + bytes(32) + items
    return struct.pack(">BxI", 1, len(body)) + body


def pdv(control: int, fragment: bytes, context_id: int = 1) -> bytes:
    return struct.pack(">IBB", len(fragment) + 2, context_id, control) + fragment


def p_data(*pdvs: bytes) -> bytes:
    return struct.pack(">BxI", 4, sum(map(len, pdvs))) + b"".join(pdvs)


def command(field: int, *, uid: str = "1.2.3", sop_class: str = CT, has_data: bool = True, extra: bytes = b"") -> bytes:
    def element(tag: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HHI", 0, tag, len(value)) + value

    return b"".join((
        element(0x0002, sop_class.encode()), element(0x0100, struct.pack("<H", field)),
        element(0x0110, struct.pack("<H", 9)), extra, element(0x0700, b"\0\0"),
        element(0x0800, b"\0\0" if has_data else b"\x01\x01"), element(0x1000, uid.encode()),
    ))


ECHO = p_data(pdv(3, command(0x0030, sop_class=VERIFICATION, has_data=False)))
RELEASE = struct.pack(">BxIxxxx", 5, 4)


def exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise EOFError("the other side has closed")
        data += more
    return data


def next_pdu(sock: socket.socket) -> tuple[int, bytes]:
    kind, length = struct.unpack(">BxI", exactly(sock, 6))
    return kind, exactly(sock, length)


def response(sock: socket.socket) -> dict[int, bytes]:
    """Elements of the next command, put together from as many PDVs as it came in."""
    encoded, is_last = b"", False
    while not is_last:
        kind, body = next_pdu(sock)
        assert kind == 4
        stop = 4 + int.from_bytes(body[:4], "big")  # a data set may stand behind it in the same PDU
        encoded, is_last = encoded + body[6:stop], bool(body[5] & 2)
    elements, at = {}, 0
    while at < len(encoded):
        _, tag, length = struct.unpack_from("<HHI", encoded, at)
        elements[tag] = encoded[at + 8 : at + 8 + length]
        at += 8 + length
    return elements


def status(sock: socket.socket) -> int:
    return int.from_bytes(response(sock)[0x0900], "little")


@contextmanager
def connected(port: int, request: bytes | None = None) -> Iterator[socket.socket]:
    """A bare socket; with `request` also an accepted association on it."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        if request is not None:
            sock.sendall(request)
            assert next_pdu(sock)[0] == 2
        yield sock


def is_closed(sock: socket.socket, seconds: float) -> bool:
    sock.settimeout(seconds)
    try:
        while sock.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def open_sockets() -> set[str]:
    links = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            links.add(os.readlink(f"/proc/self/fd/{fd}"))
    return {link for link in links if link.startswith("socket:")}


def store_pdus(data: bytes, *, uid: str = "1.2.3", step: int = 16000) -> bytes:
    """A whole C-STORE-RQ on presentation context 1."""
    cuts = [data[at : at + step] for at in range(0, len(data), step)] or [b""]
    last = len(cuts) - 1
    fragments = [p_data(pdv(2 if index == last else 0, cut)) for index, cut in enumerate(cuts)]
    return p_data(pdv(3, command(0x0001, uid=uid))) + b"".join(fragments)


CT_REQUEST = associate_request(sop_class=CT, syntax=EXPLICIT)
FAST_DOOR = DoorLimits(request_seconds=1.0)


@pytest.mark.parametrize("program", ["echoscu", "storescu", "dcmsend", "findscu"])
def test_the_real_peers_are_installed(program: str) -> None:
    """"Real peers (dcmtk) as subprocesses; a missing one is one named skip": so a green run says what it ran with."""
    need(shutil.which(program) is not None, f"dcmtk's {program}")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    assert "dcmtk" in done.stdout.lower()
