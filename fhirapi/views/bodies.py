"""What a request brings: its body within limits, its preferences and its preconditions."""

import base64
import re
from typing import Any

from django.conf import settings
from rest_framework.request import Request

from fhirapi.jsontext import InvalidJsonError, json_load
from fhirapi.outcomes import FhirError
from fhirapi.views.formats import FHIR_JSON, JSON_TYPES, XML_TYPES
from fhirapi.xmlformat import xml_read

TAG = re.compile(r'(?:W/)?"(\d{1,9})"|(\d{1,9})')
CHUNK = 1024 * 1024
DISCARD_MAX = 64 * 1024 * 1024


def media_of(request: Request) -> str:
    """The content type without its parameters; FHIR's JSON where none is named. Raises FhirError 415 for other FHIR versions."""
    name, *parameters = request.META.get("CONTENT_TYPE", "").split(";")
    for text in parameters:
        key, _, value = text.strip().lower().partition("=")
        if key == "fhirversion" and value.strip('"') != "4.0":
            raise FhirError(415, "Only FHIR 4.0 is read here.")
    return name.strip().lower() or FHIR_JSON


def is_chunked(request: Request) -> bool:
    return bool(request.META.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked")


def has_body(request: Request) -> bool:
    """Is something sent along? What comes in chunks has no length."""
    return int(request.META.get("CONTENT_LENGTH") or 0) > 0 or is_chunked(request)


def body_read(request: Request, *, limit: int) -> bytes:
    """The bytes of the body. Raises FhirError 413 beyond the limit.

    What is too large is read on and thrown away, up to a limit of its own: a client that is still sending would see a broken
    connection instead of the answer.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise FhirError(415, "A compressed body is not read here.")
    # Django reads nothing without a length; the server's own stream ends where the chunks do.
    source = request.META["wsgi.input"] if is_chunked(request) else request._request
    parts, size, announced = [], 0, int(request.META.get("CONTENT_LENGTH") or 0)
    while part := source.read(CHUNK):
        size += len(part)
        if max(size, announced) <= limit:
            parts.append(part)
        elif size > DISCARD_MAX:
            raise FhirError(413)
    if max(size, announced) > limit:
        raise FhirError(413)
    return b"".join(parts)


def tree_read(request: Request, *, limit: int | None = None) -> Any:
    """The JSON value of a body that came as JSON or XML. Raises FhirError 400, 413 or 415."""
    media = media_of(request)
    is_xml = media in XML_TYPES
    if media not in JSON_TYPES and not is_xml:
        raise FhirError(415)
    return tree_of(body_read(request, limit=limit or settings.MEDHUB_FHIR_RESOURCE_BYTES), is_xml=is_xml)


def tree_of(data: bytes, *, is_xml: bool = False) -> Any:
    if not data:
        raise FhirError(400, "The request has no body.", code="required")
    try:
        return json_load(xml_read(data).encode() if is_xml else data)
    except InvalidJsonError as error:
        raise FhirError(400, error.user_message, code="structure") from None


def resource_of(tree: Any, *, rtype: str) -> dict[str, Any]:
    """A body that must be a resource of this type."""
    if not isinstance(tree, dict) or tree.get("resourceType") != rtype:
        raise FhirError(400, f"The body must be one {rtype}.", code="structure")
    return tree


def raw_binary(request: Request, data: bytes) -> dict[str, Any]:
    """Bytes of any type as the resource that holds them (FHIR R4 2.44.2)."""
    media = " ".join(request.META.get("CONTENT_TYPE", "").split())
    if not data:
        raise FhirError(400, "The request has no body.", code="required")
    return {"resourceType": "Binary", "contentType": media, "data": base64.b64encode(data).decode()}


def if_match(request: Request) -> int | None:
    """The version that a write must meet: W/"3", "3" or 3. Raises FhirError 400 for anything else."""
    header = request.headers.get("If-Match", "").strip()
    if not header:
        return None
    found = TAG.fullmatch(header)
    if not found:
        raise FhirError(400, 'If-Match must be one version, as W/"3".', code="value")
    return int(found[1] or found[2])


def is_absent_wanted(request: Request) -> bool:
    return request.headers.get("If-None-Match", "").strip() == "*"


def is_async_wanted(request: Request) -> bool:
    """Prefer: respond-async (RFC 7240 4.1), which has no value."""
    preferences = request.headers.get("Prefer", "").replace(";", ",").split(",")
    return "respond-async" in {one.strip().lower() for one in preferences}


def preference(request: Request, name: str) -> str:
    """RFC 7240: several preferences in one header, in any order."""
    for part in request.headers.get("Prefer", "").replace(";", ",").split(","):
        key, _, value = part.strip().partition("=")
        if key.strip().lower() == name:
            return value.strip().strip('"')
    return ""
