"""A receiver as a process of its own: `python -m imaging.dimse.process FD`, started and watched by `receivers`.

The channel is a SEQPACKET socket: first the callables' dotted paths and the limits come, then an admission with each
descriptor; back goes one line for each association that has ended. With a descriptor of the TLS port comes a knock; who that is
goes back as a question, and the admission or refusal comes as its answer.
"""

import importlib
import json
import logging
import os
import signal
import socket
import sys
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict
from functools import reduce
from typing import Any

from imaging.dimse.contract import TEMPORARY_CONGESTION, Admission, AssociationLimits, Knock, Refusal, Services

logger = logging.getLogger(__name__)

MESSAGE_BYTES = 64 << 10
ANSWER_SECONDS = 10.0
CALLABLES = ("admit", "receive", "alive", "ended", "thread_end", "find", "retrieve", "handlers", "secure", "refused")


def admission_dump(admission: Admission) -> dict[str, Any]:
    return {**asdict(admission), "services": sorted(admission.services)}


def admission_load(fields: dict[str, Any]) -> Admission:
    return Admission(**{**fields, "services": frozenset(fields["services"])})


def symbol_load(path: str) -> Any:
    """The object at a dotted path."""
    module, _, name = path.rpartition(".")
    return reduce(getattr, [name], importlib.import_module(module))


def services_load(paths: dict[str, str]) -> Services:
    """The callables by their paths; `others` are the SOP classes that pynetdicom serves, at a path of their own."""
    loaded = {name: symbol_load(paths[name]) for name in CALLABLES if name in paths}
    others = symbol_load(paths["others"]) if "others" in paths else frozenset()
    return Services(**loaded, others=others)


class Questions:
    """Who waits for an answer of the worker, by the key of the knock."""

    def __init__(self, tell: Any) -> None:
        self._tell = tell
        self._open: dict[int, Future[Admission | Refusal]] = {}

    def ask(self, knock: Knock, called_ae: str, calling_ae: str, certificate: str) -> Admission | Refusal:
        waiting = self._open[knock.key] = Future()
        self._tell(ask={"key": knock.key, "called": called_ae, "calling": calling_ae, "certificate": certificate})
        try:
            return waiting.result(ANSWER_SECONDS)
        except TimeoutError:
            if self._open.pop(knock.key, None) is None:  # it came in this very moment
                return waiting.result(1)
            return Refusal(*TEMPORARY_CONGESTION, "the admission took too long")

    def answer(self, said: dict[str, Any]) -> Admission | None:
        """Hands an answer to whoever waits; an admission that nobody waits for any more comes back."""
        waiting = self._open.pop(said["answer"], None)
        answer = Refusal(**said["refusal"]) if "refusal" in said else admission_load(said["admission"])
        if waiting is not None:
            waiting.set_result(answer)
            return None
        return answer if isinstance(answer, Admission) else None


def main(channel: socket.socket) -> None:
    """Serve until the channel says stop, or closes because the worker is gone."""
    # the worker decides when we end: a signal to the whole group must not cut associations that it lets finish
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    given = json.loads(channel.recv(MESSAGE_BYTES))
    if "setup" in given["paths"]:
        symbol_load(given["paths"]["setup"])()
    else:
        logging.basicConfig()
    # imported behind the setup: what is imported may need it
    from imaging.dimse.receiver import Receiver

    lock = threading.Lock()

    def tell(**said: object) -> None:
        with suppress(OSError), lock:
            channel.send(json.dumps(said).encode())

    questions, services = Questions(tell), services_load(given["paths"])
    receiver = Receiver(
        services=services, limits=AssociationLimits(**given["limits"]), on_end=lambda ended: tell(ended=ended.key), ask=questions.ask,
    )  # fmt: skip
    receiver.start()
    tell(ready=os.getpid())
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_BYTES, 1)
        if not message:
            receiver.stop(0)
            return
        said = json.loads(message)
        if "stop" in said:
            receiver.stop(said["stop"])
            return
        if "answer" in said:
            late = questions.answer(said)
            if late is not None:
                services.ended(admission=late, outcome="lost", stored=0)
                tell(ended=late.key)
            continue
        if "knock" in said:
            receiver.knock(socket.socket(fileno=descriptors[0]), Knock(**said["knock"]))
            continue
        receiver.take(socket.socket(fileno=descriptors[0]), admission_load(said["admission"]))


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as given_channel:
        main(given_channel)
    os._exit(0)  # threads of associations that would not end
