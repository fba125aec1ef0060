"""One association on its socket (PS3.8 9.2, 9.3): negotiation, whole PDUs, length caps, clocks; messages are `lane`'s.

`association` runs it on one thread. What nobody here serves is left in `passed`, for pynetdicom (`guest`).
"""

import logging
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from imaging.dimse import messages
from imaging.dimse.associate import (
    ABORT,
    ABORT_BY_PROVIDER,
    ABORT_BY_USER,
    APPLICATION_CONTEXT,
    ASSOCIATE_RQ,
    P_DATA,
    PDU,
    RELEASE_RP_BYTES,
    RELEASE_RQ,
    AssociateRequest,
    MalformedError,
    accept_bytes,
    reject_bytes,
    request_read,
)
from imaging.dimse.contexts import Agreement, Offer, contexts_agree
from imaging.dimse.contract import REQUEST_BYTES, Admission, AssociationLimits, Refusal, Services
from imaging.dimse.inquiries import AssociationError, Contexts, Request, Wire, WireGone
from imaging.dimse.lane import MessageLane, ProtocolError
from imaging.dimse.serving import inquiry_serve

logger = logging.getLogger(__name__)

SHORT_PDU_CAP = 64  # release and abort have 4 bytes
PDU_SLACK = 64  # some peers count the PDU header into the maximum length they were given
WAIT_SECONDS = 0.25
CONTEXT_NAME_UNKNOWN, VERSION_UNKNOWN = (1, 1, 2), (1, 2, 2)

_PDV = struct.Struct(">IBB")
_TIMEVAL = struct.Struct("@ll")


class CutError(AssociationError):
    """The association ends here and now; the text says why and holds nothing the peer has sent."""


class AssociationWire:
    """Reads, serves and sends on one thread, so nothing here is locked."""

    def __init__(self, sock: socket.socket, *, admission: Admission, services: Services, limits: AssociationLimits) -> None:
        self.socket = sock
        self.is_open = True
        self.outcome = "lost"
        self.ending = ""  # set from outside: the reason why this association has to end now
        self.passed = bytearray()  # PDUs that nobody here serves
        self.request = AssociateRequest(b"")
        self.agreement = Agreement([], {}, {}, {}, {})
        self._is_guest_served = False
        self._admission, self._services, self._limits = admission, services, limits
        self.lane = MessageLane(
            admission=admission, services=services, limits=limits, reply=self._reply, pass_on=self._pass_on,
        )  # fmt: skip
        self._buffer = memoryview(bytearray(max(REQUEST_BYTES, limits.pdu_bytes) + PDU_SLACK + (64 << 10)))
        self._start = self._end = 0
        self._opened_at = self._heard_at = monotonic()
        self._pdu_at: float | None = None
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._prepare()

    def _prepare(self) -> None:
        """Kernel time-outs instead of settimeout(): no extra poll for every recv."""
        self.socket.setblocking(True)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(WAIT_SECONDS))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(self._limits.send_seconds))

    # life

    def serve(self) -> None:
        """Until the association has ended, or something has been passed on. Never raises what the peer did."""
        self.attempt(self._serve)

    def attempt(self, step: Callable[[], object]) -> None:
        """Run a step; whatever ends the association in it ends it in order."""
        try:
            step()
        except (CutError, ProtocolError) as cut:
            self.cut(str(cut))
        except WireGone:
            pass
        except OSError:
            self.hang_up()

    def _serve(self) -> None:
        while self.is_open and not self.passed:
            self.parse()
            if self.is_open and not self.passed:
                self.fill(may_wait=True)

    def hang_up(self) -> None:
        """The end without a word. The descriptor is the owner's to close."""
        self.passed.clear()
        self.is_open = False
        self.lane.close()

    def cut(self, reason: str) -> None:
        """A-ABORT (PS3.8 9.3.8) and the end, without waiting for the peer's consent."""
        self.outcome = "aborted"
        logger.info("dimse: association cut: %s", reason)
        with suppress(OSError, ValueError):
            self.socket.settimeout(0.2)
            self.socket.sendall(ABORT_BY_USER if self.ending else ABORT_BY_PROVIDER)
        self.hang_up()

    # reading

    def put(self, data: bytes) -> None:
        """What was read before: the request, where somebody had to look at it."""
        self._buffer[self._end : self._end + len(data)] = data
        self._end += len(data)

    def fill(self, *, may_wait: bool) -> bool:
        """Take what has come; with `may_wait` wait for it a moment. False when nothing came."""
        if self._start:
            left = self._end - self._start
            self._buffer[:left] = self._buffer[self._start : self._end]
            self._start, self._end = 0, left
        self._check_clocks()
        try:
            count = self._receive(may_wait=may_wait)
        except BlockingIOError:
            return False
        if not count:
            self.hang_up()
            return False
        self._end += count
        self._heard_at = monotonic()
        return True

    def _receive(self, *, may_wait: bool) -> int:
        count = self.socket.recv_into(self._buffer[self._end :], 0, 0 if may_wait else socket.MSG_DONTWAIT)
        # not sticky, and without it a peer with Nagle's algorithm waits 40 ms for our delayed ACK at every message
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return count

    def _send(self, data: bytes | bytearray | memoryview) -> None:
        self.socket.sendall(data)

    def _check_clocks(self) -> None:
        now, limits = monotonic(), self._limits
        if self.ending:
            raise CutError(self.ending)
        if self._pdu_at is not None and now - self._pdu_at > limits.pdu_seconds:
            raise CutError("a PDU took too long to arrive")
        if now - self._heard_at > limits.idle_seconds:
            raise CutError("the peer was silent for too long")
        if not self.request.encoded and now - self._opened_at > limits.request_seconds:
            raise CutError("the association request took too long to arrive")
        if now - self._opened_at > limits.association_seconds:
            raise CutError("the association was open for too long")

    def parse(self) -> None:
        """Serve all whole PDUs of the buffer; stops behind the first one that is passed on."""
        while self.is_open and not self.passed and self._end - self._start >= PDU.size:
            kind, length = PDU.unpack_from(self._buffer, self._start)
            self._check_length(kind, length)
            stop = self._start + PDU.size + length
            if stop > self._end:
                break
            at, self._start, self._pdu_at = self._start, stop, None
            self._take_pdu(kind, at, stop)
            request, self.lane.request = self.lane.request, None
            if request is not None:
                self._answer(request)
        if self._pdu_at is None and self._end > self._start:
            self._pdu_at = monotonic()

    def _check_length(self, kind: int, length: int) -> None:
        """Before one more byte is read: the length is the peer's claim (PS3.8 9.3.1)."""
        if kind == P_DATA:
            cap = self._limits.pdu_bytes + PDU_SLACK
        elif kind == ASSOCIATE_RQ and not self.request.encoded:
            cap = REQUEST_BYTES
        elif kind in (RELEASE_RQ, ABORT):
            cap = SHORT_PDU_CAP
        else:
            raise CutError("a PDU that has no place here")
        if length > cap:
            raise CutError("a PDU longer than agreed")

    def _take_pdu(self, kind: int, at: int, stop: int) -> None:
        if not self.request.encoded:
            if kind != ASSOCIATE_RQ:
                raise CutError("a PDU before the association")
            self._negotiate(bytes(self._buffer[at:stop]))
        elif kind == P_DATA:
            self._take_data(at + PDU.size, stop)
        else:
            self._take_end(kind, at, stop)

    def _take_end(self, kind: int, at: int, stop: int) -> None:
        if kind == RELEASE_RQ and not self.lane.is_between_messages:
            logger.info("dimse: released inside a message, which is discarded")
        self.outcome = "released" if kind == RELEASE_RQ else "aborted"
        if self._is_guest_served:
            self.passed += self._buffer[at:stop]
            return
        if kind == RELEASE_RQ:
            self._send(RELEASE_RP_BYTES)
        self.hang_up()

    def _negotiate(self, encoded: bytes) -> None:
        try:
            request = request_read(encoded)
        except MalformedError as error:
            raise CutError(str(error)) from None
        self.request = request
        if not request.protocol_version & 1:
            self._reject(VERSION_UNKNOWN)
        elif request.application_context != APPLICATION_CONTEXT:
            self._reject(CONTEXT_NAME_UNKNOWN)
        else:
            offer = Offer(self._services.is_queried, self._services.others)
            self.agreement = agreement = contexts_agree(request, offer)
            self.lane.contexts = agreement.contexts
            self.transmit(accept_bytes(
                request, agreement.answers, pdu_bytes=self._limits.pdu_bytes, roles=agreement.roles,
                extended=agreement.extended,
            ))  # fmt: skip

    def _reject(self, reason: tuple[int, int, int]) -> None:
        self.outcome = "aborted"
        self._send(reject_bytes(Refusal(*reason, "")))
        self.hang_up()

    def _take_data(self, at: int, stop: int) -> None:
        while at < stop:
            if at + _PDV.size > stop:
                raise CutError("a PDV that ends inside its head")
            length, context_id, control = _PDV.unpack_from(self._buffer, at)
            fragment_at, at = at + _PDV.size, at + 4 + length
            if length < 2 or at > stop:
                raise CutError("a PDV that does not fit its PDU")
            self.lane.fragment(context_id, control, self._buffer[fragment_at:at])

    # inquiries: served here, from inside the parsing of their last PDU, which reads on through `listen`

    def _answer(self, request: Request) -> None:
        self.lane.is_serving = True
        try:
            inquiry_serve(
                request, wire=_InquiryWire(self), admission=self._admission, services=self._services, limits=self._limits,
                is_combined=request.sop_class_uid in self.agreement.combined,
            )  # fmt: skip
        except WireGone:
            # hung up, or a release or abort that pynetdicom is going to read; if neither, we broke off inside a message
            if self.is_open and not self.passed:
                raise CutError("an object that was being sent could not be read to its end") from None
        finally:
            self.lane.is_serving = False
            self.lane.cancelled.clear()
            self.lane.store_responses.clear()

    def transmit(self, data: bytes | bytearray | memoryview) -> None:
        """Raises WireGone."""
        if not self.is_open:
            raise WireGone
        try:
            self._send(data)
        except OSError:
            self.hang_up()
            raise WireGone from None
        self._heard_at = monotonic()  # a peer that waits for our answers is not idle

    def listen(self, *, may_wait: bool) -> None:
        """Take what the peer has sent in the meantime; with `may_wait` also wait for it a moment. Raises WireGone."""
        self.parse()  # what came together with the request
        if not may_wait:
            self._heard_at = monotonic()  # we are busy, the peer is not silent
        try:
            is_quiet = self.is_open and not self.passed and not (may_wait and self.lane.store_responses)
            if is_quiet and self.fill(may_wait=may_wait):
                self.parse()
        except OSError:
            self.hang_up()
        if self.passed or not self.is_open:
            raise WireGone

    def _reply(self, context_id: int, command: bytes) -> None:
        for pdu in messages.command_pdus(context_id, command, self.request.pdu_bytes):
            self.transmit(pdu)

    def _pass_on(self, pdu: bytes) -> None:
        self._is_guest_served = True
        self.passed += pdu


class _InquiryWire(Wire):
    """What an inquiry may do with its association."""

    def __init__(self, wire: AssociationWire) -> None:
        self._wire = wire
        self.pdu_bytes = wire.request.pdu_bytes
        self.send = wire.transmit
        self.contexts: Contexts = wire.agreement.returned

    def is_cancelled(self, message_id: int) -> bool:
        self._wire.listen(may_wait=False)
        return message_id in self._wire.lane.cancelled

    def store_response(self) -> dict[int, bytes]:
        while not self._wire.lane.store_responses:
            self._wire.listen(may_wait=True)
        return self._wire.lane.store_responses.popleft()


def _timeval(seconds: float) -> bytes:
    return _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1_000_000))
