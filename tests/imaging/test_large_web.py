"""Objects of any size over DICOMweb, through the web server as the house runs it, in flat memory.

MEDHUB_LARGE_BYTES says how large (CI: more than 2 GiB).
"""

import hashlib
import io
import os
import socket
import struct
import zipfile
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest

from imaging.ingest import quota_forget
from imaging.models import Instance
from imaging.part10 import part10_split
from imaging.storage import object_path
from tests import house
from tests.dicom_files import ct_slice, part10
from tests.imaging.test_wado import place
from tests.web import Web, web_run

pytestmark = [pytest.mark.database, pytest.mark.large]
SIZE = int(os.environ.get("MEDHUB_LARGE_BYTES", 192 << 20))
ROWS = 32768
BLOCK = 1 << 20
GROWTH = 48 << 20


@pytest.fixture
def web(tmp_path: Any) -> Iterator[Web]:
    with web_run(tmp_path) as found:
        yield found


class Taken:
    """What was read of an answer: bytes, digest, and the most memory that the web processes had meanwhile."""

    def __init__(self, web: Web, path: str, **headers: str) -> None:
        connection = HTTPConnection("127.0.0.1", web.port, timeout=120)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        self.status, self.size, self.most, self.head, self.tail = answer.status, 0, 0, b"", b""
        self.digest = hashlib.sha256()
        while piece := answer.read(BLOCK):
            self.head = self.head or piece
            self.tail = (self.tail + piece)[-65536:]
            self.size += len(piece)
            self.digest.update(piece)
            if self.size % (64 * BLOCK) < BLOCK:
                self.most = max(self.most, web.memory())
        connection.close()


def test_gigabytes_go_in_and_out_in_flat_memory(web: Web, mercy: Any) -> None:
    """"Web process memory flat under multi-GB transfers": STOW in chunks, retrieval, a range, a frame, a study as zip."""
    quota_forget()
    columns = SIZE // (2 * ROWS)
    length = 2 * ROWS * columns
    ds = ct_slice(Rows=ROWS, Columns=columns, BitsAllocated=16)
    whole = part10(ds)
    offset = part10_split(whole)[1]
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, length)
    head = whole[: offset + whole[offset:].index(pixels[:6])] + pixels
    block = os.urandom(BLOCK)
    sent, before, most = hashlib.sha256(head), web.memory(), 0
    with socket.create_connection(("127.0.0.1", web.port), timeout=300) as sock:
        sock.sendall(
            f"POST /t/{mercy.slug}/dicomweb/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/dicom\r\n"
            f"Authorization: Bearer {mercy.token}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        sock.sendall(b"%x\r\n" % len(head) + head + b"\r\n")
        for at in range(0, length, BLOCK):
            piece = block[: min(BLOCK, length - at)]
            sent.update(piece)
            sock.sendall(b"%x\r\n" % len(piece) + piece + b"\r\n")
            if at % (64 * BLOCK) == 0:
                most = max(most, web.memory())
        sock.sendall(b"0\r\n\r\n")
        said = b""
        while answer := sock.recv(1 << 16):
            said += answer
    assert said.split(b" ", 2)[1] == b"200", said[:300]
    assert most - before < GROWTH, "memory grew with the object that came in"
    house.index(mercy)
    with mercy.scope():
        row = Instance.objects.get()
    assert row.size == len(head) + length

    root, auth = f"/t/{mercy.slug}/dicomweb", {"Authorization": f"Bearer {mercy.token}"}
    plain = Taken(web, f"{root}/{place(ds)}", Accept="application/dicom;transfer-syntax=*", **auth)
    assert (plain.status, plain.size, plain.digest.digest()) == (200, row.size, sent.digest())
    last = Taken(web, f"{root}/{place(ds)}", Accept="application/dicom;transfer-syntax=*", Range="bytes=-1000", **auth)
    assert (last.status, last.tail) == (206, block[: length % BLOCK or BLOCK][-1000:])
    frame = Taken(web, f"{root}/{place(ds)}/frames/1", Accept="application/octet-stream", **auth)
    assert (frame.status, frame.size) == (200, length)
    packed = Taken(web, f"{root}/studies/{ds.StudyInstanceUID}", Accept="application/zip", **auth)
    assert packed.status == 200
    assert packed.size > row.size
    assert packed.head.startswith(b"PK")
    assert zipfile.is_zipfile(io.BytesIO(packed.tail))
    for taken in (plain, frame, packed):
        assert taken.most - before < GROWTH, "memory grew with what went out"
    assert web.faults() == []
    object_path(row.key).unlink()
