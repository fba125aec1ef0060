"""N-ACTION of storage commitment (PS3.4 J.3.2), served by pynetdicom behind the late hand-over (`imaging.dimse.guest`).

The response says that the request is written down, nothing more; the answer comes by N-EVENT-REPORT on an association of ours.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from django.db import DatabaseError, InterfaceError, close_old_connections
from pydicom.dataset import Dataset
from pynetdicom import evt

from imaging.commitment.rows import RESOURCE_LIMITATION, CommitmentRefused, commitment_request
from imaging.dimse.contexts import COMMITMENT, COMMITMENT_INSTANCE
from imaging.dimse.contract import Admission
from imaging.dimse.messages import NOT_AUTHORIZED, PROCESSING_FAILURE, SUCCESS
from imaging.header import Header, HeaderError, header_read, uid_is_valid
from imaging.models import Node
from journal.audit import Actor
from journal.trace import trace
from journal.wall.scope import tenant_scope

log = logging.getLogger(__name__)

OTHERS = frozenset((COMMITMENT,))
REQUEST_ACTION = 1
REFERENCES_CAP = 100_000
DATA_SET_CAP = 24 << 20  # so many references, with 64 characters for each UID
TRANSACTION, REFERENCES, SOP_CLASS, SOP_INSTANCE = 0x00081195, 0x00081199, 0x00081150, 0x00081155
NO_SUCH_INSTANCE, INVALID_ARGUMENT, NO_SUCH_ACTION = 0x0112, 0x0115, 0x0123

Answer = tuple[Dataset, None]


def handlers(admission: Admission) -> Sequence[tuple[Any, Callable[..., Answer]]]:
    """What pynetdicom calls for one association."""

    def action(event: evt.Event) -> Answer:
        return _answer(admission, event)

    return [(evt.EVT_N_ACTION, action)]


def _answer(admission: Admission, event: evt.Event) -> Answer:
    """Never raises: whatever it was, the peer gets a status, and one that is not success keeps its images."""
    try:
        _take(admission, event)
    except CommitmentRefused as refused:
        return _status(refused.status, refused.comment)
    except (DatabaseError, InterfaceError):
        close_old_connections()
        return _status(PROCESSING_FAILURE, "the archive cannot be asked just now")
    except Exception as error:  # noqa: BLE001 - its text may hold what the peer sent: only its type is logged
        log.error("commitment request failed, trace %s: %s", admission.trace_id, type(error).__name__)
        return _status(PROCESSING_FAILURE, f"failed, trace {admission.trace_id}")
    return _status(SUCCESS)


def _status(status: int, comment: str = "") -> Answer:
    ds = Dataset()
    ds.Status = status
    if comment:
        ds.ErrorComment = comment[:64]
    return ds, None


def _take(admission: Admission, event: evt.Event) -> None:
    """Raises CommitmentRefused."""
    if "commit" not in admission.services:
        raise CommitmentRefused(NOT_AUTHORIZED, "this AE title may not ask for commitment here")
    request = event.request
    if str(request.RequestedSOPInstanceUID or "") != COMMITMENT_INSTANCE:
        raise CommitmentRefused(NO_SUCH_INSTANCE, "not the well-known instance of the push model")
    if event.action_type != REQUEST_ACTION:
        raise CommitmentRefused(NO_SUCH_ACTION, "storage commitment has action type 1 only")
    encoded = request.ActionInformation.getvalue() if request.ActionInformation is not None else b""
    if len(encoded) > DATA_SET_CAP:
        raise CommitmentRefused(RESOURCE_LIMITATION, f"more than {REFERENCES_CAP} references in one request")
    transaction_uid, references = references_read(encoded, transfer_syntax_uid=str(event.context.transfer_syntax))
    actor = Actor(name=f"ae:{admission.calling_ae}", address=admission.address or None)
    close_old_connections()
    with trace(admission.trace_id), tenant_scope(admission.tenant_id):
        node = Node.objects.filter(ae_title=admission.calling_ae).first()
        if node is None or not node.is_commit_allowed:  # taken from it since the association began
            raise CommitmentRefused(NOT_AUTHORIZED, "this AE title may not ask for commitment here")
        if not node.host or not node.port:
            raise CommitmentRefused(PROCESSING_FAILURE, "this node has no host and port to report to")
        commitment_request(
            actor=actor, node=node, called_ae=admission.called_ae, transaction_uid=transaction_uid, references=references,
            trace_id=admission.trace_id,
        )  # fmt: skip


def references_read(encoded: bytes, *, transfer_syntax_uid: str) -> tuple[str, dict[str, list[str]]]:
    """Transaction UID, and SOP class -> SOP instances, each once. Raises CommitmentRefused."""
    try:
        header = header_read(encoded, transfer_syntax_uid=transfer_syntax_uid, wanted=frozenset((TRANSACTION, REFERENCES)))
    except HeaderError:
        raise CommitmentRefused(INVALID_ARGUMENT, "the action information cannot be read") from None
    transaction_uid = header.uid(TRANSACTION)
    if not uid_is_valid(transaction_uid):
        raise CommitmentRefused(INVALID_ARGUMENT, "TransactionUID is missing or malformed")
    found = _pairs(header)
    if not found:
        raise CommitmentRefused(INVALID_ARGUMENT, "ReferencedSOPSequence is missing or empty")
    references: dict[str, list[str]] = {}
    for uid, sop_class in found.items():
        references.setdefault(sop_class, []).append(uid)
    return transaction_uid, references


def _pairs(header: Header) -> dict[str, str]:
    """SOP instance -> SOP class. Raises CommitmentRefused."""
    items = header.items(REFERENCES)
    if len(items) > REFERENCES_CAP:
        raise CommitmentRefused(RESOURCE_LIMITATION, f"more than {REFERENCES_CAP} references in one request")
    found: dict[str, str] = {}
    for item in items:
        sop_class, uid = item.uid(SOP_CLASS), item.uid(SOP_INSTANCE)
        if not (uid_is_valid(sop_class) and uid_is_valid(uid)):
            raise CommitmentRefused(INVALID_ARGUMENT, "a reference has no class or instance, or no UID")
        if found.setdefault(uid, sop_class) != sop_class:
            raise CommitmentRefused(INVALID_ARGUMENT, "one instance is named with two classes")
    return found
