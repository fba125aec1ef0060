"""Results of the doubles: really computed by a MedHub Quantify server, or said to be not analysable. Nothing is made up."""

import hashlib
import io
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from pydicom import dcmread

MAKER = "MedHub Quantify (test double)"
LUNGS = "lung-density-mask"
# What fits a modality where the part of the body does not decide; a CT is looked at below.
BY_MODALITY = {"MG": "breast-percent-density", "OP": "fundus-vessel-index", "MR": "brain-volume"}
HEAD_PARTS = ("HEAD", "BRAIN", "SKULL")
SECONDS = 120.0


@dataclass(frozen=True)
class Outcome:
    """What Quantify said. `reason` is set when it could not be measured; `measurements` are Quantify's own JSON."""

    version: str
    algorithm: str = LUNGS
    measurements: tuple[dict[str, Any], ...] = ()
    reason: tuple[str, str] | None = None  # code, words
    mask: dict[str, Any] | None = None  # of what was measured, as Quantify gives it, where it was asked for


class Quantify:
    """The client of a Quantify server. One that `remembers` measures the same pixels once: the answer is the same, and comes at once."""

    def __init__(self, url: str, key: str, *, remembers: bool = False) -> None:
        self._url, self._headers = url.rstrip("/"), {"Authorization": f"Bearer {key}"}
        self._known: dict[str, Outcome] | None = {} if remembers else None

    def compute(self, contents: Sequence[bytes], modality: str, *, is_masked: bool = False) -> Outcome:
        """Measure what fits the modality and the part of the body; what nothing fits is not analysable without being sent."""
        algorithm = _fitting(contents, modality)
        if not algorithm:
            words = f"modality is {modality or 'not stated'}; the test double measures CT, MR, MG and OP only"
            return Outcome("1", reason=("modality", words))
        if self._known is None:
            return self._measured(contents, algorithm, is_masked)
        mark = f"{_pixels(contents)} {algorithm} {is_masked}"
        if mark not in self._known:
            self._known[mark] = self._measured(contents, algorithm, is_masked)
        return self._known[mark]

    def _measured(self, contents: Sequence[bytes], algorithm: str, is_masked: bool) -> Outcome:
        boundary = secrets.token_hex(16)
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        body = b"".join(head + content + b"\r\n" for content in contents) + f"--{boundary}--\r\n".encode()
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        with httpx.Client(base_url=self._url, headers=self._headers, timeout=30, trust_env=False) as client:
            sent = {"Content-Type": kind, "Idempotency-Key": secrets.token_hex(16)}
            params = {"algorithm": algorithm, "mask": "1" if is_masked else "0"}
            answer = client.post("/v1/jobs", params=params, headers=sent, content=body)
            answer.raise_for_status()
            return _outcome(self._ended(client, answer.json()["job_id"]))

    def _ended(self, client: httpx.Client, job_id: str) -> dict[str, Any]:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            job: dict[str, Any] = client.get(f"/v1/jobs/{job_id}").raise_for_status().json()
            if job["status"] not in {"queued", "running"}:
                client.delete(f"/v1/jobs/{job_id}")
                return job
            time.sleep(0.05)
        raise TimeoutError


def _fitting(contents: Sequence[bytes], modality: str) -> str:
    """The algorithm for these images; empty when none fits. A CT that does not say what it shows is tried as a chest."""
    if modality != "CT":
        return BY_MODALITY.get(modality, "")
    part = dcmread(io.BytesIO(contents[0]), stop_before_pixels=True, specific_tags=["BodyPartExamined"]).get("BodyPartExamined", "")
    return "hyperdense-volume" if any(one in str(part).upper() for one in HEAD_PARTS) else LUNGS


def _pixels(contents: Sequence[bytes]) -> str:
    """One mark for the same pixels, whatever they are called and in whatever order they came."""
    marks = sorted(hashlib.sha256(dcmread(io.BytesIO(content)).PixelData).digest() for content in contents)
    return hashlib.sha256(b"".join(marks)).hexdigest()


def _outcome(job: dict[str, Any]) -> Outcome:
    version, name = str(job["algorithm"]["version"]), str(job["algorithm"]["name"])
    if job["status"] == "done":
        return Outcome(version, name, tuple(job["measurements"]), mask=job.get("mask"))
    said = job.get("reason") or job.get("error") or {"code": "unstated", "text": "no reason given"}
    return Outcome(version, name, reason=(str(said["code"]), str(said["text"])))
