"""Bulk Data Access (STU2): kick-off, status and files. The work itself is the worker's (fhirapi.bulk.run)."""

from collections.abc import Iterable
from functools import cached_property
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.cache import patch_vary_headers
from django.utils.http import http_date
from rest_framework.request import Request
from rest_framework.response import Response

from fhirapi.bulk.asking import NDJSON, Asker, Wish, export_create, wish_read
from fhirapi.bulk.exports import export_cancel, export_file, export_get, export_manifest, export_progress
from fhirapi.bulk.files import file_stream, length_of
from fhirapi.bulk.members import Level, group_patients
from fhirapi.models import BulkExport
from fhirapi.operations.known import Pairs, parameters_read
from fhirapi.outcomes import FhirError, outcome
from fhirapi.sources import hospital_read
from fhirapi.views.base import FhirNegotiation, FhirView, base_url, is_gzip_wanted
from fhirapi.views.bodies import has_body, is_async_wanted, preference, tree_read
from fhirapi.views.formats import FHIR_JSON
from fhirapi.views.operations import found
from fhirapi.writing.conditional import FORM

STARTED = "The export has begun; ask at Content-Location how far it is."
CANCELLED = "The export is cancelled and its files are gone."
FAILED = "The export failed here; the operator has been told. Ask for it again."
POLL_SECONDS = 5


class ExportView(FhirView):
    """GET and POST [base]/$export."""

    letters = dict.fromkeys(["GET", "HEAD", "POST"], "rs")
    level = Level.SYSTEM

    def get(self, request: Request, slug: str, group: str = "") -> Response:
        return self.answer(request, slug, group, _pairs(request))

    def post(self, request: Request, slug: str, group: str = "") -> Response:
        body = _body_pairs(tree_read(request)) if has_body(request) else []
        return self.answer(request, slug, group, _pairs(request) + body)

    def answer(self, request: Request, slug: str, group: str, pairs: Pairs) -> Response:
        if not is_async_wanted(request):
            raise FhirError(400, "An export needs Prefer: respond-async.", code="required")
        if any("\0" in name or "\0" in value for name, value in pairs):  # no text of PostgreSQL's has one
            raise FhirError(400, "A parameter holds a NUL.", code="value")
        base = base_url(request, slug)
        asker = Asker(tenant_id=self.tenant_id, base=base, zone=self.zone, hidden=self.hidden)
        content = found("Group", group).content if group else ""
        wish = wish_read(
            level=self.level, pairs=pairs, asker=asker, is_lenient=preference(request, "handling") == "lenient", group_id=group
        )
        _members_check(wish, content)
        export = export_create(wish=wish, asker=asker, request=str(request.build_absolute_uri()), actor=self.actor)
        told = outcome(severity="information", code="informational", diagnostics=STARTED)
        return Response(orjson.dumps(told), status=202, headers={"Content-Location": f"{base}/bulk/{export.uuid}"})

    @cached_property
    def hospitals_zone(self) -> ZoneInfo:
        return hospital_read().zone

    def zone(self) -> ZoneInfo:
        """Asked once a request, and only where a day needs it."""
        return self.hospitals_zone


class PatientExportView(ExportView):
    """GET and POST [base]/Patient/$export."""

    level = Level.PATIENT


class GroupExportView(ExportView):
    """GET and POST [base]/Group/[id]/$export."""

    level = Level.GROUP


class BulkStatusView(FhirView):
    """GET and DELETE [base]/bulk/[export]."""

    capabilities = FhirView.capabilities | {"DELETE": "fhir.read"}
    letters = dict.fromkeys(["GET", "HEAD", "DELETE"], "rs")
    http_method_names = ["get", "head", "delete"]

    def get(self, request: Request, slug: str, export: UUID) -> HttpResponseBase:
        row = self.row(export)
        if row.state == BulkExport.State.FAILED:
            told = outcome(severity="error", code="exception", diagnostics=FAILED)
            response = HttpResponse(orjson.dumps(told), status=500, content_type=FHIR_JSON)
            response._has_been_logged = True  # type: ignore[attr-defined]
            return response
        if row.state == BulkExport.State.RUNNING:
            return HttpResponse(status=202, headers={"X-Progress": export_progress(row), "Retry-After": str(POLL_SECONDS)})
        headers = {"Expires": http_date(row.due_at.timestamp())} if row.due_at else {}
        return HttpResponse(orjson.dumps(export_manifest(row)), content_type="application/json", headers=headers)

    def delete(self, request: Request, slug: str, export: UUID) -> Response:
        export_cancel(export=self.row(export), actor=self.actor)
        told = outcome(severity="information", code="informational", diagnostics=CANCELLED)
        return Response(orjson.dumps(told), status=202)

    def row(self, uuid: UUID) -> BulkExport:
        row = export_get(uuid=uuid, hidden=self.hidden)
        if row is None:
            raise FhirError(404)
        return row


class AnyNegotiation(FhirNegotiation):
    """A file is what it is; only errors are rendered."""

    def select_renderer(self, request: Request, renderers: Iterable[Any], format_suffix: str | None = None) -> tuple[Any, str]:
        return next(iter(renderers)), FHIR_JSON


class BulkFileView(FhirView):
    """GET [base]/bulk/[export]/[file].ndjson."""

    http_method_names = ["get", "head"]
    letters = dict.fromkeys(["GET", "HEAD"], "rs")
    content_negotiation_class = AnyNegotiation

    def get(self, request: Request, slug: str, export: UUID, name: str) -> HttpResponseBase:
        row = export_get(uuid=export, hidden=self.hidden)
        held = export_file(export=row, name=name, actor=self.actor) if row else None
        try:
            file = held.path.open("rb") if held else None
        except FileNotFoundError:
            file = None
        if held is None or file is None:
            raise FhirError(404)
        is_gzip = is_gzip_wanted(request.headers.get("Accept-Encoding", ""))
        response = StreamingHttpResponse(file_stream(file, extent=held.extent, is_gzip=is_gzip), content_type=NDJSON)
        response["Content-Length"] = str(length_of(held.extent, is_gzip=is_gzip))
        if is_gzip:
            response["Content-Encoding"] = "gzip"
        patch_vary_headers(response, ["Accept-Encoding"])
        return response


def _pairs(request: Request) -> Pairs:
    return [(name, value) for name, values in request.query_params.lists() for value in values if name not in FORM]


def _body_pairs(tree: Any) -> Pairs:
    """Parameters of simple values, and references by what they refer to."""
    pairs = []
    for name, value in parameters_read(tree):
        text = value.get("reference") if isinstance(value, dict) else value
        if not isinstance(text, str):
            raise FhirError(400, "A parameter of $export is neither a text nor a reference.", code="structure")
        pairs.append((name, text))
    return pairs


def _members_check(wish: Wish, group: str) -> None:
    if group and set(wish.patients) - group_patients(content=group):
        raise FhirError(400, "patient names somebody who is not in the Group.", code="value")
