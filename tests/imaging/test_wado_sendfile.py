"""Large answers go from the file to the socket: the same bytes, on connections that live on. And a multi-frame row that is remembered."""

import os
from http.client import HTTPConnection
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from imaging.deletion import instances_delete
from imaging.dicomweb import rows
from imaging.models import Instance
from journal.audit import Actor
from tests import house
from tests.dicom_files import ct_slice
from tests.imaging.test_wado import get, place
from tests.web import web_run

pytestmark = pytest.mark.database
SIDE, FRAMES = 256, 12
FRAME = 2 * SIDE * SIDE
OCTETS = "application/octet-stream"


@pytest.fixture
def cine(mercy) -> Any:
    """Twelve frames of 128 KiB, each another content, and their bytes."""
    pixels = os.urandom(FRAMES * FRAME)
    ds = ct_slice(Rows=SIDE, Columns=SIDE, NumberOfFrames=FRAMES, PixelData=pixels)
    house.store(mercy, [ds])
    house.index(mercy)
    return ds, pixels


def test_bytes_by_sendfile_are_the_same(mercy, cine, tmp_path) -> None:
    """"frames by offset with pread or sendfile", "as-stored bytes identical": one connection, many answers, HEAD and ranges between."""
    ds, pixels = cine
    with mercy.scope():
        stored = Instance.objects.get()
    root, auth = f"/t/{mercy.slug}/dicomweb/{place(ds)}", {"Authorization": f"Bearer {mercy.token}"}
    with web_run(tmp_path) as web:
        line = HTTPConnection("127.0.0.1", web.port, timeout=30)

        def ask(path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, Any]:
            line.request(method, root + path, headers={**auth, **headers})
            answer = line.getresponse()
            return answer.status, answer.read(), answer

        for number in (1, 7, 12):
            status, body, _ = ask(f"/frames/{number}", Accept=OCTETS)
            assert (status, body) == (200, pixels[(number - 1) * FRAME : number * FRAME])
        status, body, answer = ask("/frames/2", "HEAD", Accept=OCTETS)
        assert (status, body, answer.headers["Content-Length"]) == (200, b"", str(FRAME))
        status, body, answer = ask("/frames/2,3", Accept=f'multipart/related; type="{OCTETS}"')
        assert status == 200
        assert len(body) == int(answer.headers["Content-Length"])
        assert body.count(pixels[FRAME : 2 * FRAME]) == body.count(pixels[2 * FRAME : 3 * FRAME]) == 1
        status, whole, _ = ask("", Accept="application/dicom;transfer-syntax=*")
        assert (status, len(whole)) == (200, stored.size)
        assert pixels in whole
        status, body, _ = ask("", Accept="application/dicom;transfer-syntax=*", Range="bytes=1000-200000")
        assert (status, body) == (206, whole[1000:200001])
        status, body, _ = ask("/frames/13", Accept=OCTETS)
        assert status == 404
        assert web.faults() == []


def test_a_client_that_leaves_takes_nothing_with_it(mercy, cine, tmp_path) -> None:
    """A peer that closes in the middle of a large answer costs no worker and leaves no open file behind."""
    ds, pixels = cine
    root, auth = f"/t/{mercy.slug}/dicomweb/{place(ds)}", {"Authorization": f"Bearer {mercy.token}"}
    with web_run(tmp_path) as web:
        for _ in range(12):
            line = HTTPConnection("127.0.0.1", web.port, timeout=30)
            line.request("GET", root, headers={**auth, "Accept": "application/dicom;transfer-syntax=*"})
            line.getresponse().read(1000)
            line.close()
        line = HTTPConnection("127.0.0.1", web.port, timeout=30)
        line.request("GET", f"{root}/frames/3", headers={**auth, "Accept": OCTETS})
        assert line.getresponse().read() == pixels[2 * FRAME : 3 * FRAME]
        names = [os.readlink(f"/proc/{pid}/fd/{fd}") for pid in web.workers() for fd in os.listdir(f"/proc/{pid}/fd")]
        assert not [name for name in names if "/objects/" in name]


def test_a_remembered_row_is_one_hospitals_own(client, mercy, olaf, cine) -> None:
    """"frame of a multi-frame object": the second frame reads no row, another hospital's asks and gets 404."""
    ds, _ = cine
    rows._recent.clear()
    assert get(client, mercy, f"{place(ds)}/frames/1", OCTETS).status_code == 200
    assert get(client, olaf, f"{place(ds)}/frames/2", OCTETS).status_code == 404
    with CaptureQueriesContext(connection) as asked:
        assert get(client, mercy, f"{place(ds)}/frames/2", OCTETS).status_code == 200
    assert not [query for query in asked.captured_queries if "imaging_instance" in query["sql"]]


def test_what_was_deleted_is_not_remembered(client, mercy, cine) -> None:
    """Its bytes are gone, so its row is asked for again: 404 within the second, not a broken answer."""
    ds, _ = cine
    rows._recent.clear()
    assert get(client, mercy, f"{place(ds)}/frames/1", OCTETS).status_code == 200
    with mercy.scope():
        assert instances_delete(actor=Actor(name="user:test"), study_uid=ds.StudyInstanceUID) == 1
    assert rows._recent
    assert get(client, mercy, f"{place(ds)}/frames/1", OCTETS).status_code == 404
