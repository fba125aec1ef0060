"""The authorization server of a hospital: Authlib's grants, over our rows. One is made for each request: it knows whose it is and where.

client_credentials with private_key_jwt (SMART Backend Services 2.2, RFC 7523), introspection (RFC 7662) and revocation (RFC 7009).
"""

import hashlib
import os
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from authlib.common.security import generate_token
from authlib.integrations.django_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, InvalidClientError, InvalidScopeError, TokenMixin
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from django.db import IntegrityError, transaction
from django.utils import timezone
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from journal.audit import Actor, audit_record
from journal.wall.scope import tenant_scope
from tenants.egress import Egress, EgressFailed, EgressRefused
from tenants.models import ApiToken, OAuthAssertion, OAuthClient, Tenant
from tenants.oauth.clients import BACKEND, ClientError, jwks_check
from tenants.oauth.scopes import scopes_granted, scopes_text
from tenants.services import STALE_AFTER, token_digest

# TLS ends at the proxy in front of us; Authlib would look at our own socket, which is plain.
os.environ.setdefault("AUTHLIB_INSECURE_TRANSPORT", "1")

LIVES = 300  # seconds of an access token, and the longest that an assertion may be good for
LEEWAY = 10
SIGNED = ["RS384", "ES384"]
JWKS_BYTES, JWKS_SECONDS = 64 << 10, 60.0
METHOD = "private_key_jwt"


class Client(ClientMixin):
    """A row as Authlib sees it."""

    def __init__(self, row: OAuthClient) -> None:
        self.row = row
        self.client_id = row.client_id

    def get_client_id(self) -> str:
        return self.client_id

    def get_allowed_scope(self, scope: str) -> str:
        return scopes_text(scopes_granted(asked=scope or "", allowed=self.row.scopes))

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "client_credentials" and self.row.kind == BACKEND

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == METHOD and self.row.kind == BACKEND


class Token(TokenMixin):
    def __init__(self, row: ApiToken) -> None:
        self.row = row

    def check_client(self, client: Client) -> bool:
        return bool(self.row.client_id == client.row.id)

    def is_expired(self) -> bool:
        return self.row.expires_at is not None and self.row.expires_at <= timezone.now()

    def is_revoked(self) -> bool:
        return self.row.revoked_at is not None


class Assertion(JWTBearerClientAssertion):
    """private_key_jwt with RS384 or ES384, an audience that is our token endpoint, five minutes at most, each jti once."""

    CLIENT_AUTH_METHOD = METHOD

    def __init__(self, token_url: str) -> None:
        super().__init__(leeway=LEEWAY)
        self._token_url = token_url

    def get_audiences(self) -> list[str]:
        return [self._token_url]

    def resolve_client_public_key(self, client: Client) -> KeySet:
        try:
            return jwks_check(_jwks(client.row))
        except ClientError as error:
            raise InvalidClientError(description=f"The client's keys cannot be used: {error}") from None

    def process_assertion_claims(self, assertion: str, resolve_key: Any) -> Any:
        try:
            token = jwt.decode(assertion, resolve_key, algorithms=SIGNED)
        except (JoseError, ValueError) as error:
            raise InvalidClientError(description="The assertion's signature is not good.") from error
        self.verify_claims(token.claims)
        return token.claims

    def validate_jti(self, claims: Any, jti: Any) -> bool:
        if not isinstance(jti, str) or not 0 < len(jti) <= 255:
            return False
        if not isinstance(claims.get("exp"), int) or claims["exp"] > time.time() + LIVES + LEEWAY:
            raise InvalidClientError(description="exp is more than five minutes away.")
        digest = hashlib.sha256(f"{claims['iss']}|{jti}".encode()).hexdigest()
        until = datetime.fromtimestamp(claims["exp"], UTC) + timedelta(seconds=2 * LEEWAY)
        try:
            with transaction.atomic():
                OAuthAssertion.objects.create(digest=digest, expires_at=until)
        except IntegrityError:
            return False
        OAuthAssertion.objects.filter(expires_at__lt=timezone.now()).delete()
        return True


def _jwks(row: OAuthClient) -> dict[str, Any]:
    """Inline, or fetched from its address, at most once a minute. Raises ClientError."""
    if not row.jwks_url:
        return dict(row.jwks)
    now = timezone.now()
    if row.jwks and row.jwks_at and (now - row.jwks_at).total_seconds() < JWKS_SECONDS:
        return dict(row.jwks)
    try:
        status, _, body = Egress(read_seconds=5).request("GET", row.jwks_url, headers={"Accept": "application/json"})
    except (EgressRefused, EgressFailed) as error:
        raise ClientError("jwks_url", error.user_message) from None
    found = None
    if status == 200 and len(body) <= JWKS_BYTES:
        try:
            found = orjson.loads(body)
        except orjson.JSONDecodeError:
            found = None
    if not isinstance(found, dict):
        raise ClientError("jwks_url", "what lies there is no JWK Set")
    jwks_check(found)
    OAuthClient.objects.filter(id=row.id).update(jwks=found, jwks_at=now)
    return found


class BackendGrant(ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = [METHOD]

    def validate_requested_scope(self) -> None:
        """None left is no token: what may be done with it would be nothing."""
        if not self.request.client.get_allowed_scope(self.request.payload.scope):
            raise InvalidScopeError


class Server(AuthorizationServer):
    """Of one hospital, at one address."""

    def __init__(self, *, tenant: Tenant, token_url: str, address: str | None) -> None:
        super().__init__(OAuthClient, ApiToken)
        self.tenant, self.address = tenant, address
        self.register_client_auth_method(METHOD, Assertion(token_url))
        self.register_grant(BackendGrant)
        self.register_endpoint(Introspection)
        self.register_endpoint(Revocation)

    def query_client(self, client_id: str) -> Client | None:
        """Of this hospital alone: another one's client is not there."""
        row = OAuthClient.objects.filter(tenant=self.tenant, client_id=client_id[:64], revoked_at=None).first()
        return Client(row) if row is not None else None

    def save_token(self, token: dict[str, Any], request: Any) -> None:
        client: OAuthClient = request.client.row
        now, text = timezone.now(), str(token["access_token"])
        ApiToken.objects.create(
            tenant=self.tenant, name=client.name, role="integrator", prefix=text[:10], digest=token_digest(text), client=client,
            scopes=token["scope"], expires_at=now + timedelta(seconds=LIVES),
        )  # fmt: skip
        stale = ApiToken.objects.filter(client=client, expires_at__lt=now - STALE_AFTER)
        if stale.exists():  # a delete makes every process forget the tokens that it knows
            stale.delete()
        OAuthClient.objects.filter(id=client.id).update(used_at=now)
        with tenant_scope(self.tenant.id):
            actor = Actor(name=f"client:{client.client_id}", address=self.address)
            audit_record(actor=actor, action="client.token", object_type="OAuthClient", object_id=client.client_id)

    def create_bearer_token_generator(self) -> Any:
        def generate(*, grant_type: str, client: Client, scope: str = "", **_: Any) -> dict[str, Any]:
            granted = client.get_allowed_scope(scope)
            return {"token_type": "Bearer", "access_token": f"mh_{generate_token(43)}", "expires_in": LIVES, "scope": granted}

        return generate

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens: what happened is in the audit trail."""


class Introspection(IntrospectionEndpoint):
    CLIENT_AUTH_METHODS = [METHOD]

    def query_token(self, token_string: str, token_type_hint: str | None) -> Token | None:
        return _token(self.server, token_string)

    def check_permission(self, token: Token, client: Client, request: Any) -> bool:
        return token.check_client(client)

    def introspect_token(self, token: Token) -> dict[str, Any]:
        row = token.row
        return {
            "active": True, "client_id": row.client.client_id if row.client else "", "scope": row.scopes, "token_type": "Bearer",
            "exp": int(row.expires_at.timestamp()) if row.expires_at else None, "iat": int(row.created_at.timestamp()),
        }  # fmt: skip


class Revocation(RevocationEndpoint):
    CLIENT_AUTH_METHODS = [METHOD]

    def query_token(self, token_string: str, token_type_hint: str | None) -> Token | None:
        return _token(self.server, token_string)

    def revoke_token(self, token: Token, request: Any) -> None:
        ApiToken.objects.filter(id=token.row.id, revoked_at=None).update(revoked_at=timezone.now())


def _token(server: Server, text: str) -> Token | None:
    row = ApiToken.objects.select_related("client").filter(digest=token_digest(text), tenant=server.tenant).first()
    return Token(row) if row is not None and row.client_id is not None else None
