"""The only way out: private addresses, redirects and names that change their mind."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from medhub.embedded import Home
from medhub.stack import Ports, Stack
from tenants.egress import Egress, EgressFailed, EgressRefused


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:  # noqa: N802 the library's name
        if self.path == "/ok":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.headers.get("Authorization", "none").encode())
            return
        self.send_response(302)
        self.send_header("Location", self.path.removeprefix("/to/"))
        self.end_headers()

    do_POST = do_GET  # noqa: N815


@pytest.fixture
def server(settings) -> Iterator[str]:
    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    settings.EGRESS_ALLOW = [f"127.0.0.1:{found.server_port}"]
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    found.server_close()


def get(url: str, method: str = "GET") -> tuple[int, bytes]:
    status, _, body = Egress().request(method, url, headers={"Authorization": "Bearer s"})
    return status, body


def test_an_allowed_host_and_port_is_reached(server) -> None:
    """"private addresses refused unless `EGRESS_ALLOW` lists the exact host:port"."""
    assert get(f"{server}/ok") == (200, b"Bearer s")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/", "http://localhost:80/", "http://[::1]:80/", "http://10.0.0.1/", "http://169.254.169.254/latest",
        "http://0.0.0.0/", "http://[::ffff:127.0.0.1]/", "http://192.168.1.1/", "http://2130706433/", "ftp://127.0.0.1/x",
    ],
)  # fmt: skip
def test_private_addresses_are_refused(server, url) -> None:
    """Loopback, private, link-local, mapped and odd spellings of them."""
    with pytest.raises((EgressRefused, EgressFailed)):
        get(url)


def test_redirects_are_checked_again(server) -> None:
    """A redirect to a private address is refused; to the same host it is followed; a body is never sent on."""
    assert get(f"{server}/to/{server}/ok")[0] == 200
    with pytest.raises(EgressRefused):
        get(f"{server}/to/http://169.254.169.254/")
    with pytest.raises(EgressFailed):
        get(f"{server}/to/{server}/ok", method="POST")


def test_the_checked_address_is_the_one_connected_to(server, monkeypatch) -> None:
    """DNS rebinding: a name that answers with a loopback address is refused whatever it said before."""
    import socket

    real = socket.getaddrinfo
    answers = iter(["93.184.215.14", "127.0.0.1"])

    def rebinding(host, port, *args, **kwargs):
        return real(next(answers) if host == "rebind.example" else host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    next(answers)
    with pytest.raises(EgressRefused):
        get("http://rebind.example:80/")


def test_what_the_user_allows_the_house_may_reach(monkeypatch, tmp_path) -> None:
    """"private addresses refused unless `EGRESS_ALLOW` lists the exact host:port": the demo adds its own, it takes none away."""
    stack = Stack(home=Home(tmp_path), ports=Ports(quantify=8301))
    monkeypatch.delenv("EGRESS_ALLOW", raising=False)
    assert stack.child_environment()["EGRESS_ALLOW"] == "127.0.0.1:8301"
    monkeypatch.setenv("EGRESS_ALLOW", "127.0.0.1:11113, 10.1.2.3:104,127.0.0.1:8301")
    assert stack.child_environment()["EGRESS_ALLOW"] == "127.0.0.1:11113,10.1.2.3:104,127.0.0.1:8301"
