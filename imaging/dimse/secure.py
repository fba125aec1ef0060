"""TLS for callers (PS3.15 B.12): the port, the handshake with both certificates, an association on an encrypted socket.

`listener` opens a SecureDoor beside the plain one; `receiver` shakes hands and serves, one thread each.
"""

import hashlib
import logging
import socket
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from imaging.dimse.associate import ASSOCIATE_RQ, PDU, reject_bytes
from imaging.dimse.contract import REQUEST_BYTES, DoorLimits, Refusal
from imaging.dimse.door import Door
from imaging.dimse.wire import WAIT_SECONDS, AssociationWire

logger = logging.getLogger(__name__)

_RECORD = struct.Struct(">BBBH")  # content type, version, length (RFC 8446 5.1)
_HANDSHAKE = 22
_LARGEST_RECORD = 1 << 14
SMALLEST_REQUEST = 68
DRAIN_SECONDS = 0.2


class NotSecuredError(Exception):
    """No handshake, no certificate, no association request; the text is ours, for the log."""


class SecureDoor(Door):
    """Hands a socket over as soon as a whole first record of a handshake is there: silent peers never cost a thread."""

    variable = "MEDHUB_DIMSE_TLS_PORT"

    def __init__(self, host: str, port: int, *, knock: Callable[[socket.socket, str], None], limits: DoorLimits) -> None:
        super().__init__(host, port, limits=limits)
        self._knock = knock

    def _measure(self, seen: bytes) -> int:
        kind, major, _, length = _RECORD.unpack_from(seen)
        return _RECORD.size + length if kind == _HANDSHAKE and major == 3 and 4 <= length <= _LARGEST_RECORD else 0

    def _pass(self, sock: socket.socket, address: str, first: bytes) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        self._knock(sock, address)


def handshake(sock: socket.socket, context: ssl.SSLContext, seconds: float) -> ssl.SSLSocket:
    """Shake hands. Raises NotSecuredError; the socket is the caller's to close."""
    try:
        sock.settimeout(seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secured = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True)
    except (OSError, ValueError) as error:
        raise NotSecuredError(_words(error)) from None
    try:
        secured.do_handshake()  # the time is that of all of it
    except (OSError, ValueError) as error:
        _drain(secured)
        raise NotSecuredError(_words(error)) from None
    return secured


def _drain(secured: ssl.SSLSocket) -> None:
    """Close so that our alert arrives: bytes left unread would make it a reset, and the peer would not know why."""
    with suppress(OSError, ValueError), socket.socket(fileno=secured.detach()) as sock:
        sock.settimeout(DRAIN_SECONDS)
        sock.shutdown(socket.SHUT_WR)
        sock.recv(_LARGEST_RECORD)


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client certificate was not accepted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "the handshake took too long"
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {(error.reason or 'unexpected end').lower().replace('_', ' ')}"
    return "the peer went away"


def fingerprint_of(secured: ssl.SSLSocket) -> str:
    """SHA-256 of the client certificate, hex. Raises NotSecuredError."""
    certificate = secured.getpeercert(binary_form=True)
    if not certificate:
        raise NotSecuredError("no client certificate")
    return hashlib.sha256(certificate).hexdigest()


def request_take(secured: ssl.SSLSocket, seconds: float) -> bytes:
    """The whole A-ASSOCIATE-RQ (PS3.8 9.3.2) and what came behind it, not a byte more than the cap. Raises NotSecuredError."""
    deadline, taken, needed = monotonic() + seconds, bytearray(), PDU.size
    while len(taken) < needed:
        left = deadline - monotonic()
        if left <= 0:
            raise NotSecuredError("the association request took too long to arrive")
        secured.settimeout(left)
        try:
            more = secured.recv(needed - len(taken))
        except (OSError, ValueError) as error:
            late = isinstance(error, TimeoutError)
            raise NotSecuredError("the association request took too long to arrive" if late else _words(error)) from None
        if not more:
            raise NotSecuredError("the peer went away")
        taken += more
        if len(taken) == PDU.size:
            kind, length = PDU.unpack(taken)
            if kind != ASSOCIATE_RQ or not SMALLEST_REQUEST <= length <= REQUEST_BYTES:
                raise NotSecuredError("no association request")
            needed += length
    return bytes(taken)


class SecureWire(AssociationWire):
    """An AssociationWire over TLS: OpenSSL would loop over the kernel's time-outs, so they are Python's here."""

    socket: ssl.SSLSocket

    def _prepare(self) -> None:
        self._waits = -1.0

    def _wait_at_most(self, seconds: float) -> None:
        if seconds != self._waits:
            self.socket.settimeout(seconds)
            self._waits = seconds

    def _receive(self, *, may_wait: bool) -> int:
        self._wait_at_most(WAIT_SECONDS if may_wait else 0.0)
        try:
            count = self.socket.recv_into(self._buffer[self._end :])
        except (TimeoutError, ssl.SSLWantReadError):
            raise BlockingIOError from None
        except ValueError:  # closed by another thread
            return 0
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return count

    def _send(self, data: bytes | bytearray | memoryview) -> None:
        self._wait_at_most(self._limits.send_seconds)
        try:
            self.socket.sendall(data)
        except ValueError:
            raise OSError("the socket is closed") from None

    def cut(self, reason: str) -> None:
        self._waits = -1.0
        super().cut(reason)

    def hang_up(self) -> None:
        if self.is_open:
            farewell(self.socket)
            self._waits = -1.0
        super().hang_up()


def reject(secured: ssl.SSLSocket, refusal: Refusal) -> None:
    """A-ASSOCIATE-RJ, and the end."""
    with suppress(OSError, ValueError):
        secured.settimeout(DRAIN_SECONDS)
        secured.sendall(reject_bytes(refusal))
    farewell(secured)


def farewell(secured: ssl.SSLSocket) -> None:
    """close_notify, without waiting for the peer's (RFC 8446 6.1)."""
    with suppress(OSError, ValueError):
        secured.settimeout(0)
        secured.unwrap()
