"""The walk of a study through the running house: real C-STORE in, DiagnosticReport out over REST."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from imaging.models import Association
from journal.audit import audit_verify
from journal.models import AuditEvent, AuditSeal, Delivery
from tenants.services import token_create
from tests.dicom_files import shared_file

pytestmark = [pytest.mark.stack, pytest.mark.database, pytest.mark.broker, pytest.mark.xdist_group("stack")]


def fhir(house, hospital, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{house.stack.ports.http}/t/{hospital.slug}/fhir/r4/{path}", headers=hospital.auth)


def test_a_study_becomes_a_report(house, joined, olaf) -> None:
    """"C-STORE in, DiagnosticReport out": values within 1 % of the truth, one trace, nothing of it at the other hospital."""
    assert house.send(joined) == 0
    report = house.wait_report(joined)
    found = house.wait(lambda: fhir(house, joined, f"DiagnosticReport/{report.uuid}").json().get("result"), "the resource")
    bundle = fhir(house, joined, f"DiagnosticReport?_id={report.uuid}&_include=DiagnosticReport:result").json()
    kinds = [entry["resource"]["resourceType"] for entry in bundle["entry"]]
    assert kinds.count("Observation") == len(found) == 3
    assert bundle["entry"][0]["resource"]["status"] == "preliminary"
    assert "not a medical device" in bundle["entry"][0]["resource"]["conclusion"]
    study = fhir(house, joined, f"ImagingStudy?identifier=urn:dicom:uid|urn:oid:{report.study.study_uid}").json()
    (images,) = [one for one in study["entry"][0]["resource"]["series"] if one["modality"]["code"] == "CT"]
    assert images["numberOfInstances"] == 48  # beside them the report's own objects
    (task,) = fhir(house, joined, f"Task?focus=ImagingStudy/{report.study.uuid}").json()["entry"]
    assert task["resource"]["status"] == "completed"
    assert task["resource"]["output"][0]["valueReference"]["reference"] == f"DiagnosticReport/{report.uuid}"
    assert report.trace_id == report.study.trace_id != ""
    with joined.scope():
        row = Association.objects.get()
        assert (row.outcome, row.stored) == ("released", 48)
    assert fhir(house, olaf, "DiagnosticReport").json().get("entry", []) == []
    assert fhir(house, olaf, f"DiagnosticReport/{report.uuid}").status_code == 404


def test_stow_ends_in_the_same_rows(house, joined) -> None:
    """"STOW-RS accepts the same studies through the web door and ends in the same rows"."""
    parts = b"".join(
        b"--B\r\nContent-Type: application/dicom\r\n\r\n" + file.read_bytes() + b"\r\n"
        for file in sorted(house.phantom.glob("*.dcm"))
    )
    answer = httpx.post(
        f"http://127.0.0.1:{house.stack.ports.http}/t/{joined.slug}/dicomweb/studies",
        headers={**joined.auth, "content-type": 'multipart/related; type="application/dicom"; boundary=B'},
        content=iter([parts, b"--B--\r\n"]),  # chunked, as many DICOM senders do it
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["00081199"]["Value"]) == 48
    report = house.wait_report(joined)
    assert len(report.content["sop_uids"]) == 48


def test_a_broker_that_is_down_stops_no_image(house, joined) -> None:
    """"a broker that is down while images arrive": acknowledged, indexed, and reported once it is back."""
    broker = f"base:{house.stack.broker.name if house.stack.broker else 'redis'}"
    house.stack.rpc().stopProcess(broker)
    try:
        assert house.send(joined) == 0
        house.wait(lambda: [s for s in house.studies(joined) if s.number_of_instances == 48], "the rows")
        assert house.reports(joined) == []
    finally:
        house.stack.rpc().startProcess(broker)
    house.wait_report(joined)


def test_unknown_titles_are_refused_with_their_reason(house, joined) -> None:
    """"Unknown called AE, unknown calling AE": refused; ours to see in the hospital's list."""
    assert house.send(joined, calling="STRANGER") != 0
    with joined.scope():
        row = Association.objects.get()
    assert (row.outcome, row.calling_ae, row.reason) == ("refused", "STRANGER", "calling AE title not recognized")
    joined.called_ae = "NOBODY"
    assert house.send(joined) != 0


def test_the_real_ct_at_6_mm_is_not_analysable_and_says_so(house, joined) -> None:
    """"`chest-ct-lidc-0314.zip` must yield *not analysable: slices 6.0 mm apart, at most 2.5* (... with a report of its own)"."""
    assert house.send(joined, shared_file("series/chest-ct-lidc-0314.zip"), is_renewed=True) == 0
    report = house.wait_report(joined)
    assert report.content["not_analysable"]["text"] == "slices 6.0 mm apart, at most 2.5"
    answer = house.wait(
        lambda: r if (r := fhir(house, joined, f"DiagnosticReport/{report.uuid}")).status_code == 200 else None, "the resource"
    )
    assert "ot analysable: slices 6.0 mm apart, at most 2.5" in answer.json()["conclusion"]


def test_the_order_of_system_calls_before_the_acknowledgement(house, joined, tmp_path) -> None:
    """"`strace` of the listener showing fsync(file), rename, fsync(folder), then the C-STORE response"."""
    if shutil.which("strace") is None:
        if os.environ.get("REQUIRE_PEERS") == "1":
            pytest.fail("strace is missing and REQUIRE_PEERS=1")
        pytest.skip("strace is not installed")
    log = tmp_path / "strace"
    pid = house.stack.pids()["dimse"]
    children = [child for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]
    names = "trace=fsync,rename,renameat,renameat2,openat,sendto,sendmsg,write,writev"
    tracer = subprocess.Popen(["strace", "-f", "-y", "-e", names, "-o", str(log), "-p", ",".join(children)], stderr=subprocess.PIPE)
    try:
        time.sleep(1.0)
        if tracer.poll() is not None:
            pytest.skip("strace may not attach here: " + tracer.stderr.read().decode()[:100])
        assert house.send(joined) == 0
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
    lines = log.read_text(errors="replace").splitlines()
    first = next(n for n, line in enumerate(lines) if "fsync(" in line and ".part>" in line)
    thread = lines[first].split()[0]
    steps = [line for line in lines[first:] if line.startswith(thread)]
    kinds = []
    for line in steps:
        if "fsync(" in line and ".part>" in line:
            kinds.append("fsync file")
        elif "rename" in line and ".dcm" in line:
            kinds.append("rename")
        elif "fsync(" in line and "inbox" in line:
            kinds.append("fsync folder")
        elif "socket:" in line or "TCP" in line or "sendto(" in line:
            kinds.append("response")
        if kinds and kinds[-1] == "response":
            break
    assert kinds == ["fsync file", "rename", "fsync folder", "response"], steps[:8]


def test_a_child_that_dies_is_restarted(house, joined) -> None:
    """"A child that dies is restarted": the listener is killed and takes images again."""
    before = house.stack.pids()["dimse"]
    os.kill(before, signal.SIGKILL)
    house.wait(lambda: house.stack.pids()["dimse"] not in {0, before}, "a new listener")
    house.wait(lambda: house.send(joined) == 0, "a store")
    house.wait_report(joined)


def test_everything_was_delivered_and_the_audit_is_sealed(house, joined) -> None:
    """After a walk no delivery is pending and none is dead; "one task per tenant seals the hash chain within 10 s"."""
    assert house.send(joined) == 0
    house.wait_report(joined)

    def is_done() -> bool:
        with joined.scope():
            return set(Delivery.objects.values_list("state", flat=True)) == {"done"}

    house.wait(is_done, "the last delivery")

    def is_sealed() -> bool:
        with joined.scope():
            is_whole = AuditSeal.objects.count() == AuditEvent.objects.count() > 1
            return is_whole and audit_verify() is None

    house.wait(is_sealed, "the seal", seconds=15)
    owner = {"authorization": f"Bearer {token_create(tenant=joined.tenant, name='owner', role='owner')}"}
    address = f"http://127.0.0.1:{house.stack.ports.http}/t/{joined.slug}/fhir/r4/AuditEvent?_total=accurate&_count=1"

    def is_told() -> bool:
        with joined.scope():
            count = AuditSeal.objects.count()
        return httpx.get(address, headers=owner).json().get("total", 0) >= count - 2  # asking is in the trail as well

    house.wait(is_told, "the sealed trail as AuditEvents", seconds=15)
