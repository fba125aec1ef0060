"""The Hub Performer Profile's own messages: a signed task to the vendor, its state, the signed answer. Used by `performer` and the hook.

Signature: `X-Hub-Signature: t=<seconds>,v1=<hex HMAC-SHA256 of "<t>.<body>">`, either way, with the connection's secret.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Mapping

import orjson

from ai.contract import Handle, Http, Payload, PlatformError
from ai.wires.replies import object_read, page_refuse, status_check

HEADER = "X-Hub-Signature"
TOLERANCE_SECONDS = 300
FIELDS = re.compile(r"t=(\d{1,12}),v1=([0-9a-f]{64})", re.ASCII)
RUNNING = frozenset({"queued", "running"})


class HookRefused(Exception):
    """The call is not from who it says, or too old. One answer for all reasons: 401."""


def signature_of(secret: str, body: bytes, now: float) -> str:
    """The header's value for this body at this time (seconds since the epoch)."""
    at = str(int(now))
    return f"t={at},v1={hmac.new(secret.encode(), at.encode() + b'.' + body, hashlib.sha256).hexdigest()}"


def hook_verify(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> None:
    """Raises HookRefused unless the body was signed with `secret` within five minutes of `now`.

    A replay within that time is harmless: an answer is taken once by its job_id.
    """
    given = next((value for name, value in headers.items() if name.lower() == HEADER.lower()), "")
    match = FIELDS.fullmatch(given)
    if not secret or match is None or abs(now - int(match[1])) > TOLERANCE_SECONDS:
        raise HookRefused
    if not hmac.compare_digest(signature_of(secret, body, int(match[1])), given):
        raise HookRefused


def task_post(handle: Handle, *, url: str, http: Http, secret: str) -> str:
    """Tell the vendor what to do, where to fetch, where to answer. Sending again is harmless: job_id is the key.

    Returns job_id. Raises PlatformError.
    """
    task = {
        "job_id": handle.idempotency_key, "algorithm": handle.algorithm, "study_uid": handle.study_uid,
        "series_uid": handle.series_uid, "instances": len(handle.sop_uids) or len(handle.files), "modality": handle.modality,
        "priority": "stat" if handle.is_stat else "routine", "pull_url": handle.pull_url, "pull_token": handle.pull_token,
        "hook_url": handle.hook_url,
    }  # fmt: skip
    body = orjson.dumps(task)
    headers = {"Content-Type": "application/json", "Accept": "application/json", HEADER: signature_of(secret, body, time.time())}
    status, _, answer = http.request("POST", url, headers=headers, content=body)
    if status != 409:  # known already
        status_check(status, what="the task")
        page_refuse(answer)
    return handle.idempotency_key


def task_answer(remote_id: str, *, url: str, http: Http) -> Payload | None:
    """The answer by asking for it, or None while it is worked on. Raises PlatformError."""
    status, _, body = http.request("GET", f"{url}/{remote_id}", headers={"Accept": "application/json"})
    status_check(status, what="the question for the task")
    answer = object_read(body)
    if answer.get("status") in RUNNING:
        return None
    if answer.get("status") == "failed":
        raise PlatformError("the computation failed", is_permanent=True)
    if answer.get("job_id") != remote_id:
        raise PlatformError("the answer is for another job", is_permanent=True)
    return Payload(kind="json", data=answer)


def task_cancel(remote_id: str, *, url: str, http: Http) -> None:
    """Nobody waits any more; a vendor that does not know the word is not asked twice."""
    http.request("DELETE", f"{url}/{remote_id}", headers={"Accept": "application/json"})
