"""The web's two ways in (medhub/wsgi.py): browsers through everything, machines with a token through what they need."""

import io
import sys

import pytest

pytestmark = pytest.mark.database


def answered(path: str, *, authorization: str = "", method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    from medhub.wsgi import application

    environ = {
        "REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": "", "SERVER_NAME": "localhost",
        "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "localhost", "REMOTE_ADDR": "127.0.0.1",
        "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr, "wsgi.url_scheme": "http", "wsgi.version": (1, 0),
        "wsgi.multithread": True, "wsgi.multiprocess": True, "wsgi.run_once": False,
    }  # fmt: skip
    if authorization:
        environ["HTTP_AUTHORIZATION"] = authorization
    started = []
    body = b"".join(application(environ, lambda status, headers: started.append((status, headers))))
    ((status, headers),) = started
    return int(status.split()[0]), dict(headers), body


def test_a_machine_comes_in_with_its_token(mercy, olaf) -> None:
    """"authentication and audit that cost less than the read": no session, no language, no form token; the same walls."""
    status, headers, body = answered(f"/t/{mercy.slug}/dicomweb/studies", authorization=f"Bearer {mercy.token}")
    assert (status, body) == (200, b"[]")
    assert "Set-Cookie" not in headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "no-store" in headers["Cache-Control"]
    assert answered(f"/t/{mercy.slug}/dicomweb/studies", authorization=f"Bearer {olaf.token}")[0] == 404
    assert answered(f"/t/{mercy.slug}/dicomweb/studies", authorization="Bearer nonsense")[0] == 401
    assert answered(f"/t/{mercy.slug}/dicomweb/studies", authorization="Basic bm9ib2R5Og==")[0] == 401
    assert answered(f"/t/{mercy.slug}/dicomweb/studies", authorization=f"Bearer {mercy.token}", method="DELETE")[0] in (403, 405)
    assert answered(f"/t/{mercy.slug}/dicomweb/nothing/there", authorization=f"Bearer {mercy.token}")[0] == 404
    assert answered(f"/t/{mercy.slug}/fhir/r4/metadata", authorization=f"Bearer {mercy.token}")[0] == 200


@pytest.mark.parametrize("path", ["/accounts/login/", "/t/mercy/studies/", "/healthz", "/t/mercy/dicomweb-not/x"])
def test_a_header_opens_no_short_cut_to_a_page(mercy, path) -> None:
    """Pages keep all their guards, whatever a request carries."""
    for authorization in ("", f"Bearer {mercy.token}"):
        _, headers, _ = answered(path, authorization=authorization)
        assert "Content-Security-Policy" in headers
        assert headers["X-Frame-Options"]


def test_a_browser_at_a_door_passes_everything(mercy) -> None:
    """Without a token the request is a browser's: its session decides, and the door's answer is guarded like a page."""
    status, headers, _ = answered(f"/t/{mercy.slug}/dicomweb/studies")
    assert status == 401
    assert "Content-Security-Policy" in headers
