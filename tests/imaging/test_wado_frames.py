"""Where frames lie: bit-packed, by extended and basic offset tables, in fragments, damaged; "never reading the whole object"."""

import contextlib
import io
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import JPEGBaseline8Bit, RLELossless

from imaging.dicomweb.frames import FrameError, _layout_read, frame_pieces
from tests.dicom_files import ct_slice, part10

STREAMS = [b"\xff\xd8" + bytes([n]) * (10 + 2 * n) + b"\xff\xd9" for n in range(5)]


def written(tmp_path, ds: Any, syntax: str = "") -> Any:
    raw = part10(ds)
    if syntax:
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = syntax
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
        target = io.BytesIO()
        ds.save_as(target, enforce_file_format=True)
        raw = target.getvalue()
    path = tmp_path / "x.dcm"
    path.write_bytes(raw)
    return path


def frames_of(path: Any) -> list[bytes]:
    layout = _layout_read(path)
    return [b"".join(piece.read() for piece in frame_pieces(layout, path, n)) for n in range(1, layout.count + 1)]


@pytest.mark.parametrize("kind", ["extended", "basic", "empty"])
@pytest.mark.parametrize("fragments", [1, 3])
def test_offset_tables(tmp_path, kind, fragments) -> None:
    """"empty offset tables, fragments spanning, extended offset table"."""
    ds = ct_slice(NumberOfFrames=5, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=b"\0\0")
    if kind == "extended":
        if fragments != 1:
            pytest.skip("a frame is one fragment there (PS3.3 C.7.6.3.1.8)")
        ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(STREAMS)
    else:
        ds.PixelData = encapsulate(STREAMS, fragments_per_frame=fragments, has_bot=kind == "basic")
    found = frames_of(written(tmp_path, ds, JPEGBaseline8Bit))
    assert [one.rstrip(b"\0") for one in found] == STREAMS


def test_rle_is_a_fragment_a_frame(tmp_path) -> None:
    ds = ct_slice(NumberOfFrames=5, PixelData=encapsulate(STREAMS, has_bot=False))
    assert len(frames_of(written(tmp_path, ds, RLELossless))) == 5


@given(rows=st.integers(1, 9), columns=st.integers(1, 9), frames=st.integers(1, 6), seed=st.integers(0, 2**31))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bit_packed_frames_begin_at_a_bit(tmp_path, rows, columns, frames, seed) -> None:
    """"bit-packed 1-bit": frames are not byte aligned; each comes out with its first pixel in the lowest bit."""
    pixels = np.random.default_rng(seed).integers(0, 2, (frames, rows, columns), dtype=np.uint8)
    packed = np.packbits(pixels.ravel(), bitorder="little").tobytes()
    ds = ct_slice(
        Rows=rows, Columns=columns, NumberOfFrames=frames, BitsAllocated=1, BitsStored=1, HighBit=0,
        PixelData=packed + b"\0" * (len(packed) % 2),
    )  # fmt: skip
    for number, found in enumerate(frames_of(written(tmp_path, ds))):
        bits = np.unpackbits(np.frombuffer(found, np.uint8), bitorder="little")
        assert bits[: rows * columns].tolist() == pixels[number].ravel().tolist()
        assert not bits[rows * columns :].any()


@given(flips=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=10), cut=st.integers(0, 300))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_pixels_are_one_kind_of_error(tmp_path, flips, cut) -> None:
    """Whatever the offset tables and item heads say: frames inside the file, or a FrameError."""
    ds = ct_slice(NumberOfFrames=5, BitsAllocated=8, PixelData=b"\0\0")
    ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(STREAMS)
    path = written(tmp_path, ds, JPEGBaseline8Bit)
    raw = bytearray(path.read_bytes())
    for back, value in flips:
        raw[-1 - back] = value
    path.write_bytes(bytes(raw[: len(raw) - cut]))
    with contextlib.suppress(FrameError):
        assert all(len(one) <= len(raw) for one in frames_of(path))


def test_a_frame_costs_the_memory_of_a_frame(tmp_path) -> None:
    """"never reading the whole object for a frame": 64 MiB of frames, one of 64 KiB asked."""
    ds = ct_slice(Rows=256, Columns=256, BitsAllocated=8, BitsStored=8, HighBit=7, NumberOfFrames=1024, PixelData=bytes(64 << 20))
    path = written(tmp_path, ds)
    del ds
    tracemalloc.start()
    layout = _layout_read(path)
    assert len(b"".join(piece.read() for piece in frame_pieces(layout, path, 900))) == 65536
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
