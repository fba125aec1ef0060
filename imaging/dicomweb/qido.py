"""QIDO-RS (PS3.18 10.6): studies, series and instances, at their own addresses and below one another.

404 below a study or series that is not there or not yours, 400 for a request that is malformed, `Warning: 299` where less is done
than was asked, `[]` where nothing matches.
"""

from collections.abc import Sequence

import orjson
from django.http import Http404, HttpResponse, HttpResponseBase
from rest_framework.request import Request

from imaging.dicomweb.accept import Offer, accept_choose
from imaging.dicomweb.qidoanswer import JsonEncoder
from imaging.dicomweb.reading import ReadView, Unreadable
from imaging.dicomweb.rows import place_exists, query_audit
from imaging.dicomweb.stow import StowView
from imaging.dicomweb.streams import Part, Piece, parts_response
from imaging.dicomweb.xmlmodel import object_xml
from imaging.query.attributes import SERIES_UID, STUDY_UID, Level
from imaging.query.keys import QueryError
from imaging.query.match import Value
from imaging.query.rows import QueryTooWideError, page_rows
from imaging.query.web import WebQuery, web_query
from imaging.querytags.known import tags_declared

JSON, XML = "application/dicom+json", "application/dicom+xml"
OFFERS = (Offer(JSON, is_plain=True), Offer("application/json", is_plain=True), Offer(XML))
MORE = "there are more matches: ask for them with offset"


class SearchView(ReadView):
    """GET /studies, /series, /instances, and /studies/{s}/series, /studies/{s}/instances, /studies/{s}/series/{e}/instances."""

    level = Level.STUDY
    produces = tuple(map(str, OFFERS))

    def get(self, request: Request, slug: str, study_uid: str = "", series_uid: str = "") -> HttpResponseBase:
        offer = accept_choose(accepted=self.accepted(request), offers=OFFERS)
        unique = {tag: uid for tag, uid in ((STUDY_UID, study_uid), (SERIES_UID, series_uid)) if uid}
        parameters = [(name, value) for name, values in request.GET.lists() for value in values]
        try:
            known = tags_declared(tenant_id=self.tenant_id).attributes
            asked = web_query(level=self.level, parameters=parameters, unique=unique, known=known)
            rows, has_more = self._page(asked, study_uid, series_uid)
        except QueryError as error:
            raise Unreadable(400, error.comment) from None
        except QueryTooWideError as error:
            raise Unreadable(413, error.comment) from None
        encoder = JsonEncoder(asked.query, base=self.base(request), items=asked.items)
        response = _answer([encoder.encode(row) for row in rows], offer)
        warnings = [*asked.warnings, *([MORE] if has_more and not asked.is_limited else [])]
        if warnings:
            response["Warning"] = ", ".join(f'299 medhub "{words}"' for words in warnings)
        response["Vary"] = "Accept"
        return response

    def _page(self, asked: WebQuery, study_uid: str, series_uid: str) -> tuple[list[list[Value]], bool]:
        plan, tenant_id = asked.plan(), self.tenant_id
        query_audit(tenant_id=tenant_id, actor=self.actor, level=asked.query.level.name)
        found = page_rows(plan, tenant_id=tenant_id, limit=asked.limit, offset=asked.offset, unique=asked.query.unique)
        if study_uid and not found[0] and not place_exists(tenant_id=tenant_id, study_uid=study_uid, series_uid=series_uid):
            raise Http404
        return found


class SeriesSearchView(SearchView):
    level = Level.SERIES


class InstancesSearchView(SearchView):
    level = Level.IMAGE


class StudiesView(SearchView, StowView):
    """GET and POST of one address: each keeps its own rules."""

    capabilities = {**ReadView.capabilities, "POST": "dicom.store"}
    parser_classes = []


def _answer(matches: Sequence[bytes], offer: Offer) -> HttpResponseBase:
    if offer.media_type != XML:
        return HttpResponse(b"[" + b",".join(matches) + b"]", content_type=offer.media_type)
    return parts_response([Part(XML, (Piece(object_xml(orjson.loads(match))),)) for match in matches], media_type=XML)
