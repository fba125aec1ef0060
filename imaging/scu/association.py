"""Associations that we request as SCU, by pynetdicom: our AE title calls, the address is one that egress has looked at.

A refusal or an abort is told in the words of PS3.8 tables 9-21 and 9-26.
"""

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import sleep
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

from imaging.certificates.contexts import client_context
from imaging.dimse.associate import REFUSAL_REASONS
from imaging.dimse.contexts import STUDY_ROOT
from imaging.models import Node
from tenants.egress import EgressFailed, EgressRefused, address_check
from tenants.selectors import called_aes

STUDY_FIND, STUDY_MOVE, STUDY_GET = f"{STUDY_ROOT}.1", f"{STUDY_ROOT}.2", f"{STUDY_ROOT}.3"
CONNECT_SECONDS = 5.0
ASSOCIATE_SECONDS = 10.0
ANSWER_SECONDS = 60.0  # between two messages of the node
NO_CONTEXT = "no presentation context was accepted"
REFUSED_SOURCES = {1: "service user", 2: "service provider (ACSE)", 3: "service provider (presentation)"}
ABORT_REASONS = {
    0: "no reason given", 1: "unrecognized PDU", 2: "unexpected PDU", 4: "unrecognized PDU parameter",
    5: "unexpected PDU parameter", 6: "invalid PDU parameter value",
}  # fmt: skip


STILL_SECONDS = 0.01  # longer than the interpreter lets a thread run on


def reactor_still(association: Association) -> None:
    """Before a request: wait until pynetdicom's own thread, which reads while nobody asks, is at rest.

    It says that it rests a moment before it does. A request sent in that moment loses its answer to it ("received unexpected
    message"), and the asker waits in vain for ANSWER_SECONDS; a peer that answers in microseconds meets it now and then.
    """
    association._reactor_checkpoint.clear()
    while association.is_alive():
        if association._is_paused:
            sleep(STILL_SECONDS)
            if association._is_paused:
                return
        sleep(STILL_SECONDS / 10)


class NotReachedError(Exception):
    """The node was not reached, refused us or went away. The text is ours, without a value of any object."""

    def __init__(self, hop: str, words: str) -> None:
        super().__init__(words)
        self.hop = hop  # address, dns, tcp, tls, association
        self.user_message = words


class NotPossibleError(Exception):
    """Asking again changes nothing: nothing is set up for it, or the node cannot do it."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.user_message = words


@dataclass(frozen=True)
class Peer:
    """A node to call, and as whom. Read in a scope, used outside of it."""

    node: Node
    calling_ae: str

    @property
    def tenant_id(self) -> int:
        return int(self.node.tenant_id)


def peer_of(node: Node) -> Peer:
    """Raises NotPossibleError when the node has no place, or the hospital no AE title to call with."""
    if not node.host or not node.port:
        raise NotPossibleError("the node has no host and port")
    titles = called_aes(tenant_id=int(node.tenant_id))
    if not titles:
        raise NotPossibleError("this hospital has no AE title of its own yet")
    return Peer(node, titles[0])


def tls_context(*, node: Node) -> ssl.SSLContext | None:
    """How we call this node over TLS; None for one that is called in the clear."""
    return client_context(tenant_id=int(node.tenant_id), node=node) if node.uses_tls else None


def address_of(peer: Peer) -> str:
    """The address to connect to, resolved and looked at. Raises NotReachedError."""
    try:
        return address_check(host=peer.node.host, port=peer.node.port or 0)
    except EgressRefused:
        raise NotReachedError("address", "the address is private or not allowed (EGRESS_ALLOW)") from None
    except (EgressFailed, UnicodeError):
        raise NotReachedError("dns", "the host name was not found") from None


class _Ear:
    """Hears why the other side ended it."""

    def __init__(self) -> None:
        self.words = ""
        self.is_connected = False

    def connected(self, event: evt.Event) -> None:
        self.is_connected = True
        self._hurry(event, socket.TCP_NODELAY)

    def data(self, event: evt.Event) -> None:
        # dcmtk writes head and body of a PDU apart: without this its second write waits 40 ms for our delayed ACK
        self._hurry(event, socket.TCP_QUICKACK)

    def _hurry(self, event: evt.Event, option: int) -> None:
        wrapped = event.assoc.dul.socket
        if wrapped is not None and wrapped.socket is not None:
            with suppress(OSError):
                wrapped.socket.setsockopt(socket.IPPROTO_TCP, option, 1)

    def pdu(self, event: evt.Event) -> None:
        name = type(event.pdu).__name__
        if name == "A_ASSOCIATE_RJ":
            result, source, reason = event.pdu.result, event.pdu.source, event.pdu.reason_diagnostic
            self.words = refusal_words(result, source, reason)
        elif name == "A_ABORT_RQ":
            self.words = abort_words(event.pdu.source, event.pdu.reason_diagnostic)


def refusal_words(result: int, source: int, reason: int) -> str:
    """PS3.8 table 9-21."""
    kind = {1: "permanent", 2: "transient"}.get(result, "unknown result")
    said = REFUSAL_REASONS.get((source, reason), f"reason {reason}")
    return f"association rejected ({kind}) by the {REFUSED_SOURCES.get(source, f'source {source}')}: {said}"


def abort_words(source: int, reason: int) -> str:
    """PS3.8 table 9-26; the reason counts only from the service provider."""
    if source == 2:
        return f"association aborted by the service provider: {ABORT_REASONS.get(reason, f'reason {reason}')}"
    return "association aborted by the service user" if source == 0 else f"association aborted by source {source}"


def contexts_of(*classes: str) -> list[PresentationContext]:
    return [build_context(sop_class) for sop_class in classes]


@contextmanager
def associated(
    peer: Peer, contexts: Sequence[PresentationContext], *, handlers: Sequence[tuple[Any, ...]] = (), ext_neg: Sequence[Any] = (),
    answer_seconds: float = ANSWER_SECONDS,
) -> Iterator[Association]:
    """An established association on which the first context was accepted; leaving it releases, or aborts after an error.

    Raises NotReachedError, and NotPossibleError when the node does not offer that first one.
    """
    address = address_of(peer)
    ae = AE(ae_title=peer.calling_ae)
    ae.connection_timeout, ae.acse_timeout = CONNECT_SECONDS, ASSOCIATE_SECONDS
    ae.dimse_timeout, ae.network_timeout = answer_seconds, answer_seconds + ASSOCIATE_SECONDS
    ear = _Ear()
    context = tls_context(node=peer.node)
    association = ae.associate(
        address, peer.node.port or 0, contexts=list(contexts), ae_title=peer.node.ae_title, max_pdu=131072, ext_neg=list(ext_neg),
        tls_args=(context, peer.node.host) if context else None,
        evt_handlers=[(evt.EVT_CONN_OPEN, ear.connected), (evt.EVT_DATA_RECV, ear.data), (evt.EVT_PDU_RECV, ear.pdu), *handlers],
    )  # fmt: skip
    if not association.is_established:
        raise NotReachedError("association" if ear.is_connected else "tcp", ear.words or _silence(association, ear))
    try:
        if contexts[0].abstract_syntax not in {context.abstract_syntax for context in association.accepted_contexts}:
            raise NotPossibleError("the node does not offer this service")
        yield association
        if association.is_established:
            association.release()
    except NotReachedError as error:
        raise (NotReachedError("association", ear.words) if ear.words else error) from None
    finally:
        if association.is_established:
            association.abort()
        if association.is_alive():
            association.join(ASSOCIATE_SECONDS)


def _silence(association: Association, ear: _Ear) -> str:
    if association.acceptor.primitive is not None:
        return NO_CONTEXT
    return "no answer to the association request" if ear.is_connected else "no connection"
