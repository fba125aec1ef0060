"""N-EVENT-REPORT of storage commitment (PS3.4 J.3.3, PS3.7 10.1.1) on an association that we request, as SCP of the class."""

from collections.abc import Mapping, Sequence

from pydicom.dataset import Dataset
from pynetdicom.presentation import build_context, build_role

from imaging.dimse.contexts import COMMITMENT, COMMITMENT_INSTANCE, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from imaging.scu.association import NotPossibleError, NotReachedError, Peer, associated, reactor_still

ALL_KEPT, SOME_FAILED = 1, 2  # event types


def commitment_report(
    peer: Peer, *, transaction_uid: str, references: Mapping[str, Sequence[str]], failures: Mapping[str, int],
) -> None:
    """Tell a node which of its objects we answer for; `failures` is SOP instance -> reason. Raises NotReachedError, NotPossibleError.

    It is told when the node has answered with success; everything else is told again.
    """
    event = _event(transaction_uid, references, failures)
    # Role selection (PS3.7 D.3.3.4): who asks for this association is not the SCU of the class here.
    roles = [build_role(COMMITMENT, scu_role=False, scp_role=True)]
    contexts = [build_context(COMMITMENT, [EXPLICIT_LITTLE, IMPLICIT_LITTLE])]
    with associated(peer, contexts, ext_neg=roles) as association:
        reactor_still(association)
        try:
            status, _ = association.send_n_event_report(
                event, SOME_FAILED if failures else ALL_KEPT, COMMITMENT, COMMITMENT_INSTANCE
            )
        except (RuntimeError, ValueError):
            raise NotReachedError("association", "the node ended the association") from None
        if "Status" not in status:
            raise NotReachedError("association", "the node did not answer the report")
        if status.Status != 0:
            raise NotPossibleError(f"the node answered the report with status {status.Status:04X}")


def _event(transaction_uid: str, references: Mapping[str, Sequence[str]], failures: Mapping[str, int]) -> Dataset:
    kept, failed = [], []
    for sop_class, uids in references.items():
        for uid in uids:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
            if uid in failures:
                item.FailureReason = failures[uid]
                failed.append(item)
            else:
                kept.append(item)
    event = Dataset()
    event.TransactionUID = transaction_uid
    if kept:
        event.ReferencedSOPSequence = kept
    if failed:
        event.FailedSOPSequence = failed
    return event
