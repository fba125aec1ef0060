"""`node_check`: which hop to a node works and which does not, each with its milliseconds. The portal and the API call it."""

import socket
import ssl
import time
from contextlib import suppress
from dataclasses import asdict, dataclass

from django.utils import timezone

from imaging.dimse.contexts import VERIFICATION
from imaging.models import Node
from imaging.scu.association import (
    CONNECT_SECONDS,
    NotPossibleError,
    NotReachedError,
    Peer,
    address_of,
    associated,
    contexts_of,
    peer_of,
    reactor_still,
    tls_context,
)
from imaging.webout.client import web_check, web_peer_of
from journal.audit import Actor, audit_record
from journal.wall.scope import tenant_scope

ECHO_SECONDS = 10.0


@dataclass(frozen=True)
class CheckHop:
    """One hop: dns, tcp, tls, association, echo, web. `words` say what was found, or what went wrong."""

    hop: str
    is_ok: bool
    milliseconds: float
    words: str


class _Hops:
    """Each hop took the time since the one before it."""

    def __init__(self) -> None:
        self.found: list[CheckHop] = []
        self._at = time.monotonic()

    def take(self, hop: str, words: str, *, is_ok: bool = True) -> None:
        before, self._at = self._at, time.monotonic()
        self.found.append(CheckHop(hop, is_ok, round((self._at - before) * 1000, 1), words))


def node_check(*, tenant_id: int, node_id: int, actor: Actor) -> list[CheckHop]:
    """Call the node up to a C-ECHO, and its DICOMweb where it has one; keep and return the hops. Raises Node.DoesNotExist.

    Of each way the first hop that failed is the last one. Opens short scopes itself; the network is never inside one.
    """
    with tenant_scope(tenant_id):
        node = Node.objects.get(id=node_id)
        audit_record(actor=actor, action="node.check", object_type="Node", object_id=str(node_id))
    hops = _hops(node)
    with tenant_scope(tenant_id):
        Node.objects.filter(id=node_id).update(last_check=[asdict(hop) for hop in hops], checked_at=timezone.now())
    return hops


def _hops(node: Node) -> list[CheckHop]:
    hops = _Hops()
    if node.host or node.port or not node.web_url:
        _dimse(node, hops)
    if node.web_url:
        _web(node, hops)
    return hops.found


def _dimse(node: Node, hops: _Hops) -> None:
    try:
        peer = peer_of(node)
    except NotPossibleError as error:
        hops.take("setup", str(error), is_ok=False)
        return
    try:
        _connect(peer, hops)
        _echo(peer, hops)
    except NotReachedError as error:
        hops.take(error.hop, str(error), is_ok=False)
    except NotPossibleError as error:
        hops.take("echo", str(error), is_ok=False)


def _web(node: Node, hops: _Hops) -> None:
    try:
        hops.take("web", web_check(web_peer_of(node)))
    except (NotPossibleError, NotReachedError) as error:
        hops.take("web", error.user_message, is_ok=False)


def _connect(peer: Peer, hops: _Hops) -> None:
    address = address_of(peer)
    hops.take("dns", address)
    try:
        sock = socket.create_connection((address, peer.node.port or 0), CONNECT_SECONDS)
    except OSError as error:
        raise NotReachedError("tcp", f"no connection: {_os_words(error)}") from None
    with sock:
        hops.take("tcp", f"connected to port {peer.node.port}")
        if context := tls_context(node=peer.node):
            hops.take("tls", _tls(sock, context, peer.node.host))


def _tls(sock: socket.socket, context: ssl.SSLContext, host: str) -> str:
    sock.settimeout(CONNECT_SECONDS)
    try:
        with context.wrap_socket(sock, server_hostname=host) as secured:
            words = f"{secured.version()}, {(secured.cipher() or ('?',))[0]}"
            with suppress(OSError):
                secured.settimeout(0)  # our goodbye; a node that waits for an association never says its own
                secured.unwrap()
            return words
    except ssl.SSLCertVerificationError as error:
        raise NotReachedError("tls", f"the certificate was not accepted: {error.verify_message}") from None
    except (ssl.SSLError, OSError) as error:
        raise NotReachedError("tls", f"no TLS: {getattr(error, 'reason', None) or _os_words(error)}") from None


def _os_words(error: OSError) -> str:
    return "timed out" if isinstance(error, TimeoutError) else (error.strerror or "failed").lower()


def _echo(peer: Peer, hops: _Hops) -> None:
    with associated(peer, contexts_of(VERIFICATION), answer_seconds=ECHO_SECONDS) as association:
        hops.take("association", f"accepted by {peer.node.ae_title}, we call as {peer.calling_ae}")
        reactor_still(association)
        status = association.send_c_echo()
        if "Status" not in status:
            raise NotReachedError("echo", "no answer to C-ECHO")
        if status.Status != 0:
            raise NotReachedError("echo", f"C-ECHO answered with status {status.Status:04X}")
        hops.take("echo", "answered with success")
