"""`workitems` of the API: what waits for a decision, and decisions. Ids and our own words only: no value of an object passes here."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from imaging.api.base import ApiView, Conflict, ProblemSerializer, StrictSerializer, page_of, page_response
from imaging.models import WorkItem
from imaging.orderfix import orders_offered, service_request_id
from imaging.selectors import work_item_get, work_items
from imaging.workitems import DecisionRefused, actions_of, item_resolve

STATES = ("open", "decided")


class WorkItemSerializer(serializers.Serializer[Any]):
    """Something a person must decide."""

    id = serializers.CharField()
    kind = serializers.CharField(help_text="duplicate, duplicate-replaced, patient-conflict, patient-differs, damaged ...")
    reason = serializers.CharField()
    study = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()
    actions = serializers.ListField(child=serializers.CharField(), help_text="the ways out; the first changes nothing")
    bytes_kept = serializers.IntegerField(help_text="of the object that lies aside")
    resolution = serializers.CharField(allow_null=True)
    resolved_at = serializers.DateTimeField(allow_null=True)
    resolved_by = serializers.CharField(allow_null=True)
    bytes_go_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: WorkItem) -> dict[str, Any]:
        return {
            "id": str(instance.id), "kind": instance.kind, "reason": instance.reason,
            "study": str(instance.study.uuid) if instance.study else None, "created_at": instance.created_at,
            "actions": [action.name for action in actions_of(instance)], "bytes_kept": instance.size if instance.key else 0,
            "resolution": instance.resolution or None, "resolved_at": instance.resolved_at,
            "resolved_by": instance.resolved_by or None, "bytes_go_at": instance.due_at,
        }  # fmt: skip


class WorkItemOneSerializer(WorkItemSerializer):
    """One of them, with what may be chosen from."""

    orders = serializers.ListField(child=serializers.CharField(), help_text="ids of ServiceRequests that `match` may choose from")

    def to_representation(self, instance: WorkItem) -> dict[str, Any]:
        is_asked = instance.study is not None and any(action.needs_order for action in actions_of(instance))
        orders = orders_offered(study=instance.study) if is_asked else []
        return {**super().to_representation(instance), "orders": [service_request_id(order) for order in orders]}


class WorkItemPageSerializer(serializers.Serializer[Any]):
    items = WorkItemSerializer(many=True)
    next = serializers.URLField(allow_null=True)


class DecisionSerializer(StrictSerializer):
    action = serializers.CharField(max_length=16)
    order = serializers.CharField(max_length=64, default="", allow_blank=True, help_text="with `match`: the id of the ServiceRequest")
    note = serializers.CharField(max_length=200, default="", allow_blank=True, help_text="why; never a value of a patient")


class WorkItemsView(ApiView):
    """Newest first; `state` is open or decided."""

    capabilities = {"GET": "delivery.manage"}

    @extend_schema(
        operation_id="workitems_list", responses=WorkItemPageSerializer,
        parameters=[OpenApiParameter("state", str, enum=STATES), OpenApiParameter("cursor", str), OpenApiParameter("limit", int)],
    )  # fmt: skip
    def get(self, request: Request, slug: str) -> Response:
        state = request.query_params.get("state", "open")
        if state not in STATES:
            raise exceptions.ValidationError({"state": ["open or decided"]})
        cursor, limit = page_of(request)
        found = work_items(is_open=state == "open", before=min(cursor, 2**63 - 1), limit=limit + 1)
        following = found[limit - 1].id if len(found) > limit else 0
        return page_response(request, WorkItemSerializer(found[:limit], many=True).data, following, state=state)


class WorkItemView(ApiView):
    capabilities = {"GET": "delivery.manage"}

    @extend_schema(operation_id="workitems_read", responses={200: WorkItemOneSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, item_id: int) -> Response:
        item = work_item_get(item_id=item_id)
        if item is None:
            raise exceptions.NotFound
        return Response(WorkItemOneSerializer(item).data)


class WorkItemResolveView(ApiView):
    """Decide. The same decision again answers alike, another one 409."""

    capabilities = {"POST": "workitem.decide"}

    @extend_schema(
        operation_id="workitems_resolve", request=DecisionSerializer,
        responses={200: WorkItemSerializer, 400: ProblemSerializer, 404: ProblemSerializer, 409: ProblemSerializer},
    )
    def post(self, request: Request, slug: str, item_id: int) -> Response:
        body = DecisionSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            item = item_resolve(item_id=item_id, actor=self.actor, **body.validated_data)
        except DecisionRefused as error:
            raise Conflict(error.user_message) from error
        if item is None:
            raise exceptions.NotFound
        return Response(WorkItemSerializer(item).data)
