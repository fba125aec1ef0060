"""The look-up before the acknowledgement, for hospitals that refuse duplicates. `imaging.ingest` calls it.

What it cannot know in time (two at once, a database that is away) is acknowledged, and put aside by the index worker.
"""

import logging
import time
from collections.abc import Callable

from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone

from imaging.filing import Stored, instances_known, item_insert
from imaging.storage import object_path
from imaging.storage.digests import dataset_digest
from journal.wall.scope import is_in_scope, tenant_id_current, tenant_scope

log = logging.getLogger(__name__)

UNKNOWN_SECONDS = 60.0
REMEMBER = 10_000
_unknown: dict[tuple[int, str], float] = {}  # (association, series) that had no row a moment ago: nothing of it can be a duplicate


def is_taken(
    *, tenant_id: int, sop_instance_uid: str, series_uid: str, transfer_syntax_uid: str, digest: Callable[[], str],
    association_id: int = 0,
) -> bool:
    """Is other content stored under this UID? Leaves a work item if so. `digest` is of the data set, asked for only when needed.

    An association remembers for a minute which series were new, so that a new study is not looked up image by image.
    """  # fmt: skip
    memory = (association_id, series_uid)
    if association_id and time.monotonic() - _unknown.get(memory, -UNKNOWN_SECONDS) < UNKNOWN_SECONDS:
        return False
    try:
        if not is_in_scope():
            close_old_connections()
        with tenant_scope(tenant_id):
            stored = instances_known([sop_instance_uid]).get(sop_instance_uid)
            if stored is None:
                if association_id and not _is_series_known(series_uid):
                    _remember(memory)
                return False
            found = digest()
            if (stored_digest(stored), stored.transfer_syntax_uid) == (found, transfer_syntax_uid):
                return False
            item_insert(
                kind="duplicate-refused", reason="same SOP Instance UID, other content: refused, nothing was kept",
                study_id=stored.study_id, instance_id=stored.id, dataset_sha256=found, unique_on=f"{stored.id}-{found[:40]}",
                created_at=timezone.now(),
            )  # fmt: skip
    except DatabaseError:
        log.error("duplicates not looked up: database away")
        return False
    return True


def _remember(memory: tuple[int, str]) -> None:
    if len(_unknown) >= REMEMBER:
        _unknown.clear()
    _unknown[memory] = time.monotonic()


def _is_series_known(series_uid: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM imaging_series WHERE tenant_id = %s AND series_uid = %s", [tenant_id_current(), series_uid]
        )
        return cursor.fetchone() is not None


def stored_digest(stored: Stored) -> str:
    """The checksum of a stored data set, made and kept when it is first asked for; what cannot be read is other content."""
    if stored.dataset_sha256:
        return stored.dataset_sha256
    try:
        digest = dataset_digest(object_path(stored.key))
    except OSError:
        return ""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE imaging_instance SET dataset_sha256 = %s WHERE tenant_id = %s AND id = %s AND key = %s",
            [digest, tenant_id_current(), stored.id, stored.key],
        )
    return digest
