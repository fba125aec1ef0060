"""GET and POST [base]/Patient/[id]/$everything (FHIR R4, operation Patient-everything)."""

from functools import cached_property
from hashlib import sha256
from zoneinfo import ZoneInfo

import orjson
from django.core import signing
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from fhirapi.bundles import link_url, searchset
from fhirapi.operations.everything import EverythingQuery, Place, care_dates, everything_read
from fhirapi.operations.known import Pairs, parameter_pairs
from fhirapi.outcomes import FhirError
from fhirapi.registry import COUNT_MAX, TYPES
from fhirapi.search.dates import date_range
from fhirapi.search.pages import Page
from fhirapi.search.values import Context
from fhirapi.sources import hospital_read
from fhirapi.views.base import FhirView, base_url
from fhirapi.views.bodies import has_body, preference, tree_read
from fhirapi.views.operations import found
from fhirapi.writing.conditional import FORM
from journal.audit import audit_record

CURSOR = "_cursor"
ONCE = ("start", "end", "_since", "_count")
PARAMETERS = (*ONCE, "_type")


class EverythingView(FhirView):
    """Two statements a page: the patient, and what belongs to them."""

    implied = "Patient"

    def get(self, request: Request, slug: str, patient: str) -> Response:
        pairs = [(name, value) for name, values in request.query_params.lists() for value in values if name not in FORM]
        return self.answer(request, slug, patient, pairs)

    def post(self, request: Request, slug: str, patient: str) -> Response:
        return self.answer(request, slug, patient, parameter_pairs(tree_read(request)) if has_body(request) else [])

    def answer(self, request: Request, slug: str, patient: str, pairs: Pairs) -> Response:
        if self.narrowed:
            self.whole_check()
        if self.is_own and patient != self.owned_patient:
            raise FhirError(404)
        found("Patient", patient)
        base, place = base_url(request, slug), f"Patient/{patient}/$everything"
        ignored = sorted({name for name, _ in pairs} - {CURSOR, *PARAMETERS})
        if ignored and preference(request, "handling") == "strict":
            raise FhirError(400, f"$everything takes {', '.join(PARAMETERS)}.", code="not-supported")
        kept = [(name, value) for name, value in pairs if name in PARAMETERS and value]
        cursor = next((value for name, value in pairs if name == CURSOR), "")
        salt = f"fhirapi.operations.everything.{sha256(orjson.dumps([self.tenant_id, patient, kept])).hexdigest()}"
        documents, last = everything_read(query=self.query(patient, kept, base, _cursor_read(cursor, salt)))
        audit_record(actor=self.actor, action="fhir.everything", object_type="Patient", object_id=patient)
        links = [("self", link_url(base=base, rtype=place, pairs=[*kept, (CURSOR, cursor)] if cursor else kept))]
        if last:
            after = signing.dumps(last, salt=salt)
            links.append(("next", link_url(base=base, rtype=place, pairs=[*kept, (CURSOR, after)])))
        named = ["another parameter"] if ignored else []
        return Response(
            searchset(page=Page(matches=tuple(documents)), links=links, base=base, ignored=named, now=timezone.now())
        )

    def query(self, patient: str, kept: Pairs, base: str, after: Place) -> EverythingQuery:
        values = dict(kept)
        if len([name for name, _ in kept if name in ONCE]) > len(set(values) & set(ONCE)):
            raise FhirError(400, "A parameter that may be there once is there twice.", code="value")
        since = values.get("_since", "")
        context = Context(tenant_id=self.tenant_id, base=base, zone=self.zone)
        return EverythingQuery(
            patient=patient, rtypes=self.types(patient, kept), count=_count(values.get("_count", "")), after=after,
            terms=care_dates(context=context, start=values.get("start", ""), end=values.get("end", "")),
            since=date_range(text=since, zone=self.zone)[0] if since else None,
        )  # fmt: skip

    def types(self, patient: str, kept: Pairs) -> tuple[str, ...]:
        wanted = [name.strip() for key, value in kept if key == "_type" for name in value.split(",")]
        if not set(wanted) <= set(TYPES):
            raise FhirError(400, "_type names a type that is not held here.", code="value")
        # All of it is the one patient's, whose resources the token may see of these types as well.
        hidden = self.hidden - (self.owned.rtypes if self.owned and patient == self.owned.patient else frozenset())
        if hidden & set(wanted):
            raise FhirError(403)
        return tuple(name for name in wanted or TYPES if name not in hidden)

    @cached_property
    def hospitals_zone(self) -> ZoneInfo:
        return hospital_read().zone

    def zone(self) -> ZoneInfo:
        """Asked once a request, and only where a day needs it."""
        return self.hospitals_zone


def _count(text: str) -> int:
    """Without one, as much as a page may hold: who asks for everything may not know of pages."""
    if not text:
        return COUNT_MAX
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) == 0:
        raise FhirError(400, "_count is no positive number.", code="value")
    return min(int(text), COUNT_MAX)


def _cursor_read(text: str, salt: str) -> Place:
    if not text:
        return 0, 0
    try:
        number, rid = signing.loads(text, salt=salt)
    except signing.BadSignature:
        raise FhirError(400, "The page link is not one of this answer's.", code="value") from None
    return number, rid
