"""The DIMSE listener: front door, associations, lease heartbeat and a graceful end (PS3.8 7). `bootstep` runs it."""

import logging
import os
import socket
import threading
import weakref
from collections.abc import Callable
from time import monotonic

from imaging.dimse.association import ServedAssociation, entity_make
from imaging.dimse.contract import (
    LOCAL_LIMIT_EXCEEDED,
    Admission,
    Admit,
    Alive,
    AssociationLimits,
    DoorLimits,
    Ended,
    Find,
    Receive,
    Refusal,
    Retrieve,
    Services,
)
from imaging.dimse.frontdoor import FrontDoor

logger = logging.getLogger(__name__)

ALIVE_SECONDS = 5.0
ABORT_SECONDS = 2.0  # what an abort may take after the grace period


class Listener:
    """Serves associations on one port until it is stopped."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        admit: Admit,
        receive: Receive,
        alive: Alive,
        ended: Ended,
        thread_end: Callable[[], object] | None = None,
        find: Find | None = None,
        retrieve: Retrieve | None = None,
        max_associations: int = 64,
        door_limits: DoorLimits | None = None,
        limits: AssociationLimits | None = None,
    ) -> None:
        self._host, self._asked_port = host, port
        self._services = Services(admit, receive, alive, ended, thread_end, find, retrieve)
        self._max_associations = max_associations
        self._door_limits = door_limits or DoorLimits()
        self._limits = limits or AssociationLimits()
        self._entity = entity_make(self._limits)
        self._lock = threading.Lock()
        self._open: dict[int, ServedAssociation] = {}
        self._taken = 0  # open, or being admitted
        self._ends = threading.Condition(self._lock)
        self._is_stopping = threading.Event()
        self._door: FrontDoor | None = None

    @property
    def port(self) -> int:
        return self._door.port if self._door is not None else self._asked_port

    def start(self) -> None:
        """Bind and serve; raises PortTakenError."""
        self._door = FrontDoor(
            self._host, self._asked_port, admit=self._admit, hand_over=self._hand_over, limits=self._door_limits,
        )
        forget = weakref.WeakMethod(self._forget_in_child)
        os.register_at_fork(after_in_child=lambda: (forget() or _nothing)())
        self._door.start()
        threading.Thread(target=self._beat, name="dimse-alive", daemon=True).start()
        logger.info("DIMSE listening on %s:%s", self._host, self.port)

    def stop(self, timeout: float) -> None:
        """Accept nobody any more, let open associations finish for `timeout` seconds, then abort them."""
        self._is_stopping.set()
        if self._door is None:
            return
        self._door.stop()
        if not self._wait_for_ends(timeout):
            for served in self._served():
                served.end("the server is stopping")
            self._wait_for_ends(ABORT_SECONDS)

    def _wait_for_ends(self, seconds: float) -> bool:
        deadline = monotonic() + seconds
        with self._ends:
            return self._ends.wait_for(lambda: not self._open, max(0.0, deadline - monotonic()))

    def _served(self) -> list[ServedAssociation]:
        with self._lock:
            return list(self._open.values())

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

    def _give_back(self) -> None:
        with self._lock:
            self._taken -= 1

    def _hand_over(self, sock: socket.socket, address: str, admission: Admission) -> None:
        try:
            served = ServedAssociation(
                self._entity, sock, admission=admission, services=self._services, limits=self._limits,
            )
            thread = threading.Thread(target=self._serve, args=(served,), name=f"dimse-{address}", daemon=True)
            with self._lock:
                self._open[id(served)] = served
            if self._is_stopping.is_set():
                served.end("the server is stopping")
            thread.start()
        except Exception:
            # the peer went away, or we are out of threads: it was admitted, so its end must be told
            logger.exception("dimse: association not opened, trace %s", admission.trace_id)
            with self._ends:
                self._open = {key: served for key, served in self._open.items() if served.admission != admission}
                self._taken -= 1
                self._ends.notify_all()
            sock.close()
            self._services.ended(admission=admission, outcome="lost", stored=0)

    def _serve(self, served: ServedAssociation) -> None:
        try:
            served.serve()
        finally:
            with self._ends:
                del self._open[id(served)]
                self._taken -= 1
                self._ends.notify_all()

    def _beat(self) -> None:
        while not self._is_stopping.wait(ALIVE_SECONDS):
            self._tell_alive()
        while self._served():  # associations that are given time to finish keep their lease
            self._tell_alive()
            threading.Event().wait(ALIVE_SECONDS)

    def _tell_alive(self) -> None:
        admissions = [served.admission for served in self._served()]
        if not admissions:
            return
        try:
            self._services.alive(admissions=admissions)
        except Exception:
            logger.exception("dimse: leases of %s associations not renewed", len(admissions))

    def _forget_in_child(self) -> None:
        """A prefork pool forks this process at any time: a child that kept our sockets would keep peers connected."""
        for served in list(self._open.values()):
            served.forget()
        for sock in self._door.sockets() if self._door is not None else ():
            sock.close()


def _nothing() -> None:
    return None
