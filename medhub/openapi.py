"""The OpenAPI description of /t/<slug>/api/v1, made from the views by drf-spectacular. Open: it says nothing about anybody."""

from typing import Any

from django.http import Http404
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.selectors import tenant_by_slug

PREFIX = "/t/{slug}/api/v1/"


def api_only(endpoints: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """FHIR and DICOMweb are described by their own standards."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith(PREFIX) and not endpoint[0].endswith("/schema")]


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """RFC 6750 tokens of a hospital."""

    target_class = "tenants.doors.TokenAuthentication"
    name = "hospitalToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}


class SchemaView(SpectacularAPIView):
    """GET /t/<slug>/api/v1/schema, as YAML or JSON."""

    authentication_classes: list[Any] = []
    permission_classes: list[Any] = []

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        if tenant_by_slug(slug=kwargs.pop("slug")) is None:
            raise Http404
        response: Response = super().get(request, *args, **kwargs)
        return response
