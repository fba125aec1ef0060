"""An association that we open to send objects (PS3.8 9.3.2, PS3.7 D.3): blocking, by one thread, PDUs by struct.

`retrieve` opens it to the destination of a C-MOVE, `imaging.scu.send` to a node that gets a study. Over TLS where it has one.
"""

import socket
import ssl
import struct
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

from imaging.dimse import messages
from imaging.dimse.associate import (
    ABORT_BY_USER,
    ASSOCIATE_AC,
    P_DATA,
    PDU,
    RELEASE_RQ_BYTES,
    MalformedError,
    Proposal,
    accept_read,
    refusal_text,
    request_bytes,
)
from imaging.dimse.contract import AssociationLimits, Destination
from imaging.dimse.inquiries import WireGone

ACCEPT_CAP = 192 << 10
SLACK = 64
RELEASE_SECONDS = 2.0
_TIMEVAL = struct.Struct("@ll")


class NotAssociatedError(Exception):
    """The destination was not reached or refused us; the text says which, in the words of the standard where it has some."""


class SendingAssociation:
    """A Channel to another AE. Use as a context manager: leaving it releases, or aborts after an error."""

    def __init__(
        self, destination: Destination, *, calling_ae: str, proposals: Sequence[Proposal], limits: AssociationLimits,
    ) -> None:
        """Connects and negotiates. Raises NotAssociatedError."""
        self._limits = limits
        self.contexts: dict[tuple[str, str], int] = {}
        self.pdu_bytes = 0
        try:
            self._socket = socket.create_connection((destination.address, destination.port), limits.connect_seconds)
        except OSError as error:
            raise NotAssociatedError(f"no connection: {error.strerror or 'timed out'}") from None
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.settimeout(limits.connect_seconds)
            if destination.tls is not None:
                self._socket = destination.tls.wrap_socket(self._socket, server_hostname=destination.host)
            self._socket.sendall(request_bytes(destination.ae_title, calling_ae, proposals, limits.pdu_bytes))
            self._take_accept(proposals, monotonic() + limits.connect_seconds)
            # kernel time-outs: a sendall that goes on may take as long as it takes
            self._socket.settimeout(None)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL.pack(int(limits.send_seconds), 0))
        except ssl.SSLError as error:
            self._socket.close()
            raise NotAssociatedError(f"no TLS: {getattr(error, 'verify_message', '') or error.reason or 'failed'}") from None
        except (OSError, WireGone) as error:
            self._socket.close()
            raise NotAssociatedError(str(error) or "no answer to the association request") from None
        except NotAssociatedError:
            self._socket.close()
            raise

    def __enter__(self) -> "SendingAssociation":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with suppress(OSError, WireGone):
            if kind is None:
                self._socket.sendall(RELEASE_RQ_BYTES)
                self._next_pdu(monotonic() + RELEASE_SECONDS)
            else:
                self._socket.settimeout(0)
                self._socket.send(ABORT_BY_USER)
        self._socket.close()

    def send(self, data: bytes | bytearray | memoryview) -> None:
        try:
            self._socket.sendall(data)
        except OSError:
            raise WireGone("the destination takes nothing more") from None

    def store_response(self) -> dict[int, bytes]:
        """The next command set; the peer has nothing to say but C-STORE responses."""
        deadline = monotonic() + self._limits.response_seconds
        command, is_last = bytearray(), False
        while not is_last:
            kind, body = self._next_pdu(deadline)
            if kind != P_DATA:
                raise WireGone("the destination ended the association")
            at = 0
            while at + 6 <= len(body):
                length, control = int.from_bytes(body[at : at + 4], "big"), body[at + 5]
                if length < 2 or at + 4 + length > len(body):
                    raise WireGone("a PDV that does not fit its PDU")
                if control & 1:
                    command += body[at + 6 : at + 4 + length]
                    is_last = bool(control & 2)
                at += 4 + length
            if len(command) > ACCEPT_CAP:
                raise WireGone("a command set without end")
        try:
            return messages.command_read(bytes(command))
        except ValueError:
            raise WireGone("a command set that cannot be read") from None

    def _take_accept(self, proposals: Sequence[Proposal], deadline: float) -> None:
        kind, body = self._next_pdu(deadline)
        if kind != ASSOCIATE_AC:
            raise NotAssociatedError(refusal_text(kind, body))
        try:
            self.contexts, self.pdu_bytes = accept_read(body, proposals)
        except MalformedError:
            raise WireGone("an association PDU that cannot be read") from None

    def _next_pdu(self, deadline: float) -> tuple[int, bytes]:
        kind, length = PDU.unpack(self._exactly(PDU.size, deadline))
        cap = self._limits.pdu_bytes + SLACK if kind == P_DATA else ACCEPT_CAP
        if length > cap:
            raise WireGone("a PDU longer than agreed")
        return kind, self._exactly(length, deadline)

    def _exactly(self, count: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < count:
            self._socket.settimeout(max(deadline - monotonic(), 0.001))
            try:
                more = self._socket.recv(count - len(data))
                # dcmtk writes head and body of a PDU apart: without this its second write waits 40 ms for our delayed ACK
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            except OSError:
                raise WireGone("the destination did not answer in time") from None
            finally:
                self._socket.settimeout(None)
            if not more:
                raise WireGone("the destination closed the connection")
            data += more
        return bytes(data)
