"""The file meta we write is one that others read, and the cut finds the data set in real files."""

import io
import subprocess
from pathlib import Path

import pydicom
import pytest

from imaging.header import HeaderError, uid_is_valid
from imaging.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, file_meta_bytes, part10_split
from tests.imaging.test_dimse_peers import need, real_file


@pytest.mark.parametrize("name", ["real/lung-ct-lctsc.dcm", "syntax/ct-implicit-le.dcm", "syntax/ct-deflated.dcm"])
def test_a_received_data_set_behind_our_meta_is_a_file_for_pydicom_and_dcmtk(name: str, tmp_path: Path) -> None:
    """"Store the received bytes unchanged (except group 2)": both readers see the same object as in the original."""
    raw = real_file(name).read_bytes()
    meta, offset = part10_split(raw)
    ours = file_meta_bytes(
        sop_class_uid=meta[0x00020002], sop_instance_uid=meta[0x00020003], transfer_syntax_uid=meta[0x00020010],
        source_ae="CT01",
    )
    path = tmp_path / "ours.dcm"
    path.write_bytes(ours + raw[offset:])
    ds, original = pydicom.dcmread(path), pydicom.dcmread(io.BytesIO(raw))
    assert ds == original
    assert ds.file_meta.FileMetaInformationGroupLength == len(ours) - 128 - 4 - 12
    assert (ds.file_meta.ImplementationClassUID, ds.file_meta.ImplementationVersionName) == (
        IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME,
    )
    assert ds.file_meta.SourceApplicationEntityTitle == "CT01"
    try:
        said = subprocess.run(["dcmftest", path], capture_output=True, text=True, check=False).stdout  # noqa: S603, S607
    except FileNotFoundError:
        need(False, "dcmtk's dcmftest")
        return
    assert said.startswith("yes:")


def test_the_preamble_is_always_zero() -> None:
    """PS3.10 7.1: a preamble of the sender could make the file an executable as well."""
    meta = file_meta_bytes(sop_class_uid="1", sop_instance_uid="2", transfer_syntax_uid="3")
    assert meta[:132] == bytes(128) + b"DICM"


def test_our_implementation_uid_is_a_uid() -> None:
    """PS3.7 D.3.3.2: the implementation class UID is one, and the version name fits 16 characters."""
    assert uid_is_valid(IMPLEMENTATION_CLASS_UID)
    assert len(IMPLEMENTATION_VERSION_NAME) <= 16


def test_a_meta_without_media_storage_class_is_cut_all_the_same() -> None:
    """MANIFEST, nm-heart-13f: "file meta lacks Media Storage SOP Class UID; ACCEPT using the data set UIDs"."""
    raw = real_file("real/nm-heart-13f.dcm").read_bytes()
    meta, offset = part10_split(raw)
    assert 0x00020002 not in meta
    assert meta[0x00020010] == "1.2.840.10008.1.2.1"
    assert raw[offset : offset + 2] == b"\x08\x00"


def test_a_wrong_group_length_does_not_move_the_cut() -> None:
    """Writers get the group length wrong: the elements themselves say where group 0002 ends."""
    meta = file_meta_bytes(sop_class_uid="1.2", sop_instance_uid="1.3", transfer_syntax_uid="1.2.840.10008.1.2.1")
    lying = meta[:140] + b"\xff\xff\0\0" + meta[144:]
    assert part10_split(lying + b"\x08\0\x16\0UI\4\x001.2\0")[1] == len(meta)


@pytest.mark.parametrize("raw", [b"", b"x" * 200, bytes(128) + b"DICM", bytes(128) + b"DICM\x02\0\x10\0UI\xff\xff"])
def test_what_is_no_part10_file_is_a_header_error(raw: bytes) -> None:
    """"never a 500": one exception family, whatever was sent."""
    with pytest.raises(HeaderError):
        part10_split(raw)
