"""Which of the objects that a node names we answer for: rows that are committed and whose file is there, with its size."""

from collections.abc import Mapping, Sequence

from django.db import connection

from imaging.storage import object_path
from journal.wall.scope import tenant_id_current

NO_SUCH_INSTANCE = 0x0112
CLASS_CONFLICT = 0x0119
PROCESSING_FAILURE = 0x0110
DUPLICATE_TRANSACTION = 0x0131
CHUNK = 10_000

Rows = Mapping[str, tuple[str, str, int]]  # SOP instance -> SOP class, key, bytes


def rows_select(*, uids: Sequence[str]) -> Rows:
    """What the archive has of these SOP Instance UIDs, in a scope."""
    found: dict[str, tuple[str, str, int]] = {}
    with connection.cursor() as cursor:
        for start in range(0, len(uids), CHUNK):  # at most ten statements for the largest request
            cursor.execute(
                "SELECT sop_instance_uid, sop_class_uid, key, size FROM imaging_instance "
                "WHERE tenant_id = %s AND sop_instance_uid = ANY(%s)",
                [tenant_id_current(), list(uids[start : start + CHUNK])],
            )
            found |= {uid: (sop_class, key, size) for uid, sop_class, key, size in cursor.fetchall()}
    return found


def references_judge(*, references: Mapping[str, Sequence[str]], rows: Rows) -> dict[str, int]:
    """SOP instance -> failure reason (PS3.4 J.3.3) of what we cannot answer for. Looks at files: outside of any scope."""
    failures = {}
    for sop_class, uids in references.items():
        for uid in uids:
            row = rows.get(uid)
            if row is None:
                failures[uid] = NO_SUCH_INSTANCE
            elif row[0] != sop_class:
                failures[uid] = CLASS_CONFLICT
            elif not _is_kept(row[1], row[2]):
                failures[uid] = PROCESSING_FAILURE
    return failures


def _is_kept(key: str, size: int) -> bool:
    try:
        return object_path(key).stat().st_size == size
    except OSError:
        return False
