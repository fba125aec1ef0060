"""One attempt of a delivery: encode, then file or send; ask for commitment where the node is to be asked. Called by the task.

Neither CPU nor network is ever inside a scope.
"""

import logging
import time
from datetime import timedelta
from functools import partial

from django.utils import timezone

from ai.delivery.dossier import NoSourceError, dossier_read
from ai.delivery.hearing import peer_hear
from ai.delivery.objects import ARCHIVE_FORMS, FORMS, REJECTION, SEG, NotEncodableError, report_objects
from ai.delivery.oru import report_send as oru_send
from ai.delivery.sending import Receiver, RefusedError, Sent, node_of, objects_deliver, receiver_of
from ai.delivery.services import (
    ARCHIVE,
    ORU,
    State,
    commitment_asked,
    commitment_begin,
    delivery_claim,
    delivery_done,
    delivery_fail,
    delivery_renew,
    delivery_stored,
)
from ai.models import REJECTED, ReportDelivery
from imaging.scu.association import NotPossibleError, NotReachedError, peer_of
from imaging.scu.commit import commitment_ask
from journal.faults import fault
from journal.leases import Lease
from journal.trace import trace
from journal.wall.scope import tenant_scope

log = logging.getLogger(__name__)

MESSAGE_CAP = 60.0  # a longer wait is left to the sweep
MASK_WITHIN = timedelta(minutes=1)  # of the report: the index worker files a mask in seconds; one that it put aside is not waited for


def delivery_run(*, tenant_id: int, delivery_id: int) -> float | None:
    """Take a delivery one step further. Returns seconds until it should be tried again, or None when the sweep or nobody should."""
    began = time.monotonic()
    with tenant_scope(tenant_id):
        row = delivery_claim(delivery_id=delivery_id)
    if row is None:
        return None
    with trace(row.trace_id), Lease(tenant_id=row.tenant_id, renew=partial(delivery_renew, row)) as lease:
        wait = _send(row, lease, began) if row.state == State.PENDING else _ask(row, began)
    return wait if wait is None or wait <= MESSAGE_CAP else None


def _send(row: ReportDelivery, lease: Lease, began: float) -> float | None:
    try:
        sent = _deliver(row, lease)
    except RefusedError as error:
        return _failed(row, error, began, is_permanent=error.is_permanent)
    except (NotReachedError, OSError) as error:
        return _failed(row, error, began, is_permanent=False)
    except (NotPossibleError, NotEncodableError, NoSourceError) as error:
        return _failed(row, error, began, is_permanent=True)
    with tenant_scope(row.tenant_id):
        if not sent.references:
            delivery_done(row, words=sent.words, began=began)
            return None
        is_ours = delivery_stored(row, words=sent.words, references=sent.references, began=began)
    return _ask(row, time.monotonic()) if is_ours else None


def _deliver(row: ReportDelivery, lease: Lease) -> Sent:
    if row.kind == ORU:
        sent = oru_send(row)
        fault("oru.after_send")
        return sent
    with tenant_scope(row.tenant_id):
        dossier = dossier_read(report=row.report)
        receiver = Receiver() if row.kind == ARCHIVE else receiver_of(row)
    forms = ARCHIVE_FORMS if row.kind == ARCHIVE else FORMS.get(receiver.forms, FORMS["sr"])
    if dossier.status in REJECTED:
        forms = REJECTION
    if SEG in forms and any(mask.path is None for mask in dossier.masks) and timezone.now() - dossier.edition.issued_at < MASK_WITHIN:
        raise RefusedError("the mask is not in the archive yet")
    made = report_objects(dossier, forms=forms)
    fault("delivery.after_encode")
    sent = objects_deliver(row, dossier, made.objects, receiver, lease.go)
    fault("delivery.after_send")
    return Sent(words="; ".join((sent.words, *made.missing)), references=sent.references)


def _ask(row: ReportDelivery, began: float) -> float | None:
    """Storage commitment: the node has the objects, does it answer for them?"""
    words = "commitment not asked: "
    try:
        with tenant_scope(row.tenant_id):
            node = node_of(row)
            if not node.is_commitment_asked:  # switched off in between
                delivery_done(row, words="the node is not to be asked for commitment any more", began=began)
                return None
            peer, transaction_uid = peer_of(node), commitment_begin(row)
        if not transaction_uid:
            return None
        fault("commitment.before_ask")
        commitment_ask(
            peer, transaction_uid=transaction_uid, references=row.references, taken=partial(_asked, row, began),
            hear=partial(peer_hear, peer, row.trace_id),
        )  # fmt: skip
    except NotReachedError as error:
        return _failed(row, error, began, is_permanent=False, before=words)
    except NotPossibleError as error:
        return _failed(row, error, began, is_permanent=True, before=words)
    return None


def _asked(row: ReportDelivery, began: float) -> None:
    fault("commitment.after_ask")
    with tenant_scope(row.tenant_id):
        commitment_asked(row, began=began)


def _failed(row: ReportDelivery, error: Exception, began: float, *, is_permanent: bool, before: str = "") -> float | None:
    words = getattr(error, "user_message", "") or "the archive is away"  # an OSError's own words name paths
    log.warning("delivery %s: attempt %s failed, %s", row.id, row.attempts, type(error).__name__)
    with tenant_scope(row.tenant_id):
        return delivery_fail(row, words=before + words, began=began, is_permanent=is_permanent)
