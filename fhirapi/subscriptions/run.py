"""One subscriber told what is next: handshake, events in their order, a heartbeat. Called by the task; the network is in no scope.

Whoever fails waits for itself alone: a subscriber has one lease, a hospital its share of the threads, and those that answer have
threads that no failing one takes (ai/lanes.py, decision 0011).
"""

import logging
import time
from collections.abc import Mapping
from functools import partial
from urllib.parse import urlsplit

from django.utils import timezone

from ai.lanes import Lanes
from fhirapi.models import Subscriber
from fhirapi.subscriptions.known import fhir_base
from fhirapi.subscriptions.notices import Sending, sending_make
from fhirapi.subscriptions.rows import headers_open, subscriber_claim, subscriber_failed, subscriber_renew, subscriber_told
from journal.audit import Actor, audit_facts_append
from journal.faults import fault
from journal.leases import Lease
from journal.wall.scope import tenant_scope
from tenants.egress import ANSWER_SECONDS, Egress, EgressFailed, EgressRefused, address_check

log = logging.getLogger(__name__)

LANES = Lanes()
TURN_SECONDS = 10.0  # then others have their turn
MESSAGE_CAP = 60.0  # a longer wait is left to the sweep
PERMANENT = {410}  # Gone: the receiver wants no more


class _NotTaken(Exception):
    def __init__(self, words: str, *, is_permanent: bool = False) -> None:
        super().__init__(words)
        self.words = words
        self.is_permanent = is_permanent


def subscriber_step(*, tenant_id: int, subscriber_id: int) -> float | None:
    """Tell as much as a turn allows. Returns seconds until it should be tried again, or None when the sweep or nobody should."""
    end = time.monotonic() + TURN_SECONDS
    while True:
        with tenant_scope(tenant_id):
            row = subscriber_claim(subscriber_id=subscriber_id)
        if row is None:
            return None
        with LANES.lane(connection_id=row.id, platform=str(tenant_id), is_stat=row.attempts <= 1) as wait:
            if wait:
                with tenant_scope(tenant_id):
                    Subscriber.objects.filter(id=row.id, claim=row.claim).update(
                        due_at=timezone.now(), claim=0, attempts=row.attempts - 1
                    )
                return wait
            again = _tell(row)
        if again is None or again > 0:
            return again if again is None or again <= MESSAGE_CAP else None
        if time.monotonic() > end:
            return 0.0


def _tell(row: Subscriber) -> float | None:
    """One notification. 0 when there is more to tell at once."""
    with Lease(tenant_id=row.tenant_id, renew=partial(subscriber_renew, row)):
        with tenant_scope(row.tenant_id):
            base = fhir_base(tenant_id=row.tenant_id)
            sending, until = sending_make(
                row=row, headers=headers_open(row), base=base, now=timezone.now(), limit=row.max_count
            )
            if sending is not None and sending.facts:  # committed before a byte leaves
                audit_facts_append(
                    tenant_id=row.tenant_id, actor=Actor(name=f"system:subscription-{row.fhir_id}"),
                    facts=[("fhir.notify", rtype, fhir_id) for rtype, fhir_id in dict.fromkeys(sending.facts)],
                )  # fmt: skip
        try:
            fault("notify.before_send")
            _send(row, sending)
            fault("notify.after_send")
        except _NotTaken as error:
            log.warning("subscriber %s: attempt %s failed, %s", row.id, row.attempts, error.words)
            with tenant_scope(row.tenant_id):
                return subscriber_failed(row, words=error.words, is_permanent=error.is_permanent)
    with tenant_scope(row.tenant_id):
        is_more = subscriber_told(row, until_number=until)
    return 0.0 if is_more else None


def _send(row: Subscriber, sending: Sending | None) -> None:
    """Raises _NotTaken, in words of ours: what the receiver says may hold anything."""
    try:
        if sending is None:
            parts = urlsplit(row.endpoint)
            address_check(host=parts.hostname or "", port=parts.port or (443 if parts.scheme == "https" else 80))
            return
        status = _status(row, sending)
    except EgressRefused as error:
        raise _NotTaken(error.user_message, is_permanent=True) from None
    except EgressFailed as error:
        raise _NotTaken(error.user_message) from None
    if not 200 <= status < 300:
        raise _NotTaken(f"the receiver answered {status}", is_permanent=status in PERMANENT)


def _status(row: Subscriber, sending: Sending) -> int:
    http = Egress(read_seconds=float(min(row.timeout_seconds, ANSWER_SECONDS)))
    headers: Mapping[str, str] = sending.headers
    return http.request(sending.method, sending.url, headers=headers, content=sending.body)[0]
