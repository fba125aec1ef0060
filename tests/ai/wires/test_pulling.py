"""The double that pulls keeps to UPS-RS: claim, fetch, compute, store, update, complete; and loses a race without a word."""

import json
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ai.auth.bearer import BearerHttp
from ai.wires import dicomweb
from ai.wires.answers import answer_read
from tenants.egress import Egress
from tests.ai.handles import asked

pytestmark = pytest.mark.xdist_group("doubles-wires")

STATE, TRANSACTION = "00741000", "00081195"


class Origin(ThreadingHTTPServer):
    """One workitem, with the rules of PS3.18 11.7: one claim, and only who holds the transaction UID goes on."""

    item: dict = {}
    state, transaction = "SCHEDULED", ""
    updates: list[dict] = []
    is_taken = False  # somebody else claims first


class OriginHandler(BaseHTTPRequestHandler):
    server: Origin

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _say(self, status: int, body: object = None) -> None:
        data = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> dict:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))[0]

    def do_GET(self) -> None:  # noqa: N802 the library's name
        is_search = "ProcedureStepState=SCHEDULED" in self.path
        self._say(200, ([self.server.item] if self.server.state == "SCHEDULED" else []) if is_search else [self.server.item])

    def do_PUT(self) -> None:  # noqa: N802 the library's name
        body, server = self._body(), self.server
        transaction, state = body[TRANSACTION]["Value"][0], body[STATE]["Value"][0]
        if state == "IN PROGRESS":
            if server.is_taken or server.state != "SCHEDULED":
                self._say(409)
                return
            server.state, server.transaction = state, transaction
        elif server.state != "IN PROGRESS" or transaction != server.transaction or (state == "COMPLETED" and not server.updates):
            self._say(409)
            return
        server.state = state
        self._say(200)

    def do_POST(self) -> None:  # noqa: N802 the library's name
        is_holder = self.path.endswith(f"transaction-uid={self.server.transaction}") and self.server.state == "IN PROGRESS"
        self.server.updates.append(self._body())
        self._say(200 if is_holder else 409)


@pytest.fixture
def origin() -> Iterator[Origin]:
    server = Origin(("127.0.0.1", 0), OriginHandler)
    server.updates = []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def pull(vendors, origin: Origin, study, **more: object) -> dict[str, str]:
    """The double works for a moment; what became of the workitem. Images lie in a store of ours, results go there."""
    store, key = f"{vendors.url}/performer/store", vendors.credentials["performer_key"]
    url = {"00081190": {"vr": "UR", "Value": [f"{store}/studies/{study.study_uid}"]}}
    given = {
        "0020000D": {"vr": "UI", "Value": [study.study_uid]}, "0020000E": {"vr": "UI", "Value": [study.series_uid]},
        "0040E025": {"vr": "SQ", "Value": [url]},
    }  # fmt: skip
    origin.item = {"00080018": {"vr": "UI", "Value": ["2.25.7"]}, "00404021": {"vr": "SQ", "Value": [given]}}
    body = {"base": f"http://127.0.0.1:{origin.server_port}", "token": key, "seconds": 2, "store": store, **more}
    request = urllib.request.Request(  # noqa: S310 loopback
        f"{vendors.url}/control/ups", data=json.dumps(body).encode(), headers={"X-Control": vendors.credentials["control"]}
    )
    context = ssl.create_default_context(cafile=vendors.ca_file)
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:  # noqa: S310 loopback
        found: dict[str, str] = json.load(answer)
    return found


def test_a_workitem_is_claimed_worked_on_and_completed(vendors, study, origin, tmp_path) -> None:
    """"UPS-RS": the result lies in the study, and the workitem's output names it."""
    store, http = f"{vendors.url}/performer/store", BearerHttp(Egress(), vendors.credentials["performer_key"])
    dicomweb.instances_store(study, base_url=store, http=http, max_request_bytes=2**30)
    assert pull(vendors, origin, study) == {"2.25.7": "completed 200 200"}
    assert origin.state == "COMPLETED"
    (output,) = origin.updates[0]["00741216"]["Value"][0]["00404033"]["Value"]
    named = output["00081199"]["Value"][0]["00081155"]["Value"][0]
    payload = dicomweb.results_fetch(asked(study), base_url=store, http=http, folder=tmp_path)
    assert payload is not None
    documents = answer_read(payload, algorithm="by-contract").documents
    assert named in {document.sop_uid for document in documents}


def test_who_comes_second_leaves_it(vendors, study, origin) -> None:
    """"two performers racing give one claim": the second stores nothing and says nothing."""
    origin.is_taken = True
    assert pull(vendors, origin, study) == {"2.25.7": "lost"}
    assert origin.updates == []


def test_a_performer_that_cannot_gives_it_back(vendors, study, origin) -> None:
    """Images that cannot be fetched: canceled, not completed."""
    assert pull(vendors, origin, study) == {"2.25.7": "canceled 200"}
    assert origin.state == "CANCELED"
