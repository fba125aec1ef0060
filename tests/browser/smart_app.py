"""A SMART app of another origin, served on loopback: SMART's own browser client (npm fhirclient) and three pages."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

LIBRARY = Path(__file__).parent.parent / "clients" / "node_modules" / "fhirclient" / "build" / "fhir-client.min.js"
HEAD = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>App</title><link rel="icon" href="data:,">'
    '<script src="/fhir-client.js"></script>'
)
# What the app asks for comes in its own address, as an app's own configuration would say it.
LAUNCH = HEAD + """<script>
const q = new URLSearchParams(location.search);
FHIR.oauth2.authorize({
  clientId: q.get("client_id") || "CLIENT", scope: q.get("scope") || "launch patient/*.rs", redirectUri: "/back",
  ...(q.get("launch") ? {} : {iss: q.get("iss")}), completeInTarget: true, pkceMode: "required",
}).catch(error => { document.title = "failed: " + error.message; });
</script>"""
BACK = HEAD + """<h1 id="name">...</h1><pre id="told"></pre><script>
FHIR.oauth2.ready().then(async client => {
  const told = {patient: client.patient.id, response: client.state.tokenResponse};
  told.other = await client.request("Patient/OTHER").then(() => "read", error => error.statusCode || String(error));
  told.observations = (await client.patient.request("Observation")).entry?.length || 0;
  if (client.state.tokenResponse.refresh_token) {
    await client.refresh();
    told.refreshed = (await client.patient.read()).id;
  }
  const patient = await client.patient.read();
  document.getElementById("told").textContent = JSON.stringify(told);
  document.getElementById("name").textContent = patient.name[0].family;
}).catch(error => { document.getElementById("name").textContent = "failed: " + error.message; });
</script>"""


@contextmanager
def smart_app(port: int = 0) -> Iterator["SmartApp"]:
    app = SmartApp()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/fhir-client.js":
                body, media = LIBRARY.read_bytes(), "text/javascript"
            else:
                page = app.pages.get(path, "")
                for word, value in app.words.items():
                    page = page.replace(word, value)
                body, media = page.encode(), "text/html"
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    app.address = f"http://localhost:{server.server_port}"
    yield app
    server.shutdown()
    server.server_close()
    thread.join(10)


class SmartApp:
    pages: ClassVar[dict[str, str]] = {"/launch": LAUNCH, "/back": BACK}

    def __init__(self) -> None:
        self.address = ""
        self.words: dict[str, str] = {}
