"""`merges` of the API: patients who were found to be one, by whom, and taking it back. Ids only, besides what the caller names."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from imaging.api.base import ApiView, Conflict, ProblemSerializer, StrictSerializer, page_of, page_response
from imaging.describe import PatientFacts
from imaging.merging.selectors import merge_get, merges_list
from imaging.merging.services import MergeRefused, patient_merge, patient_merge_undo
from imaging.models import Patient, PatientMerge


class MergeSerializer(serializers.Serializer[Any]):
    """Patients by the ids that FHIR calls them by."""

    id = serializers.CharField()
    surviving = serializers.CharField(help_text="Patient whom everything is about from then on")
    gone = serializers.CharField(help_text="Patient who was found to be the other")
    origin = serializers.CharField(help_text="hl7, portal, api, item")
    studies = serializers.IntegerField()
    orders = serializers.IntegerField()
    merged_at = serializers.DateTimeField()
    merged_by = serializers.CharField()
    undone_at = serializers.DateTimeField(allow_null=True)
    undone_by = serializers.CharField(allow_null=True)

    def to_representation(self, instance: PatientMerge) -> dict[str, Any]:
        return {
            "id": str(instance.id), "surviving": _fhir_id(instance.surviving), "gone": _fhir_id(instance.gone), "origin": instance.origin,
            "studies": len(instance.studies), "orders": len(instance.orders), "merged_at": instance.merged_at,
            "merged_by": instance.merged_by, "undone_at": instance.undone_at, "undone_by": instance.undone_by or None,
        }  # fmt: skip


def _fhir_id(patient: Patient) -> str:
    return patient.ehr_id or str(patient.uuid)


class MergePageSerializer(serializers.Serializer[Any]):
    items = MergeSerializer(many=True)
    next = serializers.URLField(allow_null=True)


class NumberSerializer(StrictSerializer):
    patient_id = serializers.CharField(max_length=64)
    issuer = serializers.CharField(max_length=64, default="", allow_blank=True, help_text="who gave the number; empty: the hospital itself")


class MergeWishSerializer(StrictSerializer):
    surviving = NumberSerializer()
    gone = NumberSerializer()


class MergesView(ApiView):
    """Newest first, and making one by two numbers."""

    capabilities = {"GET": "delivery.manage", "POST": "workitem.decide"}

    @extend_schema(
        operation_id="merges_list", responses=MergePageSerializer,
        parameters=[OpenApiParameter("cursor", str), OpenApiParameter("limit", int)],
    )  # fmt: skip
    def get(self, request: Request, slug: str) -> Response:
        cursor, limit = page_of(request)
        found = merges_list(before=min(cursor, 2**63 - 1) or 2**63 - 1, limit=limit + 1)
        following = found[limit - 1].id if len(found) > limit else 0
        return page_response(request, MergeSerializer(found[:limit], many=True).data, following)

    @extend_schema(
        operation_id="merges_create", request=MergeWishSerializer,
        responses={201: MergeSerializer, 400: ProblemSerializer, 409: ProblemSerializer},
    )  # fmt: skip
    def post(self, request: Request, slug: str) -> Response:
        body = MergeWishSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        surviving, gone = (PatientFacts(name="", birth_date="", sex="", **body.validated_data[name]) for name in ("surviving", "gone"))
        try:
            merge = patient_merge(actor=self.actor, surviving=surviving, gone=gone, origin="api")
        except MergeRefused as error:
            raise Conflict(error.user_message) from error
        if merge is None:
            raise Conflict("nobody has the number that shall be gone, or the two are one patient already")
        return Response(MergeSerializer(merge_get(merge_id=merge.id)).data, status=201)


class MergeView(ApiView):
    capabilities = {"GET": "delivery.manage"}

    @extend_schema(operation_id="merges_read", responses={200: MergeSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, merge_id: int) -> Response:
        found = merge_get(merge_id=merge_id)
        if found is None:
            raise exceptions.NotFound
        return Response(MergeSerializer(found).data)


class MergeUndoView(ApiView):
    """The two are two again; once more changes nothing."""

    capabilities = {"POST": "workitem.decide"}

    @extend_schema(
        operation_id="merges_undo", request=None, responses={200: MergeSerializer, 404: ProblemSerializer, 409: ProblemSerializer}
    )
    def post(self, request: Request, slug: str, merge_id: int) -> Response:
        try:
            done = patient_merge_undo(actor=self.actor, merge_id=merge_id)
        except MergeRefused as error:
            raise Conflict(error.user_message) from error
        if done is None:
            raise exceptions.NotFound
        return Response(MergeSerializer(merge_get(merge_id=merge_id)).data)
