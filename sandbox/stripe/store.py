"""What the stand-in knows, kept in one file, so that a demo that is started again knows its customers."""

import json
import os
import secrets
import threading
import time
from pathlib import Path
from typing import Any

from sandbox.stripe.errors import unknown

Thing = dict[str, Any]
KINDS = {
    "product": "prod", "price": "price", "customer": "cus", "payment_method": "pm", "checkout.session": "cs_test",
    "subscription": "sub", "subscription_item": "si", "invoice": "in", "event": "evt", "refund": "re",
    "billing_portal.session": "bps", "webhook_endpoint": "we", "test_helpers.test_clock": "clock",
}  # fmt: skip


class Store:
    """Objects by kind and id, in the order in which they were made. `lock` is held over each request."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "stripe.json"
        self.lock = threading.RLock()
        self._things: dict[str, dict[str, Thing]] = {}
        self.private: dict[str, Any] = {}  # what no object of Stripe's shows: keys of requests, secrets, faults of methods
        if self._file.is_file():
            kept = json.loads(self._file.read_text(encoding="utf-8"))
            self._things, self.private = kept["things"], kept["private"]

    def save(self) -> None:
        beside = self._file.with_suffix(".new")
        beside.write_text(json.dumps({"things": self._things, "private": self.private}), encoding="utf-8")
        os.replace(beside, self._file)

    def add(self, kind: str, thing: Thing, *, found_id: str = "") -> Thing:
        """`thing` with id, object, livemode; `created` where it has none."""
        head = {"id": found_id or f"{KINDS[kind]}_{secrets.token_hex(12)}", "object": kind, "livemode": False}
        made = head | {"created": int(time.time())} | thing
        self._things.setdefault(kind, {})[made["id"]] = made
        return made

    def get(self, kind: str, found: str) -> Thing:
        """Raises StripeRefusal 404."""
        thing = self._things.get(kind, {}).get(found)
        if thing is None:
            raise unknown(kind, found)
        return thing

    def find(self, kind: str, **facts: Any) -> list[Thing]:
        """Oldest first."""
        return [one for one in self._things.get(kind, {}).values() if all(one.get(name) == value for name, value in facts.items())]

    def drop(self, kind: str, found: str) -> None:
        self.get(kind, found)
        del self._things[kind][found]

    def note(self, room: str) -> dict[str, Any]:
        """A room of `private`."""
        found: dict[str, Any] = self.private.setdefault(room, {})
        return found

    def now(self, customer: str = "") -> int:
        """The customer's test clock, or the time."""
        clock = self._things.get("customer", {}).get(customer, {}).get("test_clock")
        return int(self.get("test_helpers.test_clock", clock)["frozen_time"]) if clock else int(time.time())
