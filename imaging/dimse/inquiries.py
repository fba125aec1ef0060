"""What C-FIND, C-MOVE and C-GET have in common (PS3.7 9.1.2 to 9.1.4): the request, the way back to the peer, the responses.

`lane` gathers a Request, `wire` makes the Wire, `find` and `retrieve` answer through a Session.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from imaging.dimse import messages
from imaging.dimse.contract import Admission, AssociationLimits, Inquiry, Services

Contexts = Mapping[tuple[str, str], int]  # (SOP class, transfer syntax) -> presentation context


class AssociationError(Exception):
    """The association ends; whoever serves something on it must not answer any more."""


class WireGone(AssociationError):
    """It has ended, or its release or abort has been read."""


@dataclass(slots=True)
class Request:
    """One C-FIND-RQ, C-MOVE-RQ or C-GET-RQ with its identifier."""

    field: int
    context_id: int
    message_id: int
    abstract_syntax: str
    sop_class_uid: str
    transfer_syntax_uid: str
    destination: str
    identifier: bytearray = field(default_factory=bytearray)


class Channel(Protocol):
    """An association on which we may send C-STORE requests."""

    contexts: Contexts
    pdu_bytes: int  # the peer's maximum length; 0 means no limit

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Raises WireGone."""

    def store_response(self) -> dict[int, bytes]:
        """Wait for the next C-STORE-RSP. Raises WireGone."""


class Wire(Channel, Protocol):
    """The association that an inquiry came on."""

    def is_cancelled(self, message_id: int) -> bool:
        """Whether a C-CANCEL has come; looks at what has arrived, never waits. Raises WireGone."""


class Responder:
    """Writes the responses to one request."""

    def __init__(self, request: Request, wire: Wire, response_field: int) -> None:
        self.request = request
        self.wire = wire
        self._field = response_field

    def is_cancelled(self) -> bool:
        return self.wire.is_cancelled(self.request.message_id)

    def encoded(
        self, status: int, *, comment: str = "", counts: dict[int, int] | None = None, has_data: bool = False,
    ) -> bytes:
        command = self._command(status, comment=comment, counts=counts, has_data=has_data)
        return b"".join(messages.command_pdus(self.request.context_id, command, self.wire.pdu_bytes))

    def _command(
        self, status: int, *, comment: str = "", counts: dict[int, int] | None = None, has_data: bool = False,
    ) -> bytes:
        return messages.response_bytes(
            field=self._field, message_id=self.request.message_id, status=status, sop_class_uid=self.request.sop_class_uid,
            comment=comment, counts=counts, has_data=has_data,
        )

    def pending(self, status: int) -> Callable[[bytes], bytes]:
        """Makes a Pending response of an identifier: in one PDU, command and data set a fragment each, if the peer takes as much."""
        context_id, room = self.request.context_id, self.wire.pdu_bytes or messages.LARGEST_PDU
        command = self._command(status, has_data=True)
        head = self.encoded(status, has_data=True)

        def response(identifier: bytes) -> bytes:
            if len(command) + len(identifier) + 2 * messages.PDV_OVERHEAD > room:
                return head + self.data_encoded(identifier)
            return messages.message_pdu(context_id, command, identifier)

        return response

    def data_encoded(self, encoded: bytes) -> bytes:
        return b"".join(messages.data_pdus(self.request.context_id, encoded, self.wire.pdu_bytes))

    def respond(
        self, status: int, *, comment: str = "", counts: dict[int, int] | None = None, identifier: bytes = b"",
    ) -> None:
        message = self.encoded(status, comment=comment, counts=counts, has_data=bool(identifier))
        self.wire.send(message + self.data_encoded(identifier) if identifier else message)


@dataclass(frozen=True, slots=True)
class Session:
    """What the work on one request may use."""

    responder: Responder
    inquiry: Inquiry
    admission: Admission
    services: Services
    limits: AssociationLimits

    @property
    def request(self) -> Request:
        return self.responder.request

    @property
    def wire(self) -> Wire:
        return self.responder.wire
