"""Ten thousand objects in one STOW-RS request, through the web server as the house runs it; fewer where MEDHUB_LARGE_BYTES is not set."""

import json
import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from imaging.inbox import inbox_objects
from imaging.ingest import quota_forget
from imaging.models import Study
from tests import house
from tests.dicom_files import ct_slice, part10
from tests.imaging.test_stow import BOUNDARY, body
from tests.imaging.test_stow_fuzz import spoken
from tests.web import Web, web_run

pytestmark = [pytest.mark.large]
COUNT = 10_000 if "MEDHUB_LARGE_BYTES" in os.environ else 2_000
GROWTH = 32 << 20
UID = "1.2.826.0.1.3680043.8.498.{:032d}"


@pytest.fixture
def web(tmp_path: Any) -> Iterator[Web]:
    with web_run(tmp_path) as found:
        yield found


def parts() -> Iterator[bytes]:
    """Objects that differ in their UID, made by hand: pydicom would take longer than the house."""
    raw = part10(ct_slice(SOPInstanceUID=UID.format(0), InstanceNumber=1))
    head = b"--=_b 1\r\nContent-Type: application/dicom\r\n\r\n"
    for number in range(COUNT):
        yield head + raw.replace(UID.format(0).encode(), UID.format(number).encode()) + b"\r\n"
    yield b"--=_b 1--\r\n"


def test_ten_thousand_parts(web: Web, mercy: Any) -> None:
    """"10,000 parts": one request in chunks, every object answered for and there, flat memory of the web process."""
    quota_forget()
    whole = body(part10(ct_slice()))
    assert spoken(web, mercy, BOUNDARY, [b"Content-Length: %d" % len(whole)], whole)[0] == 200  # and the application is loaded
    before, most, began = web.memory(), 0, time.monotonic()
    with socket.create_connection(("127.0.0.1", web.port), timeout=300) as sock:
        head = (
            f"POST /t/{mercy.slug}/dicomweb/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: {BOUNDARY}\r\n"
            f"Authorization: Bearer {mercy.token}\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        sock.sendall(head.encode())
        for number, part in enumerate(parts()):
            sock.sendall(b"%x\r\n" % len(part) + part + b"\r\n")
            if number % 250 == 249:
                most = max(most, web.memory())
        sock.sendall(b"0\r\n\r\n")
        said = b""
        while piece := sock.recv(1 << 20):
            said += piece
    seconds = time.monotonic() - began
    assert said.split(b" ", 2)[1] == b"200", said[:500]
    answer = json.loads(said.split(b"\r\n\r\n", 1)[1])
    assert "00081198" not in answer
    assert [one["00081155"]["Value"][0] for one in answer["00081199"]["Value"]] == [UID.format(number) for number in range(COUNT)]
    most = max(most, web.memory())
    print(f"{COUNT} objects in {seconds:.0f} s, {(most - before) >> 20} MiB more")  # noqa: T201
    assert most - before < GROWTH, "memory grew with the parts"
    assert web.faults() == []
    waiting = sum(1 for items in inbox_objects(limit=2 * COUNT) for item in items if item.tenant_id == mercy.tenant.id)
    assert waiting == COUNT + 1
    house.index(mercy)
    with mercy.scope():
        assert sorted(Study.objects.values_list("number_of_instances", flat=True)) == [1, COUNT]
