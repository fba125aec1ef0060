"""The HTTP job interface as a plain WSGI app; made by quantify.server, spoken to by the hub's client over loopback."""

import errno
import hmac
import json
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from quantify.algorithms import ALGORITHMS
from quantify.config import Settings
from quantify.intake import IntakeError, boundary_of, drain, spool
from quantify.jobs import PARTS, JobStore, job_id_of
from quantify.models import missing_of
from quantify.runner import Runner

KEY = re.compile(r"[A-Za-z0-9._:-]{1,128}")
JOB_PATH = re.compile(r"/v1/jobs/([0-9a-f]{32})")
STATUS_TEXT = {
    200: "OK",
    202: "Accepted",
    204: "No Content",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    500: "Internal Server Error",
    507: "Insufficient Storage",
}

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]


@dataclass(frozen=True)
class Answer:
    """Status, JSON body (None: empty) and extra headers."""

    status: int
    body: dict[str, Any] | None = None
    headers: tuple[tuple[str, str], ...] = field(default=())


class QuantifyApp:
    """`GET /healthz`, `POST /v1/jobs`, `GET` and `DELETE /v1/jobs/<id>`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = JobStore(settings.folder)
        self._runner = Runner(self._store, settings)
        self._runner.start()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        answer = self._answer(environ)
        content = b"" if answer.body is None else json.dumps(answer.body, separators=(",", ":")).encode()
        headers = [("Content-Length", str(len(content))), ("Cache-Control", "no-store"), *answer.headers]
        if answer.body is not None:
            headers.append(("Content-Type", "application/json"))
        start_response(f"{answer.status} {STATUS_TEXT[answer.status]}", headers)
        return [content]

    def _answer(self, environ: Environ) -> Answer:
        try:
            return self._routed(environ)
        except IntakeError as error:
            return _error(error.status, error.code, error.text)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                return _error(507, "no_space", "no space left for another job")
            return _unexpected(error)
        except Exception as error:  # noqa: BLE001 - the last line before gunicorn's own page, which is no JSON
            return _unexpected(error)

    def _routed(self, environ: Environ) -> Answer:
        path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
        if path == "/healthz":
            return self._health() if method == "GET" else _not_allowed("GET")
        if not self._is_authorized(environ):
            return _error(401, "unauthorized", "a valid bearer key is needed", ("WWW-Authenticate", "Bearer"))
        if path == "/v1/jobs":
            return self._post(environ) if method == "POST" else _not_allowed("POST")
        match = JOB_PATH.fullmatch(path)
        if match is None:
            return _error(404, "not_found", "no such job")
        if method == "GET":
            return self._show(match[1])
        return self._delete(match[1]) if method == "DELETE" else _not_allowed("DELETE, GET")

    def _is_authorized(self, environ: Environ) -> bool:
        scheme, _, key = str(environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
        # compare_digest takes the same time for every wrong key: the delay tells nothing about the right one.
        is_same = hmac.compare_digest(key.strip().encode("latin-1", "replace"), self._settings.key.encode())
        return scheme.lower() == "bearer" and is_same

    def _health(self) -> Answer:
        listed = [{"name": algorithm.name, "version": algorithm.version} for algorithm in ALGORITHMS.values()]
        missing = {one.name: missing_of(one.model) for one in ALGORITHMS.values() if one.model}
        absent = [{"name": name, "reason": reason} for name, reason in missing.items() if reason]
        return Answer(200, {"status": "ok", "algorithms": listed, "not_installed": absent})

    def _post(self, environ: Environ) -> Answer:
        try:
            return self._offered(environ)
        except IntakeError as error:
            if error.status != 413:
                drain(environ["wsgi.input"], self._settings.max_bytes)
            raise

    def _offered(self, environ: Environ) -> Answer:
        query = parse_qs(environ.get("QUERY_STRING", ""))
        algorithm, is_masked = query.get("algorithm", [""])[-1], query.get("mask", [""])[-1] == "1"
        if algorithm not in ALGORITHMS:
            raise IntakeError(404, "unknown_algorithm", "no such algorithm")
        key = str(environ.get("HTTP_IDEMPOTENCY_KEY", ""))
        if not KEY.fullmatch(key):
            raise IntakeError(400, "bad_idempotency_key", "Idempotency-Key: 1 to 128 of A-Z a-z 0-9 . _ : -")
        boundary = boundary_of(environ.get("CONTENT_TYPE", ""))
        if int(environ.get("CONTENT_LENGTH") or 0) > self._settings.max_bytes:
            raise IntakeError(413, "too_large", f"more than {self._settings.max_bytes} bytes")
        job_id = job_id_of(key)
        if self._store.accepted(job_id) is None:
            self._receive(environ, boundary, job_id, algorithm, is_masked)
        else:
            drain(environ["wsgi.input"], self._settings.max_bytes)
        return self._accepted(job_id)

    def _receive(self, environ: Environ, boundary: str, job_id: str, algorithm: str, is_masked: bool) -> None:
        with self._store.upload() as folder:
            parts = spool(environ["wsgi.input"], boundary, folder / PARTS, self._settings.max_bytes)
            if self._store.accept(folder, job_id, algorithm, parts, is_masked=is_masked):
                self._runner.submit(job_id)

    def _accepted(self, job_id: str) -> Answer:
        job = self._store.view(job_id)
        status = job["status"] if job else "queued"
        return Answer(202, {"job_id": job_id, "status": status}, (("Location", f"/v1/jobs/{job_id}"),))

    def _show(self, job_id: str) -> Answer:
        job = self._store.view(job_id)
        return _error(404, "not_found", "no such job") if job is None else Answer(200, job)

    def _delete(self, job_id: str) -> Answer:
        return Answer(204) if self._store.remove(job_id) else _error(404, "not_found", "no such job")


def _error(status: int, code: str, text: str, *headers: tuple[str, str]) -> Answer:
    return Answer(status, {"error": {"code": code, "text": text}}, headers)


def _not_allowed(allowed: str) -> Answer:
    return _error(405, "method_not_allowed", f"use {allowed}", ("Allow", allowed))


def _unexpected(error: Exception) -> Answer:
    # The kind of error only: its text could repeat what a patient's image holds.
    sys.stderr.write(f"quantify: unexpected {type(error).__name__}\n")
    return _error(500, "internal", "the request could not be handled")
