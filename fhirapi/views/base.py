"""What every FHIR view shares: one content type, tolerant negotiation, errors as OperationOutcomes."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import reverse
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fhirapi.outcomes import ISSUES, FhirError, outcome, outcome_response
from fhirapi.registry import TYPES
from tenants.doors import HospitalAPIView

log = logging.getLogger(__name__)

FHIR_JSON = "application/fhir+json"
JSON_TYPES = {FHIR_JSON, "application/json", "text/json", "application/json+fhir", "application/*", "*/*"}
FORMATS = {FHIR_JSON, "application/json", "text/json", "json"}


class FhirRenderer(BaseRenderer):
    """Views hand over bytes: nothing is rendered twice."""

    media_type = FHIR_JSON
    format = "json"
    charset = None  # JSON is UTF-8 and defines no charset parameter (RFC 8259 11)
    render_style = "binary"

    def render(self, data: bytes, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return data


class FhirNegotiation(DefaultContentNegotiation):
    """`_format` wins over Accept (FHIR R4 3.1.0.1.11); anything that could mean JSON gets it, and only the rest a 406."""

    def select_renderer(self, request: Request, renderers: Iterable[Any], format_suffix: str | None = None) -> tuple[Any, str]:
        wanted = request.query_params.get("_format", "")
        if wanted:
            # A plus that nobody encoded arrives as a space.
            is_served = wanted.split(";")[0].strip().replace(" ", "+") in FORMATS
        else:
            accept = request.headers.get("Accept", "")
            is_served = not accept.strip() or any(_is_json(part) for part in accept.split(","))
        if not is_served:
            raise FhirError(406)
        return next(iter(renderers)), FHIR_JSON


def _is_json(part: str) -> bool:
    name, *parameters = (text.strip() for text in part.split(";"))
    settings = dict(text.replace(" ", "").partition("=")[::2] for text in parameters)
    if settings.get("fhirVersion", "4.0") != "4.0" or settings.get("q", "1") in {"0", "0.0", "0.00", "0.000"}:
        return False
    return name.lower() in JSON_TYPES


class FhirErrors(APIView):
    """Any failure, even of the commit at the very end, leaves as an OperationOutcome."""

    renderer_classes = [FhirRenderer]
    content_negotiation_class = FhirNegotiation
    # Without OPTIONS: DRF's own answer describes serializers, FHIR's is the CapabilityStatement.
    http_method_names = ["get", "head", "post", "put", "patch", "delete"]

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response]:
        return outcome_response

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return super().dispatch(request, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 the last line before Django's HTML page
            log.error("fhir request failed on its way out", exc_info=error)
            code, text = ISSUES[500]
            body = orjson.dumps(outcome(severity="error", code=code, diagnostics=text))
            response = HttpResponse(body, status=500, content_type=FHIR_JSON)
            response._has_been_logged = True  # type: ignore[attr-defined]
            return response


class FhirView(FhirErrors, HospitalAPIView):
    """A door for one token of one hospital."""

    # HEAD reads as well: a method that is not listed would need no capability.
    capabilities = {"GET": "fhir.read", "HEAD": "fhir.read", "POST": "fhir.read"}


def base_url(request: Request, slug: str) -> str:
    """The hospital's FHIR base as the caller reaches it, without a slash at its end."""
    return str(request.build_absolute_uri(reverse("fhir-metadata", kwargs={"slug": slug}))).removesuffix("/metadata")


def type_check(rtype: str) -> None:
    """Raise 404 for a type that is not held (FHIR R4 3.1.0.1.2)."""
    if rtype not in TYPES:
        raise FhirError(404, "This resource type is not held here; see the CapabilityStatement.", code="not-supported")
