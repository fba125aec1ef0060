"""A room of a job without the house's rows around it, and the door of its volume on loopback. For the tests of wires and platforms."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ai.contract import Handle, Http
from ai.room.rooms import JobRoom
from ai.room.tickets import VOLUME, ticket_take
from tenants.egress import Egress


class Host(ThreadingHTTPServer):
    folder: Path
    daemon_threads = True

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Door(BaseHTTPRequestHandler):
    """As ai.room.views: whoever holds the ticket."""

    server: Host

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _answer(self) -> None:
        ticket = self.path.rpartition("/")[2].removesuffix(".nii.gz")
        path = self.server.folder / VOLUME
        is_good = path.exists() and ticket_take(self.server.folder, ticket, is_use=self.command == "GET")
        content = path.read_bytes() if is_good else b""
        self.send_response(200 if is_good else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_GET = do_HEAD = _answer  # noqa: N815 the library's names


@contextmanager
def room_open(handle: Handle, folder: Path, vendors: Any, http: Callable[[], Http] | None = None) -> Iterator[JobRoom]:
    """With the handle's files in it; the NIM double may fetch from here."""
    folder.mkdir(parents=True)
    for number, path in enumerate(handle.files):
        (folder / f"{number:06d}.dcm").write_bytes(path.read_bytes())
    host = Host(("127.0.0.1", 0), _Door)
    host.folder = folder
    threading.Thread(target=host.serve_forever, args=(0.02,), daemon=True).start()
    vendors.control("POST", "nim", {"hosts": [host.place]})
    yield JobRoom(folder=folder, address=f"http://{host.place}/volumes", http=http or (lambda: Egress(read_seconds=30)))
    host.shutdown()
    host.server_close()
