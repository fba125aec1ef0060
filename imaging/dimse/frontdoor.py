"""The open port: looks at the A-ASSOCIATE-RQ (PS3.8 9.3.2) without consuming a byte, then hands the socket over.

`listener` starts it. Whatever a peer does here costs one descriptor for a few seconds, never a thread.
"""

import logging
import selectors
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, sleep

from imaging.dimse.associate import reject_bytes, titles_read
from imaging.dimse.contract import TEMPORARY_CONGESTION, Admission, Admit, DoorLimits, Refusal

logger = logging.getLogger(__name__)

_HEAD = struct.Struct(">BxI")
_SMALLEST_REQUEST = 68  # the fixed fields alone

HandOver = Callable[[socket.socket, str, Admission], None]
Refuse = Callable[[socket.socket, str, str, str], Refusal | None]  # called AE, calling AE, address


class PortTakenError(OSError):
    """The port cannot be bound; the message says which and where it is set."""


@dataclass(slots=True)
class _Waiting:
    address: str
    deadline: float
    needed: int = _HEAD.size


class FrontDoor:
    """One selector loop; admissions run beside it on a few threads, so that a slow one holds up nobody else."""

    variable = "MEDHUB_DIMSE_PORT"

    def __init__(
        self, host: str, port: int, *, admit: Admit, hand_over: HandOver, limits: DoorLimits, refuse: Refuse | None = None,
    ) -> None:
        self._admit = admit
        self._refuse = refuse
        self._hand_over = hand_over
        self._limits = limits
        self._waiting: dict[socket.socket, _Waiting] = {}
        self._per_address: Counter[str] = Counter()
        self._selector = selectors.DefaultSelector()
        self._is_open = True
        self._listening = _bound(host, port, self.variable)
        self.port: int = self._listening.getsockname()[1]
        self._wake_in, self._wake_out = socket.socketpair()
        self._pool = ThreadPoolExecutor(limits.admitting, thread_name_prefix="dimse-admit")
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
        self._pool.shutdown(wait=False, cancel_futures=True)

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
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _HEAD.size)
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
            seen = sock.recv(_HEAD.size + self._limits.request_bytes, socket.MSG_PEEK | socket.MSG_DONTWAIT)
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

    def _measure(self, seen: bytes) -> int:
        """How long the first message is, by its head; 0 for what is none."""
        kind, length = _HEAD.unpack_from(seen)
        is_one = kind == 1 and _SMALLEST_REQUEST <= length <= self._limits.request_bytes
        return _HEAD.size + length if is_one else 0

    def _pass(self, sock: socket.socket, address: str, request: bytes) -> None:
        self._pool.submit(self._decide, sock, address, request)

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

    def _decide(self, sock: socket.socket, address: str, request: bytes) -> None:
        called_ae, calling_ae = titles_read(request)
        try:
            refused = self._refuse(sock, called_ae, calling_ae, address) if self._refuse is not None else None
            answer = refused or self._admit(called_ae=called_ae, calling_ae=calling_ae, address=address)
        except Exception:
            logger.exception("dimse admission failed")
            answer = Refusal(*TEMPORARY_CONGESTION, "the admission failed on our side")
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            if isinstance(answer, Refusal):
                logger.info("association refused: called %r, calling %r: %s", called_ae, calling_ae, answer.text)
                _reject(sock, answer, len(request))
            else:
                self._hand_over(sock, address, answer)
        except OSError:
            logger.info("association request of %s: the peer went away", address)
            sock.close()
        except Exception:
            logger.exception("dimse door: hand-over failed")
            sock.close()


def _reject(sock: socket.socket, refusal: Refusal, request_bytes: int) -> None:
    # bytes left unread would make close() send a reset, and the peer might never see our answer
    sock.recv(request_bytes, socket.MSG_WAITALL)
    sock.sendall(reject_bytes(refusal))
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
    sock.close()


def _bound(host: str, port: int, variable: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise PortTakenError(
            error.errno, f"DIMSE cannot listen on {host}:{port} ({error.strerror}); {variable} sets the port",
        ) from None
