"""Clients and tokens as Authlib sees them: our rows."""

import secrets

from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin
from django.utils import timezone

from tenants.models import ApiToken, OAuthClient
from tenants.oauth.clients import APP, BACKEND, KEY_PAIR, PUBLIC, SECRET
from tenants.oauth.scopes import scopes_granted, scopes_text, words_granted
from tenants.services import token_digest

METHODS = [KEY_PAIR, SECRET, PUBLIC]
GRANTS = {BACKEND: {"client_credentials"}, APP: {"authorization_code", "refresh_token"}}


class Client(ClientMixin):
    def __init__(self, row: OAuthClient) -> None:
        self.row = row
        self.client_id = row.client_id

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str | None:
        """None: an app says where its code goes."""
        return None

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """To the letter (RFC 9700 4.1.3)."""
        return redirect_uri in self.row.redirect_uris

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code" and self.row.kind == APP

    def get_allowed_scope(self, scope: str) -> str:
        """Empty where no data is left: a token without scopes could do what its role can."""
        granted = scopes_granted(asked=scope or "", allowed=self.row.scopes)
        if not granted:
            return ""
        words = words_granted(asked=scope or "", allowed=self.row.scopes) if self.row.kind == APP else []
        return " ".join([*words, scopes_text(granted)])

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in GRANTS.get(self.row.kind, set())

    def check_client_secret(self, client_secret: str) -> bool:
        return bool(self.row.secret_digest) and secrets.compare_digest(token_digest(client_secret), self.row.secret_digest)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == (self.row.auth_method if self.row.kind == APP else KEY_PAIR if self.row.kind == BACKEND else "")


class Token(TokenMixin):
    def __init__(self, row: ApiToken) -> None:
        self.row = row

    def check_client(self, client: Client) -> bool:
        return bool(self.row.client_id == client.row.id)

    def is_expired(self) -> bool:
        return self.row.expires_at is not None and self.row.expires_at <= timezone.now()

    def is_revoked(self) -> bool:
        return self.row.revoked_at is not None
