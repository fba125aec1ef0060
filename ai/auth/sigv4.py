"""AWS Signature Version 4 by botocore. The body is hashed before it is sent, so a changed byte is refused by AWS."""

import hashlib
from collections.abc import Mapping

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from ai.auth.scheme import Scheme
from ai.contract import Content, Http, PlatformError

SIGNED = frozenset({"accept", "content-type"})  # what we send besides; other headers may change on their way


class SigV4Http(Scheme):
    """`service`: healthlake, medical-imaging. `session_token` with temporary keys of STS."""

    def __init__(
        self, http: Http, *, access_key: str, secret_key: str, region: str, service: str, session_token: str = ""
    ) -> None:
        super().__init__(http)
        self._credentials = Credentials(access_key, secret_key, session_token or None)
        self._region, self._service = region, service

    def headers_of(self, method: str, url: str, headers: Mapping[str, str], content: Content) -> dict[str, str]:
        kept = {name: value for name, value in headers.items() if name.lower() in SIGNED}
        request = AWSRequest(method=method, url=url, headers={**kept, "X-Amz-Content-SHA256": _sha256(content)})
        SigV4Auth(self._credentials, self._service, self._region).add_auth(request)
        return {name: str(value) for name, value in request.headers.items()}


def _sha256(content: Content) -> str:
    if content is None or isinstance(content, bytes):
        return hashlib.sha256(content or b"").hexdigest()
    if not callable(content):
        raise PlatformError("a body that can be read once only cannot be signed", is_permanent=True)
    mark = hashlib.sha256()
    for part in content():
        mark.update(part)
    return mark.hexdigest()
