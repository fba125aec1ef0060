"""Dynamic registration (RFC 7591) of backend services and of apps: by whoever has a token that may."""

from typing import Any

from django.utils import timezone
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response

from tenants.doors import HospitalAPIView
from tenants.models import OAuthClient
from tenants.oauth.clients import APP, BACKEND, KEY_PAIR, SECRET, ClientError, client_add
from tenants.oauth.parties import GRANTS

BODY_MAX = 128 << 10
METHOD, GRANT = KEY_PAIR, "client_credentials"


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
        texts = {name: asked.get(name, "") for name in ("client_name", "scope", "jwks_uri", "launch_url", "token_endpoint_auth_method")}
        lists = {name: asked.get(name, []) for name in ("grant_types", "redirect_uris", "response_types")}
        if not all(isinstance(text, str) for text in texts.values()) or not isinstance(asked.get("jwks", {}), dict):
            return _refused("invalid_client_metadata", "client_name, scope, jwks_uri and launch_url are texts, jwks is an object")
        if not all(isinstance(many, list) and all(isinstance(one, str) for one in many) for many in lists.values()):
            return _refused("invalid_client_metadata", "grant_types, redirect_uris and response_types are lists of texts")
        if not set(lists["response_types"]) <= {"code"}:
            return _refused("invalid_client_metadata", "the response type of an app is code")
        kind = self.kind(texts["token_endpoint_auth_method"], lists["grant_types"], lists["redirect_uris"])
        if not kind:
            return _refused("invalid_client_metadata", f"registered are {GRANT} with {METHOD}, or authorization_code and refresh_token")
        try:
            row, secret = client_add(
                actor=self.actor, name=texts["client_name"] or "unnamed", kind=kind, scopes=texts["scope"], jwks=asked.get("jwks"),
                jwks_url=texts["jwks_uri"], redirect_uris=lists["redirect_uris"], launch_url=texts["launch_url"],
                # RFC 7591 2: who says nothing means client_secret_basic
                auth_method=(texts["token_endpoint_auth_method"] or SECRET) if kind == APP else "",
            )  # fmt: skip
        except ClientError as error:
            code = "invalid_redirect_uri" if error.field == "redirect_uris" else "invalid_client_metadata"
            return _refused(code, f"{error.field}: {error}")
        return Response(registered(row, secret), status=201)

    def kind(self, method: str, grants: list[str], redirects: list[str]) -> str:
        """Of which kind the client is; "" for none of ours."""
        if redirects or "authorization_code" in grants:
            return APP if set(grants or ["authorization_code"]) <= GRANTS[APP] and "authorization_code" in (grants or GRANTS[APP]) else ""
        return BACKEND if method in ("", METHOD) and grants in ([], [GRANT]) else ""


def registered(row: OAuthClient, secret: str = "") -> dict[str, Any]:
    """RFC 7591 3.2.1."""
    keys: dict[str, Any] = {"jwks_uri": row.jwks_url} if row.jwks_url else {"jwks": row.jwks} if row.jwks else {}
    if secret:
        keys |= {"client_secret": secret, "client_secret_expires_at": 0}
    if row.kind == APP:
        keys |= {"redirect_uris": row.redirect_uris, "response_types": ["code"]}
        keys |= {"launch_url": row.launch_url} if row.launch_url else {}
    return {
        "client_id": row.client_id, "client_id_issued_at": int((row.created_at or timezone.now()).timestamp()), "client_name": row.name,
        "grant_types": sorted(GRANTS[row.kind]), "token_endpoint_auth_method": row.auth_method or METHOD, "scope": row.scopes, **keys,
    }  # fmt: skip


def _refused(error: str, words: str, *, status: int = 400) -> Response:
    return Response({"error": error, "error_description": words}, status=status)
