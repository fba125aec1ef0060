"""Every error as an OperationOutcome: the exceptions that views raise, and the one place that turns any exception into an answer.

Texts are ours and fixed; a value from a request or a resource never enters one.
"""

import logging
from collections.abc import Sequence
from typing import Any

import orjson
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import IntegrityError
from django.http import Http404
from rest_framework.exceptions import APIException
from rest_framework.response import Response

from fhirapi.jsontext import InvalidJsonError
from fhirapi.store import ResourceGoneError, StoreConflictError
from fhirapi.validation import InvalidResourceError, Issue

log = logging.getLogger(__name__)

# HTTP status -> (IssueType, what a reader is told). FHIR R4 3.1.0.1.5 and the issue-type code system.
ISSUES = {
    400: ("invalid", "The request cannot be understood."),
    401: ("login", "A valid bearer token is needed."),
    403: ("forbidden", "This token may not do that."),
    404: ("not-found", "There is nothing here."),
    405: ("not-supported", "This interaction is not supported here; see the CapabilityStatement."),
    406: ("not-supported", "Only application/fhir+json and application/fhir+xml of FHIR 4.0 are served."),
    409: ("conflict", "The resource changed at the same time; try again."),
    410: ("deleted", "The resource was deleted."),
    412: ("conflict", "A precondition of the request does not hold."),
    413: ("too-long", "The request is too large."),
    415: ("not-supported", "This content type is not read here."),
    422: ("processing", "The resource is not valid."),
    429: ("throttled", "Too many requests; wait as long as Retry-After says."),
    500: ("exception", "The request failed here; the operator has been told."),
    504: ("too-costly", "The search takes too long; narrow it, or ask without _total or _sort."),
}
STATUS_OF: dict[type[Exception], int] = {
    Http404: 404,
    PermissionDenied: 403,
    SuspiciousOperation: 400,
    StoreConflictError: 409,
    ResourceGoneError: 410,
    InvalidJsonError: 400,
    InvalidResourceError: 422,
    IntegrityError: 409,
}


class FhirError(Exception):
    """An anticipated refusal: status, and a sentence of ours that may name parameters but no values, or several with places."""

    def __init__(self, status: int, diagnostics: str = "", *, code: str = "", issues: Sequence[Issue] = ()) -> None:
        super().__init__(diagnostics)
        self.status = status
        self.code = code or ISSUES[status][0]
        self.diagnostics = diagnostics or ISSUES[status][1]
        self.issues = tuple(issues) or (Issue(severity="error", code=self.code, diagnostics=self.diagnostics),)


def outcome(*, severity: str, code: str, diagnostics: str) -> dict[str, Any]:
    """An OperationOutcome with one issue."""
    return {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": severity, "code": code, "diagnostics": diagnostics}],
    }


def outcome_of(*, issues: Sequence[Issue]) -> dict[str, Any]:
    """An OperationOutcome with an issue for each problem, and where it stands (FHIR R4 2.28)."""
    return {"resourceType": "OperationOutcome", "issue": [issue.to_fhir() for issue in issues]}


def outcome_response(error: Exception, context: dict[str, Any]) -> Response:
    """Any exception of a view as the answer the caller gets. DRF's exception handler for all FHIR views."""
    found = _fhir_error(error)
    response = Response(
        orjson.dumps(outcome_of(issues=found.issues)),
        status=found.status,
        headers=_headers(error),
    )
    if found.status >= 500:
        log.error("fhir request failed", exc_info=error)
        # Django would log the path, which holds ids (DESIGN section 7).
        response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def _fhir_error(error: Exception) -> FhirError:
    if isinstance(error, FhirError):
        return error
    if isinstance(error, APIException):
        return FhirError(error.status_code if error.status_code in ISSUES else 500)
    if isinstance(error, InvalidResourceError) and error.is_unreadable:
        # No resource at all, and not one that breaks a rule (FHIR R4 3.1.0.8.1).
        return FhirError(413 if error.issues[0].code == "too-long" else 400, issues=error.issues)
    for kind, status in STATUS_OF.items():
        if isinstance(error, kind):
            return FhirError(status, issues=getattr(error, "issues", ()))
    return FhirError(500)


def _headers(error: Exception) -> dict[str, str]:
    headers = {}
    if auth := getattr(error, "auth_header", None):  # RFC 9110 11.6.1
        headers["WWW-Authenticate"] = auth
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(int(wait))
    return headers
