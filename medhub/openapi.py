"""The OpenAPI description of /t/<slug>/api/v1, made from the views by drf-spectacular. Open: it says nothing about anybody."""

from http import HTTPStatus
from typing import Any

from django.http import Http404
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from imaging.api.base import PROBLEM
from tenants.selectors import tenant_by_slug

PREFIX = "/t/{slug}/api/v1/"
EVERYWHERE = ("400", "401", "403", "404")
WITH_BODY = {"413", "415"}


def api_only(endpoints: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """FHIR and DICOMweb are described by their own standards."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith(PREFIX) and not endpoint[0].endswith("/schema")]


def errors_told(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """What every address may answer: no or a wrong token, a role that may not, another hospital's or nobody's id, a request that cannot
    be read. Errors are problem details (RFC 9457) whatever the address.
    """
    problem = {"content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for operations in result["paths"].values():
        for method, operation in operations.items():
            codes = set(EVERYWHERE) | (WITH_BODY if method in {"post", "put", "patch"} else set())
            told = {code for code in operation["responses"] if code >= "400"}
            for code in sorted(codes | told):
                words = operation["responses"].get(code, {}).get("description") or HTTPStatus(int(code)).phrase
                operation["responses"][code] = problem | {"description": words}
    return result


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """RFC 6750 tokens of a hospital."""

    target_class = "tenants.doors.TokenAuthentication"
    name = "hospitalToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The session of a signed-in page; unsafe methods want its CSRF token as well."""

    target_class = "tenants.doors.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}


class SchemaView(SpectacularAPIView):
    """GET /t/<slug>/api/v1/schema, as YAML or JSON."""

    authentication_classes: list[Any] = []
    permission_classes: list[Any] = []

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        if tenant_by_slug(slug=kwargs.pop("slug")) is None:
            raise Http404
        response: Response = super().get(request, *args, **kwargs)
        return response
