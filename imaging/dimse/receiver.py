"""Serves admitted sockets, one thread each: books, lease heartbeat, a graceful end. `process` runs one in a process of its own.

`listener` uses one inside its own process where none is wanted beside it.
"""

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from imaging.dimse.associate import titles_read
from imaging.dimse.association import ServedAssociation
from imaging.dimse.contract import Admission, AssociationLimits, Knock, Refusal, Services
from imaging.dimse.secure import NotSecuredError, SecureWire, fingerprint_of, handshake, reject, request_take

logger = logging.getLogger(__name__)

ALIVE_SECONDS = 5.0
ABORT_SECONDS = 2.0  # what an abort may take after the grace period

OnEnd = Callable[[Admission | Knock], object]
Ask = Callable[[Knock, str, str, str], Admission | Refusal]  # called AE, calling AE, fingerprint of the certificate


class Receiver:
    """The associations of one process."""

    def __init__(self, *, services: Services, limits: AssociationLimits, on_end: OnEnd, ask: Ask | None = None) -> None:
        self._services, self._limits, self._on_end, self._ask = services, limits, on_end, ask
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
            self._book(served)
            thread.start()
        except Exception:
            logger.exception("dimse: association not opened, trace %s", admission.trace_id)
            self._not_opened(sock, admission)

    def knock(self, sock: socket.socket, knock: Knock) -> None:
        """Shake hands on this socket, then serve it if its request is admitted; else `on_end` is called with the knock."""
        try:
            threading.Thread(target=self._meet, args=(sock, knock), name=f"dimse-{knock.address}", daemon=True).start()
        except Exception:
            logger.exception("dimse: no thread for a handshake")
            sock.close()
            self._on_end(knock)

    def _book(self, served: ServedAssociation) -> None:
        with self._lock:
            self._open[id(served)] = served
        if self._is_stopping.is_set():
            served.end("the server is stopping")

    def _not_opened(self, sock: socket.socket, admission: Admission) -> None:
        """The peer went away, or we are out of threads: it was admitted, so its end must be told."""
        sock.close()
        with suppress(Exception):
            self._services.ended(admission=admission, outcome="lost", stored=0)
        self._on_end(admission)
        with self._ends:
            self._open = {key: served for key, served in self._open.items() if served.admission != admission}
            self._ends.notify_all()

    def _meet(self, sock: socket.socket, knock: Knock) -> None:
        admission = None
        try:
            admission = self._shake(sock, knock)
        except NotSecuredError as error:
            logger.warning("dimse: TLS with %s: %s", knock.address, error)
        except Exception:
            logger.exception("dimse: TLS with %s failed", knock.address)
        finally:
            if admission is None:
                sock.close()
                self._on_end(knock)
                self._thread_end()

    def _shake(self, sock: socket.socket, knock: Knock) -> Admission | None:
        """Serves to the end whoever is admitted. Raises NotSecuredError."""
        services, limits = self._services, self._limits
        if services.secure is None or self._ask is None:
            raise NotSecuredError("TLS is not set up")
        with handshake(sock, services.secure(), limits.handshake_seconds) as secured:
            request = request_take(secured, limits.request_seconds)
            called_ae, calling_ae = titles_read(request)
            answer = self._ask(knock, called_ae, calling_ae, fingerprint_of(secured))
            if isinstance(answer, Refusal):
                logger.info("association refused: called %r, calling %r, TLS: %s", called_ae, calling_ae, answer.text)
                reject(secured, answer)
                return None
            try:
                wire = SecureWire(secured, admission=answer, services=services, limits=limits)
                wire.put(request)
                served = ServedAssociation(secured, admission=answer, services=services, limits=limits, wire=wire)
                self._book(served)
            except Exception:
                logger.exception("dimse: association not opened, trace %s", answer.trace_id)
                self._not_opened(secured, answer)
            else:
                self._serve(served)
            return answer

    def _thread_end(self) -> None:
        if self._services.thread_end is not None:
            with suppress(Exception):
                self._services.thread_end()

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
            # told before it is forgotten: a stop that finds nothing open ends the process, and the worker would call this one lost
            self._on_end(served.admission)
            with self._ends:
                del self._open[id(served)]
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
