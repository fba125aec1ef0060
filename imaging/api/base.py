"""What the views of the API share: bearer token, JSON, limits, keyset pages, errors as problem details (RFC 9457)."""

from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from imaging.certificates.authority import CertificateError
from imaging.nodes import NodeError
from imaging.querytags.declare import QueryTagError
from imaging.scu.association import NotPossibleError, NotReachedError
from imaging.transfers.rows import TransferError
from tenants.doors import HospitalAPIView

PROBLEM = "application/problem+json"
MAX_BODY = 1 << 20
PAGE = 50
MAX_PAGE = 200
_ID_CAP = 1 << 63


class Conflict(exceptions.APIException):
    status_code = 409
    default_detail = "it cannot be done as things are"


class TooLarge(exceptions.APIException):
    status_code = 413
    default_detail = "at most 1 MiB"


class BadGateway(exceptions.APIException):
    status_code = 502
    default_detail = "the node was not reached"


class ApiView(HospitalAPIView):
    """A view of the API. `max_body`: bytes that are read at most."""

    max_body = MAX_BODY

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        try:
            length = int(request.META.get("CONTENT_LENGTH") or 0)
        except ValueError:
            raise exceptions.ParseError("Content-Length is not a number") from None
        if length > self.max_body:
            raise TooLarge(f"at most {self.max_body} bytes")

    def handle_exception(self, exc: Exception) -> Response:
        """What the domain refuses in words becomes the caller's error; nothing else of an exception is told."""
        if isinstance(exc, NodeError | TransferError | CertificateError | QueryTagError):
            exc = exceptions.ValidationError({exc.field: [str(exc)]})
        elif isinstance(exc, NotReachedError):
            exc = BadGateway(exc.user_message)
        elif isinstance(exc, NotPossibleError):
            exc = Conflict(exc.user_message)
        response: Response = super().handle_exception(exc)
        return response

    def get_exception_handler(self) -> Any:
        return problem_response


class UnknownView(APIView):
    """What is no address of the API: a problem like any other, and no page. Says nothing of any hospital."""

    authentication_classes: list[Any] = []
    permission_classes: list[Any] = []
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise exceptions.NotFound

    def get_exception_handler(self) -> Any:
        return problem_response


def problem_response(exc: Exception, context: dict[str, Any]) -> Response | None:
    """RFC 9457; None for what is no answer but an error of ours."""
    if isinstance(exc, Http404):
        exc = exceptions.NotFound()
    elif isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied()
    if not isinstance(exc, exceptions.APIException):
        return None
    problem: dict[str, Any] = {
        "type": "about:blank", "title": HTTPStatus(exc.status_code).phrase, "status": exc.status_code,
    }  # fmt: skip
    if isinstance(exc, exceptions.ValidationError):
        problem |= {"detail": "the request has values that cannot be taken", "errors": exc.detail}
    else:
        problem["detail"] = str(exc.detail)
    headers = {"WWW-Authenticate": exc.auth_header} if getattr(exc, "auth_header", None) else {}
    return Response(problem, status=exc.status_code, headers=headers, content_type=PROBLEM)


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses names that it does not know: a misspelt one must not be taken for a default."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = sorted(set(map(str, data)) - set(self.fields))
            if unknown:
                raise serializers.ValidationError({name[:64]: ["unknown"] for name in unknown[:20]})
        return super().to_internal_value(data)


class ProblemSerializer(serializers.Serializer[Any]):
    """RFC 9457."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(required=False)
    errors = serializers.DictField(required=False)


def page_of(request: Request) -> tuple[int, int]:
    """(`cursor`, `limit`) of a list."""
    return _number(request, "cursor", 0, _ID_CAP), max(_number(request, "limit", PAGE, MAX_PAGE), 1)


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise exceptions.ValidationError({name: ["a number"]})
    return min(int(text), most)


def page_response(request: Request, items: list[Any], cursor: int | str, **kept: str) -> Response:
    """`next` is the whole address of the next page, null on the last one; `kept` are other parameters that it repeats."""
    following = None
    if cursor:
        limit = request.query_params.get("limit")
        asked = {"cursor": cursor, **({"limit": int(limit)} if limit else {}), **kept}
        following = request.build_absolute_uri(f"{request.path}?{urlencode(asked)}")
    return Response({"items": items, "next": following})
