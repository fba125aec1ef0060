"""One message to a peer by MLLP, and its acknowledgement: a connection each, so what a peer left behind confuses nobody."""

import socket
import ssl
from time import monotonic

from imaging.certificates.contexts import client_context
from imaging.hl7.errors import MessageRefused
from imaging.hl7.frames import Frames, FramingError, frame
from imaging.hl7.reading import Told
from imaging.models import Hl7Destination
from tenants.egress import EgressFailed, EgressRefused, address_check

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 20.0
ANSWER_BYTES = 64 << 10
TAKEN, BROKEN, REFUSED = {"AA", "CA"}, {"AE", "CE"}, {"AR", "CR"}  # table 0008
FINAL = TAKEN | BROKEN | REFUSED


class NotTakenError(Exception):
    """The message did not arrive, or was not taken. `is_permanent`: another try changes nothing; `is_broken`: AE. Words are ours."""

    def __init__(self, user_message: str, *, is_permanent: bool = False, is_broken: bool = False) -> None:
        super().__init__(user_message)
        self.user_message, self.is_permanent, self.is_broken = user_message, is_permanent, is_broken


def message_send(*, destination: Hl7Destination, body: bytes, control_id: str, answer_seconds: float = ANSWER_SECONDS) -> str:
    """The code that the peer acknowledges with: AA or CA. Outside of any scope. Raises NotTakenError."""
    address = _address(destination)
    try:
        with socket.create_connection((address, destination.port), timeout=CONNECT_SECONDS) as plain:
            sock = _secured(plain, destination) if destination.uses_tls else plain
            with sock:
                sock.settimeout(answer_seconds)
                sock.sendall(frame(body))
                told = _answer(sock, monotonic() + answer_seconds)
    except TimeoutError:
        raise NotTakenError("no acknowledgement came in time") from None
    except ssl.SSLError as error:
        raise NotTakenError(f"TLS failed: {(error.reason or 'unknown').lower().replace('_', ' ')}") from None
    except OSError:
        raise NotTakenError("the destination was not reached") from None
    return _judged(told, control_id)


def destination_check(*, destination: Hl7Destination) -> None:
    """Is it there, and over TLS who it says? Nothing is sent: HL7 knows no message that asks for nothing. Raises NotTakenError."""
    address = _address(destination)
    try:
        with socket.create_connection((address, destination.port), timeout=CONNECT_SECONDS) as plain:
            if destination.uses_tls:
                _secured(plain, destination).close()
    except ssl.SSLError as error:
        raise NotTakenError(f"TLS failed: {(error.reason or 'unknown').lower().replace('_', ' ')}") from None
    except OSError:
        raise NotTakenError("the destination was not reached") from None


def _address(destination: Hl7Destination) -> str:
    try:
        return address_check(host=destination.host, port=destination.port)
    except EgressRefused as error:
        raise NotTakenError(error.user_message, is_permanent=True) from None
    except (EgressFailed, UnicodeError):
        raise NotTakenError("the host name was not found") from None


def _secured(plain: socket.socket, destination: Hl7Destination) -> ssl.SSLSocket:
    plain.settimeout(CONNECT_SECONDS)
    return client_context(tenant_id=int(destination.tenant_id)).wrap_socket(plain, server_hostname=destination.host)


def _answer(sock: socket.socket, deadline: float) -> Told:
    """The first whole message that comes. Raises NotTakenError, OSError."""
    frames = Frames(limit=ANSWER_BYTES)
    while True:
        sock.settimeout(max(deadline - monotonic(), 0.001))
        data = sock.recv(8192)
        if not data:
            raise NotTakenError("the destination hung up without an acknowledgement")
        try:
            if found := frames.feed(data):
                return Told(found[0])
        except (FramingError, MessageRefused):
            raise NotTakenError("what the destination answered is no acknowledgement") from None


def _judged(told: Told, control_id: str) -> str:
    code = told.value("MSA", 1)
    if code not in FINAL or told.value("MSA", 2) != control_id:
        raise NotTakenError("what the destination answered is no acknowledgement of this message")
    if code in REFUSED:
        raise NotTakenError(f"the destination refused the message ({code})", is_permanent=True)
    if code in BROKEN:
        raise NotTakenError(f"the destination could not take the message ({code})", is_broken=True)
    return code
