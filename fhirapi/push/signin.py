"""How we sign in at the hospital's server: not at all, basic (RFC 7617), a bearer token (RFC 6750), or SMART Backend Services.

SMART App Launch 2.2.0: an assertion signed with the server's own key of ours (RS384, ES384) is exchanged for a short token, which this
process keeps until a minute before its end (ai/auth/tokens.py).
"""

import time
from secrets import token_urlsafe
from typing import Any
from urllib.parse import urlencode

import orjson
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from ai.auth.basic import BasicHttp
from ai.auth.bearer import BearerHttp
from ai.auth.tokens import Token, TokenHttp, form_token, key_of
from ai.contract import Http, PlatformError
from fhirapi.models import EhrServer
from tenants.crypto import secret_open

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS = 240  # at most five minutes (SMART 2.2.0, "Authentication JWT Claims")


class SmartHttp(TokenHttp):
    """SMART Backend Services as a client. Raises PlatformError where there is no token to be had."""

    def __init__(self, http: Http, row: EhrServer) -> None:
        self._plain, self._row = http, row
        facts = (str(row.tenant_id), str(row.uuid), row.base_url, row.token_url, row.client_id, row.scope, row.public_jwk["kid"])
        super().__init__(http, key=key_of("smart", *facts), fetch=self._fetch)

    def _fetch(self) -> Token:
        url = self._row.token_url or self._discovered()
        form = {
            "grant_type": "client_credentials", "scope": self._row.scope, "client_assertion_type": ASSERTION,
            "client_assertion": assertion_make(row=self._row, audience=url),
        }  # fmt: skip
        return form_token(self._plain, url, urlencode(form).encode())

    def _discovered(self) -> str:
        """token_endpoint of the server's own smart-configuration, https unless the server itself is not."""
        where = f"{self._row.base_url}/.well-known/smart-configuration"
        status, _, body = self._plain.request("GET", where, headers={"Accept": "application/json"})
        try:
            said: Any = orjson.loads(body) if status == 200 else {}
            url = said["token_endpoint"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise PlatformError(f"its smart-configuration names no token endpoint ({status})", is_permanent=status < 500) from None
        if not isinstance(url, str) or not (url.startswith("https://") or self._row.base_url.startswith("http://")):
            raise PlatformError("its token endpoint is no https address", is_permanent=True)
        return url


def assertion_make(*, row: EhrServer, audience: str) -> str:
    """A signed assertion that is good once."""
    pem = secret_open(row.private_key, tenant_id=row.tenant_id)
    key: RSAKey | ECKey = RSAKey.import_key(pem) if row.algorithm == "RS384" else ECKey.import_key(pem)
    now = int(time.time())
    claims = {
        "iss": row.client_id, "sub": row.client_id, "aud": audience, "iat": now, "exp": now + ASSERTION_SECONDS, "jti": token_urlsafe(32),
    }  # fmt: skip
    head = {"alg": row.algorithm, "kid": row.public_jwk["kid"], "typ": "JWT"}
    return jwt.encode(head, claims, key, algorithms=[row.algorithm])


def signed_in(row: EhrServer, http: Http) -> Http:
    """Raises SecretLostError where the secret cannot be opened any more."""
    if row.auth == EhrServer.Auth.SMART:
        return SmartHttp(http, row)
    if row.auth == EhrServer.Auth.NONE:
        return http
    secret = secret_open(row.secret, tenant_id=row.tenant_id).decode()
    return BasicHttp(http, row.user, secret) if row.auth == EhrServer.Auth.BASIC else BearerHttp(http, secret)
