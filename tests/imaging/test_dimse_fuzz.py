"""A fuzz run over PDUs and command sets: whatever comes, the listener stays, answers honest peers, keeps no memory.

MEDHUB_FUZZ_SECONDS says how long (CI: 60), MEDHUB_FUZZ_SEED repeats a run; the seed is printed.
"""

import ctypes
import gc
import os
import random
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from imaging.dimse.associate import Proposal, request_bytes
from tests import house
from tests.dicom_files import ct_slice, part10
from tests.imaging.test_dimse_peers import ECHO, RELEASE, command, next_pdu, p_data, pdv, status
from tests.imaging.test_dimse_peers import associate_request as honest_request
from tests.imaging.test_query_peers import allow, serving

pytestmark = [pytest.mark.database, pytest.mark.fuzz]
SECONDS = float(os.environ.get("MEDHUB_FUZZ_SECONDS", "4"))
SEED = int(os.environ.get("MEDHUB_FUZZ_SEED", random.randrange(10**9)))
CT, FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.{rest}" for rest in ("1.2", "2.2.1", "2.2.2", "2.2.3"))
EXPLICIT = "1.2.840.10008.1.2.1"
GROWTH = 60 << 20


@pytest.fixture(scope="module")
def listener() -> Iterator[Any]:
    with serving() as found:
        yield found


def messages_of(rng: random.Random) -> list[bytes]:
    """Messages as honest peers send them: the soil that is mutated."""
    ds = ct_slice()
    stored = part10(ds)
    data = stored[stored.index(b"\x08\0\x05\0") if b"\x08\0\x05\0" in stored else 400 :][:4000]
    asked = Dataset()
    asked.QueryRetrieveLevel = rng.choice(["STUDY", "PATIENT", "SERIES", "IMAGE"])
    asked.PatientName, asked.StudyDate = rng.choice(["A*", "?*", "Müller"]), rng.choice(["20260101-", "2026", ""])
    asked.StudyInstanceUID = rng.choice(["", "1.2.3", "1.2\\1.3"])
    identifier = encode(asked, is_implicit_vr=False, is_little_endian=True)
    destination = struct.pack("<HHI", 0, 0x0600, 8) + b"NOWHERE "
    found = [
        p_data(pdv(3, command(0x0001, uid=str(ds.SOPInstanceUID)), 1)) + p_data(pdv(2, data, 1)),
        p_data(pdv(3, command(0x0020, sop_class=FIND), 3)) + p_data(pdv(2, identifier, 3)),
        p_data(pdv(3, command(0x0021, sop_class=MOVE, extra=destination), 5)) + p_data(pdv(2, identifier, 5)),
        p_data(pdv(3, command(0x0010, sop_class=GET), 7)) + p_data(pdv(2, identifier, 7)),
        p_data(pdv(3, command(0x0FFF, sop_class=FIND, has_data=False), 3)),
        p_data(pdv(3, command(0x8001, has_data=False), 1)),
        p_data(pdv(3, command(0x0130, sop_class="1.2.840.10008.1.20.1"), 9)) + p_data(pdv(2, identifier, 9)),
        ECHO, RELEASE,
    ]  # fmt: skip
    rng.shuffle(found)
    return found


def mutated(rng: random.Random, data: bytes) -> bytes:
    """A few bytes other, lengths that lie, pieces cut, doubled or swapped."""
    body = bytearray(data)
    for _ in range(rng.choice([0, 1, 1, 2, 5, 30])):
        if not body:
            break
        at = rng.randrange(len(body))
        match rng.randrange(6):
            case 0:
                body[at] = rng.randrange(256)
            case 1:
                body[at : at + 4] = struct.pack(rng.choice("<>") + "I", rng.choice([0, 1, 2, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]))
            case 2:
                del body[at : at + rng.randrange(1, 40)]
            case 3:
                body[at:at] = rng.randbytes(rng.randrange(1, 40))
            case 4:
                body[at:at] = body[max(0, at - 30) : at]
            case _:
                body[at] ^= 1 << rng.randrange(8)
    return bytes(body)


def attack(rng: random.Random, port: int, hospital: Any) -> None:
    proposals = [Proposal(uid, [EXPLICIT]) for uid in (CT, FIND, MOVE, GET, "1.2.840.10008.1.20.1", "1.2.840.10008.1.1")]
    request = request_bytes(hospital.called_ae, hospital.calling_ae, proposals, rng.choice([0, 16384, 1, 131072]))
    is_honest_so_far = rng.random() < 0.7
    with suppress(OSError, EOFError), socket.create_connection(("127.0.0.1", port), timeout=2) as sock:
        sock.sendall(request if is_honest_so_far else mutated(rng, request))
        if is_honest_so_far:
            next_pdu(sock)
        for message in messages_of(rng)[: rng.randrange(1, 6)]:
            sock.sendall(mutated(rng, message))
        sock.settimeout(0.05)
        while sock.recv(65536):
            pass


def resident() -> int:
    """Bytes that are in use: what the allocator holds for later is given back first, this process has run other tests before."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_nothing_that_comes_stops_the_listener(listener: Any, mercy: Any, caplog: pytest.LogCaptureFixture) -> None:
    """"a fuzz run over PDUs and command sets, 60 s, seed printed": no exception of ours, an honest echo at any time, flat memory."""
    print(f"fuzz seed {SEED}, {SECONDS:.0f} s")  # noqa: T201 - "seed printed"
    rng = random.Random(SEED)  # noqa: S311
    allow(mercy, "store", "find", "move", "get")
    house.store(mercy, [ct_slice()])
    house.index(mercy)
    for _ in range(40):
        attack(rng, listener.port, mercy)
    before, end, rounds, slowest = resident(), time.monotonic() + SECONDS, 0, 0.0
    while time.monotonic() < end:
        for _ in range(20):
            attack(rng, listener.port, mercy)
            rounds += 1
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", listener.port), timeout=5) as sock:
            sock.sendall(honest_request(called=mercy.called_ae, calling=mercy.calling_ae))
            assert next_pdu(sock)[0] == 2
            sock.sendall(ECHO + RELEASE)
            assert status(sock) == 0
        slowest = max(slowest, time.monotonic() - began)
    # pynetdicom tells what it cannot decode as an error of its own, and ends that association; ours have no such excuse
    ours = [record for record in caplog.records if not record.name.startswith("pynetdicom")]
    faults = [record.getMessage() for record in ours if record.levelname in {"ERROR", "CRITICAL"}]
    assert not faults, f"seed {SEED}: {faults[0]}"
    assert slowest < 1.0, f"seed {SEED}: an honest echo took {slowest:.2f} s"
    assert resident() - before < GROWTH, f"seed {SEED}"
    house.index(mercy)  # whatever was taken can be indexed, or is put aside
    print(f"{rounds} associations, slowest honest echo {slowest * 1000:.0f} ms")  # noqa: T201
