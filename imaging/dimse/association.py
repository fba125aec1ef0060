"""One admitted socket, served from its untouched A-ASSOCIATE-RQ to its end by pynetdicom (PS3.7 D.3, PS3.8 7).

`listener` makes one ServedAssociation for each and serves it on a thread.
"""

import logging
import socket
from contextlib import suppress

from pynetdicom import AE, _config, evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.transport import AddressInformation

from imaging.dimse.contexts import FIND_CLASSES, contexts_supported
from imaging.dimse.contract import Admission, AssociationLimits, Services
from imaging.dimse.tap import Tap
from imaging.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

logger = logging.getLogger(__name__)

_config.LOG_HANDLER_LEVEL = "none"  # the default handlers format every PDU, and its values, into the log
# `contexts` accepts private classes; pynetdicom's unrestricted mode would also accept syntaxes nobody can read, and it
# forgets the role selection of all other services
_config.UNRESTRICTED_STORAGE_SERVICE = False


def entity_make(limits: AssociationLimits) -> AE:
    """The application entity all associations of one listener share; AE titles are the front door's business."""
    entity = AE(ae_title="MEDHUB")
    entity.maximum_pdu_size = limits.pdu_bytes
    entity.maximum_associations = 1_000_000  # the listener counts
    entity.acse_timeout = 5
    entity.network_timeout = None  # the tap has the clocks
    entity.dimse_timeout = limits.idle_seconds
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return entity


class ServedAssociation:
    """An association from hand-over to end."""

    def __init__(
        self, entity: AE, sock: socket.socket, *, admission: Admission, services: Services, limits: AssociationLimits,
    ) -> None:
        self.admission = admission
        self._sock = sock
        self._services = services
        self._association = association = Association(entity, MODE_ACCEPTOR)
        self.tap = Tap(association, sock, admission=admission, services=services, limits=limits)
        association.set_socket(self.tap)
        association.dul.daemon = True  # a worker that is told to end must not wait for a peer
        association.dul.run = self._receiving  # type: ignore[method-assign]
        acceptor = association.acceptor
        acceptor.maximum_length = limits.pdu_bytes
        acceptor.ae_title = admission.called_ae
        acceptor.implementation_class_uid = entity.implementation_class_uid
        acceptor.implementation_version_name = entity.implementation_version_name
        acceptor.address_info = AddressInformation.from_tuple(sock.getsockname()[:2])
        association.requestor.address_info = AddressInformation.from_tuple(sock.getpeername()[:2])
        association.bind(evt.EVT_REQUESTED, self._negotiate)
        association.bind(evt.EVT_SOP_EXTENDED, self._negotiate_extended)

    def serve(self) -> None:
        """Serve to the end, then report the outcome once, whatever happened.

        The acceptor reactor runs on the caller's thread instead of on one of its own.
        """
        try:
            self._association.run()
            self._association.dul.join(5)
        except Exception:
            logger.exception("dimse: association failed, trace %s", self.admission.trace_id)
        finally:
            self.tap.close()
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
            self._sock.close()
        try:
            self._services.ended(admission=self.admission, outcome=self.tap.outcome, stored=self.tap.stored)
        except Exception:
            logger.exception("dimse: end of association not recorded, trace %s", self.admission.trace_id)
        self._end_thread()

    def _receiving(self) -> None:
        """Body of pynetdicom's DUL thread, the one that reads, stores and sends."""
        try:
            self._association.dul.run_reactor()
        finally:
            self._association._reactor_checkpoint.set()  # the other thread may sleep for this one
            self._end_thread()

    def _end_thread(self) -> None:
        if self._services.thread_end is not None:
            with suppress(Exception):
                self._services.thread_end()

    def _negotiate(self, event: evt.Event) -> None:
        requested = event.assoc.requestor.primitive
        event.assoc.acceptor.supported_contexts = contexts_supported(
            requested.presentation_context_definition_list, is_queried=self._services.is_queried,
        )

    def _negotiate_extended(self, event: evt.Event) -> dict[str, bytes]:
        """SOP Class Extended Negotiation (PS3.4 C.5.1.1): of the options of a C-FIND we take combined date-time matching."""
        answers = {}
        for sop_class, asked in event.app_info.items():
            if self._services.is_queried and sop_class in FIND_CLASSES and asked:
                answers[sop_class] = bytes(int(at == 1 and flag == 1) for at, flag in enumerate(asked))
        self.tap.combined = frozenset(str(sop_class) for sop_class, taken in answers.items() if any(taken))
        return answers

    def end(self, reason: str) -> None:
        """Ask for an abort; the receiving thread sees it within a quarter of a second, or after its current object."""
        self.tap.ending = reason

    def forget(self) -> None:
        """In a forked child: give up the copy of the descriptor without a word to the peer."""
        self._sock.close()
