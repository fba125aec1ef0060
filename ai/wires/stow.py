"""STOW-RS out (PS3.18 10.5): objects go in requests that a vendor takes, and each one is confirmed by name or it did not arrive."""

import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from ai.contract import Handle, Http, PlatformError
from ai.wires.replies import status_check
from imaging.webout.answer import AnswerError, Stored, is_passing
from imaging.webout.answer import answer_read as stored_read
from imaging.webout.multipart import content_type, parts_of, size_of


def instances_store(handle: Handle, *, base_url: str, http: Http, max_request_bytes: int) -> int:
    """POST all files to `base_url`/studies; returns how many the store says it has. Sending again is harmless.

    Raises PlatformError unless every instance was confirmed; permanent only when no other try can help.
    """
    total = Stored()
    for files in requests_plan(handle.files, max_request_bytes):
        total.add(_post(files, f"{base_url}/studies", http))
    missing = set(handle.sop_uids) - total.taken
    if not missing and not total.refused and len(total.taken) >= len(handle.files):
        return len(total.taken)
    reasons = set(total.refused.values())
    told = ", ".join(f"{reason:04X}" for reason in sorted(reasons)[:5])
    words = f"the store confirmed {len(total.taken)} of {len(handle.files)} objects" + (f" (reasons {told})" if told else "")
    raise PlatformError(words, is_permanent=bool(reasons) and not any(map(is_passing, reasons)))


def requests_plan(files: Sequence[Path], max_bytes: int) -> Iterator[list[Path]]:
    """Files in order, as many to a request as fit. Raises PlatformError for one that never fits."""
    share: list[Path] = []
    size = 0
    for path in files:
        own = path.stat().st_size + 256
        if own > max_bytes:
            raise PlatformError(f"an object is larger than the {max_bytes // 1024**2} MB that the store takes", is_permanent=True)
        if share and size + own > max_bytes:
            yield share
            share, size = [], 0
        share.append(path)
        size += own
    if share:
        yield share


def _post(files: Sequence[Path], url: str, http: Http) -> Stored:
    boundary = secrets.token_hex(16)
    status, headers, body = http.request(
        "POST", url,
        headers={
            "Content-Type": content_type(boundary),
            "Content-Length": str(size_of(files, boundary)),
            "Accept": "application/dicom+json",
        },
        content=lambda: parts_of(files, boundary),
    )  # fmt: skip
    if status != 409:  # none or not all were stored, and the body says which: an object stored before is no failure
        status_check(status, what="the images")
    elif not body:
        raise PlatformError("the platform refused the images (409)", is_permanent=True)
    return answer_read(body, headers.get("content-type", ""))


def answer_read(body: bytes, content_type: str) -> Stored:
    """Referenced and failed instances of a STOW answer (PS3.18 annex I), as JSON or XML. Raises PlatformError."""
    try:
        return stored_read(body, content_type)
    except AnswerError as error:
        raise PlatformError(f"the platform's {error.words}", is_permanent=error.is_permanent) from error
