"""A receiver as a process of its own: `python -m imaging.dimse.process FD`, started and watched by `receivers`.

The channel is a SEQPACKET socket: first the callables' dotted paths and the limits come, then an admission with each
descriptor; back goes one line for each association that has ended.
"""

import importlib
import json
import logging
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from functools import reduce
from typing import Any

from imaging.dimse.contract import Admission, AssociationLimits, Services

logger = logging.getLogger(__name__)

MESSAGE_BYTES = 64 << 10
CALLABLES = ("admit", "receive", "alive", "ended", "thread_end", "find", "retrieve", "handlers")


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

    receiver = Receiver(
        services=services_load(given["paths"]), limits=AssociationLimits(**given["limits"]),
        on_end=lambda admission: tell(ended=admission.association_id),
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
        receiver.take(socket.socket(fileno=descriptors[0]), admission_load(said["admission"]))


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as given_channel:
        main(given_channel)
    os._exit(0)  # threads of associations that would not end
