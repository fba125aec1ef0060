"""Returned objects: which are taken, made durable and given to whoever gathers the results of a job (`returned_objects`).

The two doors (`incoming`, `ai.performer.storing`) write here. Nothing of it is a study: the gate looks at it first.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import Q
from django.utils import timezone

from ai.models import ReturnedObject
from imaging.inbox import Draft, folder_sync
from imaging.ingest import OUT_OF_RESOURCES, ObjectFacts, Refused
from imaging.models import Association
from journal.audit import Actor, audit_record
from journal.wall.ids import id_new
from journal.wall.scope import tenant_scope
from tenants.selectors import return_ae_of

QUIET = timedelta(seconds=2)
CLASS_NOT_SUPPORTED = 0x0122
NOT_A_RESULT = "only results are taken here: SR, SEG, parametric maps, presentation states, secondary captures, documents"

_ROOT = "1.2.840.10008.5.1.4.1.1."
_KINDS = (
    "88.",  # structured reports and key objects
    "66.",  # spatial registrations, fiducials, segmentations
    "7.",  # multi-frame secondary captures
    "11.",  # presentation states
    "104.",  # encapsulated documents and models
)
# secondary capture, parametric map, real world value map, RT structure set, content assessment
_RESULTS = frozenset(_ROOT + one for one in ("7", "30", "67", "481.3", "90.1"))


def is_result(sop_class_uid: str) -> bool:
    """What an algorithm makes (PS3.4 B.5), not what a modality does."""
    return sop_class_uid in _RESULTS or sop_class_uid.startswith(tuple(_ROOT + kind for kind in _KINDS))


def result_check(facts: ObjectFacts) -> None:
    """Raises Refused."""
    if not is_result(facts.sop_class_uid):
        raise Refused(CLASS_NOT_SUPPORTED, NOT_A_RESULT[:64])


def returned_folder(tenant_id: int) -> Path:
    path: Path = settings.MEDHUB_OBJECTS / "returned" / str(tenant_id)
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        for parent in (path.parent, path.parent.parent):  # a synced file in an unsynced folder is lost with it
            folder_sync(parent)
    return path


def returned_draft(*, tenant_id: int, association_id: int, trace_id: str) -> Draft:
    """A file for one object; the caller closes it. Raises OSError."""
    return Draft(returned_folder(tenant_id), tenant_id=tenant_id, source=association_id, trace_id=trace_id)


@dataclass(frozen=True)
class Origin:
    """Who sent it: `job_id` where the address tells, `association_id` where there is one."""

    tenant_id: int
    connection_id: int
    actor: Actor
    job_id: int | None = None
    association_id: int = 0


def returned_keep(draft: Draft, *, facts: ObjectFacts, origin: Origin) -> None:
    """Durable file, then its row: acknowledged when this returns. Raises Refused (A700, worth another try) and OSError."""
    kept = draft.keep()
    try:
        with tenant_scope(origin.tenant_id):
            ReturnedObject.objects.create(
                id=id_new(), connection_id=origin.connection_id, job_id=origin.job_id, study_uid=facts.study_uid,
                sop_class_uid=facts.sop_class_uid, sop_instance_uid=facts.sop_instance_uid,
                key=f"returned/{origin.tenant_id}/{kept.path.name}", size=draft.size, association_id=origin.association_id,
                received_at=timezone.now(),
            )  # fmt: skip
            audit_record(
                actor=origin.actor, action="ai.return", object_type="Connection", object_id=str(origin.connection_id)
            )
    except DatabaseError as error:
        with contextlib.suppress(FileNotFoundError):
            kept.path.unlink()
        raise Refused(OUT_OF_RESOURCES, "not kept: the database is away") from error


@dataclass(frozen=True)
class Returned:
    """An object that came back; UIDs are surrogates."""

    id: int
    path: Path
    study_uid: str
    sop_class_uid: str
    sop_instance_uid: str


def returned_objects(*, connection_id: int, study_uid: str, job_id: int | None = None) -> list[Returned]:
    """What has come back for a study, or for one job of it, once nothing more seems to be coming; [] until then. In a scope.

    Quiet: no association to the connection's return AE is open, and the last one, and the last object, are 2 s old.
    Of an object that was sent again the last one counts.
    """
    rows = ReturnedObject.objects.filter(connection_id=connection_id, study_uid=study_uid).order_by("id")
    if job_id is not None:
        rows = rows.filter(Q(job_id=job_id) | Q(job_id=None))
    found = list(rows)
    if not found or not _is_quiet(found):
        return []
    newest = {row.sop_instance_uid: row for row in found}
    return [
        Returned(row.id, settings.MEDHUB_OBJECTS / row.key, row.study_uid, row.sop_class_uid, row.sop_instance_uid)
        for row in newest.values()
    ]


def _is_quiet(rows: Sequence[ReturnedObject]) -> bool:
    now = timezone.now()
    if max(row.received_at for row in rows) > now - QUIET:
        return False
    title = return_ae_of(tenant_id=rows[0].tenant_id, connection_id=int(rows[0].connection_id))
    alive = now - timedelta(seconds=settings.MEDHUB_HEARTBEAT_SECONDS)
    calls = Association.objects.filter(called_ae=title, started_at__gt=min(row.received_at for row in rows) - timedelta(days=1))
    return not calls.filter(ended_at=None, seen_at__gt=alive).exists() and not calls.filter(ended_at__gt=now - QUIET).exists()


def returned_sweep(*, older_than: float) -> int:
    """Remove files that no row tells of: of writers that died before they acknowledged. `older_than` is a POSIX time. Outside a scope."""
    root, count = settings.MEDHUB_OBJECTS / "returned", 0
    for folder in root.iterdir() if root.is_dir() else ():
        old = [path for path in folder.iterdir() if path.stat().st_mtime < older_than]
        if not old:
            continue
        with tenant_scope(int(folder.name)):
            keys = [f"returned/{folder.name}/{path.name}" for path in old]
            known = set(ReturnedObject.objects.filter(key__in=keys).values_list("key", flat=True))
        for path, key in zip(old, keys, strict=True):
            if key not in known:
                path.unlink(missing_ok=True)
                count += 1
    return count


def returned_drop(*, connection_id: int, study_uid: str) -> int:
    """The results are taken over, or thrown away: forget rows and files. Returns how many. In a scope; files go when it commits."""
    rows = ReturnedObject.objects.filter(connection_id=connection_id, study_uid=study_uid)
    paths = [settings.MEDHUB_OBJECTS / key for key in rows.values_list("key", flat=True)]
    count, _ = rows.delete()

    def unlink() -> None:
        for path in paths:
            path.unlink(missing_ok=True)

    transaction.on_commit(unlink, robust=True)
    return count
