"""The DIMSE listener: the front door, who may enter and how many, and the receivers behind it (PS3.8 7). `bootstep` runs it."""

import ipaddress
import itertools
import logging
import os
import socket
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress

from imaging.dimse.contract import (
    LOCAL_LIMIT_EXCEEDED,
    NO_REASON,
    TEMPORARY_CONGESTION,
    Admission,
    AssociationLimits,
    DoorLimits,
    Knock,
    Refusal,
    Services,
)
from imaging.dimse.door import Door
from imaging.dimse.frontdoor import FrontDoor
from imaging.dimse.receiver import Receiver
from imaging.dimse.receivers import ReceiverPool
from imaging.dimse.secure import SecureDoor

logger = logging.getLogger(__name__)


PLAIN_ON_PUBLIC = "not encrypted, on a public address: use TLS"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return False
    return True


def is_public(address: str) -> bool:
    """May anybody on the internet send to this address of ours? IPv4 in IPv6 counts as IPv4."""
    ip = ipaddress.ip_address(address.split("%")[0])
    return (getattr(ip, "ipv4_mapped", None) or ip).is_global


class Listener:
    """Serves associations until it is stopped: plain ones on `host` and `port`, encrypted ones at `secure`; either may be missing.

    `receivers` processes serve them, each loading the callables by `paths`; with 0 they are served in this process.
    `is_refused` says at which of our addresses nothing plain is taken.
    """

    def __init__(
        self,
        host: str,
        port: int | None,
        *,
        secure: tuple[str, int] | None = None,
        is_refused: Callable[[str], bool] | None = None,
        services: Services,
        receivers: int = 0,
        paths: Mapping[str, str] | None = None,
        max_associations: int = 256,
        door_limits: DoorLimits | None = None,
        limits: AssociationLimits | None = None,
    ) -> None:
        self._host, self._asked_port, self._asked_secure = host, port, secure
        self._is_refused = is_refused
        self._services = services
        self._max_associations = max_associations
        self._door_limits = door_limits or DoorLimits()
        limits = limits or AssociationLimits()
        self._lock = threading.Lock()
        self._taken = 0  # open, or being admitted
        self._open: Counter[str | int] = Counter()  # the same by address and by tenant
        self._knocking: Counter[str] = Counter()  # TLS, before admission, by address
        self._numbers = itertools.count(1)
        self.receivers: Receiver | ReceiverPool
        if receivers:
            self.receivers = ReceiverPool(
                receivers, paths=paths or {}, services=services, limits=limits, on_end=self._give_back, ask=self._ask,
            )  # fmt: skip
        else:
            self.receivers = Receiver(services=services, limits=limits, on_end=self._give_back, ask=self._ask)
        self._door: FrontDoor | None = None
        self._secure_door: SecureDoor | None = None

    @property
    def port(self) -> int:
        return self._door.port if self._door is not None else self._asked_port or 0

    @property
    def secure_port(self) -> int:
        return self._secure_door.port if self._secure_door is not None else 0

    def start(self) -> None:
        """Bind and serve; raises PortTakenError, and NoReceiverError when no receiver process comes up."""
        limits = self._door_limits
        if self._asked_port is not None:
            self._door = FrontDoor(
                self._host, self._asked_port, admit=self._admit, hand_over=self._hand_over, limits=limits, refuse=self._refuse,
            )  # fmt: skip
        if self._asked_secure is not None:
            self._secure_door = SecureDoor(*self._asked_secure, knock=self._knock, limits=limits)
        forget = weakref.WeakMethod(self._forget_in_child)
        os.register_at_fork(after_in_child=lambda: (forget() or _nothing)())
        self.receivers.start()
        for door in self._doors():
            door.start()
        logger.info("DIMSE listening on port %s, TLS %s", self.port or "-", self.secure_port or "-")
        if self._door is not None and self._is_refused is not None and _is_address(self._host) and self._is_refused(self._host):
            logger.warning("DIMSE: %s is public: plain associations are refused there (MEDHUB_DIMSE_PLAIN_PUBLIC)", self._host)

    def stop(self, timeout: float) -> None:
        """Accept nobody any more, let open associations finish for `timeout` seconds, then abort them."""
        if not self._doors():
            return
        for door in self._doors():
            door.stop()
        self.receivers.stop(timeout)

    def _doors(self) -> list[Door]:
        return [door for door in (self._door, self._secure_door) if door is not None]

    def _refuse(self, sock: socket.socket, called_ae: str, calling_ae: str, address: str) -> Refusal | None:
        """Something plain on a public address: before it is asked whose it is, but its hospital sees it."""
        if self._is_refused is None or not self._is_refused(sock.getsockname()[0]):
            return None
        if self._services.refused is not None:
            with suppress(Exception):  # the database is away: the log has it
                self._services.refused(called_ae=called_ae, calling_ae=calling_ae, address=address, reason=PLAIN_ON_PUBLIC)
        return Refusal(*NO_REASON, PLAIN_ON_PUBLIC)

    def _knock(self, sock: socket.socket, address: str) -> None:
        """A connection to the TLS port that has begun a handshake: to a receiver, unless too many are under way."""
        limits = self._door_limits
        with self._lock:
            is_crowded = self._knocking[address] >= limits.handshakes_per_address
            if is_crowded or self._knocking.total() >= limits.handshakes:
                logger.warning("dimse: TLS with %s: too many handshakes are under way", address)
                sock.close()
                return
            self._knocking[address] += 1
        knock = Knock(next(self._numbers), address)
        try:
            self.receivers.knock(sock, knock)
        except OSError:
            logger.exception("dimse: TLS with %s: no receiver", address)
            sock.close()
            self._give_back(knock)

    def _ask(self, knock: Knock, called_ae: str, calling_ae: str, certificate: str) -> Admission | Refusal:
        """May this one enter? From the receiver that has shaken hands with it."""
        try:
            answer = self._admit(called_ae=called_ae, calling_ae=calling_ae, address=knock.address, certificate=certificate)
        except Exception:
            logger.exception("dimse admission failed")
            return Refusal(*TEMPORARY_CONGESTION, "the admission failed on our side")
        if isinstance(answer, Admission):
            self._give_back(knock)
        return answer

    def _admit(self, *, called_ae: str, calling_ae: str, address: str, **secured: str) -> Admission | Refusal:
        with self._lock:
            if self._taken >= self._max_associations or self._open[address] >= self._door_limits.open_per_address:
                return Refusal(*LOCAL_LIMIT_EXCEEDED, "too many associations are open")
            self._taken += 1
            self._open[address] += 1
        answer: Admission | Refusal | None = None
        try:
            answer = self._services.admit(called_ae=called_ae, calling_ae=calling_ae, address=address, **secured)
        finally:
            if not isinstance(answer, Admission):
                self._give_back_place(address)
        if isinstance(answer, Admission) and not self._is_tenant_counted(answer):
            self._give_back_place(address)
            self._services.ended(admission=answer, outcome="refused", stored=0)
            return Refusal(*LOCAL_LIMIT_EXCEEDED, "too many associations of this hospital are open")
        return answer

    def _is_tenant_counted(self, admission: Admission) -> bool:
        """One hospital's devices, however many, leave room for the others'."""
        with self._lock:
            if self._open[admission.tenant_id] >= self._door_limits.open_per_tenant:
                return False
            self._open[admission.tenant_id] += 1
            return True

    def _give_back(self, ended: Admission | Knock) -> None:
        if isinstance(ended, Admission):
            self._give_back_place(ended.address, ended.tenant_id)
            return
        with self._lock:
            self._knocking[ended.address] -= 1
            if self._knocking[ended.address] <= 0:
                del self._knocking[ended.address]

    def _give_back_place(self, *whose: str | int) -> None:
        with self._lock:
            self._taken -= 1
            for name in whose:
                self._open[name] -= 1
                if self._open[name] <= 0:
                    del self._open[name]

    def _hand_over(self, sock: socket.socket, _address: str, admission: Admission) -> None:
        try:
            self.receivers.take(sock, admission)
        except OSError:
            # no receiver: the peer sees the connection close, and its books are closed
            logger.exception("dimse: association not served, trace %s", admission.trace_id)
            sock.close()
            self._give_back(admission)
            self._services.ended(admission=admission, outcome="lost", stored=0)

    def _forget_in_child(self) -> None:
        """A prefork pool forks this process at any time: a child that kept our sockets would keep peers connected."""
        self.receivers.sockets_forget()
        for door in self._doors():
            for sock in door.sockets():
                sock.close()


def _nothing() -> None:
    return None
