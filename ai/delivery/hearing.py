"""What pynetdicom serves on associations with us: requests for commitment (`imaging.commitment`), and answers to ours.

The listener's door for N-EVENT-REPORT (PS3.7 10.1.1, PS3.4 J.3.3); `run` uses it on the associations that it asks on.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django.db import close_old_connections, connections
from pynetdicom import evt

from ai.delivery.commitment import commitment_take
from imaging.commitment import door
from imaging.commitment.answer import answer_read
from imaging.commitment.door import Answer, answered
from imaging.commitment.rows import CommitmentRefused
from imaging.dimse.contract import Admission
from imaging.dimse.messages import NOT_AUTHORIZED
from imaging.scu.association import Peer
from journal.trace import trace
from journal.wall.scope import tenant_scope


def handlers(admission: Admission) -> Sequence[tuple[Any, Callable[..., Answer]]]:
    """What pynetdicom calls for one association that a peer has requested."""

    def report(event: evt.Event) -> Answer:
        return answered(partial(_take, admission, event), trace_id=admission.trace_id)

    return [*door.handlers(admission), (evt.EVT_N_EVENT_REPORT, report)]


def _take(admission: Admission, event: evt.Event) -> None:
    """Raises CommitmentRefused."""
    if "return" in admission.services:
        raise CommitmentRefused(NOT_AUTHORIZED, "results come here, and nothing else")
    close_old_connections()
    with trace(admission.trace_id):
        _answer(admission.tenant_id, admission.calling_ae, admission.address, event)


def peer_hear(peer: Peer, trace_id: str, event: evt.Event) -> Answer:
    """The same on an association that we have requested: the node there is the one that we called."""
    try:
        with trace(trace_id):
            return answered(partial(_answer, peer.tenant_id, peer.node.ae_title, "", event), trace_id=trace_id)
    finally:
        connections.close_all()  # a thread of pynetdicom's, which ends with the association


def _answer(tenant_id: int, calling_ae: str, address: str, event: evt.Event) -> None:
    request = event.request
    encoded = request.EventInformation.getvalue() if request.EventInformation is not None else b""
    answer = answer_read(
        encoded, transfer_syntax_uid=str(event.context.transfer_syntax), event_type=int(event.event_type),
        instance=str(request.AffectedSOPInstanceUID or ""),
    )  # fmt: skip
    with tenant_scope(tenant_id):
        commitment_take(calling_ae=calling_ae, address=address, answer=answer)
