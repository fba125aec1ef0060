"""The CapabilityStatement: open, so that clients can look before they hold a token; unknown hospitals answer 404."""

import orjson
from rest_framework.request import Request
from rest_framework.response import Response

from fhirapi.capability import capability_statement
from fhirapi.outcomes import FhirError
from fhirapi.sources import hospital_id
from fhirapi.views.base import FhirErrors, base_url
from fhirapi.views.formats import FORMAT_NAMES


class MetadataView(FhirErrors):
    """GET [base]/metadata."""

    authentication_classes = []
    capabilities: dict[str, str] = {}

    def get(self, request: Request, slug: str) -> Response:
        if hospital_id(slug=slug) is None:
            raise FhirError(404)
        return Response(orjson.dumps(capability_statement(base=base_url(request, slug), formats=FORMAT_NAMES)))
