"""Re-reading what is kept: every object's bytes against its checksum, hospital by hospital, at a bounded rate.

A step reads until its share of bytes is used up and says when the next may begin, so no worker sleeps. Damage becomes a work item;
nothing is refused, removed or repaired because of it.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.utils import timezone

from imaging.filing import item_insert, use_adjust
from imaging.models import Instance, Scrub, WorkItem
from imaging.storage import ObjectMissingError, StoreAwayError, object_digest
from journal.audit import Actor, audit_record
from journal.outbox import lease_end
from journal.wall.scope import tenant_id_current, tenant_scope

log = logging.getLogger(__name__)

STEP_SECONDS = 5.0  # worth of bytes that a step reads
STEP_OBJECTS = 500
AWAY_SECONDS = 60.0
OK, DAMAGED, MISSING = "ok", "damaged", "missing"


@dataclass(frozen=True)
class Held:
    """Bytes of an instance, or those that a work item holds aside."""

    id: int
    is_item: bool
    key: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Step:
    """What one step did. `wait` is the seconds until the next; None at the end of a round."""

    objects: int
    size: int
    bad: int
    wait: float | None


def scrub_step(*, tenant_id: int) -> Step | None:
    """Read the next objects of the hospital, if their time has come. None when somebody else does, or nothing is due."""
    with tenant_scope(tenant_id):
        scrub = _claim()
        held = _held_after(scrub.after_id) if scrub is not None else []
    if scrub is None:
        return None
    rate = settings.MEDHUB_SCRUB_BYTES_PER_SECOND
    found: list[tuple[Held, str]] = []
    size, is_away = 0, False
    for one in held:
        if size >= rate * STEP_SECONDS:
            break
        try:
            found.append((one, digest_compare(one)))
        except StoreAwayError as error:
            log.warning("scrub waits: %s", error.user_message)
            is_away = True
            break
        size += one.size
    with tenant_scope(tenant_id):
        bad = sum(result_write(one, result) for one, result in found)
        is_end = not is_away and len(found) == len(held) < STEP_OBJECTS
        wait = AWAY_SECONDS if is_away else size / rate
        _position_write(scrub, found, size=size, bad=bad, wait=None if is_end else wait)
    return Step(objects=len(found), size=size, bad=bad, wait=None if is_end else wait)


def digest_compare(one: Held) -> str:
    """ok, damaged or missing. Raises StoreAwayError."""
    try:
        size, sha256 = object_digest(one.key)
    except ObjectMissingError:
        return MISSING
    except StoreAwayError:
        raise
    except OSError:  # a disk that cannot read a block says so here
        return DAMAGED
    return OK if (size, sha256) == (one.size, one.sha256) else DAMAGED


def _claim() -> Scrub | None:
    now = timezone.now()
    if not Scrub.objects.filter(due_at__lte=now).update(due_at=lease_end(now)):
        return None
    scrub: Scrub = Scrub.objects.get()
    if scrub.after_id == 0 and (scrub.started_at is None or scrub.finished_at is not None):
        scrub.started_at, scrub.finished_at = now, None
        scrub.objects_read = scrub.bytes_read = scrub.objects_bad = 0
        scrub.save(update_fields=["started_at", "finished_at", "objects_read", "bytes_read", "objects_bad"])
    return scrub


def _held_after(after_id: int) -> list[Held]:
    """In the order of ids, which instances and work items share."""
    tenant_id = tenant_id_current()
    with connection.cursor() as cursor:
        cursor.execute(
            "(SELECT id, false, key, size, sha256 FROM imaging_instance WHERE tenant_id = %s AND id > %s ORDER BY id LIMIT %s) "
            "UNION ALL (SELECT id, true, key, size, sha256 FROM imaging_workitem WHERE tenant_id = %s AND id > %s "
            "AND key <> '' AND sha256 <> '' ORDER BY id LIMIT %s) ORDER BY 1 LIMIT %s",
            [tenant_id, after_id, STEP_OBJECTS, tenant_id, after_id, STEP_OBJECTS, STEP_OBJECTS],
        )
        return [Held(*row) for row in cursor.fetchall()]


def result_write(one: Held, result: str) -> bool:
    """Record what was found; the first finding of damage makes a work item. Returns whether the object is bad."""
    now, is_bad = timezone.now(), result != OK
    if one.is_item:
        if is_bad:
            _damage_report(f"item-{one.id}", result, now=now, item=WorkItem.objects.filter(id=one.id, key=one.key).first())
        return is_bad
    # The key is part of it: what was replaced while we read is not judged.
    rows = Instance.objects.filter(id=one.id, key=one.key)
    if not rows.update(scrubbed_at=now, scrub_result=result):
        return False
    if is_bad:
        _damage_report(str(one.id), result, now=now, instance=rows.first())
    return is_bad


def _damage_report(what: str, result: str, *, now: object, instance: Instance | None = None, item: WorkItem | None = None) -> None:
    study_id = instance.study_id if instance else item.study_id if item else None
    about = WorkItem.objects.filter(kind="damaged", unique_on__startswith=f"{what}-")
    if about.filter(resolved_at=None).exists():
        return
    words = "the stored bytes are gone" if result == MISSING else "the stored bytes are not those that were received"
    item_insert(
        kind="damaged", reason=words, study_id=study_id, instance_id=instance.id if instance else None,
        unique_on=f"{what}-{about.count()}", created_at=now,
    )  # fmt: skip
    log.error("scrub: an object is %s", result)


def _position_write(scrub: Scrub, found: list[tuple[Held, str]], *, size: int, bad: int, wait: float | None) -> None:
    now = timezone.now()
    scrub.objects_read += len(found)
    scrub.bytes_read += size
    scrub.objects_bad += bad
    scrub.after_id = found[-1][0].id if found else scrub.after_id
    if wait is None:
        scrub.after_id, scrub.finished_at, scrub.rounds = 0, now, scrub.rounds + 1
        scrub.due_at = (scrub.started_at or now) + timedelta(days=settings.MEDHUB_SCRUB_DAYS)
    else:
        scrub.due_at = now + timedelta(seconds=wait)
    scrub.save()


def scrub_restart() -> int:
    """Begin a round now, whatever the old one did. Returns how many were finished before."""
    use_adjust(size=0, objects=0)  # makes the row of a hospital that has none
    now = timezone.now()
    Scrub.objects.update(due_at=now, after_id=0, finished_at=now)
    return Scrub.objects.values_list("rounds", flat=True)[0]


def scrub_hurry() -> None:
    """The next step may begin at once."""
    Scrub.objects.filter(finished_at=None).update(due_at=timezone.now())


def scrub_state() -> Scrub | None:
    return Scrub.objects.first()


def scrub_audit(*, objects: int, bad: int) -> None:
    """A round that an operator asked for."""
    audit_record(
        actor=Actor(name="system:command"), action="objects.scrub", object_type="Hospital", object_id=str(tenant_id_current()),
        detail={"objects": objects, "bad": bad},
    )  # fmt: skip
