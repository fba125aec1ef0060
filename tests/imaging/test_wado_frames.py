"""Where frames lie: bit-packed, by extended and basic offset tables, in fragments, damaged; "never reading the whole object"."""

import contextlib
import io
import tracemalloc
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import JPEGBaseline8Bit, RLELossless

from imaging.dicomweb.frames import FrameError, _layout_read, frame_pieces
from imaging.models import Instance
from tests import house
from tests.dicom_files import ct_slice, part10, shared_file
from tests.imaging.test_manifest import FILES
from tests.imaging.test_wado import ANY, EXPLICIT, IMPLICIT, J2K, RLE, STORED, content, get, parts_of

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


# with an extended table a frame is one fragment (PS3.3 C.7.6.3.1.8)
@pytest.mark.parametrize(("kind", "fragments"), [("extended", 1), ("basic", 1), ("basic", 3), ("empty", 1), ("empty", 3)])
def test_offset_tables(tmp_path, kind, fragments) -> None:
    """"empty offset tables, fragments spanning, extended offset table"."""
    ds = ct_slice(NumberOfFrames=5, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=b"\0\0")
    if kind == "extended":
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


@pytest.mark.database
@pytest.mark.parametrize("name", FILES)
def test_every_real_file_in_every_form(client, mercy, name) -> None:
    """Every file that is stored, in whatever form is asked: 200, 404 or 406 in words, "zero 500s"; as stored always."""
    raw = shared_file(name).read_bytes()
    answer = client.generic(
        "POST", f"/t/{mercy.slug}/dicomweb/studies", raw, content_type="application/dicom", headers=mercy.auth
    )
    if answer.status_code != 200:
        return
    house.index(mercy)
    with mercy.scope():
        one = Instance.objects.select_related("series", "study").get()
        path = f"studies/{one.study.study_uid}/series/{one.series.series_uid}/instances/{one.sop_instance_uid}"
    stored = get(client, mercy, path, STORED)
    assert parts_of(stored)[0][1] == raw
    # compressing a cine or a mammogram takes seconds and says no more
    for syntax in ("", EXPLICIT, IMPLICIT, J2K, RLE) if len(raw) < 150_000 else ("", EXPLICIT):
        named = f"; transfer-syntax={syntax}" if syntax else ""
        assert get(client, mercy, path, f"application/dicom{named}").status_code in (200, 406), syntax
        answer = get(client, mercy, f"{path}/frames/1", f"multipart/related; type=*/*{named}")
        assert answer.status_code in (200, 404, 406), syntax
        if answer.status_code != 200:
            assert answer.json()["error"]
    assert get(client, mercy, f"{path}/frames/1", ANY).status_code in (200, 404, 406)
    archive = content(get(client, mercy, path.rsplit("/series/", 1)[0], "application/zip"))
    with zipfile.ZipFile(io.BytesIO(archive)) as found:
        assert found.testzip() is None
        assert dcmread(io.BytesIO(found.read("DICOMDIR"))).DirectoryRecordSequence
