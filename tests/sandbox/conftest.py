"""The stand-in of Stripe in a process of its own, and the unmodified SDK in front of it."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe

from medhub.stack import ROOT

KEY = "sk_test_of_these_tests"


@dataclass
class StandIn:
    url: str
    folder: Path
    client: stripe.StripeClient
    process: Any = field(repr=False)

    def page(self, where: str, **form: str) -> httpx.Response:
        """A hosted page, or what it answers to a form."""
        url = where if where.startswith("http") else self.url + where
        url = url.replace("//localhost", "//127.0.0.1")
        return httpx.post(url, data=form) if form else httpx.get(url)

    def raw(self, path: str) -> Any:
        """JSON as it comes, before the SDK makes objects of it."""
        return httpx.get(f"{self.url}{path}", headers={"Authorization": f"Bearer {KEY}"}).json()

    def control(self, path: str, body: Any = None) -> Any:
        answer = httpx.post(f"{self.url}/_sandbox/{path}", json=body) if body is not None else httpx.get(f"{self.url}/_sandbox/{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()


def standin_run(folder: Path) -> StandIn:
    environment = {"PATH": os.environ["PATH"], "STRIPE_SECRET_KEY": KEY}
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox.stripe", "--folder", str(folder)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    url = json.loads(process.stdout.readline())["url"]
    client = stripe.StripeClient(KEY, base_addresses={"api": url}, max_network_retries=0)
    return StandIn(url, folder, client, process)


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    found = standin_run(tmp_path_factory.mktemp("stripe"))
    yield found
    found.process.kill()
    found.process.wait(10)


@dataclass
class Receiver:
    """Takes webhooks; `answers` are statuses, the last one for ever."""

    url: str = ""
    answers: list[int] = field(default_factory=lambda: [200])
    came: list[tuple[bytes, str]] = field(default_factory=list)

    def kinds(self) -> list[str]:
        return [json.loads(body)["type"] for body, _ in self.came]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.came.append((body, self.headers["Stripe-Signature"]))
            self.send_response(found.answers.pop(0) if len(found.answers) > 1 else found.answers[0])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/hooks/stripe"
    yield found
    server.shutdown()
    server.server_close()
    thread.join(10)
