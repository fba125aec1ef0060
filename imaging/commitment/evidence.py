"""Which of the objects that a node names we answer for: rows that are committed and whose bytes are there, as many as were stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db import connection

from imaging.storage import ObjectMissingError, object_size
from journal.wall.scope import tenant_id_current

NO_SUCH_INSTANCE = 0x0112
CLASS_CONFLICT = 0x0119
PROCESSING_FAILURE = 0x0110
DUPLICATE_TRANSACTION = 0x0131
CHUNK = 10_000


@dataclass(frozen=True, slots=True)
class Held:
    """What the archive has of one object."""

    sop_class_uid: str
    key: str
    size: int
    is_damaged: bool  # the scrub found other bytes than were stored, and nobody has put that right


def held_select(*, uids: Sequence[str]) -> dict[str, Held]:
    """SOP instance -> what the archive has of it, in a scope."""
    found: dict[str, Held] = {}
    with connection.cursor() as cursor:
        for start in range(0, len(uids), CHUNK):  # at most ten statements for the largest request
            cursor.execute(
                "SELECT i.sop_instance_uid, i.sop_class_uid, i.key, i.size, EXISTS (SELECT 1 FROM imaging_workitem w "
                "WHERE w.tenant_id = i.tenant_id AND w.instance_id = i.id AND w.kind = 'damaged' AND w.resolved_at IS NULL) "
                "FROM imaging_instance i WHERE i.tenant_id = %s AND i.sop_instance_uid = ANY(%s)",
                [tenant_id_current(), list(uids[start : start + CHUNK])],
            )
            found |= {uid: Held(*facts) for uid, *facts in cursor.fetchall()}
    return found


def references_judge(*, references: Mapping[str, Sequence[str]], held: Mapping[str, Held]) -> dict[str, int]:
    """SOP instance -> failure reason (PS3.4 J.3.3) of what we cannot answer for. Looks at the bytes: outside of any scope.

    Raises StoreAwayError: then nothing can be said yet.
    """
    failures = {}
    for sop_class, uids in references.items():
        for uid in uids:
            one = held.get(uid)
            if one is None:
                failures[uid] = NO_SUCH_INSTANCE
            elif one.sop_class_uid != sop_class:
                failures[uid] = CLASS_CONFLICT
            elif one.is_damaged or not _is_kept(one):
                failures[uid] = PROCESSING_FAILURE
    return failures


def _is_kept(held: Held) -> bool:
    try:
        return object_size(held.key) == held.size
    except ObjectMissingError:
        return False
