"""Mishaps on demand: `POST /control/faults` puts one in front of a path; a family asks for those of its results by name."""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.http import Refusal, Reply, Request, json_reply

WIRE = frozenset({"status", "timeout", "malformed", "html", "redirect", "empty", "drop"})
RESULT = frozenset({"twice", "changed", "truncated", "foreign", "misjob", "invent", "negate", "silent"})
MAPS = frozenset({"no-zip", "bomb", "shape", "affine", "label", "float", "cut", "slow"})  # of a NIM's label map


@dataclass
class Fault:
    """`path` is a pattern that the whole path must match; `times` counts down."""

    kind: str
    path: str = ".*"
    times: int = 1
    status: int = 500
    seconds: float = 2.0
    location: str = ""
    method: str = ""
    study: str = ""  # a mishap of results may be that of one study
    share: float = 0.5  # how much of an object is left of it when it is truncated
    uid: str = ""  # foreign: the study that is named instead; misjob: the job. Nobody's when it is empty


class Faults:
    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._lock = threading.Lock()

    def control(self, request: Request) -> Reply:
        """`POST` adds one, `DELETE` forgets all."""
        with self._lock:
            if request.method == "DELETE":
                self._waiting.clear()
                return Reply(204)
            fault = Fault(**request.json)
            if fault.kind not in WIRE | RESULT | MAPS:
                raise Refusal(400, "no such fault")
            self._waiting.append(fault)
        return json_reply({}, 201)

    def take(self, kind: str, study: str = "") -> Fault | None:
        """This mishap of results if it is on, for this study; uses it up once."""
        return self._use(lambda fault: fault.kind == kind and fault.study in {"", study})

    def on(self, request: Request) -> Reply | None:
        """The reply that a mishap on the wire makes of this request."""
        fault = self._use(
            lambda one: one.kind in WIRE and one.method in {"", request.method} and bool(re.fullmatch(one.path, request.path))
        )
        if fault is None:
            return None
        if fault.kind == "timeout":
            time.sleep(fault.seconds)
            return Reply(0, is_dropped=True)
        if fault.kind == "redirect":
            return Reply(307, headers={"Location": fault.location})
        return {
            "drop": Reply(0, is_dropped=True),
            "status": json_reply({"error": "a fault that was asked for"}, fault.status, Retry_After="1"),
            "malformed": Reply(200, b'{"status": "done", "broken', {"Content-Type": "application/json"}),
            "html": Reply(200, b"<!DOCTYPE html><title>Sign in</title>", {"Content-Type": "text/html"}),
            "empty": Reply(200),
        }[fault.kind]

    def _use(self, fits: Callable[[Fault], bool]) -> Fault | None:
        with self._lock:
            for fault in self._waiting:
                if fits(fault):
                    fault.times -= 1
                    if fault.times <= 0:
                        self._waiting.remove(fault)
                    return fault
        return None
