"""Reading one resource, with its version as ETag; and the 404 of whatever else is asked for under the base."""

from django.utils.http import http_date
from rest_framework.request import Request
from rest_framework.response import Response

from fhirapi.outcomes import FhirError
from fhirapi.store import resource_read
from fhirapi.validation import ID
from fhirapi.views.base import FhirView, type_check
from journal.audit import audit_record


class ReadView(FhirView):
    """GET [base]/[type]/[id]."""

    def get(self, request: Request, slug: str, rtype: str, fhir_id: str) -> Response:
        type_check(rtype)
        document = resource_read(rtype=rtype, fhir_id=fhir_id) if ID.fullmatch(fhir_id) else None
        if document is None:
            raise FhirError(404)
        audit_record(actor=self.actor, action="fhir.read", object_type=rtype, object_id=fhir_id)
        headers = {"ETag": f'W/"{document.version}"', "Last-Modified": http_date(document.last_updated.timestamp())}
        if _is_known(request.headers.get("If-None-Match", ""), document.version):
            return Response(b"", status=304, headers=headers)
        return Response(document.content.encode(), headers=headers)


class UnknownView(FhirView):
    """Everything else under the base: 404, or 405 for what would be an interaction on it."""

    def get(self, request: Request, slug: str, rest: str) -> Response:
        raise FhirError(404)


def _is_known(header: str, version: int) -> bool:
    """If-None-Match, weak comparison (RFC 9110 13.1.2); clients also leave the quotes or the W/ away."""
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")}
    return bool(tags & {str(version), "*"})
