"""WADO-RS retrieval of objects (PS3.18 10.4.1.1.1) at study, series and instance: as stored where that fits, by part or as zip.

Raises nothing outwards: 404 for what is not there or not yours, 406 with the list of what can be had, 416 for a range outside.
"""

import hashlib
from collections.abc import Sequence

from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from rest_framework.request import Request

from imaging.deletion import instances_delete
from imaging.dicomweb.accept import Offer
from imaging.dicomweb.archive import archive_stream
from imaging.dicomweb.reading import ReadView, Unreadable, is_unchanged, not_modified, range_of, tagged
from imaging.dicomweb.retrieval import forms_choose, object_part, object_parts
from imaging.dicomweb.rows import StoredInstance
from imaging.dicomweb.stow import StowView
from imaging.dicomweb.streams import parts_response, plain_response
from imaging.dicomweb.syntaxes import DICOM
from imaging.dicomweb.transcode import TranscodingError
from journal.wall.scope import tenant_scope

ZIP = Offer("application/zip", is_plain=True)


def objects_etag(rows: Sequence[StoredInstance], form: str) -> str:
    """Strong: of the digests of all bytes and the form they leave in."""
    digest = hashlib.sha256(form.encode())
    for row in rows:
        digest.update(row.sha256.encode())
    return f'"{digest.hexdigest()[:32]}"'


class RetrieveView(ReadView):
    """GET and DELETE of /studies/{s}, /studies/{s}/series/{e}, /studies/{s}/series/{e}/instances/{i}."""

    capabilities = {**ReadView.capabilities, "DELETE": "dicom.delete"}
    produces = (f'multipart/related; type="{DICOM}"', DICOM, "application/zip")

    def get(self, request: Request, slug: str, study_uid: str, series_uid: str = "", instance_uid: str = "") -> HttpResponseBase:
        rows = self.rows(action="dicom.retrieve", study_uid=study_uid, series_uid=series_uid, instance_uid=instance_uid)
        forms, form = forms_choose(rows, self.accepted(request), extra=[ZIP] if not instance_uid else [])
        etag = objects_etag(rows, ",".join(f"{stored}>{one}" for stored, one in forms.items()))
        if is_unchanged(request, etag):
            return not_modified(etag)
        if form is ZIP:
            response = StreamingHttpResponse(archive_stream(rows), content_type=ZIP.media_type)
            response["Content-Disposition"] = f'attachment; filename="{"series" if series_uid else "study"}-{rows[0].study_id}.zip"'
            return tagged(response, etag)
        base = self.base(request)
        if len(rows) > 1:
            return tagged(parts_response(object_parts(rows, forms, base=base), media_type=DICOM), etag)
        try:
            part = object_part(rows[0], base=base, syntax=form.syntax)
        except TranscodingError as error:
            raise Unreadable(406, f"{error}; as stored it can be had with transfer-syntax={rows[0].syntax}") from None
        if form.is_plain:
            return tagged(plain_response(part, range_header=range_of(request, etag)), etag)
        return tagged(parts_response([part], media_type=DICOM), etag)

    def delete(self, request: Request, slug: str, study_uid: str, series_uid: str = "", instance_uid: str = "") -> HttpResponse:
        with tenant_scope(self.tenant_id):
            count = instances_delete(actor=self.actor, study_uid=study_uid, series_uid=series_uid, instance_uid=instance_uid)
        if not count:
            raise Http404
        return HttpResponse(status=204)


class InstanceView(RetrieveView):
    produces = (f'multipart/related; type="{DICOM}"', DICOM)


class StudyView(RetrieveView, StowView):
    """GET, DELETE and POST of one address: each keeps its own rules."""

    capabilities = {**RetrieveView.capabilities, "POST": "dicom.store"}
    parser_classes = []
