"""A fixed bearer token (RFC 6750), as Cloud Temple and many gateways give one."""

from collections.abc import Mapping

from ai.auth.scheme import Scheme
from ai.contract import Content, Http


class BearerHttp(Scheme):
    def __init__(self, http: Http, token: str) -> None:
        super().__init__(http)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def headers_of(self, method: str, url: str, headers: Mapping[str, str], content: Content) -> dict[str, str]:
        return self._headers
