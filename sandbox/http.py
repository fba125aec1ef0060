"""A small HTTP server, with TLS or without: whole requests in, whole replies out, a thread a connection. Handlers are found by path."""

import json
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

MAX_BODY = 1024**3
IDLE_SECONDS = 60


@dataclass(frozen=True)
class Request:
    """`target` as it stood in the request line; `headers` by lower-case name."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def json(self) -> Any:
        """The body as JSON; a Refusal of 400 when it is none."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise Refusal(400, "the body is not JSON") from error


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_dropped: bool = False  # the connection ends without an answer


class Refusal(Exception):
    """An error status with words, raised anywhere in a handler."""

    def __init__(self, status: int, words: str, **headers: str) -> None:
        super().__init__(words)
        self.status, self.words, self.headers = status, words, headers


def json_reply(value: Any, status: int = 200, kind: str = "application/json", **headers: str) -> Reply:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, json.dumps(value).encode(), {"Content-Type": kind, **named})


Handler = Callable[..., Reply]


class Router:
    """(method, pattern) -> handler; a pattern's named groups are the handler's keywords."""

    def __init__(self) -> None:
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = []

    def add(self, method: str, pattern: str, handler: Handler) -> None:
        self._routes.append((method, re.compile(pattern), handler))

    def __call__(self, request: Request) -> Reply:
        allowed = set()
        for method, pattern, handler in self._routes:
            if match := pattern.fullmatch(request.path):
                if method == request.method:
                    return handler(request, **match.groupdict())
                allowed.add(method)
        if allowed:
            raise Refusal(405, "not with this method", Allow=", ".join(sorted(allowed)))
        raise Refusal(404, "nothing here")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def log_message(self, *_: object) -> None:
        """Quiet: addresses hold UIDs."""

    def handle(self) -> None:
        self.connection.settimeout(IDLE_SECONDS)
        try:
            super().handle()
        except (OSError, ssl.SSLError):
            self.close_connection = True

    def _answer(self) -> None:
        body = self._body()
        if body is None:
            self._send(Reply(413), is_kept=False)
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.answer(Request(self.command, self.path, headers, body))
        if reply.is_dropped:
            self.close_connection = True
            return
        self._send(reply, is_kept=True)

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 the library's names

    def _send(self, reply: Reply, *, is_kept: bool) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status != 204:
            self.send_header("Content-Length", str(len(reply.body)))
        if not is_kept:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if reply.status != 204:
            self.wfile.write(reply.body)

    def _body(self) -> bytes | None:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._chunks()
        size = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(size) if size <= MAX_BODY else None

    def _chunks(self) -> bytes | None:
        parts, total = [], 0
        while size := int(self.rfile.readline(64).split(b";")[0], 16):
            total += size
            if total > MAX_BODY:
                return None
            parts.append(self.rfile.read(size))
            self.rfile.readline(8)
        while self.rfile.readline(8192).strip():
            continue
        return b"".join(parts)


class Server(ThreadingHTTPServer):
    """On loopback at `port`, or a free one. With a certificate over TLS; with `client_ca` only for clients whose certificate it signed."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, answer: Callable[[Request], Reply], certificate: tuple[str, str] | None = None, client_ca: str = "", *, port: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(("127.0.0.1", port), _Handler)
        self.answer = answer
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
            self._context.load_cert_chain(*certificate)
            if client_ca:
                self._context.verify_mode = ssl.CERT_REQUIRED
                self._context.load_verify_locations(client_ca)

    @property
    def url(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self.server_address[1]}"

    def get_request(self) -> tuple[socket.socket, Any]:
        # The handshake is the connection's own thread's work: nobody who is slow at it keeps the others waiting.
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is None:
            return connection, address
        return self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, *_: Any) -> None:
        """Quiet: a client that goes away is no news."""
