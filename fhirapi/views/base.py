"""What every FHIR view shares: JSON and XML out, tolerant negotiation, errors as OperationOutcomes."""

import gzip
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import orjson
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from rest_framework.exceptions import NotAuthenticated
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from fhirapi.access import NOT_IN_SCOPE, Scoped
from fhirapi.interactions import GUARDED
from fhirapi.jsontext import json_dump, json_load
from fhirapi.outcomes import ISSUES, FhirError, outcome, outcome_response
from fhirapi.registry import TYPES
from fhirapi.search.include import Owned
from fhirapi.search.pages import resource_search
from fhirapi.search.query import query_parse
from fhirapi.sources import hospital_read
from fhirapi.store import StoreConflictError
from fhirapi.subscriptions.rows import Author
from fhirapi.views.formats import FHIR_JSON, FHIR_XML, JSON_TYPES, XML_TYPES
from fhirapi.xmlformat import xml_write
from journal.wall.scope import is_in_scope, tenant_scope
from tenants.doors import HospitalAPIView
from tenants.oauth.grants import grant_of_token
from tenants.oauth.scopes import Pairs
from tenants.permissions import is_allowed

log = logging.getLogger(__name__)
T = TypeVar("T")
RETRIED = {"40001", "40P01"}  # serialization failure, deadlock

# `_format` has short names as well (FHIR R4 3.1.0.1.11).
FORMATS = {name: FHIR_JSON for name in (*JSON_TYPES, "json")} | {name: FHIR_XML for name in (*XML_TYPES, "xml")}
ANYTHING = {"application/*", "*/*"}
GZIP_FROM = 1024  # bytes; below that the header costs more than it saves


class FhirRenderer(BaseRenderer):
    """Views hand over the bytes of JSON: nothing is rendered twice, unless somebody wants it pretty, small or as XML."""

    media_type = FHIR_JSON
    format = "json"
    charset = None  # JSON is UTF-8 and defines no charset parameter (RFC 8259 11)
    render_style = "binary"

    def render(self, data: bytes, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        if not data:
            return b""
        request: Request = renderer_context["request"]
        data = self.form(data, is_pretty=request.query_params.get("_pretty") == "true")
        response: Response = renderer_context["response"]
        patch_vary_headers(response, ["Accept", "Accept-Encoding"])
        if len(data) < GZIP_FROM or not is_gzip_wanted(request.headers.get("Accept-Encoding", "")):
            return data
        response["Content-Encoding"] = "gzip"
        return gzip.compress(data, compresslevel=1, mtime=0)

    def form(self, data: bytes, *, is_pretty: bool) -> bytes:
        return json_dump(json_load(data), is_pretty=True).encode() if is_pretty else data


class FhirXmlRenderer(FhirRenderer):
    """The same texts as XML."""

    media_type = FHIR_XML
    format = "xml"

    def form(self, data: bytes, *, is_pretty: bool) -> bytes:
        return xml_write(data.decode())


class FhirNegotiation(DefaultContentNegotiation):
    """`_format` wins over Accept (FHIR R4 3.1.0.1.11); anything that could mean JSON gets it, and only the rest a 406."""

    def select_renderer(self, request: Request, renderers: Iterable[Any], format_suffix: str | None = None) -> tuple[Any, str]:
        wanted = request.query_params.get("_format", "")
        if wanted:
            # A plus that nobody encoded arrives as a space.
            media = FORMATS.get(wanted.split(";")[0].strip().replace(" ", "+").lower(), "")
        else:
            media = accepted_media(request.headers.get("Accept", ""))
        for renderer in renderers:
            # A Binary leaves as whatever it holds, unless FHIR is asked for (FHIR R4 2.44.2).
            if renderer.media_type == media or (not media and is_binary(request)):
                return renderer, media
        raise FhirError(406)


def accepted_media(accept: str) -> str:
    """FHIR_JSON, FHIR_XML, or "" for neither: the best quality wins, JSON where they are equal (RFC 9110 12.5.1)."""
    if not accept.strip():
        return FHIR_JSON
    best, found = 0.0, ""
    for part in accept.split(","):
        media, quality = _accepted(part)
        if media and (quality > best or (quality == best and media == FHIR_JSON)):
            best, found = quality, media
    return found


def _accepted(part: str) -> tuple[str, float]:
    name, *parameters = (text.strip() for text in part.lower().split(";"))
    settings = dict(text.replace(" ", "").partition("=")[::2] for text in parameters)
    try:
        quality = float(settings.get("q", "1"))
    except ValueError:
        quality = 0.0
    if settings.get("fhirversion", "4.0") != "4.0" or quality <= 0:
        return "", 0.0
    if name in JSON_TYPES or name in ANYTHING:
        return FHIR_JSON, quality
    return (FHIR_XML, quality) if name in XML_TYPES else ("", 0.0)


def is_binary(request: Request) -> bool:
    return bool(request.parser_context["kwargs"].get("rtype") == "Binary")


def is_gzip_wanted(header: str) -> bool:
    codings = {part.partition(";")[0].strip().lower(): part.replace(" ", "") for part in header.split(",")}
    return "gzip" in codings and not codings["gzip"].endswith((";q=0", ";q=0.0"))


class FhirErrors(APIView):
    """Any failure, even of the commit at the very end, leaves as an OperationOutcome."""

    renderer_classes = [FhirRenderer, FhirXmlRenderer]
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
    hidden: frozenset[str]  # types that this caller may not see
    takes_scopes = True
    letters: Mapping[str, str] = dict.fromkeys(["GET", "HEAD", "POST"], "r")  # what a SMART scope must say, by method; "": nothing
    implied = ""  # the type of an address that does not name it
    scoped: Scoped | None = None  # of a token with scopes
    narrowed: Sequence[Pairs] = ()  # what narrows the request's type
    is_own = False  # of the request's type, only what is the patient's of the launch
    owned: Owned | None = None  # of hidden types, what may be seen all the same: the patient's
    is_guarded = True  # False where nothing that is stored is looked at

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if self.is_guarded and (guard := GUARDED.get(kwargs.get("rtype", ""))):
            self.capabilities = {m: guard if own == "fhir.read" else own for m, own in self.capabilities.items()}
        super().initial(request, *args, **kwargs)
        holder: Any = request.auth
        self.hidden = frozenset(name for name, guard in GUARDED.items() if not is_allowed(role=holder.role, capability=guard))
        if scopes := getattr(holder, "scopes", ""):
            scoped = Scoped(scopes, patient=self._launched(holder), is_person=bool(holder.user_id))
            self._scope(scoped, request.method or "", kwargs.get("rtype", "") or self.implied)

    def _launched(self, holder: Any) -> str:
        """The patient of the launch, "" without one. Raises NotAuthenticated when what a person granted is over."""
        if not holder.user_id:
            return ""
        with tenant_scope(self.tenant_id):
            grant = grant_of_token(grant_id=holder.grant_id)
        if grant is None:
            raise NotAuthenticated
        return grant.patient

    def _scope(self, scoped: Scoped, method: str, rtype: str) -> None:
        """Raises FhirError 403 where the token's scopes do not allow this on its type."""
        self.scoped, letters = scoped, self.letters.get(method, "")
        if not letters:
            return
        self.hidden |= scoped.hidden(letters)
        self.owned = scoped.owned(letters)
        if rtype in TYPES:
            if letters in {"r", "s"}:
                self.narrowed, self.is_own = scoped.narrowed(rtype, letters)
            else:
                scoped.whole_check(rtype, letters)
            self.hidden -= {rtype} - set(GUARDED)

    @property
    def is_partial(self) -> bool:
        """Not all of the request's type may be seen."""
        return bool(self.narrowed) or self.is_own

    def whole_check(self) -> None:
        """What does not look at each resource needs the whole type. Raises FhirError 403."""
        if self.is_partial:
            raise FhirError(403, NOT_IN_SCOPE)

    def narrow_check(self, rtype: str, fhir_id: str) -> None:
        """Of a type that is there in part: is this one of those that may be read? Raises FhirError 404, as if it were not there."""
        if not self.is_partial:
            return
        patient = self.owned_patient if self.is_own else ""
        base = base_url(self.request, self.kwargs["slug"])
        parsed = query_parse(
            tenant_id=self.tenant_id, rtype=rtype, pairs=[("_id", fhir_id)], base=base, zone=lambda: hospital_read().zone,
            is_strict=True, patient=patient, within=self.narrowed,
        )  # fmt: skip
        if not resource_search(query=parsed.query).matches:
            raise FhirError(404)

    @property
    def owned_patient(self) -> str:
        """The patient of the launch."""
        return self.scoped.patient if self.scoped else ""


class WritingView(FhirView):
    """A door that writes: reading is scoped as everywhere, a write settles its own transaction."""

    capabilities = {"GET": "fhir.read", "HEAD": "fhir.read"} | dict.fromkeys(["POST", "PUT", "PATCH", "DELETE"], "fhir.write")

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        self.is_scoped = request.method in {"GET", "HEAD"}
        super().initial(request, *args, **kwargs)

    @property
    def author(self) -> Author:
        holder: Any = self.request.auth
        return Author(name=self.actor.name, role=holder.role)

    def settled(self, work: Callable[[], T]) -> T:
        """Do it all in one transaction, and once more if PostgreSQL ended that to free others of a deadlock."""
        is_alone = not is_in_scope()  # else an entry of a batch, whose transaction goes on
        for is_last in (False, True) if is_alone else (True,):
            try:
                with tenant_scope(self.tenant_id):
                    return work()
            except OperationalError as error:
                if getattr(error.__cause__, "sqlstate", "") not in RETRIED:
                    raise
                if is_last:
                    raise StoreConflictError from None
        raise AssertionError  # the loop has returned or raised


def base_url(request: Request, slug: str) -> str:
    """The hospital's FHIR base as the caller reaches it, without a slash at its end."""
    return str(request.build_absolute_uri(_base_path(slug)))


@lru_cache(maxsize=1024)
def _base_path(slug: str) -> str:
    return reverse("fhir-metadata", kwargs={"slug": slug}).removesuffix("/metadata")


def type_check(rtype: str) -> None:
    """Raise 404 for a type that is not held (FHIR R4 3.1.0.1.2)."""
    if rtype not in TYPES:
        raise FhirError(404, "This resource type is not held here; see the CapabilityStatement.", code="not-supported")
