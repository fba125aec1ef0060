"""Searching one type, a patient's compartment or the whole system, by GET or by POST _search (FHIR R4 3.1.0.9)."""

from dataclasses import replace
from zoneinfo import ZoneInfo

from django.http import QueryDict
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from fhirapi.bundles import link_url, searchset
from fhirapi.outcomes import FhirError
from fhirapi.search.form import document_form
from fhirapi.search.pages import Page, resource_search
from fhirapi.search.query import CURSOR, Parsed, cursor_make, query_parse
from fhirapi.sources import hospital_read
from fhirapi.validation import ID
from fhirapi.views.base import FhirView, base_url, type_check
from fhirapi.views.bodies import body_read, media_of
from journal.audit import audit_record

FORM = "application/x-www-form-urlencoded"
FORM_MAX = 64 * 1024
Pairs = list[tuple[str, str]]


class SearchAnswer(FhirView):
    """What all ways of asking share. An empty type is the whole system; `patient` narrows to one's compartment."""

    letters = dict.fromkeys(["GET", "HEAD", "POST"], "s")

    def answer(self, request: Request, slug: str, rtype: str, pairs: Pairs, patient: str = "") -> Response:
        if rtype:
            type_check(rtype)
        base = base_url(request, slug)
        of_launch = bool(self.owned) and patient == self.owned_patient
        if self.is_own and patient and not of_launch:
            raise FhirError(404)
        self.ways_check(pairs, is_of_launch=of_launch)
        self._zone: ZoneInfo | None = None
        parsed = query_parse(
            tenant_id=self.tenant_id, rtype=rtype, pairs=pairs, base=base, zone=self.zone, is_strict=_is_strict(request),
            patient=self.owned_patient if self.is_own else patient, place=patient, owned=self.owned,
            hidden=self.hidden - (self.owned.rtypes if self.owned and of_launch else frozenset()), within=self.narrowed,
        )  # fmt: skip
        page = resource_search(query=parsed.query)
        audit_record(actor=self.actor, action="fhir.search", object_type=rtype or "-", object_id="-")
        links = self.links(base, rtype, parsed, page, cursor=next((v for n, v in pairs if n == CURSOR), ""), patient=patient)
        page = replace(page, matches=tuple(document_form(document=one, form=parsed.form) for one in page.matches))
        return Response(searchset(page=page, links=links, base=base, ignored=parsed.ignored, now=timezone.now()))

    def ways_check(self, pairs: Pairs, *, is_of_launch: bool) -> None:
        """Of a type that is there in part, nothing is asked by the way. Raises FhirError 403."""
        names = [name for name, _ in pairs]
        is_chained = any(name.startswith("_has") or "." in name for name in names)
        is_including = any(name.startswith(("_include", "_revinclude")) for name in names)
        if (self.narrowed and is_including) or ((self.is_partial or is_of_launch) and is_chained):
            raise FhirError(403, "With a narrowed scope nothing is asked or included by the way.")

    def links(self, base: str, rtype: str, parsed: Parsed, page: Page, *, cursor: str, patient: str) -> list[tuple[str, str]]:
        """Self as we understood it, and next with everything the search needs: a page never leans on a session."""
        here = [*parsed.kept, (CURSOR, cursor)] if cursor else parsed.kept
        place = f"Patient/{patient}/{rtype}" if patient else rtype
        links = [("self", link_url(base=base, rtype=place, pairs=here))]
        if page.last:
            after = cursor_make(tenant_id=self.tenant_id, rtype=rtype, kept=parsed.kept, position=page.last, patient=patient)
            links.append(("next", link_url(base=base, rtype=place, pairs=[*parsed.kept, (CURSOR, after)])))
        return links

    def zone(self) -> ZoneInfo:
        """The hospital's, asked once a request and only where a date needs it."""
        self._zone = self._zone or hospital_read().zone
        return self._zone


class SearchView(SearchAnswer):
    """GET [base]/[type]?..."""

    def get(self, request: Request, slug: str, rtype: str) -> Response:
        return self.answer(request, slug, rtype, _pairs(request.query_params))


class CompartmentView(SearchAnswer):
    """GET [base]/Patient/[id]/[type]?... (FHIR R4 3.1.1.1)."""

    def get(self, request: Request, slug: str, patient: str, rtype: str) -> Response:
        if not ID.fullmatch(patient):
            raise FhirError(404)
        return self.answer(request, slug, "" if rtype == "*" else rtype, _pairs(request.query_params), patient)


class SystemSearchView(SearchAnswer):
    """GET [base]?_type=... and what all these types know."""

    def get(self, request: Request, slug: str) -> Response:
        return self.answer(request, slug, "", _pairs(request.query_params))


class SearchFormAnswer(SearchAnswer):
    """The parameters stay out of addresses, and so out of other people's logs; those of the address count as well."""

    def form_answer(self, request: Request, slug: str, rtype: str) -> Response:
        data = body_read(request, limit=FORM_MAX)
        if data and media_of(request) != FORM:
            raise FhirError(415)
        return self.answer(request, slug, rtype, _pairs(request.query_params) + _pairs(QueryDict(data, encoding=request.encoding)))


class SearchFormView(SearchFormAnswer):
    """POST [base]/[type]/_search."""

    def post(self, request: Request, slug: str, rtype: str) -> Response:
        return self.form_answer(request, slug, rtype)


class SystemFormView(SearchFormAnswer):
    """POST [base]/_search."""

    def post(self, request: Request, slug: str) -> Response:
        return self.form_answer(request, slug, "")


def _pairs(parameters: object) -> Pairs:
    return [(name, value) for name, values in parameters.lists() for value in values]  # type: ignore[attr-defined]


def _is_strict(request: Request) -> bool:
    """RFC 7240: several preferences in one header, in any order."""
    preferences = request.headers.get("Prefer", "").replace(";", ",").split(",")
    return "handling=strict" in {preference.replace(" ", "") for preference in preferences}
