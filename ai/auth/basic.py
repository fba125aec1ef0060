"""User and password (RFC 7617), as a FHIR server of one's own often has."""

from base64 import b64encode
from collections.abc import Mapping

from ai.auth.scheme import Scheme
from ai.contract import Content, Http


class BasicHttp(Scheme):
    def __init__(self, http: Http, user: str, password: str) -> None:
        super().__init__(http)
        self._headers = {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}

    def headers_of(self, method: str, url: str, headers: Mapping[str, str], content: Content) -> dict[str, str]:
        return self._headers
