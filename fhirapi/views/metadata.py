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


class SmartView(FhirErrors):
    """GET [base]/.well-known/smart-configuration (SMART App Launch 2.2, conformance): what can be done here, and no more."""

    authentication_classes = []
    capabilities: dict[str, str] = {}

    def get(self, request: Request, slug: str) -> HttpResponse:
        if hospital_id(slug=slug) is None:
            raise FhirError(404)
        oauth = request.build_absolute_uri(f"/t/{slug}/oauth")
        found = {
            "authorization_endpoint": f"{oauth}/authorize",
            "token_endpoint": f"{oauth}/token",
            "introspection_endpoint": f"{oauth}/introspect",
            "revocation_endpoint": f"{oauth}/revoke",
            "registration_endpoint": f"{oauth}/register",
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_basic", "none"],
            "token_endpoint_auth_signing_alg_values_supported": ["RS384", "ES384"],
            "scopes_supported": [
                "launch", "launch/patient", "offline_access", "online_access", "patient/*.rs", "patient/*.read", "user/*.cruds",
                "user/*.rs", "user/*.read", "user/*.write", "system/*.cruds", "system/*.rs", "system/*.read", "system/*.write",
            ],
            "capabilities": [
                "launch-ehr", "launch-standalone", "context-ehr-patient", "context-banner", "context-standalone-patient", "client-public",
                "client-confidential-symmetric", "client-confidential-asymmetric", "permission-offline",
                "permission-online", "permission-patient", "permission-user", "permission-v1", "permission-v2",
            ],
        }
        return HttpResponse(orjson.dumps(found), content_type="application/json")


class OpenApiView(FhirErrors):
    """GET [base]/openapi.json."""

    authentication_classes = []
    capabilities: dict[str, str] = {}

    def get(self, request: Request, slug: str) -> HttpResponse:
        if hospital_id(slug=slug) is None:
            raise FhirError(404)
        document = openapi_document(base=base_url(request, slug), formats=SERVED)
        return HttpResponse(orjson.dumps(document), content_type="application/json")
