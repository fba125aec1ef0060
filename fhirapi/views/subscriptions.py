"""$status and $events of Subscriptions (HL7 subscriptions-backport 1.1.0): how far a receiver was told, and what it may have missed."""

from collections.abc import Sequence
from uuid import uuid4

import orjson
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from fhirapi.models import Subscriber
from fhirapi.operations.known import Pairs, parameter_pairs
from fhirapi.outcomes import FhirError
from fhirapi.store import instant
from fhirapi.subscriptions.notices import QUERY_EVENT, QUERY_STATUS, events_read, notification_bundle, status_parameters
from fhirapi.subscriptions.selectors import subscriber_get, subscribers
from fhirapi.views.base import FhirView, base_url
from fhirapi.views.bodies import has_body, tree_read
from journal.audit import audit_facts_append, audit_record

IDS_MAX, EVENTS_MAX = 200, 500


class StatusesView(FhirView):
    """GET and POST [base]/Subscription/$status?id=...&status=..."""

    http_method_names = ["get", "head", "post"]
    letters = dict.fromkeys(["GET", "HEAD", "POST"], "rs")
    implied = "Subscription"

    def get(self, request: Request, slug: str, subscription: str = "") -> Response:
        return self.answer(request, slug, subscription)

    def post(self, request: Request, slug: str, subscription: str = "") -> Response:
        return self.answer(request, slug, subscription)

    def answer(self, request: Request, slug: str, subscription: str) -> Response:
        pairs = pairs_of(request)
        ids = _several(pairs, "id") if not subscription else []
        rows = [_found(subscription)] if subscription else subscribers(fhir_ids=ids[:IDS_MAX], states=_several(pairs, "status"))
        base = base_url(request, slug)
        audit_record(actor=self.actor, action="fhir.read", object_type="Subscription", object_id=subscription or "-")
        entries = [
            {
                "fullUrl": f"urn:uuid:{parameters['id']}",
                "resource": parameters,
                "search": {"mode": "match"},
            }
            for parameters in (status_parameters(row=row, kind=QUERY_STATUS, base=base) for row in rows)
        ]
        bundle = {
            "resourceType": "Bundle", "id": str(uuid4()), "type": "searchset", "timestamp": instant(timezone.now()),
            "total": len(entries),
        }  # fmt: skip
        return Response(orjson.dumps(bundle | ({"entry": entries} if entries else {})))


class StatusView(StatusesView):
    """GET and POST [base]/Subscription/[id]/$status."""


class EventsView(FhirView):
    """GET and POST [base]/Subscription/[id]/$events."""

    letters = dict.fromkeys(["GET", "HEAD", "POST"], "rs")
    implied = "Subscription"

    http_method_names = ["get", "head", "post"]

    def get(self, request: Request, slug: str, subscription: str) -> Response:
        pairs, row = pairs_of(request), _found(subscription)
        if row.rtype in self.hidden:  # what it tells of is not in the token's scopes
            raise FhirError(403)
        since, until = _number(pairs, "eventsSinceNumber", 1), _number(pairs, "eventsUntilNumber", row.last_number)
        content = next(iter(_several(pairs, "content")), row.content)
        if content not in Subscriber.Content.values:
            raise FhirError(400, f"content is one of {', '.join(Subscriber.Content.values)}.", code="value")
        events = events_read(row=row, since=since, until=until, content=content, limit=EVENTS_MAX)
        facts = dict.fromkeys((event.rtype, event.fhir_id) for event in events if content != Subscriber.Content.EMPTY)
        told = [("fhir.read", rtype, fhir_id) for rtype, fhir_id in facts or [("Subscription", subscription)]]
        audit_facts_append(tenant_id=self.tenant_id, actor=self.actor, facts=told)
        body = notification_bundle(
            row=row, kind=QUERY_EVENT, base=base_url(request, slug), now=timezone.now(), events=events, content=content
        )
        return Response(body)

    def post(self, request: Request, slug: str, subscription: str) -> Response:
        return self.get(request, slug, subscription)


def pairs_of(request: Request) -> Pairs:
    """The parameters of the address, and of a body."""
    pairs = [(name, value) for name, values in request.query_params.lists() for value in values]
    return pairs + (parameter_pairs(tree_read(request)) if request.method == "POST" and has_body(request) else [])


def _found(fhir_id: str) -> Subscriber:
    row = subscriber_get(fhir_id=fhir_id) if len(fhir_id) <= 64 and "\0" not in fhir_id else None
    if row is None:
        raise FhirError(404)
    return row


def _several(pairs: Pairs, name: str) -> Sequence[str]:
    return [part for key, value in pairs if key == name for part in value.split(",") if part and "\0" not in part]


def _number(pairs: Pairs, name: str, default: int) -> int:
    text = next((value for key, value in pairs if key == name), "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise FhirError(400, f"{name} is no number.", code="value")
    return int(text)
