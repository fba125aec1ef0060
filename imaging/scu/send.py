"""Sending a study to a node: bytes as stored, uncompressed where the node takes nothing else (PS3.4 B.2).

The machinery is that of a C-MOVE (`imaging.dimse.sending`, `outgoing`): several associations when contexts run out.
"""

from collections.abc import Sequence

from imaging.dimse import messages
from imaging.dimse.contract import AssociationLimits, Destination, StoredObject
from imaging.dimse.inquiries import WireGone
from imaging.dimse.outgoing import NotSendableError, object_send
from imaging.dimse.retrieve import WARNINGS, associations_plan
from imaging.dimse.sending import NotAssociatedError, SendingAssociation
from imaging.scu.association import NotReachedError, Peer, address_of, tls_context
from imaging.scu.pull import Counts, Go, Pace

LIMITS = AssociationLimits()


def study_send(peer: Peer, *, objects: Sequence[tuple[int, StoredObject]], counts: Counts, go: Go, pace: Pace) -> None:
    """Send objects, each with its instance id; `counts.position` follows while they go in that order. Raises NotReachedError.

    An object that the node refuses is counted as failed and the next one goes; a lost association ends it.
    """
    destination = Destination(
        peer.node.ae_title, address_of(peer), peer.node.port or 0, tls_context(node=peer.node), peer.node.host
    )
    ids = {id(stored): instance_id for instance_id, stored in objects}
    shares = list(associations_plan([stored for _, stored in objects]))
    message_id = 0
    for proposals, share in shares:
        try:
            channel = SendingAssociation(destination, calling_ae=peer.calling_ae, proposals=proposals, limits=LIMITS)
        except NotAssociatedError as error:
            raise NotReachedError("association", str(error)) from None
        try:
            with channel:
                for stored in share:
                    if not go():
                        return
                    message_id = message_id % 0xFFFF + 1
                    _one(channel, stored, message_id, counts)
                    if len(shares) == 1:  # else not in the order of ids: a restart sends all of it again
                        counts.position = ids[id(stored)]
                    pace()
        except WireGone as error:
            raise NotReachedError("association", str(error) or "the node ended the association") from None


def _one(channel: SendingAssociation, stored: StoredObject, message_id: int, counts: Counts) -> None:
    """Raises WireGone: the object is not counted then, it goes again."""
    status = messages.CANNOT_PERFORM
    try:
        object_send(channel, stored, message_id=message_id)
        status = messages.number_of(channel.store_response(), messages.STATUS)
        if status:
            counts.reason = f"the node answered with status {status:04X}"
    except NotSendableError as error:
        counts.reason = str(error)
    except ValueError:
        counts.reason = "the answer has no status"
    counts.remaining = max(counts.remaining - 1, 0)
    if status == messages.SUCCESS:
        counts.completed += 1
    elif status & 0xF000 == 0xB000 or status in WARNINGS:
        counts.warned += 1
    else:
        counts.failed += 1
        counts.failed_uids.append(stored.sop_instance_uid)
