"""The MLLP listener: one thread a connection, plain and over TLS. `manage.py hl7_listen` runs it.

Messages of a connection are answered in their order. A peer that says nothing, half a frame or nonsense costs one thread for a bounded
time; how many connections there may be is bounded, in all and from one address.
"""

import logging
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from django.db import DatabaseError, connections

from imaging.certificates.contexts import TlsNotSetUpError, server_context
from imaging.dimse.secure import NotSecuredError, farewell, fingerprint_of, handshake
from imaging.hl7.acks import acks_make
from imaging.hl7.frames import Frames, FramingError
from imaging.hl7.messages import message_take

log = logging.getLogger(__name__)

MOST, MOST_AT_ADDRESS = 200, 50
TLS_MOST_WAITING = 128


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Seconds: between two messages, for a message that has begun, for a handshake, for an answer to be taken."""

    idle: float = 300.0
    message: float = 30.0
    handshake: float = 5.0
    answer: float = 30.0


class Listener:
    """`open`, then `serve` until `stop`. `port` and `tls_port` say where; TLS is there when a port was asked for."""

    def __init__(self, *, host: str, port: int, tls_port: int | None = None, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._doors = [(_listening(host, port), False)]
        self.port = self._doors[0][0].getsockname()[1]
        self.tls_port = 0
        if tls_port is not None:
            self._doors.append((_listening(host, tls_port), True))
            self.tls_port = self._doors[1][0].getsockname()[1]
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[socket.socket, str] = {}

    def serve(self) -> None:
        """Until `stop` is called by another thread or a signal."""
        threads = [threading.Thread(target=self._accept, args=door, daemon=True) for door in self._doors]
        for thread in threads:
            thread.start()
        self._stopping.wait()
        for door, _ in self._doors:
            with suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)
            door.close()
        with self._lock:
            left = list(self._open)
        for sock in left:  # a message that is being handled is answered: only reading ends
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RD)
        end = monotonic() + 5
        while self._open and monotonic() < end:
            self._stopping.wait(0)
            threading.Event().wait(0.02)

    def stop(self) -> None:
        self._stopping.set()

    def _accept(self, door: socket.socket, is_secure: bool) -> None:
        while not self._stopping.is_set():
            try:
                sock, peer = door.accept()
            except OSError:
                if not self._stopping.is_set():
                    threading.Event().wait(0.1)
                continue
            address = peer[0].split("%")[0]
            with self._lock:
                counts = Counter(self._open.values())
                is_full = len(self._open) >= MOST or counts[address] >= MOST_AT_ADDRESS
                if not is_full:
                    self._open[sock] = address
            if is_full:
                log.warning("an HL7 connection was refused: too many are open")
                sock.close()
                continue
            threading.Thread(target=self._run, args=(sock, address, is_secure), daemon=True).start()

    def _run(self, sock: socket.socket, address: str, is_secure: bool) -> None:
        spoken: socket.socket = sock
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            fingerprint = ""
            if is_secure:
                spoken = secured = handshake(sock, server_context(), self._limits.handshake)
                fingerprint = fingerprint_of(secured)
            Conversation(spoken, address, fingerprint, self._limits, self._stopping.is_set).run()
        except (NotSecuredError, TlsNotSetUpError) as error:
            log.warning("an HL7 connection over TLS did not come about: %s", error)
        except OSError as error:
            log.info("an HL7 connection ended: %s", type(error).__name__)
        except Exception:
            log.exception("an HL7 connection failed")
        finally:
            with self._lock:
                self._open.pop(sock, None)
            if isinstance(spoken, ssl.SSLSocket):
                farewell(spoken)
            with suppress(OSError):
                spoken.close()
            sock.close()
            connections.close_all()


class Conversation:
    """One connection."""

    def __init__(self, sock: socket.socket, address: str, fingerprint: str, limits: Limits, is_over: Callable[[], bool]) -> None:
        self._sock, self._address, self._fingerprint = sock, address, fingerprint
        self._limits, self._is_over = limits, is_over

    def run(self) -> None:
        """Until the peer goes, speaks no MLLP, or takes too long. Raises OSError."""
        frames, begun = Frames(), 0.0
        while not self._is_over():
            left = self._limits.idle if not frames.is_amid else begun + self._limits.message - monotonic()
            if left <= 0:
                log.warning("an HL7 peer did not finish its message")
                return
            self._sock.settimeout(left)
            try:
                data = self._sock.recv(65536)
            except TimeoutError:
                if frames.is_amid:
                    continue
                log.info("an HL7 peer said nothing for long")
                return
            if not data:
                return
            was_amid = frames.is_amid
            try:
                messages = frames.feed(data)
            except FramingError as error:
                log.warning("an HL7 peer was left: %s", error)
                return
            if frames.is_amid and (messages or not was_amid):
                begun = monotonic()
            for body in messages:
                if not self._answer(body):
                    return

    def _answer(self, body: bytes) -> bool:
        """False when no answer may be given: the sender will come again."""
        try:
            told, outcome = message_take(body=body, address=self._address, fingerprint=self._fingerprint)
        except DatabaseError as error:
            log.warning("an HL7 message could not be kept: %s", type(error).__name__)
            return False
        self._sock.settimeout(self._limits.answer)
        self._sock.sendall(acks_make(told, outcome))
        return True


def _listening(host: str, port: int) -> socket.socket:
    door = socket.create_server((host, port), backlog=TLS_MOST_WAITING, reuse_port=False)
    door.settimeout(None)
    return door
