"""A key in a header of the platform's choosing, e.g. Ocp-Apim-Subscription-Key."""

import re
from collections.abc import Mapping

from ai.auth.scheme import Scheme
from ai.contract import Content, Http, PlatformError

NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")  # RFC 9110 5.6.2
OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "content-type"})


class ApiKeyHttp(Scheme):
    """Raises PlatformError when the header's name is none, or one that frames the request."""

    def __init__(self, http: Http, *, header: str, key: str) -> None:
        super().__init__(http)
        if not NAME.fullmatch(header) or header.lower() in OURS:
            raise PlatformError("the key's header cannot have this name", is_permanent=True)
        self._headers = {header: key}

    def headers_of(self, method: str, url: str, headers: Mapping[str, str], content: Content) -> dict[str, str]:
        return self._headers
