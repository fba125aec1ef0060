"""Searching one type, by GET or by POST _search."""

from zoneinfo import ZoneInfo

from django.utils import timezone
from rest_framework.parsers import FormParser
from rest_framework.request import Request
from rest_framework.response import Response

from fhirapi.bundles import link_url, searchset
from fhirapi.outcomes import FhirError
from fhirapi.query import CURSOR, Parsed, cursor_make, query_parse
from fhirapi.search import Page, resource_search
from fhirapi.sources import hospital_read
from fhirapi.views.base import FhirView, base_url, type_check
from journal.audit import audit_record

FORM_MAX = 64 * 1024
Pairs = list[tuple[str, str]]


class SearchAnswer(FhirView):
    """What both ways of asking share."""

    def answer(self, request: Request, slug: str, rtype: str, pairs: Pairs) -> Response:
        type_check(rtype)
        base = base_url(request, slug)
        parsed = query_parse(
            tenant_id=self.tenant_id, rtype=rtype, pairs=pairs, base=base, zone=self.zone, is_strict=_is_strict(request)
        )
        page = resource_search(query=parsed.query)
        audit_record(actor=self.actor, action="fhir.search", object_type=rtype, object_id="-")
        links = self.links(base, rtype, parsed, page, cursor=next((v for n, v in pairs if n == CURSOR), ""))
        return Response(searchset(page=page, links=links, base=base, ignored=parsed.ignored, now=timezone.now()))

    def links(self, base: str, rtype: str, parsed: Parsed, page: Page, *, cursor: str) -> list[tuple[str, str]]:
        """Self as we understood it, and next with everything the search needs: a page never leans on a session."""
        here = [*parsed.kept, (CURSOR, cursor)] if cursor else parsed.kept
        links = [("self", link_url(base=base, rtype=rtype, pairs=here))]
        if page.last:
            place = cursor_make(tenant_id=self.tenant_id, rtype=rtype, kept=parsed.kept, position=page.last)
            links.append(("next", link_url(base=base, rtype=rtype, pairs=[*parsed.kept, (CURSOR, place)])))
        return links

    def zone(self) -> ZoneInfo:
        return hospital_read().zone


class SearchView(SearchAnswer):
    """GET [base]/[type]?..."""

    def get(self, request: Request, slug: str, rtype: str) -> Response:
        return self.answer(request, slug, rtype, _pairs(request.query_params))


class SearchFormView(SearchAnswer):
    """POST [base]/[type]/_search: the parameters stay out of addresses, and so out of other people's logs."""

    parser_classes = [FormParser]

    def post(self, request: Request, slug: str, rtype: str) -> Response:
        if int(request.headers.get("Content-Length") or 0) > FORM_MAX:
            raise FhirError(413)
        return self.answer(request, slug, rtype, _pairs(request.query_params) + (_pairs(request.data) if request.data else []))


def _pairs(parameters: object) -> Pairs:
    return [(name, value) for name, values in parameters.lists() for value in values]  # type: ignore[attr-defined]


def _is_strict(request: Request) -> bool:
    """RFC 7240: several preferences in one header, in any order."""
    preferences = request.headers.get("Prefer", "").replace(";", ",").split(",")
    return "handling=strict" in {preference.replace(" ", "") for preference in preferences}
