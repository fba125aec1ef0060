"""A real Chromium in front of the real application: served on loopback by threads of the test process, on its database."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.core.cache import cache
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.test import override_settings
from playwright.sync_api import Browser, BrowserContext, Page, Response, sync_playwright

from tests.conftest import PASSWORD, Hospital, hospital_make

ARGUMENTS = (
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--font-render-hinting=none", "--disable-gpu",
)  # fmt: skip
WAIT_MS = 10_000  # a page on a busy machine
ELSEWHERE = "Europe/Berlin"  # where the reader sits: not the site's zone, so that a clock of the wrong one is seen


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def portal_serve(port: int = 0) -> Iterator[str]:
    """The application on a loopback port; yields its address.

    Not pytest-django's live_server: that one asks for transactional_db and empties every table after each test, which
    medhub_app may not do. Here as everywhere tests work in hospitals of their own.
    """
    from medhub.wsgi import application

    server = ThreadedWSGIServer(("127.0.0.1", port), QuietHandler)
    server.set_app(application)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(10)


@contextmanager
def chromium_run() -> Iterator[Browser]:
    """Debian's Chromium through playwright; one named skip where it is missing, a failure under REQUIRE_PEERS=1."""
    path = shutil.which("chromium")
    if path is None:
        if os.environ.get("REQUIRE_PEERS") == "1":
            pytest.fail("chromium is missing and REQUIRE_PEERS=1")
        pytest.skip("chromium is not here: apt-get install --no-install-recommends chromium")
    # playwright's sync API keeps an event loop in this thread, and Django's ORM refuses to run where it sees one. Nothing
    # here runs inside that loop: the loop waits while a test prepares its rows.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    try:
        with sync_playwright() as playwright:
            # Playwright switches off the cache behind the back button; people have it, so it is on here.
            browser = playwright.chromium.launch(
                executable_path=path, args=ARGUMENTS, ignore_default_args=["--disable-back-forward-cache"]
            )
            yield browser
            browser.close()
    finally:
        if before is None:
            del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


# Of the package, not of the session: the loop above is gone before the next folder's tests begin.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    with chromium_run() as browser:
        yield browser


@pytest.fixture(scope="package")
def portal(chromium: Browser) -> Iterator[str]:
    # Every test signs in through the form; scrypt, which is meant to be slow, would be half of its time.
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]), portal_serve() as address:
        yield address


@pytest.fixture(scope="package")
def shared_context(chromium: Browser) -> Iterator[BrowserContext]:
    """One profile, so that the style sheets are fetched once; each test begins without cookies and with a page of its own."""
    context = context_of(chromium)
    yield context
    context.close()


@dataclass
class Visitor:
    """A person with a browser of their own. What the browser complains about is collected and fails the test."""

    context: BrowserContext
    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> Response | None:
        return self.page.goto(self.address + path)

    def sign_in(self, hospital: Hospital, role: str = "radiologist") -> "Visitor":
        """Through the form, by e-mail."""
        hospital.member(role)
        self.open("/accounts/login/")
        self.page.get_by_label("E-mail").fill(f"{role}@{hospital.slug}.example")
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(lambda url: "/accounts/" not in url)
        return self

    def hurry(self, seconds: float = 2.1) -> None:
        self.page.clock.fast_forward(int(seconds * 1000))

    def watch(self, page: Page) -> None:
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        page.on("request", lambda request: self._see(request.url))
        page.on("response", lambda answer: answer.status >= 500 and self.complaints.append(f"{answer.status} {answer.url}"))

    def _hear(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:  # Chromium reports violations of the content security policy here as well
            self.complaints.append(f"console: {text}")

    def _see(self, url: str) -> None:
        if not url.startswith((f"{self.address}/", "data:")):
            self.complaints.append(f"request elsewhere: {url}")

    def forgive(self, *words: str) -> None:
        """Complaints that the test provokes on purpose; each must really have come."""
        for word in words:
            kept = [complaint for complaint in self.complaints if word not in complaint]
            assert len(kept) < len(self.complaints), f"nothing complained about {word!r}: {self.complaints}"
            self.complaints = kept


def context_of(browser: Browser, **options: Any) -> BrowserContext:
    settings = {"viewport": {"width": 1280, "height": 800}, "locale": "en-US", "timezone_id": ELSEWHERE, **options}
    context = browser.new_context(**settings)
    context.set_default_timeout(WAIT_MS)
    return context


@contextmanager
def visitor_of(context: BrowserContext, address: str) -> Iterator[Visitor]:
    others = set(context.pages)
    page = context.new_page()
    person = Visitor(context=context, page=page, address=address)
    person.watch(page)
    try:
        yield person
    finally:
        for opened in set(context.pages) - others:
            opened.close()
        context.clear_cookies()
        cache.clear()  # allauth allows an address 30 sign-ins a minute, and all of these come from one


@pytest.fixture
def visitor(shared_context: BrowserContext, portal: str) -> Iterator[Visitor]:
    """One person; after the test the browser must have had nothing to say and asked nobody but our server."""
    with visitor_of(shared_context, portal) as person:
        yield person
        assert person.complaints == []


@pytest.fixture(scope="package")
def hurried_context(chromium: Browser) -> Iterator[BrowserContext]:
    context = context_of(chromium)
    context.clock.install()
    yield context
    context.close()


@pytest.fixture
def hurried(hurried_context: BrowserContext, portal: str) -> Iterator[Visitor]:
    """A visitor whose page's clock runs on when told to (`hurry`): timers fire, nobody waits. The server's clock is the real one."""
    with visitor_of(hurried_context, portal) as person:
        yield person
        assert person.complaints == []


@pytest.fixture(scope="package")
def clinic() -> Hospital:
    """A hospital that several tests look at, each at studies of its own."""
    return hospital_make("clinic")


@pytest.fixture(scope="package")
def cookies_of(shared_context: BrowserContext, portal: str, clinic: Hospital) -> Callable[[str], list[Any]]:
    """What the browser holds after a person of this role signed in at the clinic: once a role, through the form."""
    found: dict[str, list[Any]] = {}

    def sign_in_once(role: str) -> list[Any]:
        if role not in found:
            with visitor_of(shared_context, portal) as person:
                found[role] = person.sign_in(clinic, role).context.cookies()
        return found[role]

    return sign_in_once


@pytest.fixture
def reader(cookies_of: Callable[[str], list[Any]], visitor: Visitor) -> Visitor:
    """A radiologist of the clinic, signed in."""
    visitor.context.add_cookies(cookies_of("radiologist"))
    return visitor
