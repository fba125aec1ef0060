"""The DIMSE listener: the front door, who may enter and how many, and the receivers behind it (PS3.8 7). `bootstep` runs it."""

import logging
import os
import socket
import threading
import weakref
from collections.abc import Mapping

from imaging.dimse.contract import (
    LOCAL_LIMIT_EXCEEDED,
    Admission,
    AssociationLimits,
    DoorLimits,
    Refusal,
    Services,
)
from imaging.dimse.frontdoor import FrontDoor
from imaging.dimse.receiver import Receiver
from imaging.dimse.receivers import ReceiverPool

logger = logging.getLogger(__name__)


class Listener:
    """Serves associations on one port until it is stopped.

    `receivers` processes serve them, each loading the callables by `paths`; with 0 they are served in this process.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        services: Services,
        receivers: int = 0,
        paths: Mapping[str, str] | None = None,
        max_associations: int = 64,
        door_limits: DoorLimits | None = None,
        limits: AssociationLimits | None = None,
    ) -> None:
        self._host, self._asked_port = host, port
        self._services = services
        self._max_associations = max_associations
        self._door_limits = door_limits or DoorLimits()
        limits = limits or AssociationLimits()
        self._lock = threading.Lock()
        self._taken = 0  # open, or being admitted
        self.receivers: Receiver | ReceiverPool
        if receivers:
            self.receivers = ReceiverPool(
                receivers, paths=paths or {}, services=services, limits=limits, on_end=self._give_back,
            )  # fmt: skip
        else:
            self.receivers = Receiver(services=services, limits=limits, on_end=self._give_back)
        self._door: FrontDoor | None = None

    @property
    def port(self) -> int:
        return self._door.port if self._door is not None else self._asked_port

    def start(self) -> None:
        """Bind and serve; raises PortTakenError, and NoReceiverError when no receiver process comes up."""
        self._door = FrontDoor(
            self._host, self._asked_port, admit=self._admit, hand_over=self._hand_over, limits=self._door_limits,
        )
        forget = weakref.WeakMethod(self._forget_in_child)
        os.register_at_fork(after_in_child=lambda: (forget() or _nothing)())
        self.receivers.start()
        self._door.start()
        logger.info("DIMSE listening on %s:%s", self._host, self.port)

    def stop(self, timeout: float) -> None:
        """Accept nobody any more, let open associations finish for `timeout` seconds, then abort them."""
        if self._door is None:
            return
        self._door.stop()
        self.receivers.stop(timeout)

    def _admit(self, *, called_ae: str, calling_ae: str, address: str) -> Admission | Refusal:
        with self._lock:
            if self._taken >= self._max_associations:
                return Refusal(*LOCAL_LIMIT_EXCEEDED, "too many associations are open")
            self._taken += 1
        answer: Admission | Refusal | None = None
        try:
            answer = self._services.admit(called_ae=called_ae, calling_ae=calling_ae, address=address)
            return answer
        finally:
            if not isinstance(answer, Admission):
                self._give_back()

    def _give_back(self, _admission: Admission | None = None) -> None:
        with self._lock:
            self._taken -= 1

    def _hand_over(self, sock: socket.socket, _address: str, admission: Admission) -> None:
        try:
            self.receivers.take(sock, admission)
        except OSError:
            # no receiver: the peer sees the connection close, and its books are closed
            logger.exception("dimse: association not served, trace %s", admission.trace_id)
            sock.close()
            self._give_back()
            self._services.ended(admission=admission, outcome="lost", stored=0)

    def _forget_in_child(self) -> None:
        """A prefork pool forks this process at any time: a child that kept our sockets would keep peers connected."""
        self.receivers.sockets_forget()
        for sock in self._door.sockets() if self._door is not None else ():
            sock.close()


def _nothing() -> None:
    return None
