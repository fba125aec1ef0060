"""N-ACTION of storage commitment (PS3.4 J.3.2), served by pynetdicom behind the late hand-over (`imaging.dimse.guest`).

The response says that the request is written down, nothing more; the answer comes by N-EVENT-REPORT on an association of ours.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django.db import DatabaseError, InterfaceError, close_old_connections
from pydicom.dataset import Dataset
from pynetdicom import evt

from imaging.commitment.references import DATA_SET_CAP, NO_SUCH_INSTANCE, REFERENCES_CAP, references_read
from imaging.commitment.rows import RESOURCE_LIMITATION, CommitmentRefused, commitment_request
from imaging.dimse.contexts import COMMITMENT, COMMITMENT_INSTANCE
from imaging.dimse.contract import Admission
from imaging.dimse.messages import NOT_AUTHORIZED, PROCESSING_FAILURE, SUCCESS
from imaging.models import Node
from journal.audit import Actor
from journal.trace import trace
from journal.wall.scope import tenant_scope

log = logging.getLogger(__name__)

OTHERS = frozenset((COMMITMENT,))
REQUEST_ACTION = 1
NO_SUCH_ACTION = 0x0123

Answer = tuple[Dataset, None]


def handlers(admission: Admission) -> Sequence[tuple[Any, Callable[..., Answer]]]:
    """What pynetdicom calls for one association."""

    def action(event: evt.Event) -> Answer:
        return answered(partial(_take, admission, event), trace_id=admission.trace_id)

    return [(evt.EVT_N_ACTION, action)]


def answered(take: Callable[[], object], *, trace_id: str) -> Answer:
    """The response to what `take` serves. Never raises: the peer gets a status, and one that is not success keeps its images."""
    try:
        take()
    except CommitmentRefused as refused:
        log.warning("commitment: refused with %04X, trace %s: %s", refused.status, trace_id, refused.comment)
        return _status(refused.status, refused.comment)
    except (DatabaseError, InterfaceError):
        close_old_connections()
        return _status(PROCESSING_FAILURE, "the archive cannot be asked just now")
    except Exception as error:  # noqa: BLE001 - its text may hold what the peer sent: only its type is logged
        log.error("commitment failed, trace %s: %s", trace_id, type(error).__name__)
        return _status(PROCESSING_FAILURE, f"failed, trace {trace_id}")
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
