"""Events, and their webhooks: signed as Stripe signs, tried again, and on demand doubled or out of order."""

import copy
import hashlib
import hmac
import http.client
import json
import queue
import secrets
import threading
import time
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from sandbox.stripe import API_VERSION
from sandbox.stripe.store import Store, Thing

WAITS = (0.0, 1.0, 5.0, 30.0, 120.0)  # seconds before each try; Stripe's take days


def signature(*, secret: str, body: bytes, at: int) -> str:
    """The `Stripe-Signature` header: v1 is HMAC-SHA256 over `t.body`."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


class Hooks:
    """Sends each event to the endpoints that want it, by one thread: in their order, unless `faults` says otherwise."""

    def __init__(self, store: Store) -> None:
        self._store, self._held = store, list[tuple[str, Thing]]()
        self._queue: queue.SimpleQueue[tuple[float, int, str, Thing]] = queue.SimpleQueue()
        self.faults: dict[str, Any] = {"duplicate": False, "reorder": False}
        self.sent: list[dict[str, Any]] = []  # what was tried, for the tests
        threading.Thread(target=self._run, daemon=True).start()

    def event(self, kind: str, thing: Thing, *, before: dict[str, Any] | None = None) -> Thing:
        """Noted in the store and on its way. The object as it is now: what changes later shows in a later event."""
        data: dict[str, Any] = {"object": copy.deepcopy(thing)} | ({"previous_attributes": before} if before else {})
        wanted = [one for one in self._store.find("webhook_endpoint") if {"*", kind} & set(one["enabled_events"])]
        made = self._store.add("event", {
            "api_version": API_VERSION, "data": data, "pending_webhooks": len(wanted), "type": kind,
            "request": {"id": f"req_{secrets.token_hex(7)}", "idempotency_key": None},
        })  # fmt: skip
        for endpoint in wanted:
            self._hand_over(endpoint["id"], made)
        return made

    def resend(self, event: Thing) -> None:
        for endpoint in self._store.find("webhook_endpoint"):
            self._queue.put((0.0, 0, endpoint["id"], event))

    def _hand_over(self, endpoint: str, event: Thing) -> None:
        self._held.append((endpoint, event))
        if self.faults["reorder"] and len(self._held) < 2:
            threading.Timer(1.0, self._release).start()  # the last one has nobody to change places with
            return
        self._release()

    def _release(self) -> None:
        with self._store.lock:
            held, self._held = self._held, []
        if self.faults["reorder"]:
            held.reverse()
        for endpoint, event in held:
            for _ in range(2 if self.faults["duplicate"] else 1):
                self._queue.put((0.0, 0, endpoint, event))

    def _run(self) -> None:
        waiting: list[tuple[float, int, str, Thing]] = []
        while True:
            with suppress(queue.Empty):
                waiting.append(self._queue.get(timeout=0.1))
            now = time.monotonic()
            for one in [one for one in waiting if one[0] <= now]:
                waiting.remove(one)
                _, attempt, endpoint_id, event = one
                if not self._try(endpoint_id, event) and attempt + 1 < len(WAITS):
                    waiting.append((now + WAITS[attempt + 1], attempt + 1, endpoint_id, event))

    def _try(self, endpoint_id: str, event: Thing) -> bool:
        with self._store.lock:
            endpoint = next(iter(self._store.find("webhook_endpoint", id=endpoint_id)), None)
            secret = self._store.note("secrets").get(endpoint_id, "")
        if endpoint is None:
            return True
        body, parts = json.dumps(event, indent=2).encode(), urlsplit(endpoint["url"])
        headers = {
            "Content-Type": "application/json; charset=utf-8", "User-Agent": "Stripe/1.0 (stand-in)",
            "Stripe-Signature": signature(secret=secret, body=body, at=int(time.time())),
        }  # fmt: skip
        try:
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=10)
            connection.request("POST", parts.path or "/", body, headers)
            status = connection.getresponse().status
            connection.close()
        except OSError:
            status = 0
        self.sent.append({"event": event["id"], "type": event["type"], "endpoint": endpoint_id, "status": status})
        return 200 <= status < 300
