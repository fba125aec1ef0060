"""`hl7` of the API: who may send messages, what came, handling one again, where reports go. Never a value of a message."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from imaging.api.base import ApiView, Conflict, ProblemSerializer, StrictSerializer, page_of, page_response
from imaging.hl7.client import NotTakenError, destination_check
from imaging.hl7.destinations import (
    VERSIONS,
    DestinationError,
    destination_add,
    destination_get,
    destination_remove,
    destinations_list,
)
from imaging.hl7.messages import message_again, message_aside, messages_list
from imaging.hl7.sources import SourceError, source_add, source_get, source_remove, sources_list
from imaging.models import Hl7Message
from journal.audit import audit_record
from journal.wall.scope import tenant_scope


class Hl7SourceSerializer(StrictSerializer):
    """Who may send. Empty names of MSH: any."""

    id = serializers.CharField(read_only=True)
    name = serializers.CharField(max_length=80)
    addresses = serializers.ListField(child=serializers.CharField(max_length=64), default=list, max_length=100)
    needs_tls = serializers.BooleanField(default=False)
    sending_application = serializers.CharField(max_length=64, default="", allow_blank=True, help_text="MSH-3")
    sending_facility = serializers.CharField(max_length=64, default="", allow_blank=True, help_text="MSH-4")
    receiving_application = serializers.CharField(max_length=64, default="", allow_blank=True, help_text="MSH-5")
    receiving_facility = serializers.CharField(max_length=64, default="", allow_blank=True, help_text="MSH-6")


class Hl7DestinationSerializer(StrictSerializer):
    """Where reports go as ORU^R01."""

    id = serializers.CharField(read_only=True)
    name = serializers.CharField(max_length=64)
    host = serializers.CharField(max_length=255)
    port = serializers.IntegerField(min_value=1, max_value=65535)
    uses_tls = serializers.BooleanField(default=False)
    sending_application = serializers.CharField(max_length=64, default="MEDHUB", allow_blank=True, help_text="MSH-3")
    sending_facility = serializers.CharField(max_length=64, default="", allow_blank=True, help_text="MSH-4")
    receiving_application = serializers.CharField(max_length=64, default="", allow_blank=True, help_text="MSH-5")
    receiving_facility = serializers.CharField(max_length=64, default="", allow_blank=True, help_text="MSH-6")
    version = serializers.ChoiceField(choices=list(VERSIONS), default=VERSIONS[0])
    takes_preliminary = serializers.BooleanField(default=True, help_text="also what no radiologist has decided yet")


class Hl7DestinationListSerializer(serializers.Serializer[Any]):
    items = Hl7DestinationSerializer(many=True)


class Hl7SourceListSerializer(serializers.Serializer[Any]):
    items = Hl7SourceSerializer(many=True)


class Hl7MessageSerializer(serializers.Serializer[Any]):
    """A message as it was answered. `place` and `reason`: which field, and our words."""

    id = serializers.CharField()
    kind = serializers.CharField()
    source = serializers.CharField(source="source_name")
    state = serializers.CharField(help_text="received, done, failed, aside")
    code = serializers.CharField(help_text="of the acknowledgement: AA, AE, AR")
    place = serializers.CharField()
    reason = serializers.CharField()
    attempts = serializers.IntegerField()
    received_at = serializers.DateTimeField()
    done_at = serializers.DateTimeField(allow_null=True)


class Hl7MessagePageSerializer(serializers.Serializer[Any]):
    items = Hl7MessageSerializer(many=True)
    next = serializers.URLField(allow_null=True)


class Hl7SourcesView(ApiView):
    capabilities = {"GET": "node.manage", "POST": "node.manage"}

    @extend_schema(operation_id="hl7_sources_list", responses=Hl7SourceListSerializer)
    def get(self, request: Request, slug: str) -> Response:
        return Response({"items": Hl7SourceSerializer(sources_list(), many=True).data})

    @extend_schema(
        operation_id="hl7_sources_create", request=Hl7SourceSerializer, responses={201: Hl7SourceSerializer, 400: ProblemSerializer}
    )
    def post(self, request: Request, slug: str) -> Response:
        body = Hl7SourceSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            row = source_add(actor=self.actor, **body.validated_data)
        except SourceError as error:
            raise exceptions.ValidationError({error.field: [str(error)]}) from error
        return Response(Hl7SourceSerializer(row).data, status=201)


class Hl7SourceView(ApiView):
    capabilities = {"GET": "node.manage", "DELETE": "node.manage"}

    @extend_schema(operation_id="hl7_sources_read", responses={200: Hl7SourceSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, source_id: int) -> Response:
        row = source_get(source_id=source_id)
        if row is None:
            raise exceptions.NotFound
        return Response(Hl7SourceSerializer(row).data)

    @extend_schema(operation_id="hl7_sources_delete", responses={204: None, 404: ProblemSerializer})
    def delete(self, request: Request, slug: str, source_id: int) -> Response:
        """It may not send any more; what it sent stays."""
        row = source_get(source_id=source_id)
        if row is None:
            raise exceptions.NotFound
        source_remove(actor=self.actor, row=row)
        return Response(status=204)


class Hl7DestinationsView(ApiView):
    capabilities = {"GET": "node.manage", "POST": "node.manage"}

    @extend_schema(operation_id="hl7_destinations_list", responses=Hl7DestinationListSerializer)
    def get(self, request: Request, slug: str) -> Response:
        return Response({"items": Hl7DestinationSerializer(destinations_list(), many=True).data})

    @extend_schema(
        operation_id="hl7_destinations_create", request=Hl7DestinationSerializer,
        responses={201: Hl7DestinationSerializer, 400: ProblemSerializer},
    )  # fmt: skip
    def post(self, request: Request, slug: str) -> Response:
        """Reports that are issued from now on go there as ORU^R01."""
        body = Hl7DestinationSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            row = destination_add(actor=self.actor, **body.validated_data)
        except DestinationError as error:
            raise exceptions.ValidationError({error.field: [str(error)]}) from error
        return Response(Hl7DestinationSerializer(row).data, status=201)


class Hl7DestinationView(ApiView):
    capabilities = {"GET": "node.manage", "DELETE": "node.manage"}

    @extend_schema(operation_id="hl7_destinations_read", responses={200: Hl7DestinationSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, destination_id: int) -> Response:
        row = destination_get(destination_id=destination_id)
        if row is None:
            raise exceptions.NotFound
        return Response(Hl7DestinationSerializer(row).data)

    @extend_schema(operation_id="hl7_destinations_delete", responses={204: None, 404: ProblemSerializer})
    def delete(self, request: Request, slug: str, destination_id: int) -> Response:
        """Nothing goes there any more; what waits is given up."""
        row = destination_get(destination_id=destination_id)
        if row is None:
            raise exceptions.NotFound
        destination_remove(actor=self.actor, row=row)
        return Response(status=204)


class Hl7CheckSerializer(serializers.Serializer[Any]):
    is_good = serializers.BooleanField()
    words = serializers.CharField()


class Hl7DestinationTestView(ApiView):
    """Opens a connection and closes it: is it there, and over TLS who it says? Nothing is sent. A few seconds when it is not."""

    capabilities = {"POST": "node.manage"}
    is_scoped = False

    @extend_schema(operation_id="hl7_destinations_test", request=None, responses={200: Hl7CheckSerializer, 404: ProblemSerializer})
    def post(self, request: Request, slug: str, destination_id: int) -> Response:
        with tenant_scope(self.tenant_id):
            row = destination_get(destination_id=destination_id)
            if row is None:
                raise exceptions.NotFound
            audit_record(actor=self.actor, action="hl7.destination.test", object_type="Hl7Destination", object_id=str(row.id))
        try:
            destination_check(destination=row)
        except NotTakenError as error:
            return Response({"is_good": False, "words": error.user_message})
        return Response({"is_good": True, "words": "it takes connections; nothing was sent"})


class Hl7MessagesView(ApiView):
    """Newest first; `state=failed` for those that wait."""

    capabilities = {"GET": "node.manage"}

    @extend_schema(
        operation_id="hl7_messages_list", responses=Hl7MessagePageSerializer,
        parameters=[OpenApiParameter("state", str, enum=["failed"]), OpenApiParameter("cursor", str), OpenApiParameter("limit", int)],
    )  # fmt: skip
    def get(self, request: Request, slug: str) -> Response:
        state = request.query_params.get("state", "")
        if state not in ("", "failed"):
            raise exceptions.ValidationError({"state": ["failed"]})
        cursor, limit = page_of(request)
        found = messages_list(before=min(cursor, 2**63 - 1), limit=limit + 1, only_failed=bool(state))
        following = found[limit - 1].id if len(found) > limit else 0
        return page_response(request, Hl7MessageSerializer(found[:limit], many=True).data, following, state=state)


class Hl7MessageAsideView(ApiView):
    """Somebody has seen to a message that was not taken: it waits no more. 409 where it does not wait."""

    capabilities = {"POST": "node.manage"}

    @extend_schema(
        operation_id="hl7_messages_aside", request=None,
        responses={200: Hl7MessageSerializer, 404: ProblemSerializer, 409: ProblemSerializer},
    )  # fmt: skip
    def post(self, request: Request, slug: str, message_id: int) -> Response:
        if not Hl7Message.objects.filter(id=message_id).exists():
            raise exceptions.NotFound
        if not message_aside(actor=self.actor, message_id=message_id):
            raise Conflict("it does not wait for anybody")
        return Response(Hl7MessageSerializer(Hl7Message.objects.get(id=message_id)).data)


class Hl7MessageAgainView(ApiView):
    """Handle a failed one again; 409 where there is nothing to do."""

    capabilities = {"POST": "node.manage"}
    is_scoped = False

    @extend_schema(
        operation_id="hl7_messages_again", request=None,
        responses={200: Hl7MessageSerializer, 404: ProblemSerializer, 409: ProblemSerializer},
    )  # fmt: skip
    def post(self, request: Request, slug: str, message_id: int) -> Response:
        with tenant_scope(self.tenant_id):
            if not Hl7Message.objects.filter(id=message_id).exists():
                raise exceptions.NotFound
            audit_record(actor=self.actor, action="hl7.message.again", object_type="Hl7Message", object_id=str(message_id))
        if message_again(tenant_id=self.tenant_id, message_id=message_id) is None:
            raise Conflict("it was taken already, or its sender was removed")
        with tenant_scope(self.tenant_id):
            return Response(Hl7MessageSerializer(Hl7Message.objects.get(id=message_id)).data)
