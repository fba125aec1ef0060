"""The search parameters of our own: open, as the CapabilityStatement is that names them."""

import orjson
from rest_framework.request import Request
from rest_framework.response import Response

from fhirapi.outcomes import FhirError
from fhirapi.parameters import own_parameters
from fhirapi.sources import hospital_id
from fhirapi.views.base import FhirErrors, base_url


class SearchParameterView(FhirErrors):
    """GET [base]/SearchParameter/[id]."""

    authentication_classes = []
    capabilities: dict[str, str] = {}

    def get(self, request: Request, slug: str, name: str) -> Response:
        found = own_parameters(base=base_url(request, slug)) if hospital_id(slug=slug) is not None else {}
        if name not in found:
            raise FhirError(404)
        return Response(orjson.dumps(found[name]))
