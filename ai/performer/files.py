"""What the performer's doors show of the de-identified objects of an open job (ai.outgoing)."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from imaging.header import Header, HeaderError, part10_read
from imaging.ingest import SERIES, SOP_CLASS, SOP_INSTANCE, STUDY

WANTED = frozenset({SOP_CLASS, SOP_INSTANCE, STUDY, SERIES})


@dataclass(frozen=True, slots=True)
class OutgoingObject:
    """One object, in the shape that the doors of `imaging.dicomweb` retrieve (its StoredInstance)."""

    path: str
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    syntax: str
    size: int
    sha256: str  # a mark of these bytes for ETags: name, size and time of the file
    study_id: int = 0
    series_id: int = 0
    instance_id: int = 0
    frames: int = 1

    @property
    def key(self) -> str:
        return self.path

    @property
    def place(self) -> str:
        return f"studies/{self.study_uid}/series/{self.series_uid}/instances/{self.sop_instance_uid}"


def objects_of(
    paths: Sequence[Path], *, study_uid: str = "", series_uid: str = "", instance_uid: str = ""
) -> list[OutgoingObject]:
    """Those of these files that an address means; what it leaves open is any."""
    read = (_object(path) for path in paths)
    return [
        one for one in read
        if one is not None and study_uid in ("", one.study_uid) and series_uid in ("", one.series_uid)
        and instance_uid in ("", one.sop_instance_uid)
    ]  # fmt: skip


def _object(path: Path) -> OutgoingObject | None:
    try:
        stat = path.stat()
        return _read(str(path), stat.st_size, stat.st_mtime_ns)
    except (FileNotFoundError, HeaderError):
        return None  # the job has just ended


@lru_cache(maxsize=4096)
def _read(path: str, size: int, changed: int) -> OutgoingObject:
    head = part10_read(path, wanted=WANTED)
    header: Header = head.header
    return OutgoingObject(
        path=path, study_uid=header.uid(STUDY), series_uid=header.uid(SERIES), sop_instance_uid=header.uid(SOP_INSTANCE),
        sop_class_uid=header.uid(SOP_CLASS), syntax=head.transfer_syntax_uid, size=size,
        sha256=f"{os.path.basename(path)}-{size}-{changed}",
    )  # fmt: skip
