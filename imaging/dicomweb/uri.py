"""WADO-URI (PS3.18 9): one object by query parameters, as DICOM or as a picture of one frame."""

import io
import re

from django.http import HttpResponse, HttpResponseBase
from PIL import Image
from rest_framework.request import Request

from imaging.dicomweb.accept import MediaRange
from imaging.dicomweb.reading import ReadView, Unreadable, is_unchanged, not_modified, tagged
from imaging.dicomweb.retrieval import forms_choose, object_part
from imaging.dicomweb.rows import StoredInstance
from imaging.dicomweb.streams import plain_response
from imaging.dicomweb.syntaxes import DICOM
from imaging.dicomweb.transcode import TranscodingError
from imaging.dicomweb.wado import objects_etag
from imaging.rendering import FrameMissingError, RenderError, slice_render

PICTURES = {"image/jpeg": "JPEG", "image/png": "PNG"}
_UID = re.compile(r"[0-9.]{1,64}")
_NUMBER = re.compile(r"-?[0-9]{1,9}(?:\.[0-9]{1,6})?")


class UriView(ReadView):
    """GET /wado?requestType=WADO&studyUID=&seriesUID=&objectUID=[&contentType=&transferSyntax=&frameNumber=&windowCenter=...]."""

    produces = (DICOM, *PICTURES)

    def get(self, request: Request, slug: str) -> HttpResponseBase:
        asked = request.GET
        if asked.get("requestType") != "WADO":
            raise Unreadable(400, "requestType must be WADO")
        uids = [asked.get(name, "") for name in ("studyUID", "seriesUID", "objectUID")]
        if not all(_UID.fullmatch(uid) for uid in (uids[0], uids[2])) or (uids[1] and not _UID.fullmatch(uids[1])):
            raise Unreadable(400, "studyUID, seriesUID and objectUID are UIDs")
        row = self.rows(action="dicom.retrieve", study_uid=uids[0], series_uid=uids[1], instance_uid=uids[2])[0]
        kinds = [kind.split(";")[0].strip().lower() for kind in asked.get("contentType", "image/jpeg").replace(" ", "+").split(",")]
        kind = next((kind for kind in kinds if kind == DICOM or kind in PICTURES), "")
        if not kind:
            raise Unreadable(406, f"contentType: {', '.join([DICOM, *PICTURES])}")
        etag = objects_etag([row], repr(sorted(asked.items())))
        if is_unchanged(request, etag):
            return not_modified(etag)
        return tagged(self._object(request, row) if kind == DICOM else self._picture(request, row, kind), etag)

    def _object(self, request: Request, row: StoredInstance) -> HttpResponseBase:
        wanted = MediaRange(DICOM, syntax=request.GET.get("transferSyntax", ""))
        _, form = forms_choose([row], [wanted])
        try:
            part = object_part(row, base=self.base(request), syntax=form.syntax)
        except TranscodingError as error:
            raise Unreadable(406, str(error)) from None
        return plain_response(part, range_header=request.META.get("HTTP_RANGE", ""))

    def _picture(self, request: Request, row: StoredInstance, kind: str) -> HttpResponse:
        values = {name: request.GET.get(name, "") for name in ("frameNumber", "windowCenter", "windowWidth", "imageQuality")}
        if not all(_NUMBER.fullmatch(value) for value in values.values() if value):
            raise Unreadable(400, "frameNumber, windowCenter, windowWidth and imageQuality are numbers")
        window = None
        if values["windowCenter"] and values["windowWidth"]:
            window = float(values["windowCenter"]), float(values["windowWidth"])
        try:
            picture = slice_render(row.path, frame=int(float(values["frameNumber"] or 1)), window=window)
        except FrameMissingError as error:
            raise Unreadable(404, error.reason) from None
        except RenderError as error:
            raise Unreadable(406, error.reason) from None
        if kind == "image/jpeg":
            target = io.BytesIO()
            quality = min(max(int(float(values["imageQuality"] or 90)), 1), 100)
            Image.open(io.BytesIO(picture)).save(target, "JPEG", quality=quality)
            picture = target.getvalue()
        return HttpResponse(picture, content_type=kind)
