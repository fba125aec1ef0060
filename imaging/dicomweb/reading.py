"""What all doors that read over DICOMweb share: one form of errors, short scopes, conditional requests (RFC 9110 13)."""

from collections.abc import Sequence
from typing import Any

import orjson
from django.http import Http404, HttpResponse, HttpResponseBase
from rest_framework.request import Request

from imaging.dicomweb.accept import MediaRange, NotAcceptable, accept_read
from imaging.dicomweb.rows import StoredInstance, instances_select, read_audit
from imaging.dicomweb.stow import AnyAccept, DicomJSONRenderer
from imaging.dicomweb.streams import RangeError
from imaging.storage import ObjectMissingError, StoreAwayError
from tenants.doors import TOKEN_OR_SESSION, HospitalAPIView


class Unreadable(Exception):
    """The request is understood and cannot be answered so; `status` and `text` are what the door says."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class ReadView(HospitalAPIView):
    """A door that reads. Rows are read in one statement; files are touched after it."""

    authentication_classes = TOKEN_OR_SESSION
    capabilities = {"GET": "dicom.read", "OPTIONS": "dicom.read"}
    content_negotiation_class = AnyAccept
    renderer_classes = [DicomJSONRenderer]
    is_scoped = False
    rows_select = staticmethod(instances_select)

    def accepted(self, request: Request) -> tuple[MediaRange, ...]:
        return accept_read(header=request.META.get("HTTP_ACCEPT", ""), query=request.GET.getlist("accept"))

    def base(self, request: Request) -> str:
        """The hospital's DICOMweb root, as the client called it."""
        return request.build_absolute_uri(f"/t/{self.kwargs['slug']}/dicomweb")

    def rows(self, *, action: str, study_uid: str, series_uid: str = "", instance_uid: str = "") -> list[StoredInstance]:
        """The objects of the address, audited before the first byte. Raises Http404."""
        rows = self.rows_select(
            tenant_id=self.tenant_id, study_uid=study_uid, series_uid=series_uid, instance_uid=instance_uid
        )
        if not rows:
            raise Http404
        read_audit(tenant_id=self.tenant_id, actor=self.actor, action=action, study_id=rows[0].study_id)
        return rows

    def options(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return allow_response(self)

    def handle_exception(self, exc: Exception) -> Any:
        if isinstance(exc, NotAcceptable):
            return json_response(exc.body, status=406)
        if isinstance(exc, Unreadable):
            return json_response({"error": exc.text}, status=exc.status)
        if isinstance(exc, RangeError):
            response = json_response({"error": "no byte of that range exists"}, status=416)
            response["Content-Range"] = f"bytes */{exc.size}"
            return response
        if isinstance(exc, ObjectMissingError | FileNotFoundError):
            return json_response({"error": "the bytes of this object are not there; the scrub reports it"}, status=410)
        if isinstance(exc, StoreAwayError):
            response = json_response({"error": "the object store is away"}, status=503)
            response["Retry-After"] = "5"
            return response
        return super().handle_exception(exc)


def methods_of(door: Any) -> list[str]:
    """The methods that an address has, HEAD wherever there is GET."""
    found = {name for name in door.capabilities if hasattr(door, name.lower())}
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


def allow_response(door: Any) -> HttpResponse:
    """What can be done at an address (RFC 9110 9.3.7); the hospital's root tells of all of them."""
    return HttpResponse(status=204, headers={"Allow": ", ".join(methods_of(door))})


def json_response(body: Any, *, status: int = 200) -> HttpResponse:
    return HttpResponse(orjson.dumps(body), status=status, content_type="application/json")


def is_unchanged(request: Request, etag: str) -> bool:
    """Does `If-None-Match` name it? Weak comparison (RFC 9110 13.1.2)."""
    header = request.META.get("HTTP_IF_NONE_MATCH", "")
    if not header:
        return False
    names = [name.strip().removeprefix("W/") for name in header.split(",")]
    return "*" in names or etag.removeprefix("W/") in names


def range_of(request: Request, etag: str) -> str:
    """The Range header, unless `If-Range` says that the client holds a part of something else (RFC 9110 13.1.5)."""
    condition = request.META.get("HTTP_IF_RANGE", "").strip()
    return request.META.get("HTTP_RANGE", "") if condition in ("", etag) else ""


def not_modified(etag: str) -> HttpResponse:
    response = HttpResponse(status=304)
    response["ETag"] = etag
    return response


def tagged(response: HttpResponseBase, etag: str, *, vary: Sequence[str] = ("Accept",)) -> HttpResponseBase:
    response["ETag"] = etag
    response["Vary"] = ", ".join(vary)
    return response
