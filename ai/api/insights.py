"""`insights` of the API: the figures of the page, and the cases behind each."""

from dataclasses import asdict
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from ai.insights.figures import Figures, insights_read
from ai.insights.queries import HOPS, KINDS, Span, cases_read
from ai.insights.spans import SpanError, span_of
from imaging.api.base import ApiView, ProblemSerializer, page_of, page_response
from tenants.selectors import tenant_get

SPAN = [OpenApiParameter("from", str, description="YYYY-MM-DD, the hospital's day"), OpenApiParameter("to", str)]


class ShareSerializer(serializers.Serializer[Any]):
    """`value` with Wilson's 95 % interval; null where fewer than 20 were counted."""

    count = serializers.IntegerField()
    total = serializers.IntegerField()
    value = serializers.FloatField(allow_null=True)
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)


class HopFiguresSerializer(serializers.Serializer[Any]):
    name = serializers.ChoiceField(choices=HOPS)
    cases = serializers.IntegerField()
    p50 = serializers.FloatField(allow_null=True, help_text="seconds; null under 20 cases")
    p95 = serializers.FloatField(allow_null=True)


class DriftSerializer(serializers.Serializer[Any]):
    """The last 30 days of the span against the 90 before them."""

    name = serializers.CharField()
    index = serializers.FloatField(allow_null=True, help_text="population stability index; null under 20 cases")
    word = serializers.ChoiceField(choices=["steady", "shifting", "changed", "too-few"])
    now = serializers.DictField(child=serializers.IntegerField())
    before = serializers.DictField(child=serializers.IntegerField())


class SiteFiguresSerializer(serializers.Serializer[Any]):
    site = serializers.CharField(allow_null=True, allow_blank=True, help_text="institution, else calling AE; null for all of them")
    jobs = serializers.IntegerField()
    decided = serializers.IntegerField()
    corrected = serializers.IntegerField()
    rejected = serializers.IntegerField()
    concordance = ShareSerializer()
    ppv = ShareSerializer(allow_null=True, help_text="null for an algorithm that claims nothing")
    failures = ShareSerializer()
    not_analysable = ShareSerializer()
    hops = HopFiguresSerializer(many=True)
    drift = DriftSerializer(many=True)


class InsightFiguresSerializer(SiteFiguresSerializer):
    platform = serializers.CharField()
    algorithm = serializers.CharField()
    title = serializers.CharField()
    role = serializers.CharField()
    sites = SiteFiguresSerializer(many=True)


class InsightsSerializer(serializers.Serializer[Any]):
    items = InsightFiguresSerializer(many=True)


class CaseSerializer(serializers.Serializer[Any]):
    """A job that a figure counts. No identity of a patient."""

    job = serializers.UUIDField(source="job_uuid")
    study = serializers.UUIDField(source="study_uuid")
    modalities = serializers.CharField()
    site = serializers.CharField()
    state = serializers.CharField()
    action = serializers.CharField(help_text="accept, correct, reject or empty")
    reason = serializers.CharField()
    created_at = serializers.DateTimeField()
    seconds = serializers.FloatField(allow_null=True, help_text="of the hop that was asked for")


class CasePageSerializer(serializers.Serializer[Any]):
    items = CaseSerializer(many=True)
    next = serializers.URLField(allow_null=True)


def _span(request: Request, tenant_id: int) -> Span:
    with timezone.override(tenant_get(tenant_id=tenant_id).time_zone):
        try:
            return span_of(since=request.query_params.get("from", ""), until=request.query_params.get("to", ""))
        except SpanError as error:
            raise exceptions.ValidationError({"from": [str(error)]}) from None


def _data(one: Figures) -> dict[str, Any]:
    drift = [{**asdict(drift), "word": drift.word} for drift in one.drift]
    return {**asdict(one), "drift": drift, "sites": [_data(site) for site in one.sites]}


class InsightsView(ApiView):
    """Every algorithm with jobs in the span, whole and by site."""

    capabilities = {"GET": "ai.read"}

    @extend_schema(operation_id="insights_read", parameters=SPAN, responses={200: InsightsSerializer, 400: ProblemSerializer})
    def get(self, request: Request, slug: str) -> Response:
        found = insights_read(span=_span(request, self.tenant_id))
        return Response({"items": InsightFiguresSerializer([_data(one) for one in found], many=True).data})


class InsightsCasesView(ApiView):
    """Newest first; of a hop the slowest first, on one page."""

    capabilities = {"GET": "ai.read"}

    @extend_schema(
        operation_id="insights_cases", responses={200: CasePageSerializer, 400: ProblemSerializer},
        parameters=[
            *SPAN, OpenApiParameter("platform", str), OpenApiParameter("algorithm", str), OpenApiParameter("site", str),
            OpenApiParameter("kind", str, enum=list(KINDS)), OpenApiParameter("cursor", str), OpenApiParameter("limit", int),
        ],
    )  # fmt: skip
    def get(self, request: Request, slug: str) -> Response:
        asked = {name: request.query_params.get(name, "") for name in ("platform", "algorithm")}
        kind, site = request.query_params.get("kind", "all"), request.query_params.get("site")
        if kind not in KINDS:
            raise exceptions.ValidationError({"kind": [f"one of {', '.join(KINDS)}"]})
        cursor, limit = page_of(request)
        found = cases_read(
            span=_span(request, self.tenant_id), kind=kind, site=site, before=min(cursor, 2**63 - 1), size=limit + 1, **asked
        )
        older = found[limit - 1].id if len(found) > limit and kind not in HOPS else 0
        days = {name: request.query_params[name] for name in ("from", "to") if name in request.query_params}
        kept = {**asked, "kind": kind, **days, **({"site": site} if site is not None else {})}
        return page_response(request, list(CaseSerializer(found[:limit], many=True).data), older, **kept)
