"""A fuzz run over STOW-RS bodies, through the web server as the house runs it: whatever comes is answered, and nothing is half kept.

MEDHUB_FUZZ_SECONDS says how long (CI: 60), MEDHUB_FUZZ_SEED repeats a run; the seed is printed.
"""

import json
import random
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from imaging.header import part10_read
from imaging.inbox import inbox_objects, inbox_root
from imaging.ingest import CHECKED, header_check
from imaging.models import Instance
from tests import house
from tests.dicom_files import ct_slice, part10
from tests.imaging import test_stow_metadata
from tests.imaging.test_dimse_fuzz import SECONDS, SEED, mutated
from tests.imaging.test_stow import BOUNDARY, body
from tests.web import Web, web_run

pytestmark = [pytest.mark.database, pytest.mark.fuzz]
GROWTH = 60 << 20
KINDS = [
    BOUNDARY, "application/dicom", test_stow_metadata.KIND, "multipart/related", 'multipart/related; type="application/dicom"; boundary=',
    'multipart/related; type="application/dicom"; boundary="' + "b" * 300 + '"', "multipart/related; boundary*=utf-8''%00; type=x",
    "multipart/related; type=application/dicom; boundary=\xe9", 'multipart/mixed; boundary="=_b 1"', "application/dicom+json", "", ";;;=",
    'MULTIPART/Related; boundary="=_b 1"; type=APPLICATION/DICOM', "text/plain; boundary=b1", "multipart/related; boundary=b1; boundary=b2",
]  # fmt: skip
LENGTHS = ["-1", "0", "1", "99999999999999999999", "x", "+5", "0x10", "", "1, 2"]
SIZES = [b"0", b"1", b"ffffffff", b"ffffffffffffffffffff", b"-1", b"x", b"", b"5;a=b", b" 5", b"0005", b"5 "]
VALUES: list[Any] = [
    None, [], {}, "x", -1, 1e308, [None], [{}], [[[]]], {"vr": "SQ", "Value": [{"vr": 1}]}, {"vr": "XX", "Value": [1]},
    {"vr": "OB", "InlineBinary": "%%%"}, {"vr": "OW", "BulkDataURI": 7}, {"vr": "PN", "Value": [{"Alphabetic": {}}]}, {"Value": 5},
    {"vr": "UI", "Value": ["1." * 60]}, {"vr": "IS", "Value": ["9" * 400]}, {"vr": "OB", "BulkDataURI": "bulk/1"}, {"vr": "\0\0"},
]  # fmt: skip


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with web_run(tmp_path_factory.mktemp("web")) as found:
        yield found


def truncated(rng: random.Random, raw: bytes) -> bytes:
    """A Part 10 file cut, its preamble gone, or followed by something."""
    return rng.choice([raw[: rng.randrange(len(raw))], raw[128:], raw[132:], raw + rng.randbytes(50), raw[:140] + raw[400:], b""])


def described(rng: random.Random) -> bytes:
    """Metadata and bulk apart, in which values, nesting, tags and places are not what they should be."""
    metadata, pixels = test_stow_metadata.described()
    metadata["7FE00010"] = {"vr": "OW", "BulkDataURI": "bulk/1"}
    for _ in range(rng.choice([0, 1, 1, 3])):
        tag = rng.choice([*metadata, "00080018", "FFFFFFFF", "7fe00010", "0020000d", "xyz", "", "00020010", "00083002", "00400275"])
        metadata[tag] = rng.choice(VALUES)
    whole: Any = [metadata] * rng.choice([1, 1, 2])
    if rng.random() < 0.1:
        depth = rng.choice([50, 2000, 200_000])
        whole = b'[{"00400275":{"vr":"SQ","Value":[' * depth + b"]" + b"}]" * rng.randrange(depth)
    kind = rng.choice(["application/octet-stream", "image/jpeg", "image/jls", "video/mp4", "x", 'a/b; transfer-syntax="1.2"'])
    return test_stow_metadata.body(whole, *[(kind, rng.choice(["bulk/1", "bulk/2", ""]), pixels)] * rng.randrange(4))


def request_of(rng: random.Random) -> tuple[str, bytes]:
    """Content-Type and body, as senders send them or nearly so."""
    raw = part10(ct_slice())
    kind = rng.choice(KINDS) if rng.random() < 0.15 else ""
    match rng.randrange(5):
        case 0:
            return kind or BOUNDARY, mutated(rng, body(*[raw] * rng.randrange(1, 4)))
        case 1:
            return kind or BOUNDARY, body(raw, truncated(rng, raw), part10(ct_slice()))
        case 2:
            return kind or "application/dicom", rng.choice([mutated, truncated])(rng, raw)
        case 3:
            whole = body(raw)
            head = b"X-%d: " % rng.randrange(9) + rng.choice([b"a" * rng.randrange(20_000), rng.randbytes(9), b"\r\n" * 9]) + b"\r\n"
            at = whole.index(b"Content-Type")
            return kind or BOUNDARY, whole[:at] + head * rng.choice([1, 3, 400]) + whole[at:]
        case _:
            whole = described(rng)
            return kind or test_stow_metadata.KIND, mutated(rng, whole) if rng.random() < 0.3 else whole


def framed(rng: random.Random, content: bytes) -> tuple[list[bytes], bytes, bool]:
    """Header lines, the body on the wire, and whether both are what RFC 9112 wants."""
    style = rng.random()
    if style < 0.55:
        return [b"Content-Length: %d" % len(content)], content, True
    if style < 0.65:
        return [b"Content-Length: " + rng.choice(LENGTHS).encode()], content, False
    chunks, rest, is_honest = b"", content, style < 0.85
    while rest:
        size = rng.choice([1, 7, 100, 5000, len(rest)])
        piece, rest = rest[:size], rest[size:]
        chunks += (b"%x" % len(piece) if is_honest or rng.random() < 0.7 else rng.choice(SIZES)) + b"\r\n" + piece + b"\r\n"
    end = b"0\r\n\r\n" if is_honest or rng.random() < 0.5 else rng.choice([b"", b"0\r\n", b"0\r\nX: y\r\n\r\n", b"zz"])
    return [b"Transfer-Encoding: chunked"], chunks + end, is_honest


def spoken(web: Web, hospital: Any, kind: str, lines: list[bytes], content: bytes, address: str = "") -> tuple[int, bytes]:
    """Status and body of the answer; 0 where the connection ends without one. Raises TimeoutError for a hang."""
    head = [
        f"POST /t/{hospital.slug}/dicomweb/studies{address} HTTP/1.1".encode(), b"Host: 127.0.0.1", b"Connection: close",
        f"Authorization: Bearer {hospital.token}".encode(), b"Content-Type: " + kind.encode("latin-1"), *lines,
    ]  # fmt: skip
    said = b""
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as sock:
        try:
            sock.sendall(b"\r\n".join(head) + b"\r\n\r\n" + content)
            sock.shutdown(socket.SHUT_WR)
        except TimeoutError:
            raise
        except OSError:
            pass  # refused before the end; the answer may lie there
        try:
            while piece := sock.recv(65536):
                said += piece
        except ConnectionError:
            pass
    if not said:
        return 0, b""
    return int(said.split(b" ", 2)[1]), said.split(b"\r\n\r\n", 1)[1]


def kept(hospital: Any) -> list[Any]:
    return [item for items in inbox_objects(limit=100_000) for item in items if item.tenant_id == hospital.tenant.id]


def references(answer: bytes) -> int:
    return len(json.loads(answer).get("00081199", {"Value": []})["Value"])


def test_nothing_that_comes_breaks_the_web_door(web: Web, mercy: Any) -> None:
    """"a fuzz run over STOW bodies, 60 s, seed printed": never a 500, no hang, flat memory; a good request is answered at any time,
    what was acknowledged is there, and nothing is half kept."""
    print(f"fuzz seed {SEED}, {SECONDS:.0f} s")  # noqa: T201 - "seed printed"
    rng = random.Random(SEED)
    end, before, rounds, good, acknowledged, seen = 0.0, 0, 0, 0, 0, dict[int, int]()
    while not end or time.monotonic() < end:
        for _ in range(20):
            kind, content = request_of(rng)
            lines, wire, is_honest = framed(rng, content)
            status, said = spoken(web, mercy, kind, lines, wire, rng.choice(["", "", "", "/1.2.3"]))
            where = f"seed {SEED}, round {rounds}: {kind} {lines} {wire[:300]!r} -> {said[:300]!r}"
            assert status < 500, where
            assert status or not is_honest, f"no answer: {where}"
            acknowledged += references(said) if status in {200, 202} else 0
            seen[status] = seen.get(status, 0) + 1
            rounds += 1
        whole = body(part10(ct_slice()))
        began = time.monotonic()
        status, said = spoken(web, mercy, BOUNDARY, [b"Content-Length: %d" % len(whole)], whole)
        assert (status, references(said)) == (200, 1), f"seed {SEED}, round {rounds}"
        assert time.monotonic() - began < 5, f"seed {SEED}, round {rounds}"
        good += 1
        if rounds == 100:
            before, end = web.memory(), time.monotonic() + SECONDS
    growth = web.memory() - before
    assert growth < GROWTH, f"seed {SEED}: {growth >> 20} MiB more"
    assert web.faults() == [], f"seed {SEED}"
    left = [path for path in (inbox_root() / str(mercy.tenant.id)).rglob("*") if path.is_file() and path.suffix != ".dcm"]
    assert left == [], "nothing half stored"
    waiting = kept(mercy)
    assert len(waiting) >= good + acknowledged, f"seed {SEED}: acknowledged and not there"
    for item in waiting:
        header_check(part10_read(item.path, wanted=CHECKED).header)
    house.index(mercy)
    assert kept(mercy) == [], "what was taken can be indexed, or is put aside"
    with mercy.scope():
        assert Instance.objects.count() >= good
    print(f"{rounds} requests {dict(sorted(seen.items()))}, {acknowledged} objects, {growth >> 20} MiB")  # noqa: T201
