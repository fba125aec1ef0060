"""The only way out: an HTTP client that looks where it goes. TLS verified, private addresses refused, redirects re-checked, PHI-free logs.

The address that was checked is the address that is connected to, so a name that changes its mind in between gains nothing.
"""

import ipaddress
import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
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
ANSWER_SECONDS = 900.0  # for a whole body: who sends a byte now and then is silent too
KEPT_ELSEWHERE = frozenset({"accept", "accept-charset", "accept-encoding", "range"})  # of the headers, at another host

Content = bytes | Iterator[bytes] | Callable[[], Iterator[bytes]] | None


class EgressRefused(Exception):
    """The address is private or not allowed. Permanent until somebody changes EGRESS_ALLOW or the connection."""

    user_message = "the address is private or not allowed (EGRESS_ALLOW)"


class CertificateUnusable(Exception):
    """The client certificate or its key is no PEM, or the two do not belong together. Permanent until somebody changes them."""

    user_message = "the client certificate and its key cannot be used"


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
    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(verify=context, trust_env=False)
        self._pool = httpcore.ConnectionPool(
            ssl_context=context, network_backend=_CheckedBackend(), max_connections=20, max_keepalive_connections=4
        )


def tls_context(certificate: tuple[str, str] | None = None) -> ssl.SSLContext:
    """Verifies against the public authorities and EGRESS_CA_FILE; shows `certificate` (PEM of chain, PEM of key) when asked.

    Raises CertificateUnusable.
    """
    context = httpx.create_ssl_context(trust_env=False)
    if settings.EGRESS_CA_FILE:
        context.load_verify_locations(cafile=settings.EGRESS_CA_FILE)
    if certificate is not None:
        # The library reads files only; this one is ours alone (0600) and gone when the key is loaded.
        with NamedTemporaryFile("w", suffix=".pem") as file:
            file.write("\n".join(certificate))
            file.flush()
            try:
                context.load_cert_chain(file.name, password=_no_password)
            except (ssl.SSLError, OSError, ValueError) as error:
                raise CertificateUnusable from error
    return context


def _no_password() -> str:
    raise CertificateUnusable  # instead of a prompt at our terminal


class Egress:
    """`ai.contract.Http`. Raises EgressRefused or EgressFailed. Inside `with`, connections are kept and used again.

    `certificate`: PEM of the client's certificate and of its key, for mutual TLS. `read_seconds`: silence of the other side.
    """

    def __init__(self, *, certificate: tuple[str, str] | None = None, read_seconds: float = READ_SECONDS) -> None:
        self._certificate = certificate
        self._timeout = httpx.Timeout(read_seconds, connect=CONNECT_SECONDS, write=WRITE_SECONDS)
        self._kept: httpx.Client | None = None

    def __enter__(self) -> "Egress":
        self._kept = self._client()
        return self

    def __exit__(self, *_: object) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def request(
        self, method: str, url: str, *, headers: Mapping[str, str], content: Content = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One request: its status, headers and body, which is held in memory (64 MiB at most).

        `content` as a callable makes the stream anew each time it is called.
        """
        with self._answer(method, url, headers, content) as answer:
            return answer.status_code, answer.headers, b"".join(_body(answer, MAX_ANSWER_BYTES))

    def request_to_file(
        self, method: str, url: str, *, headers: Mapping[str, str], target: Path, max_bytes: int, content: Content = None
    ) -> tuple[int, Mapping[str, str]]:
        """One request whose body goes to `target`, whatever the status; more than `max_bytes` raises EgressFailed."""
        with self._answer(method, url, headers, content) as answer, target.open("wb") as file:
            for part in _body(answer, max_bytes):
                file.write(part)
            return answer.status_code, answer.headers

    def _client(self) -> httpx.Client:
        return httpx.Client(transport=_CheckedTransport(tls_context(self._certificate)), timeout=self._timeout, trust_env=False)

    @contextmanager
    def _answer(self, method: str, url: str, headers: Mapping[str, str], content: Content) -> Iterator[httpx.Response]:
        client = self._kept or self._client()
        try:
            with _followed(client, method, url, headers, content() if callable(content) else content) as answer:
                yield answer
        except EgressRefused:
            log.warning("egress refused")
            raise
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise EgressFailed from error
        finally:
            if client is not self._kept:
                client.close()


@contextmanager
def _followed(
    client: httpx.Client, method: str, url: str, headers: Mapping[str, str], content: bytes | Iterator[bytes] | None
) -> Iterator[httpx.Response]:
    for _ in range(MAX_REDIRECTS + 1):
        if httpx.URL(url).scheme not in {"http", "https"}:
            raise EgressRefused
        with client.stream(method, url, headers=dict(headers), content=content) as answer:
            if answer.next_request is None:
                yield answer
                return
            if method not in {"GET", "HEAD"}:
                raise EgressFailed  # a body is never sent twice, and never to somewhere else
            following = answer.next_request.url
            if _origin(following) != _origin(httpx.URL(url)):
                headers = {name: value for name, value in headers.items() if name.lower() in KEPT_ELSEWHERE}
            url = str(following)
    raise EgressFailed


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _body(answer: httpx.Response, max_bytes: int) -> Iterator[bytes]:
    size, end = 0, time.monotonic() + ANSWER_SECONDS
    for part in answer.iter_bytes():
        size += len(part)
        if size > max_bytes or time.monotonic() > end:
            raise EgressFailed
        yield part
