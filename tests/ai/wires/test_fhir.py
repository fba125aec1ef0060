"""FHIR REST out and back: one transaction that may be sent twice, reports by search and subscription, and what may go wrong."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
import pytest
from fhir.resources.R4B.bundle import Bundle

from ai.auth.basic import BasicHttp
from ai.auth.bearer import BearerHttp
from ai.contract import PlatformError
from ai.wires import dicomweb, fhir
from ai.wires.answers import answer_read
from tenants.egress import Egress
from tests.ai.auth.test_schemes import google
from tests.ai.handles import asked, until

pytestmark = pytest.mark.xdist_group("doubles-wires")

GOOGLE = "/google/v1/projects/p1/locations/l1/datasets/d1/fhirStores/f1/fhir"


def basic(vendors) -> BasicHttp:
    return BasicHttp(Egress(), vendors.credentials["fhir_user"], vendors.credentials["fhir_password"])


@pytest.mark.parametrize("can_make_ids", [True, False])
def test_what_goes_out_is_valid_and_holds_no_identity(study, can_make_ids) -> None:
    """"bundle out", "de-identified by construction": valid R4, surrogates and technical facts only."""
    bundle = fhir.bundle_of(study, can_make_ids=can_make_ids)
    Bundle.model_validate_json(orjson.dumps(bundle))
    text = json.dumps(bundle)
    assert "PHANTOM" not in text
    assert not {"name", "birthDate", "gender", "started", "description"} & set(_keys(bundle))
    patient, imaging = (entry["resource"] for entry in bundle["entry"])
    assert patient["identifier"] == [{"system": fhir.SURROGATE, "value": study.patient_id}]
    assert [one["uid"] for one in imaging["series"][0]["instance"]] == list(study.sop_uids)


def _keys(value):
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item)


def test_a_transaction_sent_twice_makes_one_record(vendors, study) -> None:
    """By PUT at a server that creates on update, by conditional create at one that does not; the same place both times."""
    for url, http, can in ((f"{vendors.url}/fhir-basic", basic(vendors), True), (vendors.url + GOOGLE, google(vendors), False)):
        places = {fhir.bundle_send(study, base_url=url, http=http, can_make_ids=can) for _ in range(2)}
        assert len(places) == 1
        assert fhir.record_is_there(places.pop(), base_url=url, http=http)
        assert not fhir.record_is_there("a/b", base_url=url, http=http)
    with pytest.raises(PlatformError, match=r"refused the study's record \(422, processing\)") as raised:
        fhir.bundle_send(study, base_url=vendors.url + GOOGLE, http=google(vendors), can_make_ids=True)
    assert raised.value.is_permanent
    assert "nobody should repeat" not in str(raised.value)  # "OperationOutcome read only by code"


class Listener(BaseHTTPRequestHandler):
    calls: list[bytes] = []

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_POST(self) -> None:  # noqa: N802 the library's name
        self.calls.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


def test_a_report_is_found_and_a_subscription_says_when(vendors, study, tmp_path) -> None:
    """"DiagnosticReport by search or subscription": numbers computed from these pixels; the call says nothing but "look"."""
    http = BearerHttp(Egress(), vendors.credentials["performer_key"])
    base, images = f"{vendors.url}/performer/fhir", f"{vendors.url}/performer/dicomweb"
    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    Listener.calls = []
    try:
        place = fhir.bundle_send(study, base_url=base, http=http, can_make_ids=True)
        fhir.subscription_ask(place, base_url=base, http=http, endpoint=f"http://127.0.0.1:{server.server_port}/hook")
        assert fhir.reports_fetch(place, asked(study), base_url=base, http=http) is None
        dicomweb.instances_store(study, base_url=images, http=http, max_request_bytes=2**30)
        payload = until(lambda: fhir.reports_fetch(place, asked(study), base_url=base, http=http))
    finally:
        server.shutdown()
        server.server_close()
    answer = answer_read(payload, algorithm="lung-density-mask")
    assert {m.code.code for m in answer.measurements} == {"118565006", "laa-950", "perc15"}
    assert answer.algorithm.manufacturer == "MedHub Quantify (test double)"
    assert b"".join(Listener.calls) == b""


@pytest.mark.parametrize(
    ("fault", "is_permanent"),
    [({"kind": "status", "status": 500}, False), ({"kind": "status", "status": 429}, False), ({"kind": "html"}, False),
     ({"kind": "malformed"}, False), ({"kind": "status", "status": 422}, True), ({"kind": "status", "status": 409}, False)],
)  # fmt: skip
def test_what_a_fhir_server_can_answer_wrongly(vendors, study, fault, is_permanent) -> None:
    """"4xx -> permanent"; a conflict, a busy server and a proxy's page are worth another try."""
    vendors.fault(path="/fhir-basic/?", method="POST", **fault)
    with pytest.raises(PlatformError) as raised:
        fhir.bundle_send(study, base_url=f"{vendors.url}/fhir-basic", http=basic(vendors), can_make_ids=True)
    assert raised.value.is_permanent is is_permanent


class Pages:
    """An Http of a server whose search never ends, or leads elsewhere."""

    def __init__(self, following: str) -> None:
        self.following, self.count = following, 0

    def request(self, method, url, **_):
        self.count += 1
        return 200, {}, orjson.dumps({"resourceType": "Bundle", "link": [{"relation": "next", "url": self.following}]})

    request_to_file = request


def test_pages_end_and_stay_on_the_server(study) -> None:
    """A next page on another server would be given our key: it is not followed; and there are only so many."""
    with pytest.raises(PlatformError, match="another server"):
        fhir.reports_fetch("a/b", study, base_url="https://one", http=Pages("https://two/x"))
    endless = Pages("?page=2")
    assert fhir.reports_fetch("a/b", study, base_url="https://one", http=endless) is None
    assert endless.count == fhir.MAX_PAGES


def test_only_reports_about_our_study_are_taken(study) -> None:
    """A report about another study of the same patient is somebody else's answer."""

    class Others:
        def request(self, *_, **__):
            link = {"reference": "ImagingStudy/other"}
            report = {"resourceType": "DiagnosticReport", "id": "r", "imagingStudy": [link], "result": ["x", {"reference": 5}]}
            return 200, {}, orjson.dumps({"resourceType": "Bundle", "entry": [{"resource": report}, 7, {"resource": "x"}]})

        request_to_file = request

    assert fhir.reports_fetch("p/ours", study, base_url="https://one", http=Others()) is None


def test_the_check_asks_for_capabilities_and_a_search(vendors) -> None:
    """A server that shows its capabilities to anybody still refuses a wrong key."""
    assert fhir.server_check(base_url=f"{vendors.url}/fhir-basic", http=basic(vendors)) == "the FHIR R4 server answered"
    with pytest.raises(PlatformError, match="refused our key"):
        fhir.server_check(base_url=f"{vendors.url}/fhir-basic", http=BasicHttp(Egress(), "fhiruser", "wrong"))
