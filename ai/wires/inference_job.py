"""Wire family "async inference job": POST the objects, get a job, ask until it ends. Used by platforms that compute from pixels."""

import secrets
from collections.abc import Mapping
from typing import Any

from ai.contract import Handle, Http, PlatformError
from ai.wires.replies import object_read, status_check
from imaging.webout.multipart import content_type, parts_of


def job_post(handle: Handle, *, base_url: str, headers: Mapping[str, str], http: Http, is_masked: bool = False) -> str:
    """Send the files as multipart/related (RFC 2387), unread and unchanged. Returns the platform's job id.

    `is_masked`: the voxels that were measured are asked for as well.
    """
    boundary = secrets.token_hex(16)
    status, _, body = http.request(
        "POST",
        f"{base_url}/v1/jobs?algorithm={handle.algorithm}{'&mask=1' if is_masked else ''}",
        headers={
            **headers,
            "Content-Type": content_type(boundary),
            "Idempotency-Key": handle.idempotency_key,
        },
        content=lambda: parts_of(handle.files, boundary),
    )
    answer = _answer(status, body)
    if not isinstance(answer.get("job_id"), str):
        raise PlatformError("the platform's answer has no job id", is_permanent=False)
    return str(answer["job_id"])


def job_get(remote_id: str, *, base_url: str, headers: Mapping[str, str], http: Http) -> dict[str, Any] | None:
    """The finished job, or None while it is queued or running."""
    status, _, body = http.request("GET", f"{base_url}/v1/jobs/{remote_id}", headers=headers)
    answer = _answer(status, body)
    return None if answer.get("status") in {"queued", "running"} else answer


def _answer(status: int, body: bytes) -> dict[str, Any]:
    status_check(status, what="the job")
    return object_read(body)
