"""A real gunicorn serving quantify on a free loopback port, and a client of its contract; used by the tests."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
KEY = "test-key-of-the-hub"
BOUNDARY = "part-of-this-test"
RELATED = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
ENDED = ("done", "not_analysable", "failed")


@dataclass(frozen=True)
class Reply:
    """A whole HTTP answer."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.content)


def body_of(parts: Sequence[bytes], boundary: str = BOUNDARY) -> bytes:
    """multipart/related as STOW-RS clients send it."""
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()


class QuantifyServer:
    """One gunicorn in its own process group; it only ever ends by SIGKILL, as in a power cut."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "QuantifyServer":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> "QuantifyServer":
        """Start and wait until it answers."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("QUANTIFY_")}
        env = kept | {"QUANTIFY_KEY": KEY, "QUANTIFY_DIR": str(self.folder)} | self._settings
        command = [sys.executable, "-m", "gunicorn", "quantify.server:app", "--workers", "1"]
        command += ["--worker-class", "gthread", "--threads", "4", "--log-level", "error"]
        command += ["--bind", f"127.0.0.1:{self.port}"]
        self._process = subprocess.Popen(command, cwd=ROOT, env=env, start_new_session=True)  # noqa: S603 - ours
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if self.ask("GET", "/healthz", key=None).status == 200:
                    return self
            except OSError:
                time.sleep(0.05)
        raise AssertionError("the server did not come up")

    def kill(self) -> None:
        """SIGKILL to gunicorn and its children."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def kill_server_only(self) -> None:
        """SIGKILL to master and worker, not to the computing child, which must notice by itself."""
        assert self._process is not None
        for pid in (self._process.pid, *children_of(self._process.pid)):
            os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def computing(self) -> list[int]:
        """Process ids of the worker's computing children."""
        assert self._process is not None
        return [child for worker in children_of(self._process.pid) for child in children_of(worker)]

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | Iterable[bytes] | None = None,
        key: str | None = KEY,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request; an iterable body is sent chunked."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = dict(headers or {}) | ({"Authorization": f"Bearer {key}"} if key else {})
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def post(self, body: bytes | Iterable[bytes], name: str | None = None, **headers: str) -> Reply:
        """Offer a job for the density mask; header names are given with underscores."""
        sent = {"Content-Type": RELATED, "Idempotency-Key": name or uuid.uuid4().hex}
        sent |= {header.replace("_", "-"): value for header, value in headers.items()}
        return self.ask("POST", "/v1/jobs?algorithm=lung-density-mask", body=body, headers=sent)

    def ended(self, job_id: str, seconds: float = 40) -> Any:
        """The job's JSON once it has ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            job = self.ask("GET", f"/v1/jobs/{job_id}").json
            if job["status"] in ENDED:
                return job
            time.sleep(0.05)
        raise AssertionError(f"job still {job['status']} after {seconds} s")

    def run(self, parts: Sequence[bytes]) -> Any:
        """Offer these objects and wait for the end."""
        reply = self.post(body_of(parts))
        assert reply.status == 202, reply.content
        return self.ended(reply.json["job_id"])


def children_of(pid: int) -> list[int]:
    """Child processes by /proc."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except FileNotFoundError:
        return []
