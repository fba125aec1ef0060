"""The other end: dcmtk's `storescp` to compare with, dcmtk's `storescu` to send with, and the stand-in scanner where dcmtk is absent."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medhub.stack import ROOT

# dcmtk leaves Nagle's algorithm on unless this is set, and then waits some 40 ms a message (docs/performance.md).
NO_DELAY = {"TCP_NODELAY": "1"}
PDU = "131072"
LOG_CONFIG = """log4cplus.rootLogger = INFO, console
log4cplus.appender.console = log4cplus::ConsoleAppender
log4cplus.appender.console.layout = log4cplus::PatternLayout
log4cplus.appender.console.layout.ConversionPattern = %D{%s.%q} %m%n
"""
CALLING_AE = "BENCH_CT"


class SendError(Exception):
    """The sender failed, or not every object was taken."""


@dataclass(frozen=True)
class Sent:
    """One sending: from the accepted association to the last response, when that was, and the whole process."""

    seconds: float
    last_at: float  # POSIX time
    process_seconds: float


def is_storescp_there() -> bool:
    return shutil.which("storescp") is not None


def port_free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_wait(port: int, seconds: float = 20) -> None:
    """Until something listens there. Raises SendError."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SendError(f"nothing listens on port {port}")


@contextlib.contextmanager
def storescp(folder: Path) -> Iterator[int]:
    """dcmtk's receiver: writes each file as it came (+B), no fsync, a forked child per association. Yields its port.

    Its files stay until the bench ends, like ours: whoever runs behind a deletion gets its memory back ready for use, and
    ext4 makes new files slowly for some seconds.
    """
    folder.mkdir(parents=True)
    port = port_free()
    command = ["storescp", "+B", "-od", str(folder), "-pdu", PDU, "--fork", str(port)]
    process = subprocess.Popen(  # noqa: S603 a fixed command
        command, env={**os.environ, **NO_DELAY}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        port_wait(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def folder_send(folder: Path, *, count: int, called: str, port: int, scratch: Path) -> Sent:
    """Send every file of a folder over one association. Raises SendError unless all were taken."""
    if shutil.which("storescu"):
        return _storescu(folder, count=count, called=called, port=port, scratch=scratch)
    return modality_send(folder, count=count, called=called, calling=CALLING_AE, port=port)


def _storescu(folder: Path, *, count: int, called: str, port: int, scratch: Path) -> Sent:
    config, log = scratch / "storescu.cfg", scratch / "storescu.log"
    config.write_text(LOG_CONFIG, encoding="ascii")
    command = [
        "storescu", "--log-config", str(config), "-R", "-pdu", PDU, "--max-send-pdu", PDU, "-aet", CALLING_AE, "-aec", called,
        "127.0.0.1", str(port), "+sd", str(folder),
    ]  # fmt: skip
    began = time.monotonic()
    with log.open("w") as out:
        done = subprocess.run(  # noqa: S603 a fixed command
            command, env={**os.environ, **NO_DELAY}, stdout=out, stderr=subprocess.DEVNULL, check=False
        )
    took = time.monotonic() - began
    sent = log_read(log.read_text(encoding="ascii", errors="replace"), count=count, process_seconds=took)
    if done.returncode:
        raise SendError(f"storescu ended with {done.returncode}")
    return sent


def log_read(text: str, *, count: int, process_seconds: float) -> Sent:
    """The times in storescu's log. Raises SendError unless `count` objects were taken."""
    accepted, taken = 0.0, []
    for line in text.splitlines():
        at, _, words = line.partition(" ")
        if words.startswith("Association Accepted"):
            accepted = float(at)
        elif words == "Received Store Response (Success)":
            taken.append(float(at))
    if not accepted or len(taken) != count:
        raise SendError(f"{len(taken)} of {count} objects were taken")
    return Sent(max(taken[-1] - accepted, 0.001), taken[-1], process_seconds)


def modality_send(path: Path, *, count: int, called: str, calling: str, port: int, is_renewed: bool = False) -> Sent:
    """The stand-in scanner (pynetdicom). Raises SendError unless all objects were taken."""
    command = [
        sys.executable, "-m", "sandbox.modality", str(path), "--port", str(port), "--called", called, "--calling", calling,
        *([] if is_renewed else ["--keep-uids"]),
    ]  # fmt: skip
    launched = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)  # noqa: S603 our own module
    began = last = time.time()
    sent = 0
    assert process.stdout is not None  # noqa: S101 it is a pipe
    for line in process.stdout:
        said = json.loads(line)
        if "study_uid" in said:
            began = time.time()
        elif "sent" in said:
            sent, last = said["sent"], time.time()
    if process.wait() or sent != count:
        raise SendError(f"{sent} of {count} objects were taken")
    return Sent(max(last - began, 0.001), last, time.monotonic() - launched)
