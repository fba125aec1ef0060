"""Tokens that live for a while: fetched when needed, kept in this process until a minute before they end."""

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ai.auth.scheme import Scheme
from ai.contract import Content, Http, PlatformError

MARGIN_SECONDS = 60.0
MAX_SECONDS = 24 * 3600.0
MAX_KEPT = 1000


@dataclass(frozen=True, repr=False)
class Token:
    """`ends_at` in seconds since the epoch."""

    value: str
    ends_at: float


class _Kept:
    """By a hash of credential and scope: two hospitals with different keys never share a token, nor does the key lie here."""

    def __init__(self) -> None:
        self._tokens: dict[str, Token] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> Token | None:
        with self._lock:
            found = self._tokens.get(key)
        return found if found is not None and time.time() < found.ends_at - MARGIN_SECONDS else None

    def put(self, key: str, token: Token) -> None:
        with self._lock:
            if len(self._tokens) >= MAX_KEPT:
                self._tokens.clear()
            self._tokens[key] = token

    def drop(self, key: str, value: str) -> None:
        """Only the very token that was refused: another thread may have brought a fresh one."""
        with self._lock:
            if (found := self._tokens.get(key)) is not None and found.value == value:
                del self._tokens[key]


_kept = _Kept()


def key_of(*parts: str) -> str:
    """A name for these credentials that does not tell them."""
    mark = hashlib.sha256()
    for part in parts:
        content = part.encode()
        mark.update(len(content).to_bytes(8, "big") + content)
    return mark.hexdigest()


def token_of(value: object, seconds: object) -> Token:
    """From an answer's `access_token` and `expires_in`. Raises PlatformError."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or not 0 < len(value) <= 16_384:
        raise PlatformError("the sign-in service's answer holds no token", is_permanent=False)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise PlatformError("the sign-in service's answer does not say how long its token lives", is_permanent=False)
    return Token(value, time.time() + min(float(seconds), MAX_SECONDS))


def refusal_of(status: int) -> PlatformError:
    """A sign-in service that gave no token: its words may hold our key, so only the status is told."""
    if status in {408, 425, 429} or status >= 500:
        return PlatformError(f"the sign-in service answered {status}", is_permanent=False)
    return PlatformError(f"the sign-in service refused our key ({status})", is_permanent=True)


def form_token(http: Http, url: str, body: bytes) -> Token:
    """POST a form to a token endpoint (RFC 6749 section 4.4). Raises PlatformError."""
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    status, _, content = http.request("POST", url, headers=headers, content=body)
    if status != 200:
        raise refusal_of(status)
    try:
        answer: Any = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise PlatformError("the sign-in service's answer is not JSON", is_permanent=False) from error
    said = answer if isinstance(answer, dict) else {}
    return token_of(said.get("access_token"), said.get("expires_in"))


class TokenHttp(Scheme):
    """`Authorization: Bearer` of a token that `fetch` brings; a 401 drops it, and one fresh token is tried."""

    def __init__(self, http: Http, *, key: str, fetch: Callable[[], Token]) -> None:
        super().__init__(http)
        self._key, self._fetch = key, fetch
        self._used = ""

    def headers_of(self, method: str, url: str, headers: Mapping[str, str], content: Content) -> dict[str, str]:
        token = _kept.get(self._key)
        if token is None:
            token = self._fetch()
            _kept.put(self._key, token)
        self._used = token.value
        return {"Authorization": f"Bearer {token.value}"}

    def is_renewed(self, status: int) -> bool:
        if status != 401:
            return False
        _kept.drop(self._key, self._used)
        return True
