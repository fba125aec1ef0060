"""A rest-hook receiver as a process of its own: it looks at what it gets, and is slow, fails or hangs when it is told to.

`/hook/<name>` takes notifications, `/control/<name>/<mode>` changes how it answers (ok, gone, hang, or a status), `/seen/<name>` tells
what came. A notification that is not as the backport says (HL7 subscriptions-backport 1.1.0) gets a 422.
"""

import json
import sys
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HANG_SECONDS = 20.0
NOTIFICATION = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-subscription-notification-r4"


class State:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.modes: dict[str, str] = {}
        self.seen: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.woken: dict[str, threading.Event] = defaultdict(threading.Event)


def problem_of(body: bytes) -> str:
    """What is wrong with a notification; "" for nothing."""
    try:
        bundle = json.loads(body)
        first = bundle["entry"][0]
        parts = {part["name"]: part for part in first["resource"]["parameter"]}
        kind = parts["type"]["valueCode"]
        events = [part for part in first["resource"]["parameter"] if part["name"] == "notification-event"]
        checks = {
            "profile": bundle["meta"]["profile"] == [NOTIFICATION],
            "history": bundle["resourceType"] == "Bundle" and bundle["type"] == "history",
            "first entry": first["resource"]["resourceType"] == "Parameters" and first["fullUrl"].startswith("urn:uuid:"),
            "requests": all("request" in entry and "response" in entry for entry in bundle["entry"]),
            "subscription": "/Subscription/" in parts["subscription"]["valueReference"]["reference"],
            "count": parts["events-since-subscription-start"]["valueString"].isdigit(),
            "events": (kind == "event-notification") == bool(events) and kind in {"handshake", "heartbeat", "event-notification"},
        }
    except (KeyError, IndexError, ValueError, TypeError) as error:
        return type(error).__name__
    return next((name for name, is_good in checks.items() if not is_good), "")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state = State()

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _take(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        _, area, name, *rest = self.path.split("/")
        state = self.state
        if area == "control":
            state.modes[name] = rest[0]
            state.woken[name].set()
            state.woken[name] = threading.Event()
            self._answer(204)
        elif area == "seen":
            with state.lock:
                self._answer(200, json.dumps(state.seen[name]).encode())
        else:
            self._hook(name, rest, body)

    def _hook(self, name: str, rest: list[str], body: bytes) -> None:
        state, mode = self.state, self.state.modes.get(name, "ok")
        problem = "" if rest or not body else problem_of(body)
        told = {
            "method": self.command, "path": "/".join(rest), "headers": dict(self.headers.items()), "body": body.decode(), "at": time.time(),
            "problem": problem, "mode": mode,
        }  # fmt: skip
        with state.lock:
            state.seen[name].append(told)
        if mode == "hang":
            state.woken[name].wait(HANG_SECONDS)
            mode = "503"
        if mode.startswith("slow"):
            time.sleep(float(mode.removeprefix("slow")))
            mode = "ok"
        status = 422 if problem else 200 if mode == "ok" else int(mode)
        self._answer(status, b"" if status == 204 else b"DOE^JANE 4711")  # words of theirs, which never go into ours

    do_GET = do_POST = do_PUT = _take  # noqa: N815 the names of http.server

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0), Handler)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()
