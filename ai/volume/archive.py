"""The zip that a platform answers with -> the one label map in it. Nothing is unpacked to the disk, no name in it is believed."""

import zipfile
from pathlib import Path

from ai.reading.part10 import hostile, refusal

MAX_ENTRIES = 16
MAX_DIRECTORY = 64 << 10
TAIL, LOCATOR = 22, 20  # end of central directory, and the locator of a larger one before it (APPNOTE 4.3.15, 4.3.16)
ENDINGS = (".nii", ".nii.gz")
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of the others Python inflates a whole piece at once, however large


def is_zip(path: Path) -> bool:
    """Whether it begins like one: a sign-in page of a proxy does not, and may be gone the next time."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def label_map_take(path: Path, *, most: int) -> bytes:
    """The bytes of the one .nii or .nii.gz inside, at most `most`. Raises PlatformError, permanent."""
    _directory_check(path)
    with hostile("the platform's answer is no archive that can be read"), zipfile.ZipFile(path) as archive:
        found = [one for one in archive.infolist() if one.filename.lower().endswith(ENDINGS)]
        if len(found) != 1:
            raise refusal("the platform's archive holds no label map in NIfTI, or several")
        if found[0].compress_type not in METHODS:
            raise refusal("the platform's archive is packed in a way that is not read")
        if found[0].file_size > most:
            raise refusal("the label map is larger than its images allow")
        with archive.open(found[0]) as entry:  # its checksum is compared when it has come to its end
            content = entry.read(most + 1)
            if len(content) > most or entry.read(1):
                raise refusal("the label map is larger than its images allow")
            return content


def _directory_check(path: Path) -> None:
    """Before Python's reader makes an object of every entry: a small directory, at the very end, and none of the large form."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - TAIL - LOCATOR))
        tail = file.read()
    end = tail[-TAIL:]
    if len(end) < TAIL or not end.startswith(b"PK\x05\x06") or end[-2:] != b"\0\0":
        raise refusal("the platform's answer is no archive that can be read")
    entries, length = int.from_bytes(end[10:12], "little"), int.from_bytes(end[12:16], "little")
    if tail[:-TAIL].startswith(b"PK\x06\x07") or entries > MAX_ENTRIES or length > MAX_DIRECTORY:
        raise refusal("the platform's archive has too many entries")
