"""The Hub Performer Profile and the gateway of MONAI, each way out and each way back, on pixels that Quantify measures."""

import json
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import ComprehensiveSRStorage

from ai.auth.bearer import BearerHttp
from ai.contract import Payload, PlatformError
from ai.wires import dicomweb, dimse, inference, tasks
from ai.wires.answers import answer_read
from tenants.egress import Egress
from tests.ai.handles import RealDimse, asked, until, ways_for

pytestmark = pytest.mark.xdist_group("doubles-wires")

CODES = {"118565006", "laa-950", "perc15"}
MAKER = "MedHub Quantify (test double)"


def bearer(vendors) -> BearerHttp:
    return BearerHttp(Egress(), vendors.credentials["performer_key"])


class Hook(BaseHTTPRequestHandler):
    calls: list[tuple[dict[str, str], bytes]] = []

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_POST(self) -> None:  # noqa: N802 the library's name
        self.calls.append((dict(self.headers.items()), self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def hook():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    Hook.calls = []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hooks/ai/c1"
    server.shutdown()
    server.server_close()


def pulled(vendors, study):
    """The study lies in a DICOMweb store of ours; the vendor fetches it with this job's token, and may store there."""
    store = f"{vendors.url}/performer/store"
    dicomweb.instances_store(study, base_url=store, http=bearer(vendors), max_request_bytes=2**30)
    return replace(study, pull_url=store, pull_token=vendors.credentials["performer_key"])


def post(vendors, study, secret: str = "") -> str:
    url = f"{vendors.url}/performer/tasks"
    return tasks.task_post(study, url=url, http=bearer(vendors), secret=secret or vendors.credentials["hub_secret"])


def test_a_signed_task_is_fetched_computed_and_answered_by_a_signed_hook(vendors, study, hook) -> None:
    """"signed webhook", "twice": the hook comes twice, each with a good signature, and both say the same."""
    vendors.fault("twice")
    handle = replace(pulled(vendors, study), hook_url=hook)
    remote_id = post(vendors, handle)
    assert post(vendors, handle) == remote_id  # sent again: the same job
    payload = until(lambda: tasks.task_answer(remote_id, url=f"{vendors.url}/performer/tasks", http=bearer(vendors)))
    end = time.monotonic() + 5
    while len(Hook.calls) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    assert len(Hook.calls) == 2
    for headers, body in Hook.calls:
        tasks.hook_verify(headers, body, vendors.credentials["hub_secret"], time.time())
        assert json.loads(body) == payload.data
    answer = answer_read(replace(payload, sent=handle.sent), algorithm="by-contract")
    assert {m.code.code for m in answer.measurements} == CODES
    assert (answer.study_uid, answer.algorithm.manufacturer) == (study.study_uid, MAKER)


def test_a_task_with_a_wrong_signature_is_not_taken(vendors, study) -> None:
    """The vendor's side checks as ours does."""
    with pytest.raises(PlatformError, match="refused our key"):
        post(vendors, study, secret="wrong")  # noqa: S106 not one


def test_hook_signatures_are_checked() -> None:
    """"`X-Hub-Signature: t=..,v1=HMAC-SHA256`, 5 min tolerance": other body, other key, too old, from the future, no header."""
    body, now, secret = b'{"job_id": "1"}', 1_800_000_000.0, "s3cret"
    good = {"x-hub-signature": tasks.signature_of(secret, body, now)}
    tasks.hook_verify(good, body, secret, now + 299)
    stamp, mark = good["x-hub-signature"].split(",")
    for headers, given, key, at in (
        (good, b'{"job_id": "2"}', secret, now), (good, body, "other", now), (good, body, secret, now + 301),
        (good, body, secret, now - 301), ({}, body, secret, now), (good, body, "", now),
        ({"X-Hub-Signature": f"t=9,{mark}"}, body, secret, 9), ({"X-Hub-Signature": f"{stamp},v1={'0' * 64}"}, body, secret, now),
        ({"X-Hub-Signature": f"{stamp},{mark},v1=x"}, body, secret, now), ({"X-Hub-Signature": "t=\u0661,v1=" + "a" * 64}, body, secret, 1),
    ):  # fmt: skip
        with pytest.raises(tasks.HookRefused):
            tasks.hook_verify(headers, given, key, at)


def test_a_failed_or_foreign_task_is_said_so(vendors, study) -> None:
    """A vendor that cannot fetch the images says failed; an answer for another job is none."""
    handle = replace(study, pull_url=f"{vendors.url}/performer/store", pull_token="wrong")  # noqa: S106 not one
    remote_id = post(vendors, handle)
    with pytest.raises(PlatformError, match="the computation failed"):
        until(lambda: tasks.task_answer(remote_id, url=f"{vendors.url}/performer/tasks", http=bearer(vendors)))

    class Other:
        def request(self, *_, **__):
            return 200, {}, b'{"job_id": "another", "status": "done"}'

        request_to_file = request

    with pytest.raises(PlatformError, match="another job"):
        tasks.task_answer("mine", url="https://x", http=Other())


@pytest.mark.parametrize("tls", ["no", "yes"])
def test_images_go_by_c_store_and_the_answer_comes_to_the_return_ae(vendors, study, tmp_path, tls) -> None:
    """"DIMSE (C-STORE out, results C-STOREd to a return AE...)": real associations both ways, plain and with TLS."""
    came: list[bytes] = []

    def stored(event: evt.Event) -> int:
        content = BytesIO()
        ds = event.dataset
        ds.file_meta = event.file_meta
        ds.save_as(content, enforce_file_format=True)
        came.append(content.getvalue())
        return 0

    ae = AE(ae_title="RETURN")
    ae.add_supported_context(ComprehensiveSRStorage)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, stored)])
    port = vendors.addresses["dimse_tls_port" if tls == "yes" else "dimse_port"]
    settings = {"host": "127.0.0.1", "port": str(port), "called_ae": "VENDOR", "calling_ae": "HUB", "dicom_tls": tls}
    try:
        vendors.control("POST", "return", {"host": "127.0.0.1", "port": server.server_address[1], "ae_title": "RETURN"})
        ways = ways_for(tmp_path, dimse=RealDimse())
        assert dimse.node_check(settings, ways) == "VENDOR answered C-ECHO"
        handle = study if tls == "yes" else replace(study, files=study.files[:5])
        assert dimse.images_store(handle, settings, ways) == study.study_uid
        payload = until(lambda: _kept(came, tmp_path))
    finally:
        server.shutdown()
    answer = answer_read(payload, algorithm="by-contract")
    assert {m.code.code for m in answer.measurements} == (CODES if tls == "yes" else set())
    assert tls == "yes" or (answer.not_analysable is not None and answer.not_analysable.code == "too_few_slices")
    assert (answer.study_uid, answer.algorithm.manufacturer) == (study.study_uid, MAKER)


def _kept(came: list[bytes], folder: Path) -> Payload | None:
    if not came:
        return None
    (folder / "sr.dcm").write_bytes(came[0])
    return Payload(kind="dicom", files=(folder / "sr.dcm",))


def test_a_node_that_does_not_know_us_and_ports_that_are_none(vendors, study, tmp_path) -> None:
    """Errors in words."""
    settings = {"host": "127.0.0.1", "called_ae": "NOBODY", "calling_ae": "HUB", "dicom_tls": "no"}
    ways = ways_for(tmp_path, dimse=RealDimse())
    with pytest.raises(PlatformError, match="refused the association"):
        dimse.images_store(study, {**settings, "port": str(vendors.addresses["dimse_port"])}, ways)
    for port in ("0", "x", "70000", "", "\u0661"):
        with pytest.raises(PlatformError, match="port is no number"):
            dimse.peer_of({**settings, "port": port})


def monai(vendors) -> str:
    return f"{vendors.url}/monai"


def infer(vendors, handle):
    return inference.inference_ask(
        handle, base_url=monai(vendors), http=Egress(), workflow="w1", results_url=handle.pull_url, results_token=handle.pull_token
    )


def test_inference_by_pull_with_its_status_and_the_results_stored_back(vendors, study, tmp_path) -> None:
    """"async inference job (MONAI `/inference` with status)": 409 for the same transactionID is our own job, already there."""
    handle = pulled(vendors, study)
    remote_id = infer(vendors, handle)
    assert infer(vendors, handle) == remote_id
    until(lambda: Payload(kind="none") if inference.inference_ended(remote_id, base_url=monai(vendors), http=Egress()) else None)
    payload = dicomweb.results_fetch(asked(handle), base_url=handle.pull_url, http=bearer(vendors), folder=tmp_path)
    assert payload is not None
    assert {m.code.code for m in answer_read(payload, algorithm="monai-app").measurements} == CODES


def test_inference_that_fails_or_is_unknown(vendors, study) -> None:
    """A failure there is permanent; so is a job that nobody knows; a job without an address is not sent."""
    handle = replace(study, pull_url=f"{vendors.url}/performer/store", pull_token="wrong")  # noqa: S106 not one
    remote_id = infer(vendors, handle)
    with pytest.raises(PlatformError, match="the computation failed"):
        until(lambda: inference.inference_ended(remote_id, base_url=monai(vendors), http=Egress()) or None)
    with pytest.raises(PlatformError, match=r"\(404\)") as raised:
        inference.inference_ended("nobody", base_url=monai(vendors), http=Egress())
    assert raised.value.is_permanent
    with pytest.raises(PlatformError, match="no address to fetch"):
        infer(vendors, study)


def test_the_request_says_what_the_contract_wants(study) -> None:
    """"`transactionID`, `priority` 0-255 (128 normal, 255 immediate)"; the study's UIDs are the surrogates, the token is this job's."""
    handle = replace(study, pull_url="https://us/t/a/dicomweb", pull_token="once", is_stat=True)  # noqa: S106 not one
    body = inference.request_of(handle, workflow="w", results_url="https://us", results_token="once")  # noqa: S106
    assert (body["priority"], body["transactionID"]) == (255, study.idempotency_key)
    assert body["inputResources"][0]["connectionDetails"]["authID"] == "once"
    assert "PHANTOM" not in json.dumps(body)
