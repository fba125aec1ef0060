"""Objects of any size in flat memory, through a receiver process as the worker runs it.

MEDHUB_LARGE_BYTES says how large (CI: more than 2 GiB).
"""

import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from imaging.dimse import messages
from imaging.dimse.listener import Listener
from imaging.dimse.process import services_load
from imaging.inbox import inbox_objects
from imaging.ingest import quota_forget
from imaging.models import Instance
from imaging.part10 import part10_split
from imaging.storage import object_path
from medhub.celery import app
from tests import house
from tests.dicom_files import ct_slice, part10
from tests.imaging.test_dimse_peers import associate_request, next_pdu, status

pytestmark = [pytest.mark.database, pytest.mark.large]
SIZE = int(os.environ.get("MEDHUB_LARGE_BYTES", 192 << 20)) & ~1
CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
LISTENER_BYTES = 300 << 20


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """One receiver process, on this test's database."""
    monkeypatch.setenv("MEDHUB_DB_NAME", connections["default"].settings_dict["NAME"])
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "medhub.settings")
    paths = {name: path for name, path in app.conf.medhub_dimse.items() if isinstance(path, str)}
    found = Listener("127.0.0.1", 0, services=services_load(paths), paths=paths, receivers=1)
    found.start()
    yield found
    found.stop(2)


def memory(pid: int) -> int:
    """Anonymous memory: what the process itself holds, without files of the page cache that it looks at."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) << 10


def test_an_object_of_any_size_streams_to_disk_in_flat_memory(listener: Any, mercy: Any) -> None:
    """"Objects of 2 GiB and more stream to disk with flat memory"; "memory of a listener process: 300 MB or less, flat"."""
    quota_forget()
    ds = ct_slice()
    whole = part10(ds)
    body = whole[part10_split(whole)[1] :]
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, SIZE)
    head = body[: body.index(pixels[:6])] + pixels
    block = os.urandom(1 << 20)
    (pid,) = listener.receivers.pids
    with socket.create_connection(("127.0.0.1", listener.port), timeout=120) as sock:
        sock.sendall(associate_request(called=mercy.called_ae, calling=mercy.calling_ae, sop_class=CT, syntax=EXPLICIT))
        assert next_pdu(sock)[0] == 2
        command = messages.store_request_bytes(message_id=1, sop_class_uid=CT, sop_instance_uid=str(ds.SOPInstanceUID))
        sock.sendall(b"".join(messages.command_pdus(1, command, 131072)) + messages.pdv_wrapped(1, 0, head))
        before, most, sent = memory(pid), 0, 0
        while sent < SIZE:
            piece = block[: min(len(block), SIZE - sent)]
            sent += len(piece)
            for at in range(0, len(piece), 1 << 16):
                part = piece[at : at + (1 << 16)]
                is_last = sent == SIZE and at + len(part) == len(piece)
                sock.sendall(messages.pdv_wrapped(1, 2 if is_last else 0, part))
            most = max(most, memory(pid))
        assert status(sock) == 0
    assert most - before < 16 << 20, "memory grew with the object"
    assert most < LISTENER_BYTES
    waiting = [item for items in inbox_objects(limit=10) for item in items if item.tenant_id == mercy.tenant.id]
    assert [item.path.stat().st_size > SIZE for item in waiting] == [True]
    began = time.monotonic()
    house.index(mercy)
    with mercy.scope():
        row = Instance.objects.get()
    assert row.size > SIZE
    path = object_path(row.key)
    with path.open("rb") as file:
        file.seek(-len(part), os.SEEK_END)
        assert file.read() == part, "its last bytes are the last that were sent"
    path.unlink()
    assert time.monotonic() - began < 60
