"""The only way out: an HTTP client that looks where it goes. TLS verified, private addresses refused, redirects re-checked, PHI-free logs.

The address that was checked is the address that is connected to, so a name that changes its mind in between gains nothing.
"""

import ipaddress
import logging
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import httpcore
import httpx
from django.conf import settings

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
WRITE_SECONDS = 60.0
MAX_REDIRECTS = 3
MAX_ANSWER_BYTES = 64 * 1024 * 1024


class EgressRefused(Exception):
    """The address is private or not allowed. Permanent until somebody changes EGRESS_ALLOW or the connection."""

    user_message = "the address is private or not allowed (EGRESS_ALLOW)"


class EgressFailed(Exception):
    """The other side was not reached, or did not answer in time, or answered too much. Worth another try."""

    user_message = "the other side was not reached or did not answer in time"


def _is_allowed(host: str, port: int, address: str) -> bool:
    if f"{host}:{port}" in settings.EGRESS_ALLOW:
        return True
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return ip.is_global and not ip.is_multicast


def address_check(*, host: str, port: int) -> str:
    """Resolve once and look at the address: the caller connects to that very one. Raises EgressRefused, EgressFailed."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise EgressFailed from error
    address = str(found[0][4][0])
    if not _is_allowed(host, port, address):
        raise EgressRefused
    return address


class _CheckedBackend(httpcore.NetworkBackend):
    """Resolve once, check, and connect to that very address."""

    def __init__(self) -> None:
        self._sync = httpcore.SyncBackend()

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None, socket_options: Any = None
    ) -> httpcore.NetworkStream:
        try:
            address = address_check(host=host, port=port)
        except EgressFailed as error:
            raise httpcore.ConnectError("name not found") from error
        return self._sync.connect_tcp(
            address, port, timeout=timeout, local_address=local_address, socket_options=socket_options
        )

    def sleep(self, seconds: float) -> None:
        self._sync.sleep(seconds)


class _CheckedTransport(httpx.HTTPTransport):
    def __init__(self) -> None:
        super().__init__(verify=True, trust_env=False)
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False), network_backend=_CheckedBackend(), max_connections=20
        )


class Egress:
    """`ai.contract.Http`: one request, its status, headers and body. Raises EgressRefused or EgressFailed."""

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str], content: bytes | Iterator[bytes] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS, write=WRITE_SECONDS)
        with httpx.Client(transport=_CheckedTransport(), timeout=timeout, trust_env=False) as client:
            try:
                return self._follow(client, method, url, headers, content)
            except EgressRefused:
                log.warning("egress refused")
                raise
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
                raise EgressFailed from error

    def _follow(
        self, client: httpx.Client, method: str, url: str, headers: Mapping[str, str], content: Any
    ) -> tuple[int, Mapping[str, str], bytes]:
        for _ in range(MAX_REDIRECTS + 1):
            if httpx.URL(url).scheme not in {"http", "https"}:
                raise EgressRefused
            with client.stream(method, url, headers=dict(headers), content=content) as answer:
                if answer.next_request is None:
                    return answer.status_code, answer.headers, _body(answer)
                if method not in {"GET", "HEAD"}:
                    raise EgressFailed  # a body is never sent twice, and never to somewhere else
                following = answer.next_request.url
                if (following.host, following.port) != (httpx.URL(url).host, httpx.URL(url).port):
                    headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
                url = str(following)
        raise EgressFailed


def _body(answer: httpx.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    for part in answer.iter_bytes():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise EgressFailed
        parts.append(part)
    return b"".join(parts)
