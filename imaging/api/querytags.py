"""`query-tags` of the API: attributes that QIDO-RS and C-FIND answer beyond the standard keys. Each view makes one domain call."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from imaging.api.base import ApiView, ProblemSerializer, StrictSerializer
from imaging.models import QueryTag
from imaging.query.declared import VRS
from imaging.querytags.declare import (
    TAGS_CAP,
    query_tag_create,
    query_tag_delete,
    query_tag_get,
    query_tag_reindex,
    query_tags,
    tag_text,
    tag_words,
)

ID_CAP = 1 << 63


class QueryTagSerializer(StrictSerializer):
    """An attribute that the hospital asks for. Ask by `tag`; while it is `building` answers say that matches may be missing."""

    id = serializers.CharField(read_only=True)
    tag = serializers.CharField(max_length=64, help_text="a keyword of PS3.6, or group and element like 0018,1030")
    keyword = serializers.CharField(read_only=True, help_text="empty for a private attribute")
    level = serializers.ChoiceField(choices=QueryTag.At.choices, help_text="whose attribute it is; levels below may ask too")
    vr = serializers.ChoiceField(
        choices=sorted(VRS), required=False, help_text="of a private attribute; of others the dictionary says it",
    )  # fmt: skip
    private_creator = serializers.CharField(max_length=64, allow_blank=True, required=False)
    state = serializers.ChoiceField(choices=["building", "ready"], read_only=True)
    objects_total = serializers.IntegerField(read_only=True, help_text="stored when the job began")
    objects_done = serializers.IntegerField(read_only=True)
    objects_bad = serializers.IntegerField(read_only=True, help_text="of those done: could not be read")
    last_error = serializers.CharField(read_only=True)
    created_at = serializers.DateTimeField(read_only=True)
    built_at = serializers.DateTimeField(read_only=True, allow_null=True)

    def to_representation(self, instance: QueryTag) -> dict[str, Any]:
        return {
            "id": str(instance.id), "tag": tag_text(instance.tag), "keyword": tag_words(instance.tag), "level": instance.level,
            "vr": instance.vr, "private_creator": instance.creator, "state": instance.state,
            "objects_total": instance.objects_total, "objects_done": instance.objects_done, "objects_bad": instance.objects_bad,
            "last_error": instance.last_error, "created_at": instance.created_at, "built_at": instance.built_at,
        }  # fmt: skip


class QueryTagListSerializer(serializers.Serializer[Any]):
    items = QueryTagSerializer(many=True, help_text=f"at most {TAGS_CAP}: all of them")


def _found(tag_id: int) -> QueryTag:
    row = query_tag_get(tag_id=tag_id) if tag_id < ID_CAP else None
    if row is None:
        raise exceptions.NotFound
    return row


class QueryTagsView(ApiView):
    capabilities = {"GET": "query.manage", "POST": "query.manage"}

    @extend_schema(operation_id="query_tags_list", responses=QueryTagListSerializer)
    def get(self, request: Request, slug: str) -> Response:
        return Response({"items": QueryTagSerializer(query_tags(), many=True).data})

    @extend_schema(
        operation_id="query_tags_create", request=QueryTagSerializer, responses={201: QueryTagSerializer, 400: ProblemSerializer}
    )
    def post(self, request: Request, slug: str) -> Response:
        """A job reads what is stored already; what arrives from now on is indexed as it comes."""
        serializer = QueryTagSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        row = query_tag_create(actor=self.actor, **serializer.validated_data)
        address = request.build_absolute_uri(f"{request.path}/{row.id}")
        return Response(QueryTagSerializer(row).data, status=201, headers={"Location": address})


class QueryTagView(ApiView):
    capabilities = {"GET": "query.manage", "DELETE": "query.manage"}

    @extend_schema(operation_id="query_tags_read", responses={200: QueryTagSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, tag_id: int) -> Response:
        return Response(QueryTagSerializer(_found(tag_id)).data)

    @extend_schema(operation_id="query_tags_delete", responses={204: None, 404: ProblemSerializer})
    def delete(self, request: Request, slug: str, tag_id: int) -> Response:
        """Nobody can ask for it from now on; a job takes its values away."""
        query_tag_delete(actor=self.actor, row=_found(tag_id))
        return Response(status=204)


class QueryTagReindexView(ApiView):
    """Reads every stored object for the attribute once more."""

    capabilities = {"POST": "query.manage"}

    @extend_schema(operation_id="query_tags_reindex", request=None, responses={202: QueryTagSerializer, 404: ProblemSerializer})
    def post(self, request: Request, slug: str, tag_id: int) -> Response:
        query_tag_reindex(actor=self.actor, row=_found(tag_id))
        return Response(QueryTagSerializer(_found(tag_id)).data, status=202)
