"""The CapabilityStatement and its OpenAPI form: open, so that clients can look before they hold a token; unknown hospitals answer 404."""

import orjson
from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from fhirapi.capability import capability_statement
from fhirapi.openapi import openapi_document
from fhirapi.outcomes import FhirError
from fhirapi.sources import has_us_core, hospital_id
from fhirapi.uscore import SUPPORTED
from fhirapi.views.base import FhirErrors, base_url
from fhirapi.views.formats import FORMAT_NAMES, SERVED


class MetadataView(FhirErrors):
    """GET [base]/metadata."""

    authentication_classes = []
    capabilities: dict[str, str] = {}

    def get(self, request: Request, slug: str) -> Response:
        if hospital_id(slug=slug) is None:
            raise FhirError(404)
        profiles = SUPPORTED if has_us_core(slug=slug) else {}
        statement = capability_statement(base=base_url(request, slug), formats=FORMAT_NAMES, profiles=profiles)
        return Response(orjson.dumps(statement))


class OpenApiView(FhirErrors):
    """GET [base]/openapi.json."""

    authentication_classes = []
    capabilities: dict[str, str] = {}

    def get(self, request: Request, slug: str) -> HttpResponse:
        if hospital_id(slug=slug) is None:
            raise FhirError(404)
        document = openapi_document(base=base_url(request, slug), formats=SERVED)
        return HttpResponse(orjson.dumps(document), content_type="application/json")
