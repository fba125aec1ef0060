"""Work items for those who automate: /t/<slug>/api/v1/workitems. Ids and our own words only: no value of an object passes here."""

from typing import Any

from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from imaging.models import WorkItem
from imaging.selectors import work_item_get, work_items
from imaging.workitems import DecisionRefused, actions_of, item_resolve
from tenants.doors import HospitalAPIView

PAGE = 100


class Conflict(exceptions.APIException):
    """Decided otherwise already, or not decidable so."""

    status_code = 409
    default_code = "conflict"


class ListQuery(serializers.Serializer[Any]):
    state = serializers.ChoiceField(choices=["open", "decided"], default="open")
    before = serializers.IntegerField(min_value=0, max_value=2**63 - 1, default=0)
    limit = serializers.IntegerField(min_value=1, max_value=PAGE, default=PAGE)


class Decision(serializers.Serializer[Any]):
    action = serializers.CharField(max_length=16)
    note = serializers.CharField(max_length=200, default="", allow_blank=True)


def item_json(item: WorkItem) -> dict[str, Any]:
    """Ids are text: they are larger than the numbers of JavaScript."""
    return {
        "id": str(item.id), "kind": item.kind, "reason": item.reason, "study": str(item.study.uuid) if item.study else None,
        "created_at": item.created_at, "actions": [action.name for action in actions_of(item)],
        "bytes_kept": item.size if item.key else 0, "resolution": item.resolution or None, "resolved_at": item.resolved_at,
        "resolved_by": item.resolved_by or None, "bytes_go_at": item.due_at,
    }  # fmt: skip


class WorkItemsView(HospitalAPIView):
    """GET: newest first, in pages; `next` is the `before` of the page that follows."""

    capabilities = {"GET": "delivery.manage"}

    def get(self, request: Request, slug: str) -> Response:
        query = ListQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        found = work_items(is_open=asked["state"] == "open", before=asked["before"], limit=asked["limit"] + 1)
        page = found[: asked["limit"]]
        following = str(page[-1].id) if len(found) > len(page) else None
        return Response({"items": [item_json(item) for item in page], "next": following})


class WorkItemView(HospitalAPIView):
    capabilities = {"GET": "delivery.manage"}

    def get(self, request: Request, slug: str, item_id: int) -> Response:
        item = work_item_get(item_id=item_id)
        if item is None:
            raise exceptions.NotFound
        return Response(item_json(item))


class WorkItemResolveView(HospitalAPIView):
    """POST {"action": ..., "note": ...}; the same decision again answers alike, another one 409."""

    capabilities = {"POST": "workitem.decide"}

    def post(self, request: Request, slug: str, item_id: int) -> Response:
        body = Decision(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            item = item_resolve(
                item_id=item_id, action=body.validated_data["action"], note=body.validated_data["note"], actor=self.actor
            )
        except DecisionRefused as error:
            raise Conflict(error.user_message) from error
        if item is None:
            raise exceptions.NotFound
        return Response(item_json(item))
