"""`reports` and `deliveries` of the API: report versions, their PDF, where each went and what the receiver said."""

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from ai.delivery.dossier import shown_sheet
from ai.delivery.selectors import (
    deliveries_of,
    deliveries_page,
    delivery_get,
    delivery_history,
    report_by_uuid,
    reports_page,
)
from ai.delivery.services import delivery_resend
from ai.governance.recalls import report_flags
from ai.models import Report, ReportDelivery
from ai.printing.pdf import PrintingError, report_pdf
from ai.readers import Reader
from imaging.api.base import ApiView, Conflict, ProblemSerializer, page_of, page_response
from journal.audit import audit_record
from journal.wall.scope import tenant_scope
from tenants.permissions import is_allowed

PAGING = [OpenApiParameter("cursor", str), OpenApiParameter("limit", int)]
VERSION = OpenApiParameter("version", int, description="the newest without it")
PDF = "application/pdf"


class AttemptSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    is_good = serializers.BooleanField()
    words = serializers.CharField(help_text="what the receiver answered, or why it was not reached")
    milliseconds = serializers.IntegerField()


class DeliverySerializer(serializers.Serializer[Any]):
    """One report version on its way to one receiver."""

    id = serializers.CharField()
    report = serializers.UUIDField()
    version = serializers.IntegerField()
    study = serializers.UUIDField()
    kind = serializers.CharField(help_text="archive, pacs_dimse, pacs_stow")
    target = serializers.CharField(help_text="the node's id; empty for our archive")
    target_name = serializers.CharField()
    state = serializers.ChoiceField(choices=ReportDelivery.State.choices)
    attempts = serializers.IntegerField(help_text="of this step, since it was last asked for")
    commitment_asked_at = serializers.DateTimeField(allow_null=True, help_text="the receiver has taken the question for storage commitment")
    not_committed = serializers.DictField(
        child=serializers.IntegerField(), allow_null=True,
        help_text="SOP instance: reason (0008,1197; 0 where the answer does not name it); null while there is no answer",
    )  # fmt: skip
    words = serializers.CharField(help_text="of the last answer")
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    next_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: ReportDelivery) -> dict[str, Any]:
        report = instance.report
        return {
            "id": str(instance.id), "report": str(report.uuid), "version": report.version, "study": str(report.study.uuid),
            "kind": instance.kind, "target": instance.target, "target_name": instance.target_name, "state": instance.state,
            "attempts": instance.attempts, "commitment_asked_at": instance.asked_at, "not_committed": instance.failures,
            "words": instance.words, "created_at": instance.created_at,
            "ended_at": instance.ended_at, "next_at": instance.due_at,
        }  # fmt: skip


class DeliveryDetailSerializer(DeliverySerializer):
    tries = AttemptSerializer(many=True, help_text="every attempt, newest first")

    def to_representation(self, instance: ReportDelivery) -> dict[str, Any]:
        history = delivery_history(delivery=instance).attempts
        return {**super().to_representation(instance), "tries": AttemptSerializer(history, many=True).data}


class DeliveryPageSerializer(serializers.Serializer[Any]):
    items = DeliverySerializer(many=True)
    next = serializers.URLField(allow_null=True)


class RecallFlagSerializer(serializers.Serializer[Any]):
    """A reader of the report must know this first."""

    id = serializers.UUIDField(source="uuid")
    since = serializers.DateTimeField()
    reason = serializers.CharField()
    is_lifted = serializers.BooleanField(help_text="new runs are allowed again; this report stays flagged")


class ReportSerializer(serializers.Serializer[Any]):
    """A report version; its findings are read over FHIR."""

    id = serializers.UUIDField(help_text="of all its versions, and of the DiagnosticReport")
    version = serializers.IntegerField()
    status = serializers.ChoiceField(choices=Report.Status.choices)
    study = serializers.UUIDField()
    platform = serializers.CharField()
    algorithm = serializers.CharField()
    is_test = serializers.BooleanField(help_text="made by a stand-in")
    conclusion = serializers.CharField()
    recalls = RecallFlagSerializer(many=True, help_text="why the hospital stopped its algorithm; the report stays as it is")
    issued_at = serializers.DateTimeField()
    pdf = serializers.URLField()

    def to_representation(self, instance: Report) -> dict[str, Any]:
        where = self.context["request"].build_absolute_uri(f"/t/{self.context['slug']}/api/v1/reports/{instance.uuid}.pdf")
        return {
            "id": str(instance.uuid), "version": instance.version, "status": instance.status, "study": str(instance.study.uuid),
            "platform": instance.connection.platform, "algorithm": instance.algorithm, "is_test": instance.connection.is_test,
            "recalls": RecallFlagSerializer(self.context["flags"].get(instance.id, ()), many=True).data,
            "conclusion": instance.conclusion, "issued_at": instance.issued_at, "pdf": f"{where}?version={instance.version}",
        }  # fmt: skip


class ReportDetailSerializer(ReportSerializer):
    deliveries = DeliverySerializer(many=True, help_text="of each receiver the newest version's")

    def to_representation(self, instance: Report) -> dict[str, Any]:
        found = deliveries_of(report_uuids=[instance.uuid])[instance.uuid]
        return {**super().to_representation(instance), "deliveries": DeliverySerializer(found, many=True).data}


class ReportPageSerializer(serializers.Serializer[Any]):
    items = ReportSerializer(many=True)
    next = serializers.URLField(allow_null=True)


class PdfRenderer(BaseRenderer):
    """Names the type for the negotiation; the answer is made by the view."""

    media_type = PDF
    format = "pdf"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return JSONRenderer().render(data)  # a problem stays JSON


def _version(request: Request) -> int:
    text = request.query_params.get("version", "")
    if text and not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise exceptions.ValidationError({"version": ["a number"]})
    return int(text or 0)


def _report(request: Request, uuid: UUID) -> Report:
    report = report_by_uuid(uuid=uuid, reader=_reader(request), version=_version(request))
    if report is None:
        raise exceptions.NotFound
    return report


def _context(request: Request, slug: str, reports: list[Report]) -> dict[str, Any]:
    return {"request": request, "slug": slug, "flags": report_flags(report_ids=[one.id for one in reports])}


def _reader(request: Request) -> Reader:
    return Reader(sees_all=is_allowed(role=request.auth.role, capability="ai.write"))


def _delivery(delivery_id: int) -> ReportDelivery:
    delivery = delivery_get(delivery_id=delivery_id)
    if delivery is None:
        raise exceptions.NotFound
    return delivery


class ReportsView(ApiView):
    """Newest first; every version is an item."""

    capabilities = {"GET": "fhir.read"}

    @extend_schema(operation_id="reports_list", parameters=[OpenApiParameter("study", UUID), *PAGING], responses=ReportPageSerializer)
    def get(self, request: Request, slug: str) -> Response:
        cursor, limit = page_of(request)
        found = reports_page(reader=_reader(request), before=cursor, size=limit + 1, study_uuid=_study(request))
        audit_record(actor=self.actor, action="study.report.view", object_type="Hospital", object_id=str(self.tenant_id))
        items = ReportSerializer(found[:limit], many=True, context=_context(request, slug, found[:limit])).data
        kept = {"study": request.query_params["study"]} if "study" in request.query_params else {}
        return page_response(request, list(items), found[limit - 1].id if len(found) > limit else 0, **kept)


def _study(request: Request) -> UUID | None:
    text = request.query_params.get("study", "")
    try:
        return UUID(text) if text else None
    except ValueError:
        raise exceptions.ValidationError({"study": ["the uuid of a study"]}) from None


class ReportView(ApiView):
    capabilities = {"GET": "fhir.read"}

    @extend_schema(operation_id="reports_read", parameters=[VERSION], responses={200: ReportDetailSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, uuid: UUID) -> Response:
        report = _report(request, uuid)
        audit_record(actor=self.actor, action="study.report.view", object_type="Study", object_id=str(report.study.uuid))
        return Response(ReportDetailSerializer(report, context=_context(request, slug, [report])).data)


class ReportPdfView(ApiView):
    """The printed report: what DiagnosticReport.presentedForm points at. Whoever may read the one may read the other."""

    capabilities = {"GET": "fhir.read"}
    renderer_classes = [PdfRenderer, JSONRenderer]
    is_scoped = False  # printed outside of the scope

    @extend_schema(
        operation_id="reports_pdf", parameters=[VERSION],
        responses={(200, PDF): OpenApiResponse(bytes), 404: ProblemSerializer, 409: ProblemSerializer},
    )  # fmt: skip
    def get(self, request: Request, slug: str, uuid: UUID) -> HttpResponse:
        with tenant_scope(self.tenant_id):
            report = _report(request, uuid)
            sheet = shown_sheet(report=report)
            audit_record(actor=self.actor, action="study.report.view", object_type="Study", object_id=str(report.study.uuid))
        try:
            return HttpResponse(report_pdf(sheet), content_type=PDF)
        except PrintingError as error:
            raise Conflict(str(error)) from None


class DeliveriesView(ApiView):
    """Newest first, of one state where it is named."""

    capabilities = {"GET": "delivery.manage"}

    @extend_schema(
        operation_id="deliveries_list", responses=DeliveryPageSerializer,
        parameters=[OpenApiParameter("state", str, enum=ReportDelivery.State.values), *PAGING],
    )  # fmt: skip
    def get(self, request: Request, slug: str) -> Response:
        cursor, limit = page_of(request)
        state = request.query_params.get("state", "")
        if state and state not in ReportDelivery.State.values:
            raise exceptions.ValidationError({"state": [", ".join(ReportDelivery.State.values)]})
        found = deliveries_page(before=cursor, size=limit + 1, states=[state] if state else ())
        following = found[limit - 1].id if len(found) > limit else 0
        items = list(DeliverySerializer(found[:limit], many=True).data)
        return page_response(request, items, following, **({"state": state} if state else {}))


class DeliveryView(ApiView):
    capabilities = {"GET": "delivery.manage"}

    @extend_schema(operation_id="deliveries_read", responses={200: DeliveryDetailSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, delivery_id: int) -> Response:
        return Response(DeliveryDetailSerializer(_delivery(delivery_id)).data)


class DeliveryResendView(ApiView):
    """Once more, from the start. 409 for one that is still on its way."""

    capabilities = {"POST": "delivery.manage"}

    @extend_schema(
        operation_id="deliveries_resend", request=None,
        responses={200: DeliverySerializer, 404: ProblemSerializer, 409: ProblemSerializer},
    )  # fmt: skip
    def post(self, request: Request, slug: str, delivery_id: int) -> Response:
        if not delivery_resend(actor=self.actor, delivery=_delivery(delivery_id)):
            raise Conflict("it is on its way")
        return Response(DeliverySerializer(_delivery(delivery_id)).data)
