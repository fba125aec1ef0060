"""The socket of one association under pynetdicom (PS3.8 9.2, 9.3): whole PDUs, length caps, clocks, stores by `lane`.

`association` gives it to a pynetdicom Association in place of its own AssociationSocket.
"""

import logging
import socket
import struct
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from pynetdicom.transport import AssociationSocket

from imaging.dimse import messages
from imaging.dimse.contract import REQUEST_BYTES, Admission, AssociationLimits, Services
from imaging.dimse.inquiries import AssociationError, Contexts, Request, Wire, WireGone
from imaging.dimse.lane import MessageLane, ProtocolError
from imaging.dimse.serving import inquiry_serve

if TYPE_CHECKING:
    from pynetdicom.association import Association

logger = logging.getLogger(__name__)

ASSOCIATE_RQ, P_DATA, RELEASE_RQ, ABORT = 1, 4, 5, 7
SHORT_PDU_CAP = 64  # release and abort have 4 bytes
PDU_SLACK = 64  # some peers count the PDU header into the maximum length they were given
WAIT_SECONDS = 0.25

_PDU = struct.Struct(">BxI")
_PDV = struct.Struct(">IBB")
_TIMEVAL = struct.Struct("@ll")
_ABORT_BY_PROVIDER = struct.pack(">BxIxxBB", ABORT, 4, 2, 0)
_ABORT_BY_USER = struct.pack(">BxIxxBB", ABORT, 4, 0, 0)


class _CutError(AssociationError):
    """The association ends here and now; the text says why and holds nothing the peer has sent."""


class Tap(AssociationSocket):
    """Reads ahead of pynetdicom and leaves it only what it must see: association, release, abort, other services.

    All reading, serving and sending happens on pynetdicom's DUL thread, so nothing here is locked.
    """

    def __init__(
        self,
        assoc: "Association",
        sock: socket.socket,
        *,
        admission: Admission,
        services: Services,
        limits: AssociationLimits,
    ) -> None:
        super().__init__(assoc, client_socket=sock)
        self.outcome = "lost"
        self.ending = ""  # set from outside: the reason why this association has to end now
        self.combined: frozenset[str] = frozenset()  # SOP classes with combined date-time matching negotiated
        self._admission, self._services, self._limits = admission, services, limits
        self._lane = MessageLane(
            admission=admission, receive=services.receive, limits=limits, reply=self._reply, pass_on=self._pass_on,
            is_queried=services.is_queried,
        )
        self._buffer = memoryview(bytearray(max(REQUEST_BYTES, limits.pdu_bytes) + PDU_SLACK + (64 << 10)))
        self._start = self._end = 0
        self._replay = bytearray()
        self._is_shared = False
        self._opened_at = self._heard_at = monotonic()
        self._pdu_at: float | None = None
        sock.setblocking(True)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # kernel time-outs instead of settimeout(): no extra poll for every recv
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(WAIT_SECONDS))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(limits.send_seconds))

    @property
    def stored(self) -> int:
        return self._lane.stored

    # what pynetdicom calls

    @property
    def ready(self) -> bool:
        if not self._replay and self.socket is not None and self._is_connected:
            try:
                self._pump()
            except _CutError as cut:
                self._cut(str(cut))
            except ProtocolError as error:
                self._cut(str(error))
            except OSError:
                self._hang_up()
        if self._replay or not self._is_connected:
            self.assoc._reactor_checkpoint.set()
        return bool(self._replay)

    def recv(self, nr_bytes: int) -> bytearray:
        taken = self._replay[:nr_bytes]
        del self._replay[:nr_bytes]
        return taken

    def send(self, bytestream: bytes) -> None:
        self._heard_at = monotonic()  # a peer that waits for our answers is not idle
        if bytestream[0] == ABORT:
            self.outcome = "aborted"
        try:
            if self.socket is not None:
                self.socket.sendall(bytestream)
        except OSError:
            self._hang_up()

    def close(self) -> None:
        super().close()
        self._lane.close()

    # reading

    def _pump(self) -> None:
        """Serves PDUs until one is for pynetdicom, nothing comes for a moment, or pynetdicom has something to send."""
        self._parse()
        while not self._replay and self._may_read() and self._fill(may_wait=self._may_wait()):
            self._parse()

    def _may_read(self) -> bool:
        state = self.assoc.dul.state_machine.current_state
        return state in ("Sta2", "Sta6") and self.assoc.dul.to_provider_queue.empty()

    def _may_wait(self) -> bool:
        """Once pynetdicom serves something itself it must get its turn at once, to send its answers."""
        return not self._is_shared and self.assoc.is_established

    def _fill(self, *, may_wait: bool) -> bool:
        if self.socket is None:
            return False
        if self._start:
            left = self._end - self._start
            self._buffer[:left] = self._buffer[self._start : self._end]
            self._start, self._end = 0, left
        flags = 0
        if may_wait:
            # pynetdicom's second thread looks for messages a thousand times a second: let it sleep until there are any
            self.assoc._reactor_checkpoint.clear()
        else:
            flags = socket.MSG_DONTWAIT
        self._check_clocks()
        try:
            count = self.socket.recv_into(self._buffer[self._end :], 0, flags)
        except BlockingIOError:
            return False
        if not count:
            self._hang_up()
            return False
        # not sticky, and without it a peer with Nagle's algorithm waits 40 ms for our delayed ACK at every message
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self._end += count
        self._heard_at = monotonic()
        return True

    def _check_clocks(self) -> None:
        now, limits = monotonic(), self._limits
        if self.ending:
            raise _CutError(self.ending)
        if self._pdu_at is not None and now - self._pdu_at > limits.pdu_seconds:
            raise _CutError("a PDU took too long to arrive")
        if now - self._heard_at > limits.idle_seconds:
            raise _CutError("the peer was silent for too long")
        if now - self._opened_at > limits.association_seconds:
            raise _CutError("the association was open for too long")

    def _parse(self) -> None:
        """Takes all whole PDUs from the buffer; stops behind the first one that pynetdicom must see."""
        while not self._replay and self._end - self._start >= _PDU.size:
            kind, length = _PDU.unpack_from(self._buffer, self._start)
            self._check_length(kind, length)
            stop = self._start + _PDU.size + length
            if stop > self._end:
                break
            at, self._start, self._pdu_at = self._start, stop, None
            self._take_pdu(kind, at, stop)
            request, self._lane.request = self._lane.request, None
            if request is not None:
                self._serve(request)
        if self._pdu_at is None and self._end > self._start:
            self._pdu_at = monotonic()

    def _check_length(self, kind: int, length: int) -> None:
        """Before one more byte is read: the length is the peer's claim (PS3.8 9.3.1)."""
        if kind == P_DATA:
            cap = self._limits.pdu_bytes + PDU_SLACK
        elif kind == ASSOCIATE_RQ:
            cap = REQUEST_BYTES
        elif kind in (RELEASE_RQ, ABORT):
            cap = SHORT_PDU_CAP
        else:
            raise _CutError("a PDU that has no place here")
        if length > cap:
            raise _CutError("a PDU longer than agreed")

    def _take_pdu(self, kind: int, at: int, stop: int) -> None:
        if kind == P_DATA and self.assoc.dul.state_machine.current_state == "Sta6":
            self._take_data(at + _PDU.size, stop)
            return
        if kind == RELEASE_RQ and not self._lane.is_between_messages:
            logger.info("dimse: released inside a message, which is discarded")
        if kind in (RELEASE_RQ, ABORT):
            self.outcome = "released" if kind == RELEASE_RQ else "aborted"
        self._replay += self._buffer[at:stop]

    def _take_data(self, at: int, stop: int) -> None:
        if not self._lane.contexts:
            self._lane.contexts = {
                context.context_id: (str(context.abstract_syntax), str(context.transfer_syntax[0]))
                for context in self.assoc.accepted_contexts
            }
        while at < stop:
            if at + _PDV.size > stop:
                raise _CutError("a PDV that ends inside its head")
            length, context_id, control = _PDV.unpack_from(self._buffer, at)
            fragment_at, at = at + _PDV.size, at + 4 + length
            if length < 2 or at > stop:
                raise _CutError("a PDV that does not fit its PDU")
            self._lane.fragment(context_id, control, self._buffer[fragment_at:at])

    # inquiries: served here, from inside the parsing of their last PDU, which reads on through `listen`

    def _serve(self, request: Request) -> None:
        self._lane.is_serving = True
        try:
            inquiry_serve(
                request, wire=_TapWire(self), admission=self._admission, services=self._services, limits=self._limits,
                is_combined=request.sop_class_uid in self.combined,
            )
        except WireGone:
            # hung up, or a release or abort that pynetdicom is going to read; if neither, we broke off inside a message
            if self._is_connected and not self._replay:
                raise _CutError("an object that was being sent could not be read to its end") from None
        finally:
            self._lane.is_serving = False
            self._lane.cancelled.clear()
            self._lane.store_responses.clear()

    def transmit(self, data: bytes | bytearray | memoryview) -> None:
        if self.socket is None:
            raise WireGone
        try:
            self.socket.sendall(data)
        except OSError:
            self._hang_up()
            raise WireGone from None
        self._heard_at = monotonic()

    def listen(self, *, may_wait: bool) -> None:
        """Take what the peer has sent in the meantime; with `may_wait` also wait for it a moment."""
        self._parse()  # what came together with the request
        if not may_wait:
            self._heard_at = monotonic()  # we are busy, the peer is not silent
        try:
            if not self._replay and not (may_wait and self._lane.store_responses) and self._fill(may_wait=may_wait):
                self._parse()
        except OSError:
            self._hang_up()
        if self._replay or not self._is_connected:
            raise WireGone

    # answering and ending

    def _reply(self, context_id: int, command: bytes) -> None:
        if self.socket is None:
            return
        for pdu in messages.command_pdus(context_id, command, self.assoc.requestor.maximum_length or 0):
            self.socket.sendall(pdu)
        self._heard_at = monotonic()  # our own fsync is no silence of the peer

    def _pass_on(self, pdu: bytes) -> None:
        self._is_shared = True
        self._replay += pdu

    def _hang_up(self) -> None:
        self._replay.clear()
        self.close()

    def _cut(self, reason: str) -> None:
        """A-ABORT (PS3.8 9.3.8) and the end, without waiting for the peer's consent."""
        self.outcome = "aborted"
        logger.info("dimse: association cut: %s", reason)
        if self.socket is not None:
            with suppress(OSError):
                self.socket.send(_ABORT_BY_USER if self.ending else _ABORT_BY_PROVIDER, socket.MSG_DONTWAIT)
        self._hang_up()


class _TapWire(Wire):
    """What an inquiry may do with its association."""

    def __init__(self, tap: Tap) -> None:
        self._tap = tap
        self.pdu_bytes = tap.assoc.requestor.maximum_length or 0
        self.send = tap.transmit
        self.contexts: Contexts = {
            (str(context.abstract_syntax), str(context.transfer_syntax[0])): context.context_id
            for context in reversed(tap.assoc.accepted_contexts)
            if context.as_scu
        }

    def is_cancelled(self, message_id: int) -> bool:
        self._tap.listen(may_wait=False)
        return message_id in self._tap._lane.cancelled

    def store_response(self) -> dict[int, bytes]:
        while not self._tap._lane.store_responses:
            self._tap.listen(may_wait=True)
        return self._tap._lane.store_responses.popleft()


def _timeval(seconds: float) -> bytes:
    return _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1_000_000))
