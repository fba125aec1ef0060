"""Entra ID client credentials by Microsoft's own library; its HTTP goes through ours, so that the rules of egress hold."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from msal import ConfidentialClientApplication

from ai.auth.tokens import Token, TokenHttp, key_of, refusal_of, token_of
from ai.contract import Http, PlatformError

LOGIN = "https://login.microsoftonline.com"


class EntraHttp(TokenHttp):
    """`scope` is the resource with "/.default". `login` is the authority's address without the tenant (national clouds differ)."""

    def __init__(self, http: Http, *, tenant: str, client_id: str, secret: str, scope: str, login: str = LOGIN) -> None:
        login = login.rstrip("/")

        def fetch() -> Token:
            return _token(http, f"{login}/{tenant}", client_id, secret, scope)

        super().__init__(http, key=key_of("entra", login, tenant, client_id, secret, scope), fetch=fetch)


class _Answer:
    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status_code, self.headers, self.text = status, headers, body.decode("utf-8", "replace")

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            raise refusal_of(self.status_code)


class _Client:
    """The two verbs that msal uses of a `requests.Session`. Remembers the last status for our own words."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self.status = 0

    def post(self, url: str, *, params: Any = None, data: Any = None, headers: Any = None, **_: Any) -> _Answer:
        body = urlencode(data).encode() if isinstance(data, Mapping) else (data or b"")
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._ask("POST", url, params, {**form, **(headers or {})}, body)

    def get(self, url: str, *, params: Any = None, headers: Any = None, **_: Any) -> _Answer:
        return self._ask("GET", url, params, headers or {}, None)

    def close(self) -> None:
        """The connection is the caller's."""

    def _ask(self, method: str, url: str, params: Any, headers: Mapping[str, str], body: Any) -> _Answer:
        address = f"{url}?{urlencode(params)}" if params else url
        answer = _Answer(*self._http.request(method, address, headers=headers, content=body))
        self.status = answer.status_code
        return answer


def _token(http: Http, authority: str, client_id: str, secret: str, scope: str) -> Token:
    client = _Client(http)
    try:
        # No instance discovery: it would ask Microsoft about an authority that a national or private cloud has for itself.
        app = ConfidentialClientApplication(
            client_id, client_credential=secret, authority=authority, instance_discovery=False, http_client=client
        )
        answer = app.acquire_token_for_client(scopes=[scope])
    except (ValueError, KeyError, TypeError) as error:  # an authority that is none, or whose answer is no JSON
        if client.status >= 500 or client.status == 429:
            raise refusal_of(client.status) from error
        raise PlatformError("the sign-in service is not as Entra ID's", is_permanent=client.status != 200) from error
    if "access_token" not in answer:
        raise refusal_of(client.status)
    return token_of(answer["access_token"], answer.get("expires_in"))
