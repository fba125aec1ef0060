"""C-STORE and C-ECHO answered from bytes (PS3.7 9.1.1, 9.1.5, PS3.4 B.2); C-FIND, C-MOVE and C-GET gathered for `inquiries`.

`wire` feeds it one PDV at a time; other messages pass on to pynetdicom, whose own way costs a millisecond and several copies
for every message.
"""

import logging
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from imaging.dimse import messages
from imaging.dimse.contract import Admission, AssociationLimits, Incoming, Services, StoreAnswer, StoreRefused
from imaging.dimse.inquiries import AssociationError, Request
from imaging.header import uid_is_valid

logger = logging.getLogger(__name__)

COMMAND_CAP = 64 << 10
PASSED_CAP = 32 << 20  # data sets of messages that are nobody's here: commitment requests
IDENTIFIER_CAP = 4 << 20
_INQUIRIES = frozenset((messages.C_FIND_RQ, messages.C_MOVE_RQ, messages.C_GET_RQ))

Context = tuple[str, str]  # abstract syntax, accepted transfer syntax


class ProtocolError(AssociationError):
    """The peer breaks PS3.7 or PS3.8; the association is aborted. The text holds nothing the peer has sent."""


@dataclass(slots=True)
class _Store:
    """A C-STORE-RQ whose data set is arriving; `refusal` is set when it is only being drained."""

    context_id: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    incoming: Incoming | None = None
    length: int = 0
    refusal: StoreAnswer | None = None

    def close(self) -> None:
        if self.incoming is not None:
            self.incoming.close()
            self.incoming = None

    def refuse(self, answer: StoreAnswer) -> None:
        self.refusal = answer
        self.close()


class MessageLane:
    """Puts fragments together and serves what it can. One per association, used by one thread."""

    def __init__(
        self,
        *,
        admission: Admission,
        services: Services,
        limits: AssociationLimits,
        reply: Callable[[int, bytes], None],
        pass_on: Callable[[bytes], None],
    ) -> None:
        self._admission = admission
        self._receive = services.receive
        self._limits = limits
        self._reply = reply
        self._pass_on = pass_on
        self._command = bytearray()
        self._store: _Store | None = None
        self._passing_bytes: int | None = None
        self._is_queried = services.is_queried
        self._others = services.others
        self._asking: Request | None = None
        self.request: Request | None = None  # whole, and to be served next
        self.is_serving = False  # an inquiry is being answered
        self.cancelled: set[int] = set()
        self.store_responses: deque[dict[int, bytes]] = deque()
        self.contexts: Mapping[int, Context] = {}
        self.stored = 0

    @property
    def is_between_messages(self) -> bool:
        return not self._command and not self._is_in_data

    @property
    def _is_in_data(self) -> bool:
        return self._store is not None or self._asking is not None or self._passing_bytes is not None

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def fragment(self, context_id: int, control: int, body: memoryview) -> None:
        """One PDV (PS3.8 9.3.5.1): bit 0 of `control` says command, bit 1 says last."""
        is_last = bool(control & 2)
        if control & 1:
            self._take_command(context_id, body, is_last=is_last)
        elif self._store is not None:
            self._take_data(body, is_last=is_last)
        elif self._asking is not None:
            self._take_identifier(body, is_last=is_last)
        elif self._passing_bytes is not None:
            self._take_passing(context_id, control, body)
        else:
            raise ProtocolError("a data set without a command")

    def _take_command(self, context_id: int, body: memoryview, *, is_last: bool) -> None:
        if self._is_in_data:
            raise ProtocolError("a command inside a data set")
        self._command += body
        if len(self._command) > COMMAND_CAP:
            raise ProtocolError("a command set without end")
        if not is_last:
            return
        encoded, self._command = bytes(self._command), bytearray()
        if context_id not in self.contexts:
            raise ProtocolError("a message on a presentation context that was not accepted")
        try:
            command = messages.command_read(encoded)
            self._dispatch(context_id, command, encoded)
        except ValueError as error:
            raise ProtocolError(str(error)) from None

    def _dispatch(self, context_id: int, command: dict[int, bytes], encoded: bytes) -> None:
        field = messages.number_of(command, messages.COMMAND_FIELD)
        has_data = messages.number_of(command, messages.DATA_SET_TYPE) != messages.NO_DATA_SET
        if not has_data and field in {messages.C_CANCEL_RQ, messages.C_STORE_RSP}:
            self._take_note(field, command)
        elif self.is_serving:
            raise ProtocolError("a request while another one is answered: one operation at a time was agreed")
        elif field == messages.C_STORE_RQ:
            self._begin_store(context_id, command, has_data=has_data)
        elif field == messages.C_ECHO_RQ and not has_data:
            self._echo(context_id, command)
        elif self._is_queried and field in _INQUIRIES:
            self._begin_inquiry(context_id, field, command, has_data=has_data)
        elif field in messages.N_COMMANDS and self.contexts[context_id][0] in self._others:
            self._passing_bytes = 0 if has_data else None
            self._pass_on(messages.pdv_wrapped(context_id, 3, encoded))
        else:
            raise ProtocolError("a command that has no place on its presentation context")

    def _take_note(self, field: int, command: dict[int, bytes]) -> None:
        """What may come while an inquiry is served. A C-CANCEL that comes too late means nothing (PS3.7 9.3.2.3)."""
        if not self.is_serving:
            return
        if field == messages.C_STORE_RSP:
            self.store_responses.append(command)
        else:
            self.cancelled.add(messages.number_of(command, messages.RESPONDED_ID))

    def _begin_inquiry(self, context_id: int, field: int, command: dict[int, bytes], *, has_data: bool) -> None:
        abstract_syntax, transfer_syntax = self.contexts[context_id]
        request = Request(
            field=field,
            context_id=context_id,
            message_id=messages.number_of(command, messages.MESSAGE_ID),
            abstract_syntax=abstract_syntax,
            sop_class_uid=messages.uid_of(command, messages.AFFECTED_CLASS)[:64],
            transfer_syntax_uid=transfer_syntax,
            destination=messages.uid_of(command, messages.MOVE_DESTINATION)[:16],
        )
        if has_data:
            self._asking = request
        else:
            self.request = request

    def _take_identifier(self, body: memoryview, *, is_last: bool) -> None:
        request = self._asking
        if request is None:
            return
        request.identifier += body
        if len(request.identifier) > IDENTIFIER_CAP:
            raise ProtocolError("an identifier without end")
        if is_last:
            self._asking, self.request = None, request

    def _echo(self, context_id: int, command: dict[int, bytes]) -> None:
        self._reply(context_id, messages.response_bytes(
            field=messages.C_ECHO_RSP,
            message_id=messages.number_of(command, messages.MESSAGE_ID),
            status=messages.SUCCESS,
            sop_class_uid=messages.uid_of(command, messages.AFFECTED_CLASS),
        ))

    def _begin_store(self, context_id: int, command: dict[int, bytes], *, has_data: bool) -> None:
        abstract_syntax, transfer_syntax = self.contexts[context_id]
        store = _Store(
            context_id,
            messages.number_of(command, messages.MESSAGE_ID),
            messages.uid_of(command, messages.AFFECTED_CLASS),
            messages.uid_of(command, messages.AFFECTED_INSTANCE),
        )
        if not {"store", "return"} & self._admission.services:
            store.refusal = StoreAnswer(messages.NOT_AUTHORIZED, "this AE title may not store here")
        elif store.sop_class_uid != abstract_syntax:
            store.refusal = StoreAnswer(messages.CLASS_NOT_SUPPORTED, "SOP class is not that of the context")
        elif not uid_is_valid(store.sop_instance_uid):
            store.refusal = StoreAnswer(messages.INVALID_INSTANCE, "SOP Instance UID is malformed")
        elif not has_data:
            store.refusal = StoreAnswer(messages.CANNOT_UNDERSTAND, "no data set follows the command")
        else:
            store.incoming = self._receive(
                admission=self._admission, sop_class_uid=store.sop_class_uid, sop_instance_uid=store.sop_instance_uid,
                transfer_syntax_uid=transfer_syntax,
            )  # fmt: skip
        if has_data:
            self._store = store
        else:
            self._answer(store, store.refusal or StoreAnswer(messages.CANNOT_UNDERSTAND))

    def _take_data(self, body: memoryview, *, is_last: bool) -> None:
        store = self._store
        if store is None:
            return
        store.length += len(body)
        if store.incoming is not None:
            if store.length > self._limits.object_bytes:
                store.refuse(StoreAnswer(messages.OUT_OF_RESOURCES, "object larger than this server takes"))
            else:
                self._guarded(store, lambda incoming: incoming.write(body))
        if is_last:
            self._store = None
            answer = store.refusal or self._received(store)
            store.close()
            self._answer(store, answer)

    def _received(self, store: _Store) -> StoreAnswer:
        answer = self._guarded(store, lambda incoming: incoming.finish()) or store.refusal
        if answer is None:
            return StoreAnswer(messages.PROCESSING_FAILURE)
        if answer.status == messages.SUCCESS or answer.status & 0xF000 == 0xB000:
            self.stored += 1
        return answer

    def _guarded(self, store: _Store, step: Callable[[Incoming], StoreAnswer | None]) -> StoreAnswer | None:
        """A step of an arriving object; what it raises becomes its refusal, and the peer keeps the image."""
        if store.incoming is None:
            return None
        try:
            return step(store.incoming)
        except StoreRefused as refused:
            store.refuse(refused.answer)
        except Exception as error:  # noqa: BLE001 - whatever it was, the peer keeps the image and may send it again
            # the exception's own text may hold patient data: only its type and the lines of code are logged
            lines = "".join(traceback.format_tb(error.__traceback__))
            logger.error(
                "dimse: receive failed, trace %s: %s\n%s", self._admission.trace_id, type(error).__name__, lines,
            )
            store.refuse(StoreAnswer(messages.PROCESSING_FAILURE, f"not stored, trace {self._admission.trace_id}"))
        return None

    def _answer(self, store: _Store, answer: StoreAnswer) -> None:
        self._reply(store.context_id, messages.response_bytes(
            field=messages.C_STORE_RSP,
            message_id=store.message_id,
            status=answer.status,
            sop_class_uid=store.sop_class_uid[:64],
            sop_instance_uid=store.sop_instance_uid[:64],
            comment=answer.comment,
        ))

    def _take_passing(self, context_id: int, control: int, body: memoryview) -> None:
        self._passing_bytes = (self._passing_bytes or 0) + len(body)
        if self._passing_bytes > PASSED_CAP:
            raise ProtocolError("a data set without end")
        if control & 2:
            self._passing_bytes = None
        self._pass_on(messages.pdv_wrapped(context_id, control, body))
