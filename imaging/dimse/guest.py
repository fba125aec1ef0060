"""The late hand-over: an association that asks for a service of pynetdicom's goes on under pynetdicom (PS3.7 9.1, 10.1).

`association` calls it when `wire` has passed something on. pynetdicom sees an A-ASSOCIATE-RQ of what was agreed, and its A-ASSOCIATE-AC is
swallowed, since the peer has had ours; C-STORE, C-ECHO and queries are still served by the wire beside it.
"""

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from pynetdicom import AE, _config, evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation, AssociationSocket

from imaging.dimse.associate import ABORT, ASSOCIATE_AC, agreed_bytes
from imaging.dimse.contract import Admission, AssociationLimits, Services
from imaging.dimse.inquiries import WireGone
from imaging.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

if TYPE_CHECKING:
    from imaging.dimse.wire import AssociationWire

logger = logging.getLogger(__name__)

_config.LOG_HANDLER_LEVEL = "none"  # the default handlers format every PDU, and its values, into the log


class Tap(AssociationSocket):
    """What pynetdicom takes for its socket: whole PDUs that the wire has read and passed on."""

    def __init__(self, assoc: Association, wire: "AssociationWire") -> None:
        super().__init__(assoc, client_socket=wire.socket)
        self._wire = wire
        self._replay = bytearray(agreed_bytes(wire.request, wire.agreement.contexts, wire.agreement.roles))
        self._is_established = False

    @property
    def ready(self) -> bool:
        wire = self._wire
        if self._is_established and not self._replay:
            if self._may_read():
                wire.attempt(self._pump)
            self._take_passed()
        if not wire.is_open and not self._replay:
            self.close()
        if self._replay or not wire.is_open:
            self.assoc._reactor_checkpoint.set()
        return bool(self._replay)

    def _may_read(self) -> bool:
        dul = self.assoc.dul
        return dul.state_machine.current_state == "Sta6" and dul.to_provider_queue.empty()

    def _pump(self) -> None:
        self._wire.parse()
        if self._wire.is_open and not self._wire.passed and self._wire.fill(may_wait=False):
            self._wire.parse()

    def recv(self, nr_bytes: int) -> bytearray:
        taken = self._replay[:nr_bytes]
        del self._replay[:nr_bytes]
        return taken

    def send(self, bytestream: bytes) -> None:
        if not self._is_established:
            self._established(bytestream)
            return
        if bytestream[0] == ABORT:
            self._wire.outcome = "aborted"
        with suppress(WireGone):
            self._wire.transmit(bytestream)

    def _established(self, answer: bytes) -> None:
        """pynetdicom's own answer to the request: not for the peer, who has ours. What ours accepted is accepted."""
        self._is_established = True
        if answer[0] != ASSOCIATE_AC:
            self._wire.cut("the association was not taken over")
            return
        accepted = self.assoc._accepted_cx
        for context_id in list(accepted):
            if context_id in self._wire.agreement.contexts:
                accepted[context_id].transfer_syntax = [self._wire.agreement.contexts[context_id][1]]
            else:
                del accepted[context_id]
        self._take_passed()

    def _take_passed(self) -> None:
        self._replay += self._wire.passed
        self._wire.passed.clear()

    def close(self) -> None:
        self._wire.hang_up()
        if self._is_connected:
            self._is_connected = False
            self.event_queue.put("Evt17")  # transport connection closed; the descriptor is the receiver's to close


def guest_serve(wire: "AssociationWire", *, admission: Admission, services: Services, limits: AssociationLimits) -> None:
    """Serve the rest of the association, on this thread and one of pynetdicom's."""
    association = Association(_entity(limits), MODE_ACCEPTOR)
    association.set_socket(Tap(association, wire))
    association.dul.daemon = True  # a worker that is told to end must not wait for a peer
    acceptor = association.acceptor
    acceptor.maximum_length = limits.pdu_bytes
    acceptor.ae_title = admission.called_ae
    acceptor.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    acceptor.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    acceptor.address_info = AddressInformation.from_tuple(wire.socket.getsockname()[:2])
    acceptor.supported_contexts = [_context(*context) for context in set(wire.agreement.contexts.values())]
    association.requestor.address_info = AddressInformation.from_tuple(wire.socket.getpeername()[:2])
    for event, handler in services.handlers(admission) if services.handlers is not None else ():
        association.bind(event, handler)
    if services.thread_end is not None:
        association.bind(evt.EVT_CONN_CLOSE, lambda _: _quietly(services))
    association.run()
    association.dul.join(5)


def _quietly(services: Services) -> None:
    if services.thread_end is not None:
        with suppress(Exception):
            services.thread_end()


def _context(abstract_syntax: str, transfer_syntax: str) -> PresentationContext:
    context = PresentationContext()
    context.abstract_syntax = abstract_syntax
    context.transfer_syntax = [transfer_syntax]
    context.scu_role = context.scp_role = True
    return context


def _entity(limits: AssociationLimits) -> AE:
    entity = AE(ae_title="MEDHUB")
    entity.maximum_pdu_size = limits.pdu_bytes
    entity.maximum_associations = 1_000_000  # the listener counts
    entity.acse_timeout = 5
    entity.network_timeout = None  # the wire has the clocks
    entity.dimse_timeout = limits.idle_seconds
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return entity
