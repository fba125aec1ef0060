"""One step of a commitment request: check it once, then report it. Called by the task; the network is never in a scope.

The report goes over a new association to the node's own host and port, never over the one that the request came on: that may
be gone, and modalities lose what comes there (PS3.4 J.3.3).
"""

import logging
from dataclasses import replace
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.utils import timezone

from imaging.commitment.evidence import DUPLICATE_TRANSACTION, NO_SUCH_INSTANCE, held_select, references_judge
from imaging.commitment.rows import (
    commitment_claim,
    commitment_done,
    commitment_give_up,
    commitment_release,
    commitment_renew,
)
from imaging.inbox import inbox_watermark
from imaging.models import CommitmentRequest
from imaging.scu.association import NotPossibleError, NotReachedError, Peer, peer_of
from imaging.scu.report import commitment_report
from imaging.storage import StoreAwayError
from journal.leases import Lease
from journal.trace import trace
from journal.wall.scope import tenant_scope

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5  # between two looks at an inbox that the index worker has not emptied
WAIT_SECONDS = 120.0  # for objects that lie in the inbox; then what has no row counts as missing
ATTEMPTS = 60  # half a day with the longest pause: a modality that is switched off for the night
PAUSE_CAP = 900.0
MESSAGE_CAP = 60.0  # a longer wait is left to the sweep


def commitment_run(*, tenant_id: int, request_id: int) -> float | None:
    """Take a request one step further. Returns seconds until it should run again, or None when the sweep or nobody should."""
    with tenant_scope(tenant_id):
        row = commitment_claim(request_id)
        if row is None:
            return None
        peer, words = _peer(row)
        if peer is None:
            commitment_give_up(row, words=words)
            return None
    with trace(row.trace_id), Lease(tenant_id=row.tenant_id, renew=partial(commitment_renew, row)):
        wait = _work(row, peer)
    return wait if wait is None or wait <= MESSAGE_CAP else None


def _peer(row: CommitmentRequest) -> tuple[Peer | None, str]:
    if row.node is None:
        return None, "the node was deleted"
    try:
        return replace(peer_of(row.node), calling_ae=row.called_ae), ""
    except NotPossibleError as error:
        return None, error.user_message


def _work(row: CommitmentRequest, peer: Peer) -> float | None:
    try:
        if row.failures is None and not _check(row):
            return LOOK_SECONDS
        commitment_report(peer, transaction_uid=row.transaction_uid, references=row.references, failures=row.failures or {})
    except (NotReachedError, NotPossibleError) as error:
        return _unreported(row, error.user_message)
    except StoreAwayError:
        return _unreported(row, "the object store is away: nothing can be said of the objects yet")
    with tenant_scope(row.tenant_id):
        commitment_done(row)
    return None


def _check(row: CommitmentRequest) -> bool:
    """Judge each reference. False when some have no row yet and may still lie in the inbox."""
    uids = [uid for group in row.references.values() for uid in group]
    if row.is_duplicate:
        failures = dict.fromkeys(uids, DUPLICATE_TRANSACTION)
    else:
        # Before the rows: what left the inbox until now is in them.
        waiting = inbox_watermark(tenant_id=row.tenant_id)
        with tenant_scope(row.tenant_id):
            held = held_select(uids=uids)
        failures = references_judge(references=row.references, held=held)
        is_early = timezone.now() < row.created_at + timedelta(seconds=WAIT_SECONDS)
        # Whatever waits there may be what is missing: its time is not compared, since clocks are set back.
        if NO_SUCH_INSTANCE in failures.values() and is_early and waiting is not None:
            with tenant_scope(row.tenant_id):
                commitment_release(row, wait_seconds=LOOK_SECONDS)
            return False
    row.failures = failures
    with tenant_scope(row.tenant_id):
        CommitmentRequest.objects.filter(id=row.id, claim=row.claim).update(failures=failures)
    return True


def _unreported(row: CommitmentRequest, words: str) -> float | None:
    attempts = row.attempts + 1
    log.warning("commitment %s: not reported, attempt %s", row.id, attempts)
    with tenant_scope(row.tenant_id):
        if attempts >= ATTEMPTS:
            row.attempts = attempts
            commitment_give_up(row, words=words)
            return None
        wait = float(min(2**attempts, PAUSE_CAP) * settings.MEDHUB_BACKOFF_UNIT_SECONDS)
        # Checked anew the next time: what we answer for is what is there when we say so.
        commitment_release(row, wait_seconds=wait, attempts=attempts, last_error=words[:200], failures=None)
    return wait
