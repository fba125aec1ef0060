"""`worklist` of the API: the rows that the page shows, saved filters, and what a person or a system wants to be read first.

Names and numbers are not searched for here: an address would carry them. QIDO-RS and FHIR have searches by POST for that.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from ai.readers import Reader
from ai.worklist import AI_FILTERS, AiRow, ai_rows, ai_where
from imaging.api.base import MAX_PAGE, PAGE, ApiView, Conflict, ProblemSerializer, StrictSerializer, page_response
from imaging.listing import StudyWish, studies_list
from imaging.models import Priority, Study
from imaging.priorities import study_priority_set
from imaging.selectors import study_by_uuid
from journal.audit import audit_record
from tenants.filters import NAME_CHARS, FilterRefused, filter_delete, filter_save, filters_of
from tenants.permissions import is_allowed

DAYS_MAX = 3650
KEPT = ("days", "modality", "ai", "priority", "flagged")  # what the next page is asked for too


class WorklistRowSerializer(serializers.Serializer[Any]):
    """One study and what AI says of it."""

    study = serializers.UUIDField()
    received_at = serializers.DateTimeField()
    modalities = serializers.ListField(child=serializers.CharField())
    instances = serializers.IntegerField()
    priority = serializers.ChoiceField(choices=["", *Priority.values])
    rank = serializers.IntegerField(help_text="4 STAT, 2 urgent, and 1 more where AI flags")
    ai = serializers.CharField(help_text="waiting, routing, submitted, running, late, done, flagged, not_flagged, failed, ...")
    reason = serializers.CharField()
    flags = serializers.ListField(child=serializers.CharField(), help_text="who asks for it to be read first")
    jobs = serializers.IntegerField()
    jobs_done = serializers.IntegerField()


class WorklistPageSerializer(serializers.Serializer[Any]):
    items = WorklistRowSerializer(many=True)
    next = serializers.URLField(allow_null=True)


class AskedSerializer(StrictSerializer):
    """The query of a page."""

    cursor = serializers.RegexField(r"^[0-9.]{1,60}$", required=False, default="")
    limit = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=PAGE)
    days = serializers.IntegerField(min_value=1, max_value=DAYS_MAX, required=False)
    modality = serializers.RegexField(r"^[A-Z0-9_ ]{1,16}$", required=False)
    ai = serializers.ChoiceField(choices=AI_FILTERS, required=False)
    priority = serializers.ChoiceField(choices=Priority.values, required=False)
    flagged = serializers.BooleanField(required=False, default=False)


class WorklistView(ApiView):
    """People's priority first, then AI's flag, then the newest."""

    capabilities = {"GET": "study.read"}

    @extend_schema(
        operation_id="worklist", responses={200: WorklistPageSerializer, 400: ProblemSerializer},
        parameters=[
            OpenApiParameter("cursor", str), OpenApiParameter("limit", int), OpenApiParameter("days", int, description="arrived within"),
            OpenApiParameter("modality", str), OpenApiParameter("ai", str, enum=AI_FILTERS),
            OpenApiParameter("priority", str, enum=Priority.values), OpenApiParameter("flagged", bool),
        ],
    )  # fmt: skip
    def get(self, request: Request, slug: str) -> Response:
        body = AskedSerializer(data=request.query_params.dict())
        body.is_valid(raise_exception=True)
        asked, now, reader = body.validated_data, timezone.now(), reader_of(self, request)
        wish = StudyWish(
            since=now - timedelta(days=asked["days"]) if "days" in asked else None, is_flagged=asked["flagged"],
            modalities=[asked["modality"]] if "modality" in asked else [],
            priorities=[asked["priority"]] if "priority" in asked else [],
            where=[ai_where(state=asked["ai"], reader=reader, now=now)] if "ai" in asked else [],
        )  # fmt: skip
        audit_record(actor=self.actor, action="worklist.view", object_type="Worklist", object_id="-")
        page = studies_list(wish=wish, now=now, before=asked["cursor"], size=asked["limit"])
        rows = ai_rows(studies=page.studies, reader=reader, now=now)
        kept = {name: str(request.query_params[name]) for name in KEPT if name in request.query_params}
        return page_response(request, [_data(study, rows[study.id]) for study in page.studies], page.older, **kept)


def _data(study: Study, row: AiRow) -> dict[str, Any]:
    return {
        "study": str(study.uuid), "received_at": study.first_received_at, "modalities": [m for m in study.modalities.split(",") if m],
        "instances": study.number_of_instances, "priority": study.priority, "rank": study.rank, "ai": row.key, "reason": row.reason,
        "flags": list(row.flags), "jobs": row.jobs, "jobs_done": row.done,
    }  # fmt: skip


def reader_of(view: ApiView, request: Request) -> Reader:
    """A machine reads nobody's pilot."""
    kind, _sep, key = view.actor.name.partition(":")
    return Reader(user=key if kind == "user" else "", sees_all=is_allowed(role=request.auth.role, capability="ai.write"))


class SavedFilterSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(read_only=True)
    name = serializers.CharField()
    wish = serializers.DictField(help_text="days, modalities, ai, priority, is_flagged, rows; as the page writes them")


class SavedFilterSetSerializer(StrictSerializer):
    name = serializers.CharField(max_length=NAME_CHARS)
    wish = serializers.DictField()


class SavedFilterListSerializer(serializers.Serializer[Any]):
    items = SavedFilterSerializer(many=True)


class WishSerializer(StrictSerializer):
    """What a filter may hold: nothing that names anybody."""

    days = serializers.ChoiceField(choices=["", "1", "3", "7", "30"], default="", allow_blank=True)
    modalities = serializers.ListField(child=serializers.CharField(max_length=16), max_length=8, default=list)
    ai = serializers.ChoiceField(choices=AI_FILTERS, default="", allow_blank=True)
    priority = serializers.ChoiceField(choices=["raised", *Priority.values], default="", allow_blank=True)
    is_flagged = serializers.BooleanField(default=False)
    rows = serializers.ChoiceField(choices=[50, 100, 200], default=50)


class FiltersView(ApiView):
    """Those of whoever asks."""

    capabilities = {"GET": "study.read", "POST": "study.read"}

    @extend_schema(operation_id="worklist_filters", responses=SavedFilterListSerializer)
    def get(self, request: Request, slug: str) -> Response:
        return Response({"items": SavedFilterSerializer(filters_of(actor=self.actor), many=True).data})

    @extend_schema(
        operation_id="worklist_filters_save", request=SavedFilterSetSerializer,
        responses={201: SavedFilterSerializer, 400: ProblemSerializer, 409: ProblemSerializer},
    )  # fmt: skip
    def post(self, request: Request, slug: str) -> Response:
        body = SavedFilterSetSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        wish = WishSerializer(data=body.validated_data["wish"])
        wish.is_valid(raise_exception=True)
        try:
            made = filter_save(name=body.validated_data["name"], wish=dict(wish.validated_data), actor=self.actor)
        except FilterRefused as refused:
            raise Conflict(str(refused)) from None
        return Response(SavedFilterSerializer(made).data, status=201)


class FilterView(ApiView):
    capabilities = {"DELETE": "study.read"}

    @extend_schema(operation_id="worklist_filters_delete", responses={204: None, 404: ProblemSerializer})
    def delete(self, request: Request, slug: str, filter_id: int) -> Response:
        if not filter_delete(filter_id=filter_id, actor=self.actor):
            raise exceptions.NotFound
        return Response(status=204)


class PrioritySerializer(serializers.Serializer[Any]):
    """Empty: neither its order nor a person has said."""

    priority = serializers.ChoiceField(choices=["", *Priority.values])
    by = serializers.CharField(help_text="order, or who set it here")
    at = serializers.DateTimeField(allow_null=True)
    is_flagged = serializers.BooleanField(help_text="AI asks for it to be read first, and nobody has settled that yet")


class PrioritySetSerializer(StrictSerializer):
    priority = serializers.ChoiceField(choices=Priority.values, allow_blank=True, help_text="empty: as its order says")


class PriorityView(ApiView):
    """What is wanted to be read first."""

    capabilities = {"GET": "study.read", "PUT": "study.read"}

    @extend_schema(operation_id="study_priority", responses={200: PrioritySerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, uuid: UUID) -> Response:
        return Response(_priority(study_by_uuid(uuid=uuid)))

    @extend_schema(
        operation_id="study_priority_set", request=PrioritySetSerializer,
        responses={200: PrioritySerializer, 400: ProblemSerializer, 404: ProblemSerializer},
    )  # fmt: skip
    def put(self, request: Request, slug: str, uuid: UUID) -> Response:
        body = PrioritySetSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return Response(_priority(study_priority_set(study_uuid=uuid, actor=self.actor, **body.validated_data)))


def _priority(study: Study | None) -> dict[str, Any]:
    if study is None:
        raise exceptions.NotFound
    return {"priority": study.priority, "by": study.priority_by, "at": study.priority_at, "is_flagged": study.is_flagged}
