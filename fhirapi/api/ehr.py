"""`ehr/servers`, `ehr/deliveries` and `subscriptions` of the API. Each view makes one domain call."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from fhirapi.models import EhrPush, EhrServer, Subscriber
from fhirapi.push.pushes import push_attempts, push_get, push_resend, pushes_page
from fhirapi.push.servers import (
    ALGORITHMS,
    EhrServerRefused,
    ehr_server_check,
    ehr_server_delete,
    ehr_server_get,
    ehr_server_key_renew,
    ehr_server_save,
    ehr_servers,
    jwks_url,
)
from fhirapi.subscriptions.rows import subscriber_resume
from fhirapi.subscriptions.selectors import subscriber_get, subscribers
from imaging.api.base import ApiView, Conflict, ProblemSerializer, StrictSerializer, page_of, page_response

PAGING = [OpenApiParameter("cursor", str), OpenApiParameter("limit", int)]
ID_CAP = 1 << 63


class EhrServerSerializer(StrictSerializer):
    """A FHIR server that gets each issued report. `secret` is taken and never given back; none keeps the one that is there."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=80)
    base_url = serializers.CharField(max_length=2000)
    auth = serializers.ChoiceField(choices=EhrServer.Auth.choices, default="none")
    user = serializers.CharField(max_length=200, allow_blank=True, required=False)
    secret = serializers.CharField(max_length=8192, allow_blank=True, required=False, write_only=True, trim_whitespace=False)
    client_id = serializers.CharField(max_length=200, allow_blank=True, required=False)
    token_url = serializers.CharField(max_length=2000, allow_blank=True, required=False)
    scope = serializers.CharField(max_length=400, allow_blank=True, required=False)
    algorithm = serializers.ChoiceField(choices=ALGORITHMS, required=False)
    has_studies = serializers.BooleanField(default=True, help_text="it takes ImagingStudies from outside")
    is_enabled = serializers.BooleanField(default=True)
    has_secret = serializers.BooleanField(read_only=True)
    jwks_url = serializers.URLField(read_only=True, help_text="the public key, for SMART Backend Services")

    def to_representation(self, instance: EhrServer) -> dict[str, Any]:
        plain = ("name", "base_url", "auth", "user", "client_id", "token_url", "scope", "algorithm", "has_studies", "is_enabled")
        return {
            "id": str(instance.uuid), **{name: getattr(instance, name) for name in plain}, "has_secret": bool(instance.secret),
            "jwks_url": jwks_url(instance),
        }  # fmt: skip


MADE = {201: EhrServerSerializer, 400: ProblemSerializer}
SAVED = {200: EhrServerSerializer, 400: ProblemSerializer, 404: ProblemSerializer, 409: ProblemSerializer}


class EhrServersSerializer(serializers.Serializer[Any]):
    items = EhrServerSerializer(many=True)


class CheckSerializer(serializers.Serializer[Any]):
    is_good = serializers.BooleanField()
    words = serializers.CharField()


class PushSerializer(serializers.Serializer[Any]):
    """One report version on its way to one server."""

    id = serializers.CharField()
    server = serializers.UUIDField()
    report = serializers.CharField(help_text="the DiagnosticReport's id")
    version = serializers.IntegerField(help_text="of the DiagnosticReport")
    state = serializers.ChoiceField(choices=EhrPush.State.choices)
    attempts = serializers.IntegerField(help_text="since it was last asked for")
    words = serializers.CharField(help_text="of the last answer: its status and codes")
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    next_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: EhrPush) -> dict[str, Any]:
        return {
            "id": str(instance.id), "server": str(instance.server.uuid), "report": instance.report, "version": instance.version,
            "state": instance.state, "attempts": instance.attempts, "words": instance.words, "created_at": instance.created_at,
            "ended_at": instance.ended_at, "next_at": instance.due_at,
        }  # fmt: skip


class PushAttemptSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    is_good = serializers.BooleanField()
    status = serializers.IntegerField(help_text="of HTTP; 0 where there was no answer")
    words = serializers.CharField()
    milliseconds = serializers.IntegerField()


class PushDetailSerializer(PushSerializer):
    tries = PushAttemptSerializer(many=True, help_text="newest first")

    def to_representation(self, instance: EhrPush) -> dict[str, Any]:
        return {**super().to_representation(instance), "tries": PushAttemptSerializer(push_attempts(row=instance), many=True).data}


class PushPageSerializer(serializers.Serializer[Any]):
    items = PushSerializer(many=True)
    next = serializers.URLField(allow_null=True)


class SubscriptionSerializer(serializers.Serializer[Any]):
    """How far a Subscription is told; the resource itself is read over FHIR."""

    id = serializers.CharField()
    status = serializers.ChoiceField(choices=Subscriber.State.choices)
    topic = serializers.CharField(help_text="empty: R4 criteria")
    type = serializers.CharField()
    content = serializers.ChoiceField(choices=Subscriber.Content.choices)
    events = serializers.IntegerField()
    told = serializers.IntegerField(help_text="the last event that was taken")
    attempts = serializers.IntegerField(help_text="that failed since the last success")
    words = serializers.CharField()
    success_at = serializers.DateTimeField(allow_null=True)
    failed_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: Subscriber) -> dict[str, Any]:
        return {
            "id": instance.fhir_id, "status": instance.state, "topic": instance.topic, "type": instance.rtype,
            "content": instance.content, "events": instance.last_number, "told": instance.sent_number, "attempts": instance.attempts,
            "words": instance.words, "success_at": instance.success_at, "failed_at": instance.failed_at,
        }  # fmt: skip


class SubscriptionsSerializer(serializers.Serializer[Any]):
    items = SubscriptionSerializer(many=True)


def _server(uuid: UUID) -> EhrServer:
    row = ehr_server_get(server_uuid=uuid)
    if row is None:
        raise exceptions.NotFound
    return row


def _push(push_id: int) -> EhrPush:
    row = push_get(push_id=push_id) if push_id < ID_CAP else None
    if row is None:
        raise exceptions.NotFound
    return row


def _saved(view: ApiView, request: Request, row: EhrServer | None = None) -> EhrServer:
    serializer = EhrServerSerializer(data=request.data)
    serializer.is_valid(raise_exception=True)
    try:
        return ehr_server_save(actor=view.actor, values=serializer.validated_data, row=row)
    except EhrServerRefused as error:
        raise exceptions.ValidationError({name: [words] for name, words in error.problems.items()}) from None


class EhrServersView(ApiView):
    capabilities = {"GET": "node.manage", "POST": "node.manage"}

    @extend_schema(operation_id="ehr_servers_list", responses=EhrServersSerializer)
    def get(self, request: Request, slug: str) -> Response:
        return Response({"items": EhrServerSerializer(ehr_servers(), many=True).data})

    @extend_schema(operation_id="ehr_servers_create", request=EhrServerSerializer, responses=MADE)
    def post(self, request: Request, slug: str) -> Response:
        row = _saved(self, request)
        address = request.build_absolute_uri(f"{request.path}/{row.uuid}")
        return Response(EhrServerSerializer(row).data, status=201, headers={"Location": address})


class EhrServerView(ApiView):
    capabilities = {"GET": "node.manage", "PUT": "node.manage", "DELETE": "node.manage"}

    @extend_schema(operation_id="ehr_servers_read", responses={200: EhrServerSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, server: UUID) -> Response:
        return Response(EhrServerSerializer(_server(server)).data)

    @extend_schema(operation_id="ehr_servers_update", request=EhrServerSerializer, responses=SAVED)
    def put(self, request: Request, slug: str, server: UUID) -> Response:
        return Response(EhrServerSerializer(_saved(self, request, _server(server))).data)

    @extend_schema(operation_id="ehr_servers_delete", responses={204: None, 404: ProblemSerializer})
    def delete(self, request: Request, slug: str, server: UUID) -> Response:
        """With its deliveries."""
        ehr_server_delete(actor=self.actor, row=_server(server))
        return Response(status=204)


class EhrServerCheckView(ApiView):
    """Signs in and reads its CapabilityStatement."""

    capabilities = {"POST": "node.manage"}
    is_scoped = False  # the network is in no scope

    @extend_schema(operation_id="ehr_servers_check", request=None, responses={200: CheckSerializer, 404: ProblemSerializer})
    def post(self, request: Request, slug: str, server: UUID) -> Response:
        found = ehr_server_check(tenant_id=self.tenant_id, server_uuid=server)
        if found is None:
            raise exceptions.NotFound
        return Response(CheckSerializer(found).data)


class EhrServerKeyView(ApiView):
    """Another key pair; the EHR must read the new public key before the next push."""

    capabilities = {"POST": "node.manage"}

    @extend_schema(operation_id="ehr_servers_key", request=None, responses=SAVED)
    def post(self, request: Request, slug: str, server: UUID) -> Response:
        row = _server(server)
        if row.auth != EhrServer.Auth.SMART:
            raise Conflict("it signs in without a key")
        ehr_server_key_renew(actor=self.actor, row=row)
        return Response(EhrServerSerializer(row).data)


class EhrPushesView(ApiView):
    """Newest first, of one state where it is named."""

    capabilities = {"GET": "delivery.manage"}

    @extend_schema(
        operation_id="ehr_deliveries_list", responses=PushPageSerializer,
        parameters=[OpenApiParameter("state", str, enum=EhrPush.State.values), *PAGING],
    )  # fmt: skip
    def get(self, request: Request, slug: str) -> Response:
        cursor, limit = page_of(request)
        state = request.query_params.get("state", "")
        if state and state not in EhrPush.State.values:
            raise exceptions.ValidationError({"state": [", ".join(EhrPush.State.values)]})
        found = pushes_page(before=cursor, size=limit + 1, states=[state] if state else ())
        following = found[limit - 1].id if len(found) > limit else 0
        items = list(PushSerializer(found[:limit], many=True).data)
        return page_response(request, items, following, **({"state": state} if state else {}))


class EhrPushView(ApiView):
    capabilities = {"GET": "delivery.manage"}

    @extend_schema(operation_id="ehr_deliveries_read", responses={200: PushDetailSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, push_id: int) -> Response:
        return Response(PushDetailSerializer(_push(push_id)).data)


class EhrPushResendView(ApiView):
    """Once more, from the start. 409 for one that is on its way, or that a newer version replaced."""

    capabilities = {"POST": "delivery.manage"}

    @extend_schema(
        operation_id="ehr_deliveries_resend", request=None,
        responses={200: PushSerializer, 404: ProblemSerializer, 409: ProblemSerializer},
    )  # fmt: skip
    def post(self, request: Request, slug: str, push_id: int) -> Response:
        if not push_resend(actor=self.actor, row=_push(push_id)):
            raise Conflict("it is on its way, or a newer version replaced it")
        return Response(PushSerializer(_push(push_id)).data)


class SubscriptionsView(ApiView):
    """All of them, newest first."""

    capabilities = {"GET": "delivery.manage"}

    @extend_schema(operation_id="subscriptions_list", responses=SubscriptionsSerializer)
    def get(self, request: Request, slug: str) -> Response:
        return Response({"items": SubscriptionSerializer(subscribers(), many=True).data})


class SubscriptionResumeView(ApiView):
    """It goes on where it stopped. 409 for one that runs, or that its client has switched off."""

    capabilities = {"POST": "delivery.manage"}

    @extend_schema(
        operation_id="subscriptions_resume", request=None,
        responses={200: SubscriptionSerializer, 404: ProblemSerializer, 409: ProblemSerializer},
    )  # fmt: skip
    def post(self, request: Request, slug: str, subscription: str) -> Response:
        row = subscriber_get(fhir_id=subscription) if "\0" not in subscription else None
        if row is None:
            raise exceptions.NotFound
        if not subscriber_resume(actor=self.actor, row=row):
            raise Conflict("it runs, or its client has switched it off")
        return Response(SubscriptionSerializer(subscriber_get(fhir_id=subscription)).data)
