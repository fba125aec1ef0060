"""Dynamic registration (RFC 7591) of backend services: by whoever has a token that may."""

from typing import Any

from django.utils import timezone
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.doors import HospitalAPIView
from tenants.models import OAuthClient
from tenants.oauth.clients import ClientError, client_add

BODY_MAX = 128 << 10
METHOD, GRANT = "private_key_jwt", "client_credentials"


class RegisterView(HospitalAPIView):
    """POST /t/<slug>/oauth/register."""

    capabilities = {"POST": "client.manage"}

    def post(self, request: Request, slug: str) -> Response:
        if int(request.META.get("CONTENT_LENGTH") or 0) > BODY_MAX:
            return _refused("invalid_client_metadata", "the request is too large", status=413)
        try:
            asked = request.data
        except exceptions.ParseError:
            asked = None
        if not isinstance(asked, dict):
            return _refused("invalid_client_metadata", "a JSON object is needed")
        if asked.get("token_endpoint_auth_method", METHOD) != METHOD or asked.get("grant_types", [GRANT]) != [GRANT]:
            return _refused("invalid_client_metadata", f"only {GRANT} with {METHOD} is registered here")
        texts = {name: asked.get(name, "") for name in ("client_name", "scope", "jwks_uri")}
        if not all(isinstance(text, str) for text in texts.values()) or not isinstance(asked.get("jwks", {}), dict):
            return _refused("invalid_client_metadata", "client_name, scope and jwks_uri are texts, jwks is an object")
        try:
            row, _ = client_add(
                actor=self.actor, name=texts["client_name"] or "unnamed", scopes=texts["scope"], jwks=asked.get("jwks"),
                jwks_url=texts["jwks_uri"],
            )  # fmt: skip
        except ClientError as error:
            return _refused("invalid_client_metadata", f"{error.field}: {error}")
        return Response(registered(row), status=201)


def registered(row: OAuthClient) -> dict[str, Any]:
    """RFC 7591 3.2.1."""
    keys = {"jwks_uri": row.jwks_url} if row.jwks_url else {"jwks": row.jwks}
    return {
        "client_id": row.client_id, "client_id_issued_at": int((row.created_at or timezone.now()).timestamp()), "client_name": row.name,
        "grant_types": [GRANT], "token_endpoint_auth_method": METHOD, "scope": row.scopes, **keys,
    }  # fmt: skip


def _refused(error: str, words: str, *, status: int = 400) -> Response:
    return Response({"error": error, "error_description": words}, status=status)
