"""A Google service account: its key signs a JWT that buys a bearer token (RFC 7523), by google-auth; its HTTP goes through ours."""

from collections.abc import Mapping
from typing import Any

import orjson
from google.auth.exceptions import GoogleAuthError
from google.oauth2.service_account import Credentials

from ai.auth.tokens import Token, TokenHttp, key_of, refusal_of, token_of
from ai.contract import Http, PlatformError

TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 an address
ACCOUNT_BYTES = 16_384
LIFE_SECONDS = 3600.0  # Google's tokens live an hour; google-auth tells the end in a form without a zone


class GoogleHttp(TokenHttp):
    """`account` is the JSON file that Google gives for a service account; its own token address is used only when `token_url` is it."""

    def __init__(self, http: Http, account: str, *, scopes: tuple[str, ...], token_url: str = TOKEN_URL) -> None:
        def fetch() -> Token:
            return _token(http, account, scopes, token_url)

        super().__init__(http, key=key_of("google", account, *scopes, token_url), fetch=fetch)


class _Answer:
    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.data = status, headers, body


class _Transport:
    """google.auth.transport.Request over our Http. Remembers the last answer: google-auth keeps of it only token and end."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self.status = 0
        self.seconds: object = None

    def __call__(
        self, url: str, method: str = "GET", body: Any = None, headers: Mapping[str, str] | None = None, **_: Any
    ) -> _Answer:
        content = body.encode() if isinstance(body, str) else body
        status, got, data = self._http.request(method, url, headers=headers or {}, content=content)
        self.status = status
        try:
            said = orjson.loads(data)
        except orjson.JSONDecodeError:
            said = None
        self.seconds = said.get("expires_in") if isinstance(said, dict) else None
        return _Answer(status, got, data)


def account_read(account: str) -> dict[str, Any]:
    """The service account's file. Raises PlatformError; never repeats it."""
    try:
        said = orjson.loads(account) if len(account) <= ACCOUNT_BYTES else None
    except orjson.JSONDecodeError as error:
        raise PlatformError("the service account's key is not the JSON file that Google gives", is_permanent=True) from error
    if not isinstance(said, dict) or not all(isinstance(said.get(name), str) for name in ("client_email", "private_key")):
        raise PlatformError("the service account's key is not the JSON file that Google gives", is_permanent=True)
    return said


def _token(http: Http, account: str, scopes: tuple[str, ...], token_url: str) -> Token:
    transport = _Transport(http)
    said = {**account_read(account), "token_uri": token_url}
    try:
        made = Credentials.from_service_account_info(said, scopes=list(scopes))  # type: ignore[no-untyped-call]
        made.refresh(transport)
    except GoogleAuthError as error:
        raise refusal_of(transport.status) from error
    except (ValueError, TypeError, KeyError) as error:
        raise PlatformError("the service account's key cannot be used", is_permanent=True) from error
    return token_of(made.token, transport.seconds or LIFE_SECONDS)
