"""The plain port: looks at the A-ASSOCIATE-RQ (PS3.8 9.3.2), decides whose it is, then hands the socket over.

`listener` starts it.
"""

import logging
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from imaging.dimse.associate import reject_bytes, titles_read
from imaging.dimse.contract import TEMPORARY_CONGESTION, Admission, Admit, DoorLimits, Refusal
from imaging.dimse.door import Door

logger = logging.getLogger(__name__)

_HEAD = struct.Struct(">BxI")
_SMALLEST_REQUEST = 68  # the fixed fields alone

HandOver = Callable[[socket.socket, str, Admission], None]
Refuse = Callable[[socket.socket, str, str, str], Refusal | None]  # called AE, calling AE, address


class FrontDoor(Door):
    """Admissions run beside the loop on a few threads, so that a slow one holds up nobody else."""

    variable = "MEDHUB_DIMSE_PORT"

    def __init__(
        self, host: str, port: int, *, admit: Admit, hand_over: HandOver, limits: DoorLimits, refuse: Refuse | None = None,
    ) -> None:
        super().__init__(host, port, limits=limits)
        self._admit = admit
        self._refuse = refuse
        self._hand_over = hand_over
        self._pool = ThreadPoolExecutor(limits.admitting, thread_name_prefix="dimse-admit")

    def stop(self) -> None:
        super().stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _measure(self, seen: bytes) -> int:
        kind, length = _HEAD.unpack_from(seen)
        is_one = kind == 1 and _SMALLEST_REQUEST <= length <= self._limits.request_bytes
        return _HEAD.size + length if is_one else 0

    def _pass(self, sock: socket.socket, address: str, first: bytes) -> None:
        self._pool.submit(self._decide, sock, address, first)

    def _decide(self, sock: socket.socket, address: str, request: bytes) -> None:
        called_ae, calling_ae = titles_read(request)
        try:
            refused = self._refuse(sock, called_ae, calling_ae, address) if self._refuse is not None else None
            answer = refused or self._admit(called_ae=called_ae, calling_ae=calling_ae, address=address)
        except Exception:
            logger.exception("dimse admission failed")
            answer = Refusal(*TEMPORARY_CONGESTION, "the admission failed on our side")
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            if isinstance(answer, Refusal):
                logger.info("association refused: called %r, calling %r: %s", called_ae, calling_ae, answer.text)
                _reject(sock, answer, len(request))
            else:
                self._hand_over(sock, address, answer)
        except OSError:
            logger.info("association request of %s: the peer went away", address)
            sock.close()
        except Exception:
            logger.exception("dimse door: hand-over failed")
            sock.close()


def _reject(sock: socket.socket, refusal: Refusal, request_bytes: int) -> None:
    # bytes left unread would make close() send a reset, and the peer might never see our answer
    sock.recv(request_bytes, socket.MSG_WAITALL)
    sock.sendall(reject_bytes(refusal))
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
    sock.close()
