"""Histories of a resource, a type and the hospital (FHIR R4 3.1.0.13)."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import orjson
from django.core import signing
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from fhirapi.bundles import history_bundle, link_url
from fhirapi.history import HistoryQuery, Place, versions_count, versions_read
from fhirapi.outcomes import FhirError
from fhirapi.registry import COUNT_DEFAULT, COUNT_MAX, TYPES
from fhirapi.search.dates import date_range
from fhirapi.sources import hospital_read
from fhirapi.validation import ID
from fhirapi.views.base import FhirView, base_url, type_check
from fhirapi.views.bodies import preference
from fhirapi.writing.conditional import FORM
from journal.audit import audit_record

CURSOR = "_cursor"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class HistoryView(FhirView):
    """GET [base]/[type]/[id]/_history, [base]/[type]/_history and [base]/_history."""

    def get(self, request: Request, slug: str, rtype: str = "", fhir_id: str = "") -> Response:
        if rtype:
            type_check(rtype)
        if fhir_id and not ID.fullmatch(fhir_id):
            raise FhirError(404)
        self.whole_check()  # an old version may be one that is not within the scope
        path = "/".join(part for part in (rtype, fhir_id, "_history") if part)
        kept = self.kept(request)
        query = self.query(rtype, fhir_id, kept, _salt(self.tenant_id, path, kept), request.query_params.get(CURSOR, ""))
        versions, is_more = versions_read(query=query)
        total = versions_count(query=query) if fhir_id else None
        if fhir_id and not versions and not versions_count(query=HistoryQuery(rtypes=(rtype,), fhir_id=fhir_id)):
            raise FhirError(404)
        audit_record(actor=self.actor, action="fhir.history", object_type=rtype or "-", object_id=fhir_id or "-")
        base = base_url(request, slug)
        here = [(CURSOR, request.query_params[CURSOR])] if query.after else []
        links = [("self", link_url(base=base, rtype=path, pairs=[*kept, *here]))]
        if is_more:
            cursor = _cursor_make(versions[-1].place, _salt(self.tenant_id, path, kept))
            links.append(("next", link_url(base=base, rtype=path, pairs=[*kept, (CURSOR, cursor)])))
        return Response(history_bundle(versions=versions, total=total, links=links, base=base, now=timezone.now()))

    def kept(self, request: Request) -> list[tuple[str, str]]:
        """The parameters that count, once each. Raises FhirError 400 for others under handling=strict."""
        names = set(request.query_params) - FORM - {CURSOR}
        if names - {"_count", "_since", "_at"} and preference(request, "handling") == "strict":
            raise FhirError(400, "A history takes _count, _since and _at.", code="not-supported")
        return [(name, request.query_params[name]) for name in ("_count", "_since", "_at") if request.query_params.get(name)]

    def query(self, rtype: str, fhir_id: str, kept: list[tuple[str, str]], salt: str, cursor: str) -> HistoryQuery:
        values = dict(kept)
        since, within = values.get("_since"), values.get("_at")
        shown = tuple(name for name in TYPES if name not in self.hidden)
        return HistoryQuery(
            rtypes=(rtype,) if rtype else shown, fhir_id=fhir_id, count=_count(values.get("_count", "")),
            since=date_range(text=since, zone=lambda: hospital_read().zone)[0] if since else None,
            within=date_range(text=within, zone=lambda: hospital_read().zone) if within else None,
            after=_cursor_read(cursor, salt) if cursor else None,
        )  # fmt: skip


def _count(text: str) -> int:
    if not text:
        return COUNT_DEFAULT
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise FhirError(400, "_count is no number.", code="value")
    return min(int(text), COUNT_MAX) or COUNT_DEFAULT


def _cursor_make(place: Place, salt: str) -> str:
    at, *rest = place
    return signing.dumps([(at - EPOCH) // timedelta(microseconds=1), *rest], salt=salt)


def _cursor_read(text: str, salt: str) -> Place:
    try:
        micros, number, fhir_id, version = signing.loads(text, salt=salt)
    except signing.BadSignature:
        raise FhirError(400, "The page link is not one of this history's.", code="value") from None
    return EPOCH + timedelta(microseconds=micros), number, fhir_id, version


def _salt(tenant_id: int, path: str, kept: list[tuple[str, str]]) -> str:
    return f"fhirapi.history.{sha256(orjson.dumps([tenant_id, path, kept])).hexdigest()}"
