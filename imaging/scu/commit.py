"""N-ACTION of storage commitment (PS3.4 J.3.2) on an association that we request, as SCU: does a node answer for our objects?

Its answer is an N-EVENT-REPORT, on this association while it is open or hours later on one of the node's own (`ai.delivery.hearing`).
"""

import threading
from collections.abc import Callable, Mapping, Sequence

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.presentation import build_context

from imaging.dimse.contexts import COMMITMENT, COMMITMENT_INSTANCE, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from imaging.scu.association import (
    ANSWER_SECONDS,
    NO_CONTEXT,
    NotPossibleError,
    NotReachedError,
    Peer,
    associated,
    reactor_still,
)

REQUEST_ACTION = 1
HEAR_SECONDS = 1.0  # that we stay for the answer: most archives answer later, on an association of their own
FOR_GOOD = {
    0x0112: "it does not know the push model's instance", 0x0115: "it does not understand the request",
    0x0118: "it does not know the class", 0x0119: "it does not know the push model", 0x0122: "it does not know the class",
    0x0123: "it does not know the action", 0x0124: "we are not authorized", 0x0211: "it does not know the operation",
}  # fmt: skip

Hear = Callable[[evt.Event], tuple[Dataset, None]]


def commitment_ask(
    peer: Peer, *, transaction_uid: str, references: Mapping[str, Sequence[str]], taken: Callable[[], object], hear: Hear,
) -> None:
    """Ask a node to answer for these objects, SOP class -> SOP instances; the transaction must be written down before.

    `taken` is called when the node has taken the request, `hear` for each N-EVENT-REPORT that comes while we are connected, on
    a thread of pynetdicom's. Raises NotReachedError, and NotPossibleError where asking again changes nothing.
    """
    try:
        _ask(peer, _request(transaction_uid, references), taken, hear)
    except NotReachedError as error:
        if error.user_message == NO_CONTEXT:  # the only one that we offered
            raise NotPossibleError("the node does not offer storage commitment") from None
        raise


def _ask(peer: Peer, request: Dataset, taken: Callable[[], object], hear: Hear) -> None:
    begun, heard = threading.Event(), threading.Event()

    def report(event: evt.Event) -> tuple[Dataset, None]:
        begun.set()
        try:
            return hear(event)
        finally:
            heard.set()

    contexts = [build_context(COMMITMENT, [EXPLICIT_LITTLE, IMPLICIT_LITTLE])]
    with associated(peer, contexts, handlers=[(evt.EVT_N_EVENT_REPORT, report)]) as association:
        reactor_still(association)
        try:
            status, _ = association.send_n_action(request, REQUEST_ACTION, COMMITMENT, COMMITMENT_INSTANCE)
        except (RuntimeError, ValueError):
            raise NotReachedError("association", "the node ended the association") from None
        _status_check(status)
        taken()
        if begun.wait(HEAR_SECONDS):
            heard.wait(ANSWER_SECONDS)
            reactor_still(association)  # our response to the answer leaves before we do


def _status_check(status: Dataset) -> None:
    if "Status" not in status:
        raise NotReachedError("association", "the node did not answer the request for commitment")
    if status.Status == 0:
        return
    words = f"the node refused to be asked for commitment ({status.Status:04X})"
    if status.Status in FOR_GOOD:
        raise NotPossibleError(f"{words}: {FOR_GOOD[status.Status]}")
    raise NotReachedError("association", words)


def _request(transaction_uid: str, references: Mapping[str, Sequence[str]]) -> Dataset:
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    ds.ReferencedSOPSequence = []
    for sop_class, uids in references.items():
        for uid in uids:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
            ds.ReferencedSOPSequence.append(item)
    return ds
