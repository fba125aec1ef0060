"""A listener of ours on loopback, and a system that speaks MLLP to it."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import hl7
import pytest
from django.db import connections

from imaging.hl7.frames import Frames, frame
from imaging.hl7.listener import Limits, Listener
from imaging.hl7.sources import source_add
from journal.audit import Actor
from tenants.models import Hl7Source
from tests.conftest import Hospital

ACTOR = Actor(name="user:test")


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    made = Listener(host="127.0.0.1", port=0, tls_port=0, limits=Limits(idle=5, message=0.5, handshake=2, answer=2))
    thread = threading.Thread(target=made.serve)
    thread.start()
    yield made
    made.stop()
    thread.join(10)
    assert not thread.is_alive()
    connections.close_all()


@dataclass
class System:
    """A RIS on loopback: one connection, one message after the other."""

    sock: socket.socket
    name: str

    def __post_init__(self) -> None:
        self.frames = Frames()

    def send(self, *segments: str, kind: str = "ORM^O01", control_id: str = "", more: str = "", ends: str = "\r") -> hl7.Message:
        """Segments after MSH; MSH-3 is this system's name. The acknowledgement."""
        self.number = getattr(self, "number", 0) + 1
        head = f"MSH|^~\\&|{self.name}|HOSP|MEDHUB|HUB|20260705101500||{kind}|{control_id or f'C{self.number}'}|P|2.5.1{more}"
        return self.raw(ends.join((head, *segments)).encode() + ends.encode())

    def raw(self, message: bytes) -> hl7.Message:
        self.sock.sendall(frame(message))
        return self.answer()

    def answer(self) -> hl7.Message:
        while True:
            data = self.sock.recv(65536)
            assert data, "the listener hung up"
            if found := self.frames.feed(data):
                return hl7.parse(found[0].decode())


def code(answer: hl7.Message) -> str:
    return str(answer.segment("MSA")[1])


@pytest.fixture
def ris(listener: Listener, mercy: Hospital) -> Iterator[System]:
    """A system of Mercy's, told from those of other tests by its name."""
    with mercy.scope():
        source = source_add(actor=ACTOR, name="RIS", addresses=["127.0.0.1"], sending_application=f"RIS-{mercy.slug}")
    with socket.create_connection(("127.0.0.1", listener.port), timeout=10) as sock:
        yield System(sock, f"RIS-{mercy.slug}")
    Hl7Source.objects.filter(id=source.id).delete()


@pytest.fixture
def connect(listener: Listener) -> Iterator[Any]:
    """More connections, closed at the end."""
    made: list[socket.socket] = []

    def one(name: str = "NOBODY") -> System:
        made.append(socket.create_connection(("127.0.0.1", listener.port), timeout=10))
        return System(made[-1], name)

    yield one
    for sock in made:
        sock.close()
