"""UPS-RS (PS3.18 11): the doors of the worklist, under a hospital's DICOMweb root. Bodies are read before a transaction opens."""

import uuid
from typing import Any

import orjson
from django.http import HttpResponse, HttpResponseBase
from rest_framework import exceptions
from rest_framework.request import Request

from ai.workitems import dataset as ds
from ai.workitems.search import search_read
from ai.workitems.selectors import TooManyError, Viewer, workitem_dataset, workitem_get, workitems_search
from ai.workitems.services import (
    NotYoursError,
    workitem_cancel_request,
    workitem_create,
    workitem_state_change,
    workitem_update,
)
from ai.workitems.states import NOT_FOUND, UpsRefused, Word
from imaging.dicomweb.accept import MediaRange, NotAcceptable, Offer, accept_choose, accept_read
from imaging.dicomweb.reading import allow_response
from imaging.dicomweb.related import BodyError, limited, media_type
from imaging.dicomweb.stow import AnyAccept, DicomJSONRenderer
from imaging.dicomweb.streams import Part, Piece, parts_response
from imaging.dicomweb.xmlmodel import object_xml
from imaging.header import uid_is_valid
from imaging.query.keys import QueryError
from journal.audit import audit_record
from journal.wall.scope import tenant_scope
from tenants.doors import HospitalAPIView
from tenants.known import TokenHolder

JSON, XML = "application/dicom+json", "application/dicom+xml"
OFFERS = (Offer(JSON, is_plain=True), Offer("application/json", is_plain=True), Offer(XML, is_plain=True), Offer(XML))
TAKEN = (JSON, "application/json")
PRODUCED = tuple(dict.fromkeys(offer.media_type for offer in OFFERS))
UID_NAMES = frozenset({"workitem", "affectedsopinstanceuid", "uid"})
TRANSACTION_NAMES = frozenset({"transaction", "transaction-uid", "transactionuid"})  # the name changed between editions
MORE = "There are more matches: ask for them with offset"


def parameters_of(request: Request) -> list[tuple[str, str]]:
    """The query, repeated parameters as often as they came."""
    return [(name, str(value)) for name, values in request.GET.lists() for value in values]


def viewer_of(holder: Any) -> Viewer:
    """A performer without a connection sees nothing. Raises NotFound."""
    if not isinstance(holder, TokenHolder) or (holder.role == "performer" and holder.connection_id is None):
        raise exceptions.NotFound
    return Viewer(connection_id=holder.connection_id, job=holder.job)


def answered(body: Any, *, status: int, warning: str = "") -> HttpResponse:
    response = HttpResponse(orjson.dumps(body) if body is not None else b"", status=status, content_type="application/json")
    return warned(response, warning)


def warned(response: HttpResponse, *words: str) -> HttpResponse:
    texts = [f'299 medhub "{text}"' for text in words if text]
    if texts:
        response["Warning"] = ", ".join(texts)
    return response


def refused(word: Word) -> HttpResponse:
    """A refusal, in the words of the standard; for status 200 and below 400 it is a warning."""
    return answered({"error": word.text, "code": f"{word.code:04X}"} if word.status >= 400 else None, status=word.status, warning=word.text)


class UpsView(HospitalAPIView):
    """What all doors of the worklist share."""

    content_negotiation_class = AnyAccept
    renderer_classes = [DicomJSONRenderer]
    parser_classes: list[Any] = []
    is_scoped = False
    produces: tuple[str, ...] = ()
    viewer: Viewer

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.viewer = viewer_of(request.auth)

    def options(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        return allow_response(self)

    def accepted(self, request: Request) -> tuple[MediaRange, ...]:
        return accept_read(header=request.META.get("HTTP_ACCEPT", ""), query=request.GET.getlist("accept"))

    def body(self, request: Request, *, is_optional: bool = False) -> ds.Dataset:
        """The data set that came. Raises BodyError, DatasetError."""
        is_chunked = request.META.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked"
        length = None if is_chunked else int(request.META.get("CONTENT_LENGTH") or 0)
        read = limited(request.META["wsgi.input"], limit=ds.BODY_BYTES, length=length)
        pieces = []
        while piece := read(65536):
            pieces.append(piece)
        content = b"".join(pieces)
        if not content.strip() and is_optional:
            return {}
        if media_type(request.META.get("CONTENT_TYPE", ""))[0] not in TAKEN:
            raise BodyError(415, f"send one of {', '.join(TAKEN)}")
        return ds.dataset_read(content)

    def handle_exception(self, exc: Exception) -> Any:
        if isinstance(exc, UpsRefused):
            return refused(exc.word)
        if isinstance(exc, ds.DatasetError):
            return answered({"error": str(exc)}, status=400)
        if isinstance(exc, QueryError):
            return answered({"error": exc.comment}, status=400)
        if isinstance(exc, BodyError):
            return answered({"error": exc.text}, status=exc.status)
        if isinstance(exc, TooManyError):
            return answered({"error": exc.text}, status=413)
        if isinstance(exc, NotAcceptable):
            return answered(exc.body, status=406)
        if isinstance(exc, NotYoursError):
            return answered({"error": "this workitem is for its own performer"}, status=403)
        return super().handle_exception(exc)


def transaction_uid(request: Request, dataset: ds.Dataset) -> str:
    """From the query, by any of its names, or from the body. Raises DatasetError when two differ."""
    named = {value.strip() for name, value in parameters_of(request) if name.lower() in TRANSACTION_NAMES}
    found = (named | {ds.text_of(dataset, ds.TRANSACTION)}) - {""}
    if len(found) > 1:
        raise ds.DatasetError("two Transaction UIDs were given")
    return found.pop() if found else ""


class WorkitemsView(UpsView):
    """POST /workitems creates (11.4), GET /workitems searches (11.9)."""

    capabilities = {"GET": "ups.read", "POST": "ups.create", "OPTIONS": "ups.read"}
    produces = PRODUCED

    def post(self, request: Request, slug: str) -> HttpResponse:
        dataset = self.body(request)
        workitem_uid = _new_uid(request, dataset)
        with tenant_scope(self.tenant_id):
            _, warning = workitem_create(workitem_uid=workitem_uid, dataset=dataset, actor=self.actor)
        response = answered(None, status=201, warning=warning)
        response["Location"] = request.build_absolute_uri(f"/t/{slug}/dicomweb/workitems/{workitem_uid}")
        return response

    def get(self, request: Request, slug: str) -> HttpResponseBase:
        form = accept_choose(accepted=self.accepted(request), offers=OFFERS)
        search = search_read([(name, value) for name, value in parameters_of(request) if name != "accept"])
        with tenant_scope(self.tenant_id):
            audit_record(actor=self.actor, action="ups.search", object_type="Search", object_id=self.actor.name[:64])
            found, has_more = workitems_search(viewer=self.viewer, search=search)
        return warned(shown(found, form), *search.warnings, MORE if has_more else "")


def _new_uid(request: Request, dataset: ds.Dataset) -> str:
    """As named in the query (`workitem=`, `AffectedSOPInstanceUID=` or nothing but the UID) or in the body; else one is made."""
    bare = {name for name, value in parameters_of(request) if not value and uid_is_valid(name)}
    named = {value for name, value in parameters_of(request) if name.lower() in UID_NAMES}
    found = (bare | named | {ds.text_of(dataset, ds.SOP_INSTANCE)}) - {""}
    if len(found) > 1:
        raise ds.DatasetError("two UIDs of the workitem were given")
    return found.pop() if found else f"2.25.{uuid.uuid4().int}"


def shown(found: list[ds.Dataset], form: Offer) -> HttpResponse:
    if form.media_type != XML:
        return HttpResponse(orjson.dumps(found), content_type=form.media_type)
    if form.is_plain and len(found) == 1:
        return HttpResponse(object_xml(found[0]), content_type=XML)
    response: Any = parts_response([Part(XML, (Piece(object_xml(one)),)) for one in found], media_type=XML)
    return response  # type: ignore[no-any-return]


class WorkitemView(UpsView):
    """GET /workitems/{uid} retrieves (11.5), POST updates (11.6)."""

    capabilities = {"GET": "ups.read", "POST": "ups.perform", "OPTIONS": "ups.read"}
    produces = PRODUCED

    def get(self, request: Request, slug: str, workitem_uid: str) -> HttpResponseBase:
        form = accept_choose(accepted=self.accepted(request), offers=OFFERS)
        with tenant_scope(self.tenant_id):
            item = workitem_get(viewer=self.viewer, workitem_uid=workitem_uid)
            if item is None:
                raise UpsRefused(NOT_FOUND)
            audit_record(actor=self.actor, action="ups.read", object_type="Workitem", object_id=item.workitem_uid)
        return shown([dict(sorted(workitem_dataset(item).items()))], form)

    def post(self, request: Request, slug: str, workitem_uid: str) -> HttpResponse:
        dataset = self.body(request)
        given = transaction_uid(request, dataset)
        with tenant_scope(self.tenant_id):
            warning = workitem_update(
                viewer=self.viewer, workitem_uid=workitem_uid, dataset=dataset, transaction_uid=given, actor=self.actor
            )
        return answered(None, status=200, warning=warning)


class StateView(UpsView):
    """PUT /workitems/{uid}/state (11.7)."""

    capabilities = {"PUT": "ups.perform", "OPTIONS": "ups.read"}

    def put(self, request: Request, slug: str, workitem_uid: str) -> HttpResponse:
        dataset = self.body(request)
        given = transaction_uid(request, dataset)
        with tenant_scope(self.tenant_id):
            word = workitem_state_change(
                viewer=self.viewer, workitem_uid=workitem_uid, wanted=ds.text_of(dataset, ds.STATE), transaction_uid=given,
                actor=self.actor,
            )  # fmt: skip
        return answered(None, status=200, warning=word.text if word else "")


class CancelRequestView(UpsView):
    """POST /workitems/{uid}/cancelrequest[/{requester}] (11.8)."""

    capabilities = {"POST": "ups.cancel", "OPTIONS": "ups.read"}

    def post(self, request: Request, slug: str, workitem_uid: str, aet: str = "") -> HttpResponse:
        dataset = self.body(request, is_optional=True)
        if aet:
            aet = title_of(aet)
        with tenant_scope(self.tenant_id):
            word = workitem_cancel_request(
                viewer=self.viewer, workitem_uid=workitem_uid, dataset=dataset, requesting_ae=aet, actor=self.actor
            )
        return refused(word) if word else answered(None, status=202)


def title_of(text: str) -> str:
    """An AE title (PS3.5 6.2). Raises DatasetError."""
    title = text.strip()
    if not 1 <= len(title) <= 16 or not title.isascii() or not title.isprintable() or "\\" in title:
        raise ds.DatasetError("an AE title has 1 to 16 ASCII characters and no backslash")
    return title
