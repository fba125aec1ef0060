"""One admitted socket, served from its untouched A-ASSOCIATE-RQ to its end (PS3.8 7).

`receiver` makes one for each association and serves it on a thread. pynetdicom is loaded only when somebody asks for a
service that is not in the lane.
"""

import logging
import socket
from contextlib import suppress

from imaging.dimse.contract import Admission, AssociationLimits, Services
from imaging.dimse.wire import AssociationWire

logger = logging.getLogger(__name__)


class ServedAssociation:
    """An association from hand-over to end."""

    def __init__(
        self, sock: socket.socket, *, admission: Admission, services: Services, limits: AssociationLimits,
        wire: AssociationWire | None = None,
    ) -> None:
        self.admission = admission
        self._sock = sock
        self._services, self._limits = services, limits
        self._wire = wire or AssociationWire(sock, admission=admission, services=services, limits=limits)

    def serve(self) -> None:
        """Serve to the end, then report the outcome once, whatever happened."""
        wire = self._wire
        try:
            wire.serve()
            if wire.is_open and wire.passed:
                self._hand_over()
        except Exception:
            logger.exception("dimse: association failed, trace %s", self.admission.trace_id)
            wire.cut("a fault of ours")
        finally:
            wire.hang_up()
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
            self._sock.close()
        try:
            self._services.ended(admission=self.admission, outcome=wire.outcome, stored=wire.lane.stored)
        except Exception:
            logger.exception("dimse: end of association not recorded, trace %s", self.admission.trace_id)
        if self._services.thread_end is not None:
            with suppress(Exception):
                self._services.thread_end()

    def _hand_over(self) -> None:
        # pynetdicom costs 30 MB and half a second: not for an association that only stores, echoes or queries
        from imaging.dimse.guest import guest_serve

        guest_serve(self._wire, admission=self.admission, services=self._services, limits=self._limits)

    def end(self, reason: str) -> None:
        """Ask for an abort; the receiving thread sees it within a quarter of a second, or after its current object."""
        self._wire.ending = reason

    def forget(self) -> None:
        """In a forked child: give up the copy of the descriptor without a word to the peer."""
        self._sock.close()
