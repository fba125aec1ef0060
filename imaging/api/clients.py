"""`clients` of the API: programs with a key pair (SMART Backend Services), plain keys with scopes, apps that act for people."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from imaging.api.base import ApiView, ProblemSerializer, StrictSerializer
from tenants.models import OAuthClient
from tenants.oauth.clients import APP, KEY, ClientError, client_add, client_get, client_revoke, clients_list


class ClientWishSerializer(StrictSerializer):
    """`jwks` or `jwks_url` for a backend service; a key needs neither, and its text is answered this once. An app has redirect

    addresses, and signs in as `auth_method` says; the secret of `client_secret_basic` is answered this once.
    """

    name = serializers.CharField(max_length=80)
    kind = serializers.ChoiceField(choices=["backend", "key", "app"], default="backend")
    scopes = serializers.CharField(
        max_length=8000, help_text="SMART scopes with spaces between: system/Observation.rs; of an app user/..., patient/..., launch"
    )
    jwks = serializers.DictField(required=False, help_text="a JWK Set of public keys: RSA (RS384) or EC P-384 (ES384), each with a kid")
    jwks_url = serializers.CharField(max_length=500, default="", allow_blank=True)
    auth_method = serializers.ChoiceField(
        choices=["none", "client_secret_basic", "private_key_jwt"], required=False, help_text="of an app; none where it can keep no secret"
    )
    redirect_uris = serializers.ListField(child=serializers.CharField(max_length=500), required=False, max_length=10)
    launch_url = serializers.CharField(max_length=500, default="", allow_blank=True, help_text="of an app that the study page opens")


class ClientSerializer(serializers.Serializer[Any]):
    client_id = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.CharField()
    scopes = serializers.CharField()
    jwks_url = serializers.CharField(allow_null=True)
    auth_method = serializers.CharField(allow_null=True)
    redirect_uris = serializers.ListField(child=serializers.CharField())
    launch_url = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()
    used_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: OAuthClient) -> dict[str, Any]:
        return {
            "client_id": instance.client_id, "name": instance.name, "kind": instance.kind, "scopes": instance.scopes,
            "jwks_url": instance.jwks_url or None, "auth_method": instance.auth_method or None, "redirect_uris": instance.redirect_uris,
            "launch_url": instance.launch_url or None, "created_at": instance.created_at, "created_by": instance.created_by,
            "used_at": instance.used_at, "revoked_at": instance.revoked_at,
        }  # fmt: skip


class ClientAddedSerializer(ClientSerializer):
    key = serializers.CharField(allow_null=True, help_text="of a plain key: shown this once")
    client_secret = serializers.CharField(allow_null=True, help_text="of an app with client_secret_basic: shown this once")


class ClientListSerializer(serializers.Serializer[Any]):
    items = ClientSerializer(many=True)


class ClientsView(ApiView):
    capabilities = {"GET": "client.manage", "POST": "client.manage"}

    @extend_schema(operation_id="clients_list", responses=ClientListSerializer)
    def get(self, request: Request, slug: str) -> Response:
        return Response({"items": ClientSerializer(clients_list(), many=True).data})

    @extend_schema(
        operation_id="clients_create", request=ClientWishSerializer, responses={201: ClientAddedSerializer, 400: ProblemSerializer}
    )
    def post(self, request: Request, slug: str) -> Response:
        body = ClientWishSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            row, text = client_add(actor=self.actor, **body.validated_data)
        except ClientError as error:
            raise exceptions.ValidationError({error.field: [str(error)]}) from error
        told = {"key": text if row.kind == KEY else None, "client_secret": text if row.kind == APP and text else None}
        return Response({**ClientSerializer(row).data, **told}, status=201)


class ClientView(ApiView):
    capabilities = {"GET": "client.manage", "DELETE": "client.manage"}

    @extend_schema(operation_id="clients_read", responses={200: ClientSerializer, 404: ProblemSerializer})
    def get(self, request: Request, slug: str, client_id: str) -> Response:
        return Response(ClientSerializer(_found(client_id)).data)

    @extend_schema(operation_id="clients_revoke", responses={204: None, 404: ProblemSerializer})
    def delete(self, request: Request, slug: str, client_id: str) -> Response:
        """Its tokens and keys open nothing from now on; the row stays."""
        client_revoke(actor=self.actor, row=_found(client_id))
        return Response(status=204)


def _found(client_id: str) -> OAuthClient:
    row = client_get(client_id=client_id)
    if row is None:
        raise exceptions.NotFound
    return row
