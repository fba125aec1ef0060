"""The authorization server of a hospital: Authlib's grants, over our rows. One is made for each request: it knows whose it is and where.

client_credentials with private_key_jwt (SMART Backend Services 2.2, RFC 7523), authorization_code with PKCE and refresh_token for apps
(tenants/oauth/people.py), introspection (RFC 7662) and revocation (RFC 7009).
"""

import hashlib
import os
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from authlib.common.security import generate_token
from authlib.integrations.django_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import InvalidClientError, InvalidScopeError
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from journal.audit import Actor, audit_record
from journal.wall.scope import tenant_scope
from tenants.doors import address_of
from tenants.egress import Egress, EgressFailed, EgressRefused
from tenants.models import ApiToken, OAuthAssertion, OAuthClient, OAuthGrant, Tenant
from tenants.oauth.clients import BACKEND, KEY_PAIR, ClientError, jwks_check
from tenants.oauth.grants import grant_revoke, refresh_grant
from tenants.oauth.parties import METHODS, Client, Token
from tenants.oauth.people import Challenge, CodeGrant, RefreshGrant
from tenants.services import STALE_AFTER, token_digest

# TLS ends at the proxy in front of us; Authlib would look at our own socket, which is plain.
os.environ.setdefault("AUTHLIB_INSECURE_TRANSPORT", "1")

LIVES = 300  # seconds of an access token, and the longest that an assertion may be good for
LEEWAY = 10
SIGNED = ["RS384", "ES384"]
JWKS_BYTES, JWKS_SECONDS = 64 << 10, 60.0
PEOPLE_LIVES = 3600  # of an app's access token


class Assertion(JWTBearerClientAssertion):
    """private_key_jwt with RS384 or ES384, an audience that is our token endpoint, five minutes at most, each jti once."""

    CLIENT_AUTH_METHOD = KEY_PAIR

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
    TOKEN_ENDPOINT_AUTH_METHODS = [KEY_PAIR]

    def validate_requested_scope(self) -> None:
        """None left is no token: what may be done with it would be nothing."""
        if not self.request.client.get_allowed_scope(self.request.payload.scope):
            raise InvalidScopeError


class Server(AuthorizationServer):
    """Of one hospital, at one address."""

    def __init__(self, *, tenant: Tenant, token_url: str, address: str | None) -> None:
        super().__init__(OAuthClient, ApiToken)
        self.tenant, self.address = tenant, address
        self.register_client_auth_method(KEY_PAIR, Assertion(token_url))
        self.register_grant(BackendGrant)
        self.register_grant(CodeGrant, [Challenge()])
        self.register_grant(RefreshGrant)
        self.register_endpoint(Introspection)
        self.register_endpoint(Revocation)

    def query_client(self, client_id: str) -> Client | None:
        """Of this hospital alone: another one's client is not there."""
        row = OAuthClient.objects.filter(tenant=self.tenant, client_id=client_id[:64], revoked_at=None).first()
        return Client(row) if row is not None and "\0" not in client_id else None

    def save_token(self, token: dict[str, Any], request: Any) -> None:
        client: OAuthClient = request.client.row
        now, text = timezone.now(), str(token["access_token"])
        grant: OAuthGrant | None = getattr(request, "grant", None)
        with tenant_scope(self.tenant.id):
            ApiToken.objects.create(
                tenant=self.tenant, name=client.name, role="integrator", prefix=text[:10], digest=token_digest(text), client=client,
                scopes=token["scope"], expires_at=now + timedelta(seconds=token["expires_in"]), user_id=grant.user_id if grant else None,
                grant_id=grant.id if grant else None,
            )  # fmt: skip
            stale = ApiToken.objects.filter(client=client, expires_at__lt=now - STALE_AFTER)
            if stale.exists():  # a delete makes every process forget the tokens that it knows
                stale.delete()
            OAuthClient.objects.filter(id=client.id).update(used_at=now)
            actor = Actor(name=f"user:{grant.user_id}" if grant else f"client:{client.client_id}", address=self.address)
            audit_record(
                actor=actor, action="client.token", object_type="OAuthClient", object_id=client.client_id,
                detail={"grant": str(grant.id)} if grant else None,
            )  # fmt: skip

    def create_bearer_token_generator(self) -> Any:
        def generate(*, grant_type: str, client: Client, scope: str = "", **_: Any) -> dict[str, Any]:
            granted = client.get_allowed_scope(scope)
            lives = LIVES if client.row.kind == BACKEND else PEOPLE_LIVES
            return {"token_type": "Bearer", "access_token": f"mh_{generate_token(43)}", "expires_in": lives, "scope": granted}

        return generate

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens: what happened is in the audit trail."""


def server_make(*, request: HttpRequest, tenant: Tenant) -> Server:
    """For one request."""
    token_url = request.build_absolute_uri(f"/t/{tenant.slug}/oauth/token")
    return Server(tenant=tenant, token_url=token_url, address=address_of(request))


class Introspection(IntrospectionEndpoint):
    CLIENT_AUTH_METHODS = METHODS

    def query_token(self, token_string: str, token_type_hint: str | None) -> Token | None:
        return _token(self.server, token_string)

    def check_permission(self, token: Token, client: Client, request: Any) -> bool:
        return token.check_client(client)

    def introspect_token(self, token: Token) -> dict[str, Any]:
        row = token.row
        return {
            "active": True, "client_id": row.client.client_id if row.client else "", "scope": row.scopes, "token_type": "Bearer",
            **({"sub": str(row.user_id)} if row.user_id else {}),
            "exp": int(row.expires_at.timestamp()) if row.expires_at else None, "iat": int(row.created_at.timestamp()),
        }  # fmt: skip


class Revocation(RevocationEndpoint):
    CLIENT_AUTH_METHODS = METHODS

    def query_token(self, token_string: str, token_type_hint: str | None) -> Token | None:
        return _token(self.server, token_string)

    def revoke_token(self, token: Token, request: Any) -> None:
        """An app's ends what the person granted it: its refresh token too (RFC 7009 2.1)."""
        row = token.row
        if row.grant_id is not None:
            with tenant_scope(row.tenant_id):
                grant_revoke(actor=Actor(name=f"client:{row.client.client_id}" if row.client else "-"), grant_id=row.grant_id)
        else:
            ApiToken.objects.filter(id=row.id, revoked_at=None).update(revoked_at=timezone.now())


def _token(server: Server, text: str) -> Token | None:
    """An access token by its text, or by its refresh token's the last access token of the same grant."""
    known = ApiToken.objects.select_related("client").filter(tenant=server.tenant)
    row = known.filter(digest=token_digest(text)).first()
    if row is None:
        with tenant_scope(server.tenant.id):
            grant_id = refresh_grant(text=text)
        row = known.filter(grant_id=grant_id).order_by("-id").first() if grant_id is not None else None
    return Token(row) if row is not None and row.client_id is not None else None
