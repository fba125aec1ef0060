"""What a receiver is sent: the backport's Bundle with its status, or R4's own requests. Built of stored texts, never rebuilt.

HL7 subscriptions-backport 1.1.0, "Notifications" and "Payload types"; FHIR R4 3.1.28.1 for the plain rest-hook.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import orjson
from django.db import connection

from fhirapi.models import Subscriber, SubscriptionEvent
from fhirapi.registry import TYPES
from fhirapi.store import instant
from fhirapi.subscriptions.topics import NOTIFICATION_PROFILE, STATUS_PROFILE, TOPICS
from fhirapi.validation import ID
from journal.wall.scope import tenant_id_current

Json = dict[str, Any]
Content = Subscriber.Content
HANDSHAKE, HEARTBEAT, EVENT, QUERY_STATUS, QUERY_EVENT = "handshake", "heartbeat", "event-notification", "query-status", "query-event"


@dataclass(frozen=True, kw_only=True)
class Told:
    """An event with the text of its version; "" where that is not to be sent or not there any more."""

    number: int
    rtype: str
    fhir_id: str
    version: int
    at: datetime
    text: str = ""


def events_read(*, row: Subscriber, since: int, until: int, content: str, limit: int) -> list[Told]:
    """Events from number `since` to `until`, both included, oldest first. Two statements."""
    found = SubscriptionEvent.objects.filter(subscriber_id=row.id, number__gte=since, number__lte=until).order_by("number")
    events = list(found.values_list("number", "rtype", "fhir_id", "version", "at")[:limit])
    texts = versions_read([event[1:4] for event in events]) if content == Content.FULL else {}
    return [
        Told(number=number, rtype=rtype, fhir_id=fhir_id, version=version, at=at, text=texts.get((rtype, fhir_id, version), ""))
        for number, rtype, fhir_id, version, at in events
    ]


def versions_read(wanted: Sequence[tuple[str, str, int]]) -> dict[tuple[str, str, int], str]:
    """The stored texts of these versions, current or past."""
    if not wanted:
        return {}
    numbers, ids, versions = ([TYPES[one[0]].number for one in wanted], [one[1] for one in wanted], [one[2] for one in wanted])
    names = {TYPES[rtype].number: rtype for rtype, _, _ in wanted}
    asked = "JOIN unnest(%s::smallint[], %s::text[], %s::integer[]) AS k(rtype, fhir_id, version) USING (rtype, fhir_id, version)"
    tenant_id = tenant_id_current()
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT r.rtype, r.fhir_id, r.version, r.content FROM fhir_resource r {asked} WHERE r.tenant_id = %s UNION ALL "  # noqa: S608
            f"SELECT h.rtype, h.fhir_id, h.version, h.content FROM fhir_history h {asked} WHERE h.tenant_id = %s AND h.method <> 'D'",
            [numbers, ids, versions, tenant_id, numbers, ids, versions, tenant_id],
        )
        return {(names[number], fhir_id, version): text for number, fhir_id, version, text in cursor.fetchall()}


def status_parameters(*, row: Subscriber, kind: str, base: str, events: Sequence[Told] = (), content: str = "") -> Json:
    """SubscriptionStatus in R4's words (backport-subscription-status-r4)."""
    parts: list[Json] = [{"name": "subscription", "valueReference": {"reference": f"{base}/Subscription/{row.fhir_id}"}}]
    if row.topic:
        parts.append({"name": "topic", "valueCanonical": TOPICS[row.topic].canonical})
    parts += [
        {"name": "status", "valueCode": row.state},
        {"name": "type", "valueCode": kind},
        {"name": "events-since-subscription-start", "valueString": str(row.last_number)},
    ]
    for event in events:
        told: list[Json] = [
            {"name": "event-number", "valueString": str(event.number)},
            {"name": "timestamp", "valueInstant": instant(event.at)},
        ]
        if content != Content.EMPTY:
            told.append({"name": "focus", "valueReference": {"reference": f"{base}/{event.rtype}/{event.fhir_id}"}})
        parts.append({"name": "notification-event", "part": told})
    if row.words:
        parts.append({"name": "error", "valueCodeableConcept": {"text": row.words}})
    return {"resourceType": "Parameters", "id": str(uuid4()), "meta": {"profile": [STATUS_PROFILE]}, "parameter": parts}


def notification_bundle(
    *, row: Subscriber, kind: str, base: str, now: datetime, events: Sequence[Told] = (), content: str = ""
) -> bytes:
    """A notification, or the answer of $events. `content` is how much the entries hold."""
    parameters = status_parameters(row=row, kind=kind, base=base, events=events, content=content)
    entries: list[Json] = [
        {
            "fullUrl": f"urn:uuid:{parameters['id']}",
            "resource": parameters,
            "request": {"method": "GET", "url": f"Subscription/{row.fhir_id}/$status"},
            "response": {"status": "200"},
        }
    ]
    seen: set[tuple[str, str, int]] = set()
    for event in events if content != Content.EMPTY else ():
        if (event.rtype, event.fhir_id, event.version) not in seen:
            seen.add((event.rtype, event.fhir_id, event.version))
            entries.append(_entry(event, base))
    return orjson.dumps({
        "resourceType": "Bundle", "id": str(uuid4()), "meta": {"profile": [NOTIFICATION_PROFILE]}, "type": "history",
        "timestamp": instant(now), "entry": entries,
    })  # fmt: skip


def _entry(event: Told, base: str) -> Json:
    is_new = event.version == 1
    found: Json = {"fullUrl": f"{base}/{event.rtype}/{event.fhir_id}"}
    if event.text:
        found["resource"] = orjson.Fragment(event.text)
    url = event.rtype if is_new else f"{event.rtype}/{event.fhir_id}"
    return found | {
        "request": {"method": "POST" if is_new else "PUT", "url": url},
        "response": {"status": "201" if is_new else "200", "etag": f'W/"{event.version}"', "lastModified": instant(event.at)},
    }


@dataclass(frozen=True, kw_only=True)
class Sending:
    """One HTTP request to a receiver."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    facts: tuple[tuple[str, str], ...] = ()  # (type, id) of what is told


def sending_make(*, row: Subscriber, headers: Mapping[str, str], base: str, now: datetime, limit: int) -> tuple[Sending | None, int]:
    """The next thing to tell, and the number up to which it tells. None: nothing is sent for it (R4 has no handshake)."""
    typed = {**headers, "Content-Type": "application/fhir+json"}
    if row.state == Subscriber.State.REQUESTED:
        if not row.topic:
            return None, row.sent_number
        body = notification_bundle(row=row, kind=HANDSHAKE, base=base, now=now)
        return Sending(method="POST", url=row.endpoint, headers=typed, body=body), row.sent_number
    events = events_read(row=row, since=row.sent_number + 1, until=row.last_number, content=row.content, limit=limit)
    facts = tuple((event.rtype, event.fhir_id) for event in events if row.content != Content.EMPTY)
    until = events[-1].number if events else row.last_number
    if row.topic:
        body = notification_bundle(row=row, kind=EVENT if events else HEARTBEAT, base=base, now=now, events=events, content=row.content)
        return Sending(method="POST", url=row.endpoint, headers=typed, body=body, facts=facts), until
    if not events:
        return None, until
    (event,) = events
    if row.content == Content.EMPTY:
        return Sending(method="POST", url=row.endpoint, headers=headers, body=b""), until
    if not event.text or not ID.fullmatch(event.fhir_id):
        return None, until
    where, mark, query = row.endpoint.partition("?")
    url = f"{where.rstrip('/')}/{event.rtype}/{event.fhir_id}{mark}{query}"
    return Sending(method="PUT", url=url, headers=typed, body=event.text.encode(), facts=facts), until


