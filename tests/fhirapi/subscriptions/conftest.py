"""A hospital whose client subscribes, a receiver in a process of its own, and the worker's steps on threads of this one."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import connections
from django.utils import timezone

from fhirapi.models import Subscriber
from fhirapi.subscriptions import known
from fhirapi.subscriptions.run import subscriber_step
from fhirapi.subscriptions.topics import CONTENT, FILTER, HEARTBEAT, MAX_COUNT, TIMEOUT, TOPICS
from medhub.stack import _die_with_parent
from tests.conftest import Hospital
from tests.fhirapi.writing import Writer

RECEIVER = Path(__file__).with_name("receiver.py")


class Receiver:
    """One running process, shared; each test listens under a name of its own."""

    def __init__(self, port: int = 0) -> None:
        self._process = subprocess.Popen([sys.executable, str(RECEIVER), str(port)], stdout=subprocess.PIPE, preexec_fn=_die_with_parent)
        assert self._process.stdout is not None
        self.netloc = f"127.0.0.1:{int(self._process.stdout.readline())}"
        self._http = httpx.Client(base_url=f"http://{self.netloc}", timeout=5)

    def url(self, name: str) -> str:
        return f"http://{self.netloc}/hook/{name}"

    def mode(self, name: str, mode: str) -> None:
        assert self._http.post(f"/control/{name}/{mode}").status_code == 204

    def seen(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._http.get(f"/seen/{name}").json()
        return found

    def bundles(self, name: str, kind: str = "event-notification") -> list[dict[str, Any]]:
        """The notifications of a kind that came, each as it should be."""
        came = [one for one in self.seen(name) if one["body"]]
        assert [one["problem"] for one in came] == [""] * len(came)
        found = [json.loads(one["body"]) for one in came]
        return [one for one in found if status_of(one)["type"] == kind]

    def numbers(self, name: str) -> list[int]:
        return [number for bundle in self.bundles(name) for number in numbers_of(bundle)]

    def close(self) -> None:
        self._http.close()
        self._process.terminate()
        self._process.wait(10)


def status_of(bundle: dict[str, Any]) -> dict[str, Any]:
    """Name -> value of the Parameters that a notification begins with."""
    parts = bundle["entry"][0]["resource"]["parameter"]
    return {part["name"]: next(value for key, value in part.items() if key.startswith("value")) for part in parts if "part" not in part}


def numbers_of(bundle: dict[str, Any]) -> list[int]:
    parts = [part for part in bundle["entry"][0]["resource"]["parameter"] if part["name"] == "notification-event"]
    return [int(one["valueString"]) for part in parts for one in part["part"] if one["name"] == "event-number"]


def wait(condition: Callable[[], Any], what: str, seconds: float = 8.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)
    return found


class Subscribing(Writer):
    """A client of one hospital that subscribes."""

    receiver: Receiver

    def body(self, name: str, *, topic: str = "", criteria: str = "", content: str = "", filters: tuple[str, ...] = (), **more: Any) -> Any:
        channel: dict[str, Any] = {"type": "rest-hook", "endpoint": self.receiver.url(name)} | more.pop("channel", {})
        found: dict[str, Any] = {
            "resourceType": "Subscription", "status": "requested", "reason": "a test", "criteria": criteria, "channel": channel,
        }  # fmt: skip
        if topic:
            found["criteria"] = TOPICS[topic].canonical
            channel["payload"] = "application/fhir+json"
            if content:
                channel["_payload"] = {"extension": [{"url": CONTENT, "valueCode": content}]}
            if filters:
                found["_criteria"] = {"extension": [{"url": FILTER, "valueString": one} for one in filters]}
            asked = [(HEARTBEAT, "heartbeat", "valueUnsignedInt"), (TIMEOUT, "timeout", "valueUnsignedInt")]
            asked += [(MAX_COUNT, "most", "valuePositiveInt")]
            if extensions := [{"url": url, kind: more.pop(key)} for url, key, kind in asked if key in more]:
                channel["extension"] = extensions
        return found | more

    def subscribed(self, name: str, **more: Any) -> str:
        """An active subscription: its id."""
        fhir_id: str = self.made(self.body(name, **more))["id"]
        self.due(fhir_id)
        self.step(fhir_id)
        assert self.status(fhir_id) == "active", self.get(f"Subscription/{fhir_id}").json()
        return fhir_id

    def row(self, fhir_id: str) -> Subscriber:
        with self.hospital.scope():
            row: Subscriber = Subscriber.objects.get(fhir_id=fhir_id)
        return row

    def due(self, fhir_id: str, **values: Any) -> None:
        """As if its time had come."""
        with self.hospital.scope():
            Subscriber.objects.filter(fhir_id=fhir_id).update(due_at=timezone.now(), **values)

    def step(self, fhir_id: str) -> float | None:
        return subscriber_step(tenant_id=self.hospital.tenant.id, subscriber_id=self.row(fhir_id).id)

    def status(self, fhir_id: str) -> str:
        found: str = self.get(f"Subscription/{fhir_id}").json()["status"]
        return found

    @contextmanager
    def worker(self, *fhir_ids: str) -> Iterator[None]:
        """A worker with threads that is nudged about these again and again, as by messages and sweeps."""
        ids = [self.row(fhir_id).id for fhir_id in fhir_ids]
        is_on = [True]

        def run(subscriber_id: int) -> None:
            try:
                while is_on[0]:
                    subscriber_step(tenant_id=self.hospital.tenant.id, subscriber_id=subscriber_id)
                    time.sleep(0.02)
            finally:
                connections.close_all()

        with ThreadPoolExecutor(len(ids)) as pool:
            running: list[Future[None]] = [pool.submit(run, one) for one in ids]
            try:
                yield
            finally:
                is_on[0] = False
                for fhir_id in fhir_ids:
                    self.receiver.mode(self.row(fhir_id).endpoint.rpartition("/")[2], "ok")
                for one in running:
                    one.result()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


@pytest.fixture(autouse=True)
def _allowed(settings: Any, receiver: Receiver) -> None:
    settings.EGRESS_ALLOW = [receiver.netloc]
    settings.MEDHUB_SUBSCRIPTION_KNOWN_SECONDS = 60  # this process forgets at once what it changes itself
    known._known.clear()


@pytest.fixture
def hook(mercy: Hospital, receiver: Receiver) -> Subscribing:
    found = Subscribing(mercy)
    found.receiver = receiver
    return found
