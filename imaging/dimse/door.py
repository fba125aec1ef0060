"""An open port that looks at a peer's first message without consuming a byte, and passes the socket on when it is whole.

Whatever a peer does here costs one descriptor for a few seconds, never a thread.
"""

import logging
import selectors
import socket
import threading
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, sleep

from imaging.dimse.contract import DoorLimits

logger = logging.getLogger(__name__)

HEAD_BYTES = 6  # tell the length of what follows, of a PDU; a TLS record says it in five


class PortTakenError(OSError):
    """The port cannot be bound; the message says which and where it is set."""


@dataclass(slots=True)
class _Waiting:
    address: str
    deadline: float
    needed: int = HEAD_BYTES


class Door(ABC):
    """One selector loop. What a first message is, and what is done with its sender, is said by those who derive from it."""

    variable: str  # that sets the port

    def __init__(self, host: str, port: int, *, limits: DoorLimits) -> None:
        self._limits = limits
        self._waiting: dict[socket.socket, _Waiting] = {}
        self._per_address: Counter[str] = Counter()
        self._selector = selectors.DefaultSelector()
        self._is_open = True
        self._listening = _bound(host, port, self.variable)
        self.port: int = self._listening.getsockname()[1]
        self._wake_in, self._wake_out = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="dimse-door", daemon=True)

    def start(self) -> None:
        self._listening.setblocking(False)
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        self._thread.start()

    def stop(self) -> None:
        self._is_open = False
        with suppress(OSError):
            self._wake_out.send(b"\0")
        self._thread.join(2)

    def sockets(self) -> list[socket.socket]:
        """Everything that a forked child must not keep open."""
        return [self._listening, self._wake_in, self._wake_out, *self._waiting]

    def _run(self) -> None:
        while self._is_open:
            soonest = min((waiting.deadline for waiting in self._waiting.values()), default=monotonic() + 60)
            for key, _ in self._selector.select(max(0.0, soonest - monotonic())):
                try:
                    self._serve_event(key.fileobj)
                except Exception:
                    logger.exception("dimse door: connection dropped")
                    self._drop(key.fileobj)
            now = monotonic()
            for late in [sock for sock, waiting in self._waiting.items() if waiting.deadline <= now]:
                self._drop(late)
        # shutdown, not only close: a forked child may hold a copy of this descriptor
        for sock in (self._listening, *self._waiting):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._selector.close()

    def _serve_event(self, sock: socket.socket) -> None:
        if sock is self._listening:
            self._accept()
        elif sock is not self._wake_in:
            self._peek(sock)

    def _accept(self) -> None:
        try:
            sock, peer = self._listening.accept()
        except OSError:
            # gone again, or out of descriptors: then the longest waiting gives its own back
            self._drop(next(iter(self._waiting), self._listening))
            sleep(0.01)
            return
        address = peer[0]
        sock.setblocking(True)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, HEAD_BYTES)
        self._make_room(address)
        self._waiting[sock] = _Waiting(address, monotonic() + self._limits.request_seconds)
        self._per_address[address] += 1
        self._selector.register(sock, selectors.EVENT_READ)

    def _make_room(self, address: str) -> None:
        """The longest waiting gives way: an honest peer has sent its request a round trip after it connected."""
        if self._per_address[address] >= self._limits.waiting_per_address:
            self._drop(next(sock for sock, waiting in self._waiting.items() if waiting.address == address))
        elif len(self._waiting) >= self._limits.waiting:
            self._drop(next(iter(self._waiting)))

    def _peek(self, sock: socket.socket) -> None:
        waiting = self._waiting.get(sock)
        if waiting is None:
            return
        try:
            seen = sock.recv(HEAD_BYTES + self._limits.request_bytes, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            seen = b""
        if len(seen) < waiting.needed:
            self._drop(sock)  # SO_RCVLOWAT woke us with less: the peer has closed
            return
        whole = self._measure(seen)
        if not whole:
            self._drop(sock)
        elif len(seen) < whole:
            waiting.needed = whole
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, waiting.needed)
        else:
            self._forget(sock)
            self._pass(sock, waiting.address, seen[:whole])

    @abstractmethod
    def _measure(self, seen: bytes) -> int:
        """How long the first message is, by its head; 0 for what is none."""

    @abstractmethod
    def _pass(self, sock: socket.socket, address: str, first: bytes) -> None:
        """The first message is whole; not a byte of it is consumed."""

    def _forget(self, sock: socket.socket) -> None:
        waiting = self._waiting.pop(sock, None)
        if waiting is None:
            return
        self._selector.unregister(sock)
        self._per_address[waiting.address] -= 1
        if self._per_address[waiting.address] <= 0:
            del self._per_address[waiting.address]

    def _drop(self, sock: socket.socket) -> None:
        if sock in self._waiting:
            self._forget(sock)
            sock.close()


def _bound(host: str, port: int, variable: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise PortTakenError(
            error.errno, f"DIMSE cannot listen on {host}:{port} ({error.strerror}); {variable} sets the port",
        ) from None
