"""Wire family "async inference job": POST the objects, get a job, ask until it ends. Used by platforms that compute from pixels."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from ai.contract import Handle, Http, PlatformError

CHUNK = 1024 * 1024


def job_post(handle: Handle, *, base_url: str, headers: Mapping[str, str], http: Http) -> str:
    """Send the files as multipart/related (RFC 2387), unread and unchanged. Returns the platform's job id."""
    boundary = secrets.token_hex(16)
    status, _, body = http.request(
        "POST",
        f"{base_url}/v1/jobs?algorithm={handle.algorithm}",
        headers={
            **headers,
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Idempotency-Key": handle.idempotency_key,
        },
        content=_parts(handle.files, boundary),
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


def _parts(files: Sequence[Path], boundary: str) -> Iterator[bytes]:
    for path in files:
        yield f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def _answer(status: int, body: bytes) -> dict[str, Any]:
    if status in {401, 403}:
        raise PlatformError("the platform refused our key", is_permanent=True)
    if status in {408, 425, 429} or status >= 500:
        raise PlatformError(f"the platform answered {status}", is_permanent=False)
    if status >= 300:
        raise PlatformError(f"the platform refused the job ({status})", is_permanent=True)
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise PlatformError("the platform's answer is not JSON", is_permanent=False) from error
    if not isinstance(answer, dict):
        raise PlatformError("the platform's answer is not an object", is_permanent=False)
    return answer
