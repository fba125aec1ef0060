"""Reading one resource or one of its versions, with its version as ETag; and the 404 of whatever else is asked for under the base."""

import base64
import binascii
import re

import orjson
from django.http import HttpResponse, HttpResponseBase
from django.utils.http import parse_http_date_safe
from rest_framework.request import Request
from rest_framework.response import Response

from fhirapi.history import version_read
from fhirapi.outcomes import FhirError
from fhirapi.store import Document, resource_read
from fhirapi.validation import ID
from fhirapi.views.answers import version_headers
from fhirapi.views.base import FORMATS, FhirView, is_binary, type_check
from fhirapi.views.formats import JSON_TYPES, XML_TYPES
from journal.audit import audit_record

MEDIA = re.compile(r"[\w.+-]+/[\w.+-]+(;[ -~]*)?", re.ASCII)
# Whatever a client stored must not run in the browser of whoever opens it.
DOWNLOAD = {
    "Content-Disposition": "attachment",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}


class ReadView(FhirView):
    """GET [base]/[type]/[id]."""

    def get(self, request: Request, slug: str, rtype: str, fhir_id: str) -> HttpResponseBase:
        type_check(rtype)
        if not ID.fullmatch(fhir_id):
            raise FhirError(404)
        self.narrow_check(rtype, fhir_id)
        document = resource_read(rtype=rtype, fhir_id=fhir_id)
        if document is None:
            raise FhirError(404)
        audit_record(actor=self.actor, action="fhir.read", object_type=rtype, object_id=fhir_id)
        return document_response(request, document)


class VersionView(FhirView):
    """GET [base]/[type]/[id]/_history/[vid]."""

    def get(self, request: Request, slug: str, rtype: str, fhir_id: str, version: str) -> HttpResponseBase:
        type_check(rtype)
        is_asked = ID.fullmatch(fhir_id) and version.isascii() and version.isdigit() and len(version) < 10
        document = version_read(rtype=rtype, fhir_id=fhir_id, version=int(version)) if is_asked else None
        if document is None:
            raise FhirError(404)
        self.whole_check()  # an old version may be one that is not within the scope
        audit_record(actor=self.actor, action="fhir.history", object_type=rtype, object_id=fhir_id)
        return document_response(request, document)


class UnknownView(FhirView):
    """Everything else under the base: 404, or 405 for what would be an interaction on it."""

    def get(self, request: Request, slug: str, rest: str) -> Response:
        raise FhirError(404)


def document_response(request: Request, document: Document) -> HttpResponseBase:
    """The text as it is stored, 304 for who has it, or the bytes that a Binary holds."""
    headers = version_headers(document)
    if _is_known(request, document):
        return Response(b"", status=304, headers=headers)
    if is_binary(request) and not is_fhir_asked(request):
        return _bytes_response(document, headers)
    return Response(document.content.encode(), headers=headers)


def is_fhir_asked(request: Request) -> bool:
    """Is FHIR named as the format, not only allowed by a wildcard?"""
    if request.query_params.get("_format"):
        return request.query_params["_format"].split(";")[0].strip().replace(" ", "+").lower() in FORMATS
    names = {part.partition(";")[0].strip().lower() for part in request.headers.get("Accept", "").split(",")}
    return bool(names & (JSON_TYPES | XML_TYPES))


def _bytes_response(document: Document, headers: dict[str, str]) -> HttpResponse:
    binary = orjson.loads(document.content)
    try:
        data = base64.b64decode(binary.get("data", ""))
    except binascii.Error:
        raise FhirError(406) from None
    media = binary.get("contentType", "")
    return HttpResponse(
        data, content_type=media if MEDIA.fullmatch(media) else "application/octet-stream", headers=headers | DOWNLOAD
    )


def _is_known(request: Request, document: Document) -> bool:
    """If-None-Match, weak comparison (RFC 9110 13.1.2), where clients also leave the quotes or the W/ away; else If-Modified-Since."""
    if header := request.headers.get("If-None-Match", ""):
        tags = {tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")}
        return bool(tags & {str(document.version), "*"})
    since = parse_http_date_safe(request.headers.get("If-Modified-Since", ""))
    return since is not None and int(document.last_updated.timestamp()) <= since
