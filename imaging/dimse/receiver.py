"""Serves admitted sockets, one thread each: books, lease heartbeat, a graceful end. `process` runs one in a process of its own.

`listener` uses one inside its own process where none is wanted beside it.
"""

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from imaging.dimse.association import ServedAssociation
from imaging.dimse.contract import Admission, AssociationLimits, Services

logger = logging.getLogger(__name__)

ALIVE_SECONDS = 5.0
ABORT_SECONDS = 2.0  # what an abort may take after the grace period

OnEnd = Callable[[Admission], object]


class Receiver:
    """The associations of one process."""

    def __init__(self, *, services: Services, limits: AssociationLimits, on_end: OnEnd) -> None:
        self._services, self._limits, self._on_end = services, limits, on_end
        self._lock = threading.Lock()
        self._ends = threading.Condition(self._lock)
        self._open: dict[int, ServedAssociation] = {}
        self._is_stopping = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._beat, name="dimse-alive", daemon=True).start()

    def take(self, sock: socket.socket, admission: Admission) -> None:
        """Serve this socket. `on_end` is called once for every admission that came here, also when it never opened."""
        try:
            served = ServedAssociation(sock, admission=admission, services=self._services, limits=self._limits)
            thread = threading.Thread(target=self._serve, args=(served,), name=f"dimse-{admission.address}", daemon=True)
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
                self._ends.notify_all()
            sock.close()
            with suppress(Exception):
                self._services.ended(admission=admission, outcome="lost", stored=0)
            self._on_end(admission)

    def stop(self, timeout: float) -> None:
        """Let open associations finish for `timeout` seconds, then abort them."""
        self._is_stopping.set()
        if not self._wait_for_ends(timeout):
            for served in self._served():
                served.end("the server is stopping")
            self._wait_for_ends(ABORT_SECONDS)

    def sockets_forget(self) -> None:
        """In a forked child: give up the copies of the descriptors without a word to the peers."""
        for served in list(self._open.values()):
            served.forget()

    def _wait_for_ends(self, seconds: float) -> bool:
        deadline = monotonic() + seconds
        with self._ends:
            return self._ends.wait_for(lambda: not self._open, max(0.0, deadline - monotonic()))

    def _served(self) -> list[ServedAssociation]:
        with self._lock:
            return list(self._open.values())

    def _serve(self, served: ServedAssociation) -> None:
        try:
            served.serve()
        finally:
            with self._ends:
                del self._open[id(served)]
                self._ends.notify_all()
            self._on_end(served.admission)

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
