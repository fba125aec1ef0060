"""A request that takes minutes, on a thread beside the worker: the worker goes on with other jobs, polls look whether it has ended.

Whoever holds the lock of the job's folder is asking; the lock goes with the process, so a dead worker's request is begun again by
the next poll, whichever worker that is. The answer is a file in the folder; its fate is written last and tells that it is whole.
Failures are counted there too: a poll that only waits proves nothing, so neither the job's attempts nor the breaker would see them add up.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
from django.conf import settings

from ai.contract import Http, PlatformError, Told
from tenants.egress import CertificateUnusable, EgressFailed, EgressRefused

log = logging.getLogger(__name__)

LOCK, FATE, ANSWER, PART, FAILURES = "asking.lock", "asking.json", "answer", "answer.part", "asking.failures"
MAX_FAILURES = 10
LONGEST_WAIT = 300  # units of MEDHUB_BACKOFF_UNIT_SECONDS
AT_ONCE = 8  # threads of one worker process that only wait
_slots = threading.BoundedSemaphore(AT_ONCE)


def asked(
    folder: Path, *, http: Callable[[], Http], url: str, headers: Mapping[str, str], content: Callable[[], bytes], max_bytes: int
) -> Told | None:
    """`ai.contract.Room.ask`. Raises PlatformError, EgressFailed, EgressRefused for a request that failed; the next call begins anew."""
    if (told := _told(folder)) is not None:
        return told
    if time.time() < _failures(folder)[1]:
        return None
    lock = _locked(folder)
    if lock is None:
        return None  # it is under way, here or in another worker
    is_handed_over = False
    try:
        if (told := _told(folder)) is not None:  # it ended between the look and the lock
            return told
        if not _slots.acquire(blocking=False):
            return None
        try:
            work = (folder, lock, http, url, dict(headers), content(), max_bytes)
            threading.Thread(target=_work, args=work, name="asking", daemon=True).start()
            is_handed_over = True
        finally:
            if not is_handed_over:
                _slots.release()
    finally:
        if not is_handed_over:
            os.close(lock)
    return None


def forgotten(folder: Path) -> None:
    """The answer is none: a later question begins anew, each failure later. Raises PlatformError, permanent, after MAX_FAILURES."""
    count = _failures(folder)[0] + 1
    if count >= MAX_FAILURES:
        raise PlatformError(f"the platform failed {count} times to answer", is_permanent=True)
    until = time.time() + min(2**count, LONGEST_WAIT) * settings.MEDHUB_BACKOFF_UNIT_SECONDS
    (part := folder / f"{FAILURES}.part").write_bytes(orjson.dumps([count, until]))
    os.replace(part, folder / FAILURES)
    (folder / FATE).unlink(missing_ok=True)
    (folder / ANSWER).unlink(missing_ok=True)


def _failures(folder: Path) -> tuple[int, float]:
    """How many requests came to nothing, and the time before which no other one is begun."""
    try:
        count, until = orjson.loads((folder / FAILURES).read_bytes())
    except FileNotFoundError:
        return 0, 0.0
    return count, until


def _told(folder: Path) -> Told | None:
    try:
        fate: dict[str, Any] = orjson.loads((folder / FATE).read_bytes())
    except FileNotFoundError:
        return None
    if 200 <= fate.get("status", 0) < 300:
        return Told(status=fate["status"], file=folder / ANSWER)
    forgotten(folder)
    if "status" in fate:
        return Told(status=fate["status"], file=folder / ANSWER)
    if fate["failed"] == "refused":
        raise EgressRefused
    if fate["failed"] == "failed":
        raise EgressFailed
    raise PlatformError(fate["failed"], is_permanent=fate["is_permanent"])


def _locked(folder: Path) -> int | None:
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise PlatformError("the job's objects are not there any more", is_permanent=True) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _work(
    folder: Path, lock: int, http: Callable[[], Http], url: str, headers: dict[str, str], content: bytes, max_bytes: int
) -> None:
    try:
        fate = _fate(folder, http, url, headers, content, max_bytes)
        (part := folder / f"{FATE}.part").write_bytes(orjson.dumps(fate))
        os.replace(part, folder / FATE)
    except OSError as error:  # the job has ended meanwhile, and its folder with it
        log.info("the answer to a long request was not kept: %s", type(error).__name__)
    finally:
        os.close(lock)
        _slots.release()


def _fate(
    folder: Path, http: Callable[[], Http], url: str, headers: dict[str, str], content: bytes, max_bytes: int
) -> dict[str, Any]:
    try:
        status, _ = http().request_to_file(
            "POST", url, headers=headers, target=folder / PART, max_bytes=max_bytes, content=content
        )
        os.replace(folder / PART, folder / ANSWER)
    except EgressRefused:
        return {"failed": "refused"}
    except (EgressFailed, OSError):
        return {"failed": "failed"}
    except (PlatformError, CertificateUnusable) as error:
        return {"failed": error.user_message, "is_permanent": getattr(error, "is_permanent", True)}
    except Exception as error:  # noqa: BLE001 nobody waits for this thread: without a fate the question would be put for ever
        log.warning("a long request ended with %s", type(error).__name__)
        return {"failed": "failed"}
    return {"status": status}
