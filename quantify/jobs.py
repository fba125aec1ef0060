"""The jobs on disk, one folder each; the door accepts and shows them, the runner works them off.

A folder holds accepted.json and parts.bin, then started.json, at last outcome.json; what is there is the status.
"""

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quantify.algorithms import ALGORITHMS, MANUFACTURER, NOTICE
from quantify.durable import read_json, sync_folder, write_json
from quantify.intake import PartPlace
from quantify.outcome import pending

ACCEPTED, STARTED, OUTCOME, PARTS = "accepted.json", "started.json", "outcome.json", "parts.bin"
STALE_UPLOAD_SECONDS = 6 * 3600


@dataclass(frozen=True)
class Accepted:
    """What was accepted; `nonce` tells a job from a later one with the same key."""

    job_id: str
    algorithm: str
    nonce: str
    accepted_at: float
    parts: tuple[PartPlace, ...]
    is_masked: bool = False


def job_id_of(key: str) -> str:
    """The Idempotency-Key decides the id, so two equal requests meet at one folder whatever process serves them."""
    return hashlib.sha256(b"quantify-job:" + key.encode("ascii")).hexdigest()[:32]


def now_text() -> str:
    """UTC in ISO 8601."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JobStore:
    """All reads and writes of job folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._jobs = folder / "jobs"
        self._uploads = folder / "uploads"
        self._trash = folder / "trash"
        # Finish and remove must not interleave: an outcome must not land in a folder that was just replaced.
        self._lock = threading.Lock()
        for place in (self._jobs, self._uploads, self._trash):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(folder)

    def place_of(self, job_id: str) -> Path:
        """The job's folder, whether or not it exists."""
        return self._jobs / job_id

    @contextmanager
    def upload(self) -> Iterator[Path]:
        """A private folder to receive into; gone afterwards unless `accept` has taken it."""
        folder = self._uploads / os.urandom(16).hex()
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def accept(
        self, upload: Path, job_id: str, algorithm: str, parts: Sequence[PartPlace], *, is_masked: bool = False
    ) -> bool:
        """Make the upload a job, durably; False when the key has one: a rename cannot replace a full folder."""
        record = Accepted(job_id, algorithm, os.urandom(8).hex(), time.time(), tuple(parts), is_masked)
        write_json(upload / ACCEPTED, asdict(record))
        try:
            upload.rename(self.place_of(job_id))
        except OSError:
            if self.place_of(job_id).exists():
                return False
            raise
        sync_folder(self._jobs)
        return True

    def accepted(self, job_id: str) -> Accepted | None:
        """The record of an accepted job."""
        content = read_json(self.place_of(job_id) / ACCEPTED)
        if content is None:
            return None
        return Accepted(**{**content, "parts": tuple(PartPlace(**part) for part in content["parts"])})

    def view(self, job_id: str) -> dict[str, Any] | None:
        """The job's public JSON in whatever state it is."""
        folder = self.place_of(job_id)
        outcome = read_json(folder / OUTCOME)
        if outcome is not None:
            return outcome
        record = self.accepted(job_id)
        if record is None:
            return None
        started = read_json(folder / STARTED)
        findings = pending(len(record.parts), is_started=started is not None)
        return _public(record, findings, started["started_at"] if started else None, None)

    def start(self, record: Accepted) -> int:
        """Note that work begins; returns which attempt this is, counted over restarts of the server."""
        path = self.place_of(record.job_id) / STARTED
        attempt = int((read_json(path) or {"attempt": 0})["attempt"]) + 1
        write_json(path, {"attempt": attempt, "started_at": now_text()})
        return attempt

    def finish(self, record: Accepted, findings: dict[str, Any]) -> None:
        """Make the outcome durable, then let go of the inputs; nothing happens when the job was removed meanwhile."""
        folder = self.place_of(record.job_id)
        with self._lock:
            if not self.is_current(record):
                return
            started = read_json(folder / STARTED) or {"started_at": None}
            write_json(folder / OUTCOME, _public(record, findings, started["started_at"], now_text()))
            self.discard_inputs(record.job_id)

    def is_current(self, record: Accepted) -> bool:
        """Whether the job still exists and is this one, not a later one with the same key."""
        current = self.accepted(record.job_id)
        return current is not None and current.nonce == record.nonce

    def has_outcome(self, job_id: str) -> bool:
        """Whether the job has ended."""
        return (self.place_of(job_id) / OUTCOME).exists()

    def discard_inputs(self, job_id: str) -> None:
        """Images are kept no longer than they are needed."""
        (self.place_of(job_id) / PARTS).unlink(missing_ok=True)

    def remove(self, job_id: str) -> bool:
        """Remove inputs and outcome; the rename makes it one step for everybody who looks."""
        with self._lock:
            grave = self._trash / os.urandom(16).hex()
            try:
                self.place_of(job_id).rename(grave)
            except FileNotFoundError:
                return False
            sync_folder(self._jobs)
        shutil.rmtree(grave, ignore_errors=True)
        return True

    def unfinished(self) -> list[str]:
        """Jobs without an outcome, oldest first."""
        waiting = []
        for folder in self._jobs.iterdir():
            record = None if self.has_outcome(folder.name) else self.accepted(folder.name)
            if record is not None:
                waiting.append((record.accepted_at, record.job_id))
        return [job_id for _, job_id in sorted(waiting)]

    def sweep(self, keep_seconds: float, now: float) -> None:
        """Remove old outcomes, inputs a kill left beside an outcome, half-removed jobs and abandoned uploads."""
        for folder in list(self._jobs.iterdir()):
            with suppress(FileNotFoundError):
                if now - (folder / OUTCOME).stat().st_mtime > keep_seconds:
                    self.remove(folder.name)
                else:
                    self.discard_inputs(folder.name)
        for grave in list(self._trash.iterdir()):
            shutil.rmtree(grave, ignore_errors=True)
        for upload in list(self._uploads.iterdir()):
            with suppress(FileNotFoundError):
                newest = max(path.stat().st_mtime for path in (upload, *upload.iterdir()))
                if now - newest > STALE_UPLOAD_SECONDS:
                    shutil.rmtree(upload, ignore_errors=True)


def _public(record: Accepted, findings: dict[str, Any], started: str | None, finished: str | None) -> dict[str, Any]:
    algorithm = ALGORITHMS.get(record.algorithm)
    return {
        "job_id": record.job_id,
        "status": findings["status"],
        "algorithm": {
            "name": record.algorithm,
            "version": algorithm.version if algorithm else "unknown",
            "manufacturer": MANUFACTURER,
        },
        **{name: value for name, value in findings.items() if name != "status"},
        "started_at": started,
        "finished_at": finished,
        "notice": NOTICE,
    }
