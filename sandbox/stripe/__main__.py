"""`python -m sandbox.stripe --folder F --port P` (key in STRIPE_SECRET_KEY): prints one JSON line with its address when it is ready.

`POST /_sandbox/faults` with `{"duplicate": true, "reorder": true}` makes webhooks come twice, or out of order; `GET /_sandbox/sent` tells
what was tried; `POST /_sandbox/resend` with `{"event": "evt_..."}` sends one again.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from sandbox.http import Refusal, Reply, Request, Server, json_reply
from sandbox.stripe.api import Api
from sandbox.stripe.hooks import Hooks
from sandbox.stripe.life import Life
from sandbox.stripe.pages import Pages
from sandbox.stripe.store import Store


class StandIn:
    def __init__(self, folder: Path, key: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.store = Store(folder)
        self.hooks = Hooks(self.store)
        self.life = Life(self.store, self.hooks, "")
        self.api = Api(self.store, self.life, key)
        self.pages = Pages(self.api)

    def answer(self, request: Request) -> Reply:
        try:
            if request.path.startswith("/v1/"):
                return self.api(request)
            if request.path.startswith("/_sandbox/"):
                return self._control(request)
            return self.pages(request)
        except Refusal as refusal:
            return json_reply({"error": {"type": "invalid_request_error", "message": refusal.words}}, refusal.status)
        except Exception as error:  # noqa: BLE001 a thread of the server must answer
            sys.stderr.write(f"sandbox.stripe: unexpected {type(error).__name__}: {error}\n")
            return json_reply({"error": {"type": "api_error", "message": "unexpected"}}, 500)

    def _control(self, request: Request) -> Reply:
        if request.path == "/_sandbox/faults" and request.method == "POST":
            wanted = request.json
            for name in ("duplicate", "reorder"):
                self.hooks.faults[name] = bool(wanted.get(name, False))
            return json_reply(dict(self.hooks.faults))
        if request.path == "/_sandbox/sent":
            return json_reply(list(self.hooks.sent))
        if request.path == "/_sandbox/resend" and request.method == "POST":
            with self.store.lock:
                self.hooks.resend(self.store.get("event", str(request.json.get("event", ""))))
            return json_reply({})
        raise Refusal(404, "nothing here")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    found = StandIn(options.folder, os.environ.get("STRIPE_SECRET_KEY", "sk_test_standin"))
    server = Server(found.answer, port=options.port)
    # Pages are reached by the name that the browser uses for the rest of the house.
    found.life.base = f"http://localhost:{server.server_address[1]}"
    sys.stdout.write(json.dumps({"url": server.url, "pid": os.getpid(), "at": int(time.time())}) + "\n")
    sys.stdout.flush()
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
