"""Objects as files of this machine: the default store, and the durable first place of every object under S3 as well."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from django.conf import settings

from imaging.inbox import folder_sync

SHARD_BITS = 39  # of a snowflake: objects of about two minutes share a folder, so a batch syncs one folder and not one a study


def object_folder(instance_id: int) -> str:
    """Where an object rests: a folder of its time, whatever study it is of."""
    return f"{instance_id >> SHARD_BITS:x}"


def file_path(key: str) -> Path:
    path: Path = settings.MEDHUB_OBJECTS / key
    return path


def objects_settle(moves: Iterable[tuple[Path, str]]) -> None:
    """Give inbox files their resting place by hard link and sync the folders; the inbox entry stays until rows are committed.

    Idempotent: a replay after a crash finds the link made, and bytes that lie there are never written again.
    """
    folders = set()
    for source, key in moves:
        target = file_path(key)
        if target.parent not in folders:
            is_new = not target.parent.exists()
            target.parent.mkdir(parents=True, exist_ok=True)
            if is_new:
                folder_sync(target.parent.parent)
            folders.add(target.parent)
        with contextlib.suppress(FileExistsError):
            os.link(source, target)
    for folder in folders:
        folder_sync(folder)


def file_drop(key: str) -> None:
    file_path(key).unlink(missing_ok=True)
