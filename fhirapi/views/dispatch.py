"""An entry of a bundle as the request that it stands for: it goes through the same views, capabilities and audit as if it came alone."""

from io import BytesIO
from urllib.parse import parse_qsl, quote, urlencode

from django.core.handlers.wsgi import WSGIRequest
from django.db import transaction
from django.http import HttpResponseBase
from django.urls import Resolver404, resolve
from rest_framework.request import Request

from fhirapi.jsontext import json_dump
from fhirapi.outcomes import FhirError
from fhirapi.views.formats import FHIR_JSON
from fhirapi.writing.conditional import FORM
from fhirapi.writing.entries import Entry

# Who asks, and under which name the server is reached.
KEPT = (
    "HTTP_AUTHORIZATION", "HTTP_HOST", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO", "REMOTE_ADDR", "SERVER_NAME", "SERVER_PORT",
    "SERVER_PROTOCOL", "wsgi.url_scheme", "HTTP_PREFER",
)  # fmt: skip


def entry_dispatch(request: Request, *, slug: str, entry: Entry) -> HttpResponseBase:
    """The answer to one entry. What fails undoes its own writes and nobody else's."""
    path = f"/{entry.path}"
    try:
        match = resolve(path, urlconf="fhirapi.urls")
    except Resolver404:
        raise FhirError(404) from None
    inner = WSGIRequest(_environ(request, entry, path))
    with transaction.atomic():  # a savepoint: the scope is open
        response: HttpResponseBase = match.func(inner, slug=slug, **match.kwargs)
        if response.status_code >= 400:
            transaction.set_rollback(True)
    return response


def _environ(request: Request, entry: Entry, path: str) -> dict[str, object]:
    body = json_dump(entry.resource).encode() if entry.resource is not None and entry.method not in {"GET", "HEAD"} else b""
    pairs = [pair for pair in parse_qsl(entry.query, keep_blank_values=True) if pair[0] not in FORM]
    headers = {
        "HTTP_IF_MATCH": entry.if_match, "HTTP_IF_NONE_MATCH": entry.if_none_match, "HTTP_IF_NONE_EXIST": entry.if_none_exist,
        "HTTP_IF_MODIFIED_SINCE": entry.if_modified_since,
    }  # fmt: skip
    return {
        **{name: request.META[name] for name in KEPT if name in request.META},
        **{name: text for name, text in headers.items() if text},
        "REQUEST_METHOD": entry.method, "PATH_INFO": quote(path), "QUERY_STRING": urlencode(pairs), "SCRIPT_NAME": "",
        "CONTENT_TYPE": FHIR_JSON, "CONTENT_LENGTH": str(len(body)), "HTTP_ACCEPT": FHIR_JSON, "wsgi.input": BytesIO(body),
    }  # fmt: skip
