"""Archives of DICOMweb that our nodes point at: Orthanc with its plug-in, and a server that answers what a test tells it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson

from tests.orthanc import Orthanc, need_dicomweb, orthanc_run

ROOT = "/dicom-web"
JSON = "application/dicom+json"


@contextmanager
def orthanc_web(folder: Path, **more: Any) -> Iterator[Orthanc]:
    """Orthanc's own STOW-RS and QIDO-RS under `ROOT` of its HTTP port."""
    dicomweb = {"Enable": True, "Root": f"{ROOT}/", "EnableWado": False}
    with orthanc_run(folder, **{"Plugins": [need_dicomweb()], "DicomWeb": dicomweb, **more}) as found:
        yield found


class Archive:
    """What came, and what is answered: (status, body, content type), or a number of seconds of silence."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []  # method, path, headers, body
        self.answers: list[Any] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{ROOT}"


@contextmanager
def archive_run() -> Iterator[Archive]:
    """A web server on a port of this machine; the last answer is given again and again."""
    archive = Archive()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Not into the output of the tests."""

        def do_GET(self) -> None:  # noqa: N802 http.server's name
            self._serve()

        def do_POST(self) -> None:  # noqa: N802 http.server's name
            self._serve()

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            archive.asked.append((self.command, self.path, dict(self.headers), body))
            answer = archive.answers[0] if len(archive.answers) == 1 else archive.answers.pop(0)
            if isinstance(answer, int | float):
                time.sleep(answer)
                return
            status, said, kind = answer
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    archive.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def stow_answer(taken: dict[str, int] | None = None, failed: dict[str, int] | None = None) -> bytes:
    """A Store Instances Response (PS3.18 Annex I.2): SOP instance -> warning reason, or 0; SOP instance -> failure reason."""
    def item(uid: str, tag: str, reason: int) -> dict[str, Any]:
        found: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
        if reason:
            found[tag] = {"vr": "US", "Value": [reason]}
        return found

    answer = {}
    if taken:
        answer["00081199"] = {"vr": "SQ", "Value": [item(uid, "00081196", reason) for uid, reason in taken.items()]}
    if failed:
        answer["00081198"] = {"vr": "SQ", "Value": [item(uid, "00081197", reason) for uid, reason in failed.items()]}
    return orjson.dumps(answer)
