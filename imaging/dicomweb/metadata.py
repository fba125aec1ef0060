"""GET .../metadata of a study, series or instance (PS3.18 10.4.1.1.4): DICOM JSON, or the Native DICOM Model by part."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from rest_framework.request import Request

from imaging.dicomweb.accept import Offer, accept_choose
from imaging.dicomweb.documents import (
    deflated,
    document_etag,
    document_make,
    document_path,
    inflated,
    instance_document,
    instance_metadata,
    joined,
)
from imaging.dicomweb.reading import ReadView, is_unchanged, not_modified, tagged
from imaging.dicomweb.rows import SeriesState, StoredInstance, instances_select, read_audit, series_states
from imaging.dicomweb.streams import Part, Piece, parts_response
from imaging.dicomweb.wado import objects_etag
from imaging.dicomweb.xmlmodel import object_xml

JSON, XML = "application/dicom+json", "application/dicom+xml"
OFFERS = (Offer(JSON, is_plain=True), Offer("application/json", is_plain=True), Offer(XML))
VARY = ("Accept", "Accept-Encoding")
ACTION = "dicom.metadata"


def takes_gzip(request: Request) -> bool:
    """RFC 9110 12.5.3; a weight of zero says no."""
    for one in request.META.get("HTTP_ACCEPT_ENCODING", "").lower().split(","):
        name, _, weight = one.partition(";")
        if name.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


class InstanceMetadataView(ReadView):
    """Of one object, rendered when asked and kept a while."""

    produces = tuple(map(str, OFFERS))

    def get(self, request: Request, slug: str, study_uid: str, series_uid: str, instance_uid: str) -> HttpResponseBase:
        form = accept_choose(accepted=self.accepted(request), offers=OFFERS)
        row = self.rows(action=ACTION, study_uid=study_uid, series_uid=series_uid, instance_uid=instance_uid)[0]
        etag = objects_etag([row], f"{form}{slug}")
        if is_unchanged(request, etag):
            return not_modified(etag)
        if form.media_type == XML:
            return tagged(parts_response([_xml_part(row, slug)], media_type=XML), etag)
        return tagged(HttpResponse(instance_document(row, slug=slug), content_type=form.media_type), etag)


class MetadataView(ReadView):
    """Of a series or a study: the documents of its series, as they lie or one after another."""

    produces = tuple(map(str, OFFERS))

    def get(self, request: Request, slug: str, study_uid: str, series_uid: str = "") -> HttpResponseBase:
        form = accept_choose(accepted=self.accepted(request), offers=OFFERS)
        states = self._states(study_uid, series_uid)
        etag = document_etag(states, slug=slug + form.media_type)
        is_gzip = form.media_type != XML and takes_gzip(request)
        if is_gzip:
            etag = f'{etag[:-1]}-gz"'
        if is_unchanged(request, etag):
            return not_modified(etag)
        if form.media_type == XML:
            rows = [row for state in states for row in self._rows(state)]
            return tagged(parts_response((_xml_part(row, slug) for row in rows), media_type=XML), etag, vary=VARY)
        paths = [self._document(state, slug) for state in states]
        response = _document_response(paths, form.media_type, is_gzip=is_gzip)
        return tagged(response, etag, vary=VARY)

    def _states(self, study_uid: str, series_uid: str) -> list[SeriesState]:
        states = series_states(tenant_id=self.tenant_id, study_uid=study_uid, series_uid=series_uid)
        if not states:
            raise Http404
        read_audit(tenant_id=self.tenant_id, actor=self.actor, action=ACTION, study_id=states[0].study_id)
        return states

    def _rows(self, state: SeriesState) -> list[StoredInstance]:
        return instances_select(tenant_id=self.tenant_id, study_uid=state.study_uid, series_uid=state.series_uid)

    def _document(self, state: SeriesState, slug: str) -> Path:
        path = document_path(state, tenant_id=self.tenant_id, slug=slug)
        if not path.exists():
            document_make(path, partial(self._rows, state), slug=slug)
        return path


def _document_response(paths: list[Path], media_type: str, *, is_gzip: bool) -> HttpResponseBase:
    response: HttpResponseBase
    if is_gzip and len(paths) == 1:
        response = HttpResponse(paths[0].read_bytes(), content_type=media_type)
    else:
        chunks: Iterator[bytes] = joined(paths) if len(paths) > 1 else inflated(paths[0])
        response = StreamingHttpResponse(deflated(chunks) if is_gzip else chunks, content_type=media_type)
    if is_gzip:
        response["Content-Encoding"] = "gzip"
    return response


def _xml_part(row: StoredInstance, slug: str) -> Part:
    return Part(XML, (Piece(object_xml(instance_metadata(row, slug=slug))),))
