"""How a version, and what came of a write, look as HTTP answers."""

import orjson
from django.utils.http import http_date
from rest_framework.response import Response

from fhirapi.outcomes import outcome
from fhirapi.store import Document
from fhirapi.writing.writes import Done

DONE = {200: "The resource was updated, or says what it said before.", 201: "The resource was created.", 204: "The resource is deleted."}


def version_headers(document: Document) -> dict[str, str]:
    """ETag and Last-Modified (FHIR R4 3.1.0.1.3)."""
    return {"ETag": f'W/"{document.version}"', "Last-Modified": http_date(document.last_updated.timestamp())}


def done_of(document: Document) -> Done:
    """What stands already, as the answer of a conditional create that found it."""
    return Done(
        rtype=document.rtype, fhir_id=document.fhir_id, status=200, action="fhir.read", version=document.version,
        last_updated=document.last_updated, content=document.content,
    )  # fmt: skip


def done_response(*, done: Done, base: str, wanted: str) -> Response:
    """`wanted` is Prefer: return=minimal, representation (the default) or OperationOutcome (FHIR R4 3.1.0.1.8)."""
    headers = {}
    if done.last_updated:
        headers = {"ETag": f'W/"{done.version}"', "Last-Modified": http_date(done.last_updated.timestamp())}
    url = version_url(done=done, base=base)
    if done.status == 201:
        headers["Location"] = url
    if wanted == "OperationOutcome":
        told = outcome(severity="information", code="informational", diagnostics=DONE[done.status])
        return Response(orjson.dumps(told), status=200 if done.status == 204 else done.status, headers=headers)
    if wanted == "minimal" or not done.content:
        return Response(b"", status=done.status, headers=headers)
    return Response(done.content.encode(), status=done.status, headers=headers | {"Content-Location": url})


def version_url(*, done: Done, base: str) -> str:
    return f"{base}/{done.rtype}/{done.fhir_id}/_history/{done.version}"
