"""application/zip of a study or series (PS3.18 8.7.3.1): stored and not deflated, written as it is sent, with a DICOMDIR.

Names inside are numbers, never values of attributes. Memory stays that of one chunk and the directory.
"""

import logging
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from imaging.dicomweb.directory import WANTED, Directory
from imaging.dicomweb.rows import StoredInstance
from imaging.dicomweb.streams import Piece
from imaging.header import HeaderError, part10_read

log = logging.getLogger(__name__)
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same request gives the same bytes


class _Outlet:
    """A file that only takes: zipfile writes descriptors behind the data where it cannot seek."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._at = 0

    def write(self, data: Any) -> int:
        self._chunks.append(bytes(data))
        self._at += len(data)
        return len(data)

    def flush(self) -> None:
        return None

    def tell(self) -> int:
        return self._at

    def seekable(self) -> bool:
        return False

    def taken(self) -> Iterator[bytes]:
        chunks, self._chunks = self._chunks, []
        yield from chunks


def archive_stream(rows: Sequence[StoredInstance]) -> Iterator[bytes]:
    """The objects as stored, and the directory behind them. One that is lost fails the stream: half an archive is no archive."""
    outlet, directory = _Outlet(), Directory()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:  # type: ignore[arg-type]
        numbers: dict[int, int] = {}
        for number, row in enumerate(rows, start=1):
            folder = numbers.setdefault(row.series_id, len(numbers) + 1)
            file_id = ["DICOM", f"S{folder:06d}", f"I{number:07d}"]
            try:
                directory.add(row, part10_read(row.path, wanted=WANTED).header, file_id=file_id)
            except HeaderError as error:
                log.warning("archive: instance %s is not in the directory: %s", row.instance_id, error.reason)
            with archive.open(zipfile.ZipInfo("/".join(file_id), EPOCH), "w", force_zip64=row.size >= 1 << 31) as target:
                for chunk in Piece(path=row.path, start=0, length=row.size).chunks():
                    target.write(chunk)
                    yield from outlet.taken()
        with archive.open(zipfile.ZipInfo("DICOMDIR", EPOCH), "w") as target:
            target.write(directory.content())
        yield from outlet.taken()
    yield from outlet.taken()
