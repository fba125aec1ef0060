"""The objects of an answer, on disk as they came: named by job and number, never by what they say. Results keep and read them."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from imaging.inbox import folder_sync

CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One object: its file's name in the job's folder, size and SHA-256."""

    name: str
    size: int
    sha256: str


def copies_folder(*, tenant_id: int, job_uuid: object) -> Path:
    return Path(settings.MEDHUB_OBJECTS) / "answers" / str(tenant_id) / str(job_uuid)


def copies_keep(*, tenant_id: int, job_uuid: object, files: Sequence[Path], ending: str = ".dcm") -> list[Kept]:
    """Copy and sync: what the gate will refuse is kept as well, for people to look at."""
    folder = copies_folder(tenant_id=tenant_id, job_uuid=job_uuid)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    kept = [_copied(path, folder / f"{number:04d}{ending}") for number, path in enumerate(files)]
    for place in (folder, folder.parent, folder.parent.parent):
        folder_sync(place)
    return kept


def _copied(source: Path, target: Path) -> Kept:
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as read, target.open("xb") as written:
        while chunk := read.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
            written.write(chunk)
        written.flush()
        os.fsync(written.fileno())
    return Kept(name=target.name, size=size, sha256=digest.hexdigest())


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copies_rows(kept: Sequence[Kept]) -> list[dict[str, Any]]:
    return [asdict(one) for one in kept]
