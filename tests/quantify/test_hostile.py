"""Hostile input never hangs or kills the server: the job ends with a reason and the next one is computed."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian

from quantify.worker import findings_of
from tests.quantify.conftest import Phantom
from tests.quantify.series import opened, with_values
from tests.quantify.serving import QuantifyServer

BLOCK = 8 * 1024**2


def part10(syntax: str, dataset: bytes) -> bytes:
    """A Part 10 object with a file meta group made by hand (PS3.10 7.1)."""

    def element(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HH2sH", 2, number, b"UI", len(value)) + value

    meta = element(0x02, CTImageStorage.encode()) + element(0x03, b"2.25.1") + element(0x10, syntax.encode())
    return b"\0" * 128 + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta)) + meta + dataset


def deflated(block: bytes, times: int) -> bytes:
    """A raw deflate stream: a true element, then many times `block`; a full flush makes blocks repeatable."""
    press = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    first = press.compress(struct.pack("<HH2sH", 8, 0x60, b"CS", 2) + b"CT") + press.flush(zlib.Z_FULL_FLUSH)
    repeated = press.compress(block) + press.flush(zlib.Z_FULL_FLUSH)
    return first + repeated * times + press.flush(zlib.Z_FINISH)


@pytest.fixture(autouse=True)
def _server_survives(server: QuantifyServer, phantom: Phantom) -> object:
    """After every test the same server answers and computes."""
    yield
    assert server.ask("GET", "/healthz", key=None).status == 200


def test_deflate_bomb(server: QuantifyServer) -> None:
    """A zip-bomb-like deflated file: 8 GB out of 8 MB meets the memory limit of the child."""
    bomb = part10(DeflatedExplicitVRLittleEndian, deflated(b"\0" * BLOCK, 1024))
    assert len(bomb) < 12 * 1024**2
    job = server.run([bomb])
    assert (job["status"], job["error"]["code"]) == ("failed", "memory_limit")


def test_time_bomb(server: QuantifyServer) -> None:
    """A file that takes for ever to parse (eight million tiny elements) meets the time limit of the child."""
    tiny = struct.pack("<HH2sH", 0x0009, 0x0011, b"SH", 0)
    job = server.run([part10(DeflatedExplicitVRLittleEndian, deflated(tiny * (BLOCK // 8), 8))])
    assert (job["status"], job["error"]["code"]) == ("failed", "time_limit")


def test_deep_nesting(server: QuantifyServer, shared: Callable[[str], Path]) -> None:
    """broken/deep-nesting.dcm: sequences nested until parsers overflow."""
    job = server.run([shared("broken/deep-nesting.dcm").read_bytes()])
    assert job["status"] == "failed"
    assert job["error"] == {"code": "unreadable", "text": "instance 1: sequences nested too deeply"}


def test_allocation_bomb(server: QuantifyServer, shared: Callable[[str], Path], phantom: Phantom) -> None:
    """broken/oob-65535.dcm, and a CT that claims 65535 x 65535 pixels, never allocate what they claim."""
    bomb = shared("broken/oob-65535.dcm").read_bytes()
    assert findings_of("lung-density-mask", [bomb])["status"] == "not_analysable"
    job = server.run([*with_values(phantom.parts, Rows=65535, Columns=65535)])
    assert (job["status"], job["reason"]["code"]) == ("not_analysable", "too_large")


def test_garbage_after_the_magic(server: QuantifyServer) -> None:
    """A garbage part that looks like Part 10."""
    garbage = [b"\0" * 128 + b"DICM" + content for content in (b"\xff" * 5000, bytes(range(256)) * 40, b"")]
    for job in (server.run(garbage), *(findings_of("lung-density-mask", [part]) for part in garbage)):
        assert job["status"] in ("failed", "not_analysable")
        assert job["measurements"] == []


def test_pixels_cut_short(server: QuantifyServer, phantom: Phantom) -> None:
    """Pixel data shorter than Rows x Columns fails the job, naming the instance."""
    parts = list(phantom.parts)
    parts[7] = parts[7][:-5000]
    job = server.run(parts)
    assert (job["status"], job["error"]["code"]) == ("failed", "pixels_unreadable")
    assert job["error"]["text"].startswith("the pixels of instance 8 cannot be decoded")


@pytest.mark.filterwarnings("ignore")  # pydicom remarks on each odd value
def test_odd_values(phantom: Phantom) -> None:
    """Values that break the rules of their VR are refused or ignored, never an accident."""
    dataset = opened(phantom.parts[0])
    parts = list(phantom.parts)
    thickness = str(dataset.SliceThickness).encode()
    for old, new in ((thickness, b"N"), (b"CHEST ", b"CHE\0\n;"), (b"STANDARD", b"\x1b$B\xff")):
        parts = [content.replace(old, new.ljust(len(old), b"\xff")) for content in parts]
    job = findings_of("lung-density-mask", parts)
    assert job["status"] in ("failed", "not_analysable")
    assert "internal" not in str(job.get("error"))


@pytest.mark.filterwarnings("ignore:The value length")
def test_refusals_repeat_no_free_text(phantom: Phantom) -> None:
    """A reason is read by many: what it repeats of an attribute is cut to the length of a code."""
    job = findings_of("lung-density-mask", with_values(phantom.parts, BodyPartExamined="SKULL OF MISTER JOHN DOE"))
    assert job["reason"]["text"] == "body part SKULL OF MISTER : not a chest CT"
    assert "PHANTOM" not in str(job)
