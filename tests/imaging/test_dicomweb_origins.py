"""Browsers of other origins (CORS, the Fetch standard 3.2) at DICOMweb, and OPTIONS at each of its addresses."""

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse

from imaging.dicomweb.urls import urlpatterns
from medhub.env import env_origins
from tests.conftest import PASSWORD
from tests.dicom_files import ct_slice, part10
from tests.imaging.test_wado import get, place, sent
from tests.walls.matrix import MACHINES

pytestmark = pytest.mark.database
VIEWER, STRANGER = "https://viewer.example.org", "https://stranger.example.com"
ALLOWED, CREDENTIALS = "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"


@pytest.fixture
def viewer(settings) -> str:
    """An origin that the operator has allowed."""
    settings.CORS_ALLOWED_ORIGINS = [VIEWER]
    return VIEWER


def preflight(client, path: str, origin: str):
    asked = {"access-control-request-method": "GET", "access-control-request-headers": "authorization,range"}
    return client.options(path, headers={"origin": origin, **asked})


def test_nobody_is_allowed_by_default(client, mercy) -> None:
    """"allowed origins from one environment setting, default none": without it no answer names an origin."""
    ds = ct_slice()
    sent(client, mercy, part10(ds))
    assert ALLOWED not in get(client, mercy, place(ds), origin=VIEWER).headers
    assert ALLOWED not in preflight(client, f"/t/{mercy.slug}/dicomweb/studies", VIEWER).headers


def test_a_preflight_without_a_token_answers(client, mercy, viewer) -> None:
    """"a preflight OPTIONS without token answers", to allowed origins alone, and says nothing of the hospital: it may not even exist."""
    for slug in (mercy.slug, "no-such-hospital"):
        answer = preflight(client, f"/t/{slug}/dicomweb/studies/1.2.3/metadata", viewer)
        assert (answer.status_code, answer.headers[ALLOWED], answer.content) == (200, viewer, b"")
        assert {"authorization", "range", "if-none-match"} <= set(answer.headers["Access-Control-Allow-Headers"].split(", "))
        assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
        assert CREDENTIALS not in answer.headers
    assert ALLOWED not in preflight(client, f"/t/{mercy.slug}/dicomweb/studies", STRANGER).headers


def test_a_viewer_of_another_origin_reads_with_a_token(client, mercy, viewer) -> None:
    """"exposes Warning, ETag, Content-Location etc.": also of errors, whose reason is for the person at the viewer."""
    ds = ct_slice()
    sent(client, mercy, part10(ds))
    answer = get(client, mercy, place(ds), "application/dicom", origin=viewer)
    assert (answer.status_code, answer.headers[ALLOWED]) == (200, viewer)
    exposed = set(answer.headers["Access-Control-Expose-Headers"].split(", "))
    assert {"Warning", "ETag", "Content-Location", "Content-Range", "Allow", "Retry-After"} <= exposed
    assert {"Accept", "origin"} <= {name.strip() for name in answer.headers["Vary"].split(",")}
    for status, answer in (
        (406, get(client, mercy, place(ds), "text/html", origin=viewer)), (404, get(client, mercy, "studies/1.2", origin=viewer)),
        (401, client.get(f"/t/{mercy.slug}/dicomweb/studies", headers={"origin": viewer})),
    ):  # fmt: skip
        assert (answer.status_code, answer.headers[ALLOWED]) == (status, viewer)
    assert ALLOWED not in get(client, mercy, place(ds), origin=STRANGER).headers


def test_cookies_are_for_our_own_pages(client, mercy, viewer) -> None:
    """"tokens only, never credentials/cookies for foreign origins": a signed-in reader is nobody when another site's page asks."""
    mercy.member("radiologist")
    client.post("/accounts/login/", {"login": f"radiologist@{mercy.slug}.example", "password": PASSWORD})
    path = f"/t/{mercy.slug}/dicomweb/studies"
    assert client.get(path).status_code == 200
    assert client.get(path, headers={"origin": "http://testserver"}).status_code == 200
    for origin in (viewer, STRANGER, "null", "http://testserver.example.com", "http://x@testserver:80"):
        answer = client.get(path, headers={"origin": origin})
        assert (answer.status_code, CREDENTIALS in answer.headers) == (401, False), origin


def test_nothing_else_can_be_called_from_elsewhere(client, mercy, viewer) -> None:
    """"for `/t/<slug>/dicomweb` only"."""
    for path in (f"/t/{mercy.slug}/fhir/r4/Patient", f"/t/{mercy.slug}/api/v1/nodes", "/healthz", f"/t/{mercy.slug}/worklist"):
        assert ALLOWED not in client.get(path, headers={**mercy.auth, "origin": viewer}).headers
        assert ALLOWED not in preflight(client, path, viewer).headers
        assert ALLOWED not in preflight(client, f"{path}/t/x/dicomweb/", viewer).headers


@pytest.mark.parametrize("text", ["*", "https://*.example.org", "viewer.example.org", "https://a.org/path", "https://a.org/", "ftp://a.org"])
def test_a_setting_that_is_no_origin_stops_the_process(text, monkeypatch) -> None:
    """Dies loudly with the variable's name."""
    monkeypatch.setenv("MEDHUB_DICOMWEB_ORIGINS", f"https://good.example.org, {text}")
    with pytest.raises(ImproperlyConfigured, match="MEDHUB_DICOMWEB_ORIGINS"):
        env_origins("MEDHUB_DICOMWEB_ORIGINS")
    monkeypatch.setenv("MEDHUB_DICOMWEB_ORIGINS", "https://good.example.org, http://localhost:3000")
    assert env_origins("MEDHUB_DICOMWEB_ORIGINS") == ["https://good.example.org", "http://localhost:3000"]


def test_options_of_every_address(client, mercy, olaf) -> None:
    """"OPTIONS / capabilities": Allow with the methods of the address, for who has a token of the hospital; each of them is one."""
    values = {"study_uid": "1.2", "series_uid": "1.3", "instance_uid": "1.4", "numbers": "1", "path": "7FE00010"}
    for pattern in urlpatterns:
        url = reverse(pattern.name, kwargs={"slug": mercy.slug, **{need: values[need] for need in MACHINES[pattern.name][1]}})
        answer = client.options(url, headers=mercy.auth)
        assert answer.status_code == (200 if pattern.name == "dicomweb" else 204), url
        allowed = answer.headers["Allow"].split(", ")
        assert {"GET", "HEAD", "OPTIONS"} <= set(allowed), url
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
            said = client.generic(method, url, headers=mercy.auth)
            assert (said.status_code != 405) == (method in allowed), (method, url)
        assert client.options(url, headers=olaf.auth).status_code == 404, url
        assert client.options(url).status_code == 401, url
