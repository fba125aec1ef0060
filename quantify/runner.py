"""The thread that works off jobs one after another, each in a limited child process; started by the WSGI app."""

import fcntl
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from quantify.config import Settings
from quantify.durable import read_json
from quantify.jobs import Accepted, JobStore
from quantify.models import FOLDER_VARIABLE
from quantify.outcome import failure

ROOT = Path(__file__).resolve().parent.parent
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "TZ", FOLDER_VARIABLE)
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
MAX_ATTEMPTS = 5
POLL_SECONDS = 0.05
IDLE_SECONDS = 10.0
SWEEP_SECONDS = 60.0
# The limit is processor time; waiting this much longer ends what merely sleeps, not what a busy machine slows down.
WAIT_FACTOR, SLACK_SECONDS = 3, 5


class Runner:
    """One computation at a time: the machine is shared, and the order of arrival is the fair one."""

    def __init__(self, store: JobStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._waiting: queue.SimpleQueue[str] = queue.SimpleQueue()

    def start(self) -> None:
        """Begin; jobs a killed server left behind come first."""
        threading.Thread(target=self._work_forever, name="quantify-runner", daemon=True).start()

    def submit(self, job_id: str) -> None:
        """A job was accepted."""
        self._waiting.put(job_id)

    def _work_forever(self) -> None:
        # During a reload two server processes overlap; only the holder of this lock computes, the other waits.
        lock = (self._store.folder / "runner.lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        swept_at = 0.0
        self._attempt("scan", self._submit_unfinished)
        while True:
            if time.monotonic() - swept_at > SWEEP_SECONDS:
                self._attempt("sweep", self._sweep)
                swept_at = time.monotonic()
            try:
                job_id = self._waiting.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                # What another process accepted while it did not hold the lock.
                self._attempt("scan", self._submit_unfinished)
                continue
            self._attempt(job_id, partial(self._run, job_id))

    def _sweep(self) -> None:
        self._store.sweep(self._settings.keep_hours * 3600, time.time())

    def _submit_unfinished(self) -> None:
        for job_id in self._store.unfinished():
            self.submit(job_id)

    def _attempt(self, what: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - a full disk must not end the thread; the next scan tries again
            sys.stderr.write(f"quantify-runner: {what}: {type(error).__name__}\n")
            time.sleep(POLL_SECONDS)

    def _run(self, job_id: str) -> None:
        record = self._store.accepted(job_id)
        if record is None or self._store.has_outcome(job_id):
            return
        if self._store.start(record) > MAX_ATTEMPTS:
            text = f"begun {MAX_ATTEMPTS} times without an end"
            self._store.finish(record, failure(len(record.parts), "gave_up", text))
            return
        findings = self._findings(record)
        if findings is not None:
            self._store.finish(record, findings)

    def _findings(self, record: Accepted) -> dict[str, Any] | None:
        """What the child found, a failure when it died, None when the job was removed while it ran."""
        out = f"findings-{record.nonce}.json"
        with self._spawn(record, out) as child:
            try:
                is_late = self._is_late(child, record)
            finally:
                child.kill()
        if not self._store.is_current(record):
            return None
        path = self._store.place_of(record.job_id) / out
        findings = read_json(path) if child.returncode == 0 else None
        path.unlink(missing_ok=True)
        return findings or _death(record, child.returncode, is_late, self._settings.job_seconds)

    def _is_late(self, child: "subprocess.Popen[bytes]", record: Accepted) -> bool:
        """Wait for the child; True when its time ran out first. Also returns when the job was removed meanwhile."""
        deadline = time.monotonic() + WAIT_FACTOR * self._settings.job_seconds + SLACK_SECONDS
        while child.poll() is None and self._store.is_current(record):
            if time.monotonic() > deadline:
                return True
            time.sleep(POLL_SECONDS)
        return False

    def _spawn(self, record: Accepted, out: str) -> "subprocess.Popen[bytes]":
        settings = self._settings
        folder = self._store.place_of(record.job_id).resolve()
        command = [sys.executable, "-m", "quantify.worker", "--folder", str(folder), "--out", out]
        command += ["--seconds", str(settings.job_seconds), "--memory", str(settings.job_memory)]
        # The child reads hostile bytes: it gets neither the server's key nor a log that could repeat what it reads.
        env = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ} | ONE_THREAD
        return subprocess.Popen(  # noqa: S603 - our own module, no shell, every argument made here
            command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


def _death(record: Accepted, returncode: int | None, is_late: bool, seconds: int) -> dict[str, Any]:
    if is_late or returncode == -signal.SIGXCPU:
        return failure(len(record.parts), "time_limit", f"more than {seconds} s of computation")
    if returncode == -signal.SIGKILL:
        return failure(len(record.parts), "killed", "ended by the system, most likely for want of memory")
    return failure(len(record.parts), "crashed", "reading the images ended the process that computes")
