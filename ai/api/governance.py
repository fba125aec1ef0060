"""`algorithms`, `recalls`, `disclosures` and `usage` of the API: the twins of the pages of governance."""

from datetime import date
from typing import Any
from uuid import UUID

from django.utils import timezone
from django.utils.dateparse import parse_date
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from ai.contract import platforms
from ai.governance.disclosures import DisclosureQuery, disclosures_page
from ai.governance.recalls import (
    LONGEST,
    RecallRefused,
    recall_by_uuid,
    recall_lift,
    recall_start,
    recalls_of,
    reports_flagged_count,
)
from ai.governance.registry import RegistryRow, registry_get, registry_read
from ai.governance.usage import MOST_MONTHS, UsageRow, usage_read
from ai.models import Disclosure, Recall
from imaging.api.base import ApiView, Conflict, ProblemSerializer, StrictSerializer, page_of, page_response
from tenants.selectors import tenant_get, tenant_zone


class RecallSerializer(serializers.Serializer[Any]):
    """A stop of an algorithm: who, when, why, and how it was lifted."""

    id = serializers.UUIDField(source="uuid")
    platform = serializers.CharField()
    algorithm = serializers.CharField()
    version = serializers.CharField(help_text="whose reports are flagged; empty: of all versions")
    reason = serializers.CharField()
    by = serializers.CharField()
    at = serializers.DateTimeField()
    lifted_by = serializers.CharField()
    lifted_at = serializers.DateTimeField(allow_null=True)
    lifted_reason = serializers.CharField()
    is_cleared = serializers.BooleanField(help_text="the flag was taken from its reports when it was lifted")
    reports_flagged = serializers.SerializerMethodField()

    def get_reports_flagged(self, recall: Recall) -> int:
        return reports_flagged_count(recall=recall)


class RecallListSerializer(serializers.Serializer[Any]):
    items = RecallSerializer(many=True, help_text="the newest two hundred")


class RecallStartSerializer(StrictSerializer):
    reason = serializers.CharField(max_length=LONGEST)
    version = serializers.CharField(max_length=64, default="", allow_blank=True)


class RecallLiftSerializer(StrictSerializer):
    reason = serializers.CharField(max_length=LONGEST)
    are_reports_cleared = serializers.BooleanField(default=False, help_text="they were right after all")


class RegistrySerializer(serializers.Serializer[Any]):
    """An algorithm of a connected platform, and what it has run here."""

    platform = serializers.CharField()
    algorithm = serializers.CharField()
    title = serializers.CharField()
    role = serializers.CharField(help_text="empty where the platform offers it no more")
    clearance = serializers.CharField()
    intended_use = serializers.CharField()
    stage = serializers.CharField(help_text="off, test, shadow, pilot or live")
    is_test = serializers.BooleanField()
    versions = serializers.ListField(child=serializers.CharField(), help_text="as its answers said")
    runs = serializers.IntegerField(help_text="that were sent")
    last_run_at = serializers.DateTimeField(allow_null=True)
    recall = RecallSerializer(allow_null=True, help_text="the one that stands")

    def to_representation(self, instance: RegistryRow) -> dict[str, Any]:
        card = instance.card
        return {
            "platform": instance.connection.platform, "algorithm": instance.algorithm, "title": card.title if card else instance.algorithm,
            "role": card.role if card else "", "clearance": card.clearance if card else "",
            "intended_use": card.intended_use if card else "", "stage": instance.stage, "is_test": instance.connection.is_test,
            "versions": list(instance.versions), "runs": instance.runs, "last_run_at": instance.last_run_at,
            "recall": RecallSerializer(instance.recall).data if instance.recall else None,
        }  # fmt: skip


class RegistryListSerializer(serializers.Serializer[Any]):
    items = RegistrySerializer(many=True, help_text="all of them")


class AlgorithmsView(ApiView):
    capabilities = {"GET": "ai.read"}

    @extend_schema(operation_id="algorithms_list", responses=RegistryListSerializer)
    def get(self, request: Request, slug: str) -> Response:
        return Response({"items": RegistrySerializer(registry_read(), many=True).data})


class RecallView(ApiView):
    """Stops the algorithm: nothing new is sent, and its reports are flagged. 409 when it is recalled already."""

    capabilities = {"POST": "ai.write"}

    @extend_schema(
        operation_id="algorithms_recall", request=RecallStartSerializer,
        responses={201: RecallSerializer, 400: ProblemSerializer, 404: ProblemSerializer, 409: ProblemSerializer},
    )  # fmt: skip
    def post(self, request: Request, slug: str, platform: str, algorithm: str) -> Response:
        if registry_get(platform=platform, algorithm=algorithm) is None:
            raise exceptions.NotFound
        body = RecallStartSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            made = recall_start(platform=platform, algorithm=algorithm, actor=self.actor, **body.validated_data)
        except RecallRefused as refused:
            raise _problem(refused) from None
        return Response(RecallSerializer(made).data, status=201)


def _problem(refused: RecallRefused) -> exceptions.APIException:
    return exceptions.ValidationError({refused.field: [refused.user_message]}) if refused.field else Conflict(refused.user_message)


class RecallsView(ApiView):
    """Newest first, those that were lifted as well."""

    capabilities = {"GET": "ai.read"}

    @extend_schema(operation_id="recalls_list", responses=RecallListSerializer)
    def get(self, request: Request, slug: str) -> Response:
        return Response({"items": RecallSerializer(recalls_of(), many=True).data})


class RecallLiftView(ApiView):
    """New runs are allowed again. Reports stay flagged unless they are said to be right after all. 409 when it is lifted already."""

    capabilities = {"POST": "ai.write"}

    @extend_schema(
        operation_id="recalls_lift", request=RecallLiftSerializer,
        responses={200: RecallSerializer, 400: ProblemSerializer, 404: ProblemSerializer, 409: ProblemSerializer},
    )  # fmt: skip
    def post(self, request: Request, slug: str, recall: UUID) -> Response:
        found = recall_by_uuid(uuid=recall)
        if found is None:
            raise exceptions.NotFound
        body = RecallLiftSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            return Response(RecallSerializer(recall_lift(recall=found, actor=self.actor, **body.validated_data)).data)
        except RecallRefused as refused:
            raise _problem(refused) from None


class DisclosureSerializer(serializers.Serializer[Any]):
    """One question to a platform outside the house. `study` and `job` are our ids; nothing names a patient."""

    begun_at = serializers.DateTimeField(help_text="before the first byte")
    taken_at = serializers.DateTimeField(allow_null=True, help_text="the platform said that it has it")
    platform = serializers.CharField()
    is_test = serializers.BooleanField(help_text="to a stand-in")
    receiver = serializers.CharField(help_text="hosts of the connection's settings")
    study = serializers.UUIDField()
    job = serializers.UUIDField()
    algorithm = serializers.CharField()
    what = serializers.CharField()
    objects = serializers.IntegerField()  # type: ignore[assignment] # the library has a word like that
    profile = serializers.CharField(help_text="default, default-dates-kept, findings; empty: not recorded then")
    codes = serializers.ListField(child=serializers.CharField(), help_text="CID 7050: what was done")
    input_sha256 = serializers.CharField()
    attempts = serializers.IntegerField()

    def to_representation(self, instance: Disclosure) -> dict[str, Any]:
        plain = ("taken_at", "platform", "is_test", "receiver", "algorithm", "what", "profile", "codes", "input_sha256", "attempts")
        return {
            **{name: getattr(instance, name) for name in plain}, "begun_at": instance.at, "study": str(instance.study.uuid),
            "job": str(instance.job_uuid), "objects": instance.instances,
        }  # fmt: skip


class DisclosurePageSerializer(serializers.Serializer[Any]):
    items = DisclosureSerializer(many=True)
    next = serializers.URLField(allow_null=True)


def _day(request: Request, name: str) -> date | None:
    text = request.query_params.get(name, "")
    try:
        found = parse_date(text) if text else None
    except ValueError:
        found = None
    if text and found is None:
        raise exceptions.ValidationError({name: ["a day: 2026-11-30"]})
    return found


class DisclosuresView(ApiView):
    """Newest first."""

    capabilities = {"GET": "audit.read"}

    @extend_schema(
        operation_id="disclosures_list", responses={200: DisclosurePageSerializer, 400: ProblemSerializer},
        parameters=[
            OpenApiParameter("from", date), OpenApiParameter("to", date), OpenApiParameter("platform", str),
            OpenApiParameter("cursor", str), OpenApiParameter("limit", int),
        ],
    )  # fmt: skip
    def get(self, request: Request, slug: str) -> Response:
        platform = _platform(request)
        query = DisclosureQuery(since=_day(request, "from"), until=_day(request, "to"), platform=platform)
        cursor, limit = page_of(request)
        page = disclosures_page(query=query, zone=tenant_zone(tenant_id=self.tenant_id), before=cursor, size=limit)
        kept = {name: text for name in ("from", "to", "platform") if (text := request.query_params.get(name))}
        return page_response(request, list(DisclosureSerializer(page.rows, many=True).data), page.older, **kept)


def _platform(request: Request) -> str:
    platform = request.query_params.get("platform", "")
    if platform and platform not in platforms():
        raise exceptions.ValidationError({"platform": ["no platform of that name"]})
    return platform


class UsageSerializer(serializers.Serializer[Any]):
    """A platform's month, in the hospital's time zone. `counted` alone counts, and even that is billed by nobody."""

    month = serializers.CharField(help_text="2026-11")
    platform = serializers.CharField()
    counted = serializers.IntegerField(help_text="done, or answered that it cannot be analysed")
    repeats = serializers.IntegerField(help_text="not counted: the same pixels once more")
    failed = serializers.IntegerField(help_text="not counted: given up, or the answer was kept back")
    refused = serializers.IntegerField(help_text="not counted")
    cancelled = serializers.IntegerField(help_text="not counted")

    def to_representation(self, instance: UsageRow) -> dict[str, Any]:
        names = ("platform", "counted", "repeats", "failed", "refused", "cancelled")
        return {"month": f"{instance.month:%Y-%m}", **{name: getattr(instance, name) for name in names}}


class UsageListSerializer(serializers.Serializer[Any]):
    items = UsageSerializer(many=True, help_text="newest month first")


class UsageView(ApiView):
    """It informs and never bills."""

    capabilities = {"GET": "ai.read"}

    @extend_schema(
        operation_id="usage_list", responses={200: UsageListSerializer, 400: ProblemSerializer},
        parameters=[OpenApiParameter("months", int, description=f"12; at most {MOST_MONTHS}"), OpenApiParameter("platform", str)],
    )  # fmt: skip
    def get(self, request: Request, slug: str) -> Response:
        text = request.query_params.get("months", "12")
        if not (text.isascii() and text.isdigit() and 0 < int(text[:4]) <= MOST_MONTHS):
            raise exceptions.ValidationError({"months": [f"a number to {MOST_MONTHS}"]})
        tenant = tenant_get(tenant_id=self.tenant_id)
        now = timezone.now().astimezone(tenant_zone(tenant_id=self.tenant_id))
        rows = usage_read(now=now, zone=tenant.time_zone, months=int(text), platform=_platform(request))
        return Response({"items": UsageSerializer(rows, many=True).data})
