"""Label maps back: the same voxels or none; every way in which a stranger's archive can be wrong ends in words."""

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from ai.contract import PlatformError, Volume
from ai.volume.archive import is_zip, label_map_take
from ai.volume.nifti import labels_most, labels_read, volume_write

AFFINE = np.array([[-0.6, 0, 0, 20.0], [0, -0.8, 0, -31.0], [0, 0, 1.5, 107.5], [0, 0, 0, 1]])
VOLUME = Volume(sop_uids=tuple(f"2.25.{n}" for n in range(1, 8)), rows=6, columns=5, affine=tuple(map(tuple, AFFINE[:3].tolist())))
SHAPE = (5, 6, 7)


def labels(kind: Any = np.uint8) -> np.ndarray:
    return (np.arange(210).reshape(SHAPE) % 4).astype(kind)


def mapped(data: np.ndarray | None = None, affine: np.ndarray = AFFINE, **header: Any) -> bytes:
    image = nibabel.Nifti1Image(labels() if data is None else data, affine)
    for name, value in header.items():
        image.header[name] = value
    return image.to_bytes()


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16, ">i2", np.uint16, np.int32])
def test_the_same_voxels_come_back(kind) -> None:
    """"mask in -> ... -> mask out identical": of every width and byte order of whole numbers, packed or not."""
    raw = mapped(labels(kind))
    for content in (raw, gzip.compress(raw)):
        assert np.array_equal(labels_read(content, volume=VOLUME), labels().T)


def test_a_fourth_dimension_of_one_is_none() -> None:
    assert np.array_equal(labels_read(mapped(labels()[..., None]), volume=VOLUME), labels().T)


def test_what_we_write_we_read(tmp_path) -> None:
    volume_write(tmp_path / "v.nii.gz", values=labels(np.int16).T, volume=VOLUME)
    assert np.array_equal(labels_read((tmp_path / "v.nii.gz").read_bytes(), volume=VOLUME), labels().T)


def far(row: int, column: int, value: float) -> np.ndarray:
    found = AFFINE.copy()
    found[row, column] = value
    return found


def only_affine(affine: np.ndarray) -> bytes:
    image = nibabel.Nifti1Image(labels(), affine)
    image.set_qform(affine, code=0)
    image.set_sform(affine, code=1)
    return image.to_bytes()


RAW = mapped()
WRONG = {
    "html": (b"<!DOCTYPE html><title>Sign in</title>" * 20, "no NIfTI-1 file"),
    "empty": (b"", "no NIfTI-1 file"),
    "nifti-2": (nibabel.Nifti2Image(labels(), AFFINE).to_bytes(), "no NIfTI-1 file"),
    "pair": (RAW[:344] + b"ni1\0" + RAW[348:], "no NIfTI-1 file"),
    "shape": (mapped(labels()[:, :, 1:]), "another matrix"),
    "turned": (mapped(np.ascontiguousarray(labels().transpose(1, 0, 2))), "another matrix"),
    "more": (mapped(np.stack([labels()] * 2, axis=3)), "another matrix"),
    "affine": (only_affine(far(0, 3, 20.2)), "lies elsewhere"),
    "mirrored": (only_affine(far(0, 0, 0.6)), "lies elsewhere"),
    "nowhere": (only_affine(far(0, 3, float("nan"))), "lies elsewhere"),
    "float": (mapped(labels(np.float32)), "no whole numbers"),
    "scaled": (mapped(scl_slope=2.0, scl_inter=0.0), "no whole numbers"),
    "shifted": (mapped(scl_slope=1.0, scl_inter=1.0), "no whole numbers"),
    "cut": (RAW[:-1], "ends before its last voxel"),
    "cut gzip": (gzip.compress(RAW)[:-12], "ends before its last voxel"),
    "far offset": (RAW[:108] + np.float32(2**30).tobytes() + RAW[112:], "ends before its last voxel"),
    "in the header": (RAW[:108] + np.float32(-5).tobytes() + RAW[112:], "no NIfTI-1 file|ends before"),
    "broken gzip": (gzip.compress(RAW)[:10] + b"\xff" * 40, "cannot be inflated"),
    "bomb": (gzip.compress(RAW + bytes(8 << 20)), "larger than its images allow"),
    "plain bomb": (RAW + bytes(8 << 20), "larger than its images allow"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_label_map_of_this_volume(name) -> None:
    """"bomb, wrong shape, wrong affine, ... float labels, truncated gzip, HTML": refused for good, in words that hold nothing of it."""
    content, words = WRONG[name]
    with pytest.raises(PlatformError, match=words) as raised:
        labels_read(content, volume=VOLUME)
    assert raised.value.is_permanent


def zipped(folder: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder / "answer"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_the_one_label_map_of_an_archive(tmp_path) -> None:
    """Its name is not believed: it is never a path."""
    path = zipped(tmp_path, {"../../etc/seg.NII.gz": RAW, "readme.txt": b"x"})
    assert is_zip(path)
    assert label_map_take(path, most=labels_most(VOLUME)) == RAW
    assert [one.name for one in tmp_path.iterdir()] == ["answer"]


def checksum(raw: bytes) -> bytes:
    at = raw.index(b"a.nii") + 40
    return raw[:at] + bytes((raw[at] ^ 255,)) + raw[at + 1 :]


def zip64(raw: bytes) -> bytes:
    end = raw.rindex(b"PK\5\6")
    return raw[:end] + b"PK\6\7" + bytes(16) + raw[end:]


CHANGED = {
    "no archive": lambda _: b"a label map, but no archive", "cut": lambda raw: raw[:-30], "comment": lambda raw: raw[:-2] + b"\1\0x",
    "checksum": checksum, "zip64": zip64,
    "encrypted": lambda raw: raw[:6] + b"\1\0" + raw[8:].replace(b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"),
}  # fmt: skip
MADE = {
    "none": {"readme.txt": RAW}, "several": {"a.nii": RAW, "b.nii.gz": RAW}, "many": {f"{n}.txt": b"" for n in range(40)},
    "lzma": {"a.nii": RAW}, "bomb": {"a.nii": bytes(64 << 20)},
}  # fmt: skip


def broken(tmp_path: Path, name: str) -> Path:
    path = zipped(tmp_path, MADE.get(name, {"a.nii": RAW}), zipfile.ZIP_LZMA if name == "lzma" else zipfile.ZIP_DEFLATED)
    if name in CHANGED:
        path.write_bytes(CHANGED[name](path.read_bytes()))
    return path


@pytest.mark.parametrize(
    ("name", "words"),
    [("no archive", "no archive"), ("cut", "no archive"), ("comment", "no archive"), ("checksum", "no archive"),
     ("encrypted", "no archive"), ("none", "no label map"), ("several", "or several"), ("many", "too many entries"),
     ("lzma", "packed in a way"), ("bomb", "larger than its images allow"), ("zip64", "too many entries")],
)  # fmt: skip
def test_what_is_no_archive_of_one(tmp_path, name, words) -> None:
    """"Bounds on everything from outside: zip size, entries, bomb"."""
    path = broken(tmp_path, name)
    with pytest.raises(PlatformError, match=words) as raised:
        label_map_take(path, most=labels_most(VOLUME))
    assert raised.value.is_permanent


def test_a_lying_size_is_found_out(tmp_path) -> None:
    """An entry that says it is small and is not: its checksum no longer fits, and no more is read than it said."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.nii", bytes(4 << 20))
    raw = target.getvalue().replace((4 << 20).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    (tmp_path / "answer").write_bytes(raw)
    with pytest.raises(PlatformError, match="no archive"):
        label_map_take(tmp_path / "answer", most=labels_most(VOLUME))


def test_a_page_is_no_archive(tmp_path) -> None:
    (tmp_path / "answer").write_bytes(b"<!DOCTYPE html>")
    assert not is_zip(tmp_path / "answer")
