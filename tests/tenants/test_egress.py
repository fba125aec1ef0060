"""The only way out: private addresses, redirects and names that change their mind."""

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from medhub.embedded import Home
from medhub.stack import Ports, Stack
from tenants.egress import Egress, EgressFailed, EgressRefused
from tests.vendors import quantify_server, vendors, vendors_process

__all__ = ["quantify_server", "vendors", "vendors_process"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    callers: set[tuple[str, int]] = set()

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:  # noqa: N802 the library's name
        type(self).callers.add(self.client_address)
        if self.path == "/headers":
            body = "\n".join(self.headers).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        if self.path == "/drip":
            self.send_response(200)
            self.send_header("Content-Length", "50")
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(50):
                    self.wfile.write(b"x")
                    time.sleep(0.05)
            return
        if self.path.startswith("/bytes/"):
            size = int(self.path.removeprefix("/bytes/"))
            self.send_response(200)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            self.wfile.write(bytes(size))
            return
        if self.path == "/ok":
            said = self.headers.get("Authorization", "none").encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)
            return
        self.send_response(302)
        self.send_header("Location", self.path.removeprefix("/to/"))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815


@pytest.fixture
def server(settings) -> Iterator[str]:
    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
    Handler.callers = set()
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


def test_connections_are_used_again_inside_with(server) -> None:
    """Five hundred objects are not five hundred handshakes; outside `with` nothing is kept open."""
    with Egress() as egress:
        for _ in range(5):
            assert egress.request("GET", f"{server}/ok", headers={})[0] == 200
    assert len(Handler.callers) == 1
    for _ in range(3):
        Egress().request("GET", f"{server}/ok", headers={})
    assert len(Handler.callers) == 4


def test_a_big_answer_goes_into_a_file_and_no_further_than_its_limit(server, tmp_path) -> None:
    """"Everything from outside is hostile and has a limit": one byte more ends it."""
    target = tmp_path / "answer"
    status, headers = Egress().request_to_file("GET", f"{server}/bytes/300000", headers={}, target=target, max_bytes=300_000)
    assert (status, headers["content-length"], target.stat().st_size) == (200, "300000", 300_000)
    with pytest.raises(EgressFailed):
        Egress().request_to_file("GET", f"{server}/bytes/300001", headers={}, target=target, max_bytes=300_000)


def test_who_sends_a_byte_now_and_then_is_not_waited_for(server, monkeypatch) -> None:
    """A limit for the whole body: the silence between two bytes is not the only one."""
    monkeypatch.setattr("tenants.egress.ANSWER_SECONDS", 0.2)
    started = time.monotonic()
    with pytest.raises(EgressFailed):
        Egress().request("GET", f"{server}/drip", headers={})
    assert time.monotonic() - started < 1.5


def test_another_host_gets_none_of_our_headers(server, settings) -> None:
    """A redirect elsewhere loses the key, whatever header it stands in: signatures, API keys and tokens alike."""
    other = server.replace("127.0.0.1", "localhost")
    settings.EGRESS_ALLOW = [server.removeprefix("http://"), other.removeprefix("http://")]
    ours = {"Authorization": "Bearer s", "X-Amz-Security-Token": "t", "Ocp-Apim-Subscription-Key": "k", "Accept": "a/b"}
    kept = Egress().request("GET", f"{server}/to/{server}/headers", headers=ours)[2].decode().lower().split()
    assert {"authorization", "x-amz-security-token", "ocp-apim-subscription-key"} <= set(kept)
    sent = Egress().request("GET", f"{server}/to/{other}/headers", headers=ours)[2].decode().lower().split()
    assert set(sent) & {name.lower() for name in ours} == {"accept"}


def test_tls_is_verified_and_trusts_what_the_setting_names(vendors, settings) -> None:
    """"EGRESS_CA_FILE (extra trusted CA...; TLS stays verified)": without it the double is nobody; for another name it is nobody too."""
    url = f"{vendors.url}/performer/healthz"
    assert Egress().request("GET", url, headers={})[0] == 200
    settings.EGRESS_CA_FILE = ""
    with pytest.raises(EgressFailed):
        Egress().request("GET", url, headers={})


@pytest.mark.parametrize("kind", ["drop", "timeout", "redirect"])
def test_mishaps_on_the_wire_are_worth_another_try_or_refused(vendors, kind) -> None:
    """"timeout -> retry"; a redirect to a private address is refused, TLS or not."""
    vendors.fault(kind, path="/performer/healthz", seconds=1.5, location="http://169.254.169.254/latest", method="GET")
    with pytest.raises(EgressRefused if kind == "redirect" else EgressFailed):
        Egress(read_seconds=0.5).request("GET", f"{vendors.url}/performer/healthz", headers={})
