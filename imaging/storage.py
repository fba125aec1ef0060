"""Where objects rest: files under the hospital's own prefix, keys from our ids only. The row holds the key and a checksum."""

import contextlib
import os
from pathlib import Path

from django.conf import settings

from imaging.inbox import folder_sync

SHARD_BITS = 39  # of a snowflake: objects of about two minutes share a folder, so a batch syncs one folder and not one a study


def object_folder(instance_id: int) -> str:
    """Where an object rests: a folder of its time, whatever study it is of."""
    return f"{instance_id >> SHARD_BITS:x}"


def object_key(*, tenant_id: int, folder: str, instance_id: int) -> str:
    """`t/<tenant>/<object_folder or 'aside'>/<instance id>.dcm`."""
    return f"t/{tenant_id}/{folder}/{instance_id}.dcm"


def object_path(key: str) -> Path:
    return settings.MEDHUB_OBJECTS / key


def objects_settle(moves: list[tuple[Path, str]]) -> None:
    """Give inbox files their resting place by hard link and sync the folders; the inbox entry stays until rows are committed.

    Idempotent: a replay after a crash finds the link made.
    """
    folders = set()
    for source, key in moves:
        target = object_path(key)
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
