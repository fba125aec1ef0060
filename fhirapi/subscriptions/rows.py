"""Subscribers as rows: kept when their Subscription is written, claimed, told, ended, asked for again. `run` and the doors call it.

`due_at` is the lease, as everywhere: a worker that dies leaves a row that becomes due, and what it may have sent is sent again under
the same numbers. The status of the Subscription is the row's state, written into the resource with it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import orjson
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from fhirapi.jsontext import json_load
from fhirapi.models import Subscriber, SubscriptionEvent
from fhirapi.outcomes import FhirError
from fhirapi.registry import TYPES
from fhirapi.store import REST, draft_make, drafts_write, lock_name, lock_take, rows_read
from fhirapi.subscriptions.asking import Wish
from fhirapi.subscriptions.known import watches_forget
from fhirapi.subscriptions.matching import subscribers_nudge
from journal.audit import Actor, audit_record
from journal.outbox import lease_end
from journal.wall.ids import id_new
from journal.wall.scope import tenant_id_current
from tenants.crypto import SecretLostError, secret_open, secret_seal
from tenants.oauth.scopes import access_of
from tenants.permissions import is_allowed
from tenants.selectors import client_scopes, token_role

State = Subscriber.State
NUMBER = TYPES["Subscription"].number
SUBSCRIBERS_MAX = 200  # of one hospital
MAX_ATTEMPTS, HANDSHAKES = 12, 4  # before a person must look
LONGEST_WAIT = 900  # units of MEDHUB_BACKOFF_UNIT_SECONDS
SEE_SECONDS = 0.5  # beyond the time that processes remember: their clocks and ours


@dataclass(frozen=True, kw_only=True)
class Author:
    """Who writes a Subscription: it may tell no more than this role may read, for as long as this key lives."""

    name: str
    role: str


def subscription_keep(*, fhir_id: str, wish: Wish, author: Author) -> None:
    """Make or change the row of a Subscription that is being written. Its events and their numbers stay. In the write's scope."""
    row = Subscriber.objects.select_for_update().filter(fhir_id=fhir_id).first()
    if row is None and Subscriber.objects.count() >= SUBSCRIBERS_MAX:
        raise FhirError(422, f"A hospital has at most {SUBSCRIBERS_MAX} subscriptions.", code="too-costly")
    now = timezone.now()
    row = row or Subscriber(fhir_id=fhir_id, created_at=now)
    row.headers = _sealed(row, wish)
    for name in ("rtype", "topic", "endpoint", "content", "heartbeat_seconds", "timeout_seconds", "max_count", "until"):
        setattr(row, name, getattr(wish, name))
    row.filters, row.creator, row.role = list(wish.filters), author.name, author.role
    row.state, row.words, row.attempts, row.claim = State.OFF if wish.is_off else State.REQUESTED, "", 0, 0
    # Not before every process has heard of it: what is written after the handshake is noted.
    row.due_at = None if wish.is_off else now + timedelta(seconds=settings.MEDHUB_SUBSCRIPTION_KNOWN_SECONDS + SEE_SECONDS)
    row.save()
    _changed([row.id])


def subscription_drop(*, fhir_ids: Sequence[str]) -> None:
    """Their Subscriptions are deleted: nobody is told any more."""
    rows = Subscriber.objects.filter(fhir_id__in=fhir_ids)
    SubscriptionEvent.objects.filter(subscriber__fhir_id__in=fhir_ids).delete()
    rows.delete()
    _changed([])


def _changed(subscriber_ids: Sequence[int]) -> None:
    transaction.on_commit(partial(watches_forget, tenant_id=tenant_id_current()), robust=True)
    subscribers_nudge(subscriber_ids=subscriber_ids)


def _sealed(row: Subscriber, wish: Wish) -> str:
    """Headers for the row. A value that the client did not say again is the one that is known, to the same address only."""
    known = headers_open(row) if row.headers and row.endpoint == wish.endpoint else {}
    headers = {name: known.get(name, "") if value is None else value for name, value in wish.headers.items()}
    missing = [name for name, value in wish.headers.items() if value is None and name not in known]
    if missing:
        raise FhirError(422, "channel.header: a value that is not shown must be sent again with another endpoint.", code="value")
    return secret_seal(orjson.dumps(headers), tenant_id=tenant_id_current()) if headers else ""


def headers_open(row: Subscriber) -> dict[str, str]:
    """What is sent along. Nothing where no vault key opens it any more: then the receiver refuses, and that shows."""
    try:
        found: dict[str, str] = orjson.loads(secret_open(row.headers, tenant_id=row.tenant_id)) if row.headers else {}
    except SecretLostError:
        return {}
    return found


def events_number(*, subscriber_id: int) -> Subscriber | None:
    """Give numbers to the events that are committed by now, without a gap, and make the row due. The row, locked, or None."""
    fhir_id = Subscriber.objects.filter(id=subscriber_id).values_list("fhir_id", flat=True).first()
    if fhir_id is None:
        return None
    lock_take(names=[lock_name(key=(NUMBER, fhir_id))])  # before the row, in the order of those who write the resource
    row: Subscriber | None = Subscriber.objects.select_for_update().filter(id=subscriber_id).first()
    if row is None:
        return None
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE fhirapi_subscriptionevent e SET number = n.number, due_at = NULL FROM ("
            "SELECT id, %s + row_number() OVER (ORDER BY id) AS number FROM fhirapi_subscriptionevent "
            "WHERE tenant_id = %s AND subscriber_id = %s AND number IS NULL) n WHERE e.tenant_id = %s AND e.id = n.id",
            [row.last_number, row.tenant_id, row.id, row.tenant_id],
        )
        count = cursor.rowcount
    if count:
        row.last_number += count
        # Somebody who is on it goes on to these; a failure's wait is not cut short by news.
        if row.state == State.ACTIVE and (row.attempts == 0 and not row.claim):
            row.due_at = timezone.now()
        row.save(update_fields=["last_number", "due_at"])
    return row


def event_subscribers(*, event_id: int) -> list[int]:
    """The subscriber of an event that has no number yet."""
    found = SubscriptionEvent.objects.filter(id=event_id, number=None)
    return list(found.values_list("subscriber_id", flat=True))


def events_purge() -> int:
    """Forget what was told longer ago than events are kept; what was not told yet stays as long as its subscriber fails or waits."""
    before = timezone.now() - timedelta(days=settings.MEDHUB_SUBSCRIPTION_DAYS)
    old = SubscriptionEvent.objects.filter(at__lt=before, number__isnull=False)
    gone, _ = old.filter(Q(number__lte=F("subscriber__sent_number")) | Q(subscriber__state=State.OFF)).delete()
    return gone


def subscriber_claim(*, subscriber_id: int) -> Subscriber | None:
    """Number what is new, and take the lease of a row that is due. None: nothing is to be told now, or somebody is on it."""
    row = events_number(subscriber_id=subscriber_id)
    now = timezone.now()
    if row is None or row.due_at is None or row.due_at > now or row.state not in {State.REQUESTED, State.ACTIVE}:
        return None
    if not creator_may(row):
        state_set(row, state=State.OFF, words="the key that made it was revoked, or may not read any more")
        return None
    if row.until is not None and row.until <= now:
        state_set(row, state=State.OFF, words="its end has come")
        return None
    row.due_at, row.claim, row.attempts = lease_end(now), id_new(), row.attempts + 1
    if row.attempts > MAX_ATTEMPTS + 1:  # each time the worker died over it
        state_set(row, state=State.ERROR, words="given up: no attempt came to an end")
        return None
    row.save(update_fields=["due_at", "claim", "attempts"])
    return row


def creator_may(row: Subscriber) -> bool:
    """May whoever made it still read? A key that is revoked or whose role is another one stops its subscriptions."""
    kind, _, number = row.creator.partition(":")
    if kind == "client":
        scopes = client_scopes(tenant_id=row.tenant_id, client_id=number)
        return bool(scopes) and all(access_of(scopes).may(row.rtype, letter) for letter in "rs")
    if kind != "token" or not number.isdigit():
        return False
    role = token_role(tenant_id=row.tenant_id, token_id=int(number))
    return role == row.role and is_allowed(role=role, capability="fhir.read")


def subscriber_renew(row: Subscriber) -> bool:
    return bool(_mine(row).update(due_at=lease_end(timezone.now())))


def subscriber_told(row: Subscriber, *, until_number: int) -> bool:
    """The receiver has taken everything up to this number. True: there is more to tell at once."""
    now = timezone.now()
    fresh = events_number(subscriber_id=row.id)
    if fresh is None or fresh.claim != row.claim:
        return False
    was = fresh.state
    fresh.sent_number, fresh.attempts, fresh.words, fresh.success_at, fresh.beat_at = until_number, 0, "", now, now
    fresh.claim = 0
    fresh.due_at = _next(fresh)
    fresh.save()
    if was == State.REQUESTED:
        state_set(fresh, state=State.ACTIVE, words="")
    return bool(fresh.sent_number < fresh.last_number)


def _next(row: Subscriber) -> Any:
    """When somebody must look again: now for what is pending, else when the receiver is to hear that we are there, or at the end."""
    now = timezone.now()
    if row.sent_number < row.last_number:
        return now
    moments = [row.until] if row.until else []
    if row.heartbeat_seconds:
        moments.append(now + timedelta(seconds=row.heartbeat_seconds))
    return min(moments, default=None)


def subscriber_failed(row: Subscriber, *, words: str, is_permanent: bool) -> float | None:
    """Back off with jitter, or give up: then the Subscription says `error`. The seconds to wait, None when nobody is to come back."""
    fresh = events_number(subscriber_id=row.id)
    if fresh is None or fresh.claim != row.claim:
        return None
    fresh.failed_at = timezone.now()
    most = HANDSHAKES if fresh.state == State.REQUESTED else MAX_ATTEMPTS
    if is_permanent or fresh.attempts >= most:
        state_set(fresh, state=State.ERROR, words=words)
        return None
    longest = min(2**fresh.attempts, LONGEST_WAIT) * settings.MEDHUB_BACKOFF_UNIT_SECONDS
    wait = float(longest * random.uniform(0.5, 1))  # noqa: S311 no secret
    fresh.due_at, fresh.claim, fresh.words = fresh.failed_at + timedelta(seconds=wait), 0, words[:300]
    fresh.save()
    return wait


def subscriber_resume(*, actor: Actor, row: Subscriber) -> bool:
    """A person wants it to go on, from where it stopped. False for one that runs, or that its client has switched off."""
    fresh = events_number(subscriber_id=row.id)
    if fresh is None or not (fresh.state == State.ERROR or (fresh.state == State.ACTIVE and fresh.attempts)):
        return False
    row = fresh
    row.attempts, row.claim, row.due_at = 0, 0, timezone.now()
    if row.state == State.ERROR:
        state_set(row, state=State.REQUESTED, words="", due_at=row.due_at)
    else:
        row.save(update_fields=["attempts", "claim", "due_at"])
    audit_record(actor=actor, action="subscription.resume", object_type="Subscription", object_id=row.fhir_id)
    subscribers_nudge(subscriber_ids=[row.id])
    return True


def subscriber_test(*, actor: Actor, row: Subscriber) -> bool:
    """A heartbeat, now. False where none can be sent: not active, no topic, or somebody is on it."""
    fresh = events_number(subscriber_id=row.id)
    if fresh is None or fresh.state != State.ACTIVE or not fresh.topic or fresh.claim:
        return False
    fresh.due_at = timezone.now()
    fresh.save(update_fields=["due_at"])
    audit_record(actor=actor, action="subscription.test", object_type="Subscription", object_id=row.fhir_id)
    subscribers_nudge(subscriber_ids=[row.id])
    return True


def _mine(row: Subscriber) -> "QuerySet[Subscriber]":
    found: QuerySet[Subscriber] = Subscriber.objects.filter(id=row.id, claim=row.claim, state=row.state)
    return found


def state_set(row: Subscriber, *, state: str, words: str, due_at: Any = None) -> None:
    """Move the row, and say so in the resource: a version of it that the hub writes and its client may go on from."""
    if state == State.ACTIVE:
        due_at = _next(row)
    row.state, row.words, row.due_at, row.claim = state, words[:300], due_at, 0
    row.attempts = 0 if state in {State.ACTIVE, State.REQUESTED} else row.attempts
    row.save()
    key = (NUMBER, row.fhir_id)
    lock_take(names=[lock_name(key=key)])
    rows = rows_read(keys=[key], is_content_wanted=True)
    if key in rows:
        resource = {name: value for name, value in json_load(rows[key].content.encode()).items() if name != "error"}
        resource["status"] = State(state).value
        if words:
            resource["error"] = words
        drafts_write(drafts=[draft_make(resource=resource, writer=REST)], rows=rows, graves={})
    transaction.on_commit(partial(watches_forget, tenant_id=row.tenant_id), robust=True)
