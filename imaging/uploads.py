"""The way of settled objects to the S3 store: put, verified, and only then the local copy goes. Leases in rows; the network is
never inside a transaction. Whatever dies on the way leaves a row that becomes due.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Count, Min
from django.utils import timezone

from imaging.models import Upload
from imaging.storage import ObjectMissingError, StoreAwayError, bucket
from imaging.storage.files import file_path
from journal.faults import fault
from journal.outbox import lease_end
from journal.wall.scope import tenant_id_current, tenant_scope

log = logging.getLogger(__name__)

BATCH = 100
AT_ONCE = 4
SLOWEST = 1 << 20  # bytes a second that a lease allows for
STUCK_ATTEMPTS = 3


@dataclass(frozen=True)
class Claim:
    """An upload whose lease we hold."""

    id: int
    key: str
    size: int
    sha256: str
    attempts: int
    is_verified: bool


def uploads_run(*, tenant_id: int) -> int:
    """Take the hospital's due uploads one step further. Returns how many there were; call again while it is not 0."""
    with tenant_scope(tenant_id):
        claims = _claim()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        errors = list(pool.map(_step, claims))
    now = timezone.now()
    with tenant_scope(tenant_id):
        for claim, error in zip(claims, errors, strict=True):
            _write(claim, error, now)
    return len(claims)


def _claim() -> list[Claim]:
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE imaging_upload u SET attempts = u.attempts + 1, due_at = %s + (c.bytes / %s) * interval '1 second' "
            "FROM (SELECT id, sum(size) OVER () AS bytes FROM (SELECT id, size FROM imaging_upload "
            "WHERE tenant_id = %s AND due_at <= %s ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED) d) c "
            "WHERE u.tenant_id = %s AND u.id = c.id RETURNING u.id, u.key, u.size, u.sha256, u.attempts, u.verified_at IS NOT NULL",
            [lease_end(now), SLOWEST, tenant_id_current(), now, BATCH, tenant_id_current()],
        )
        return [Claim(*row) for row in cursor.fetchall()]


def _step(claim: Claim) -> str:
    """Put and verify, or drop the local copy of what was verified before. Returns what went wrong; no database in here."""
    path = file_path(claim.key)
    try:
        if claim.is_verified:
            if path.exists():
                bucket().cache.adopt(claim.key, path)
        elif path.exists():
            bucket().put(claim.key, path, size=claim.size, sha256=claim.sha256)
            fault("upload.after_verify")
        elif bucket().size(claim.key) != claim.size:  # only a hand that removed the local file leads here
            return "the local copy is gone and the object store holds another size"
    except ObjectMissingError:
        return "the object is neither here nor in the object store"
    except StoreAwayError as error:
        return error.user_message
    except OSError as error:
        return f"the local copy cannot be read ({type(error).__name__})"
    return ""


def _write(claim: Claim, error: str, now: datetime) -> None:
    row = Upload.objects.filter(id=claim.id)
    if error:
        wait = min(2**claim.attempts, 600) * settings.MEDHUB_BACKOFF_UNIT_SECONDS
        log.warning("upload %s: %s", claim.id, error)
        row.update(last_error=error[:120], due_at=now + timedelta(seconds=wait))
    elif claim.is_verified:
        row.delete()
    else:
        due_at = now + timedelta(seconds=settings.MEDHUB_OBJECTS_LINGER_SECONDS)
        row.update(verified_at=now, due_at=due_at, last_error="", attempts=0)


@dataclass(frozen=True)
class Waiting:
    """Objects that the store does not have yet although it was tried several times."""

    count: int
    since: datetime
    error: str


def uploads_stuck() -> Waiting | None:
    rows = Upload.objects.filter(verified_at=None, attempts__gte=STUCK_ATTEMPTS)
    found = rows.aggregate(count=Count("id"), since=Min("created_at"))
    if not found["count"]:
        return None
    error = rows.order_by("-due_at").values_list("last_error", flat=True).first() or ""
    return Waiting(count=found["count"], since=found["since"], error=error)


def uploads_retry() -> None:
    """Somebody says that the store is back: try everything now."""
    Upload.objects.filter(verified_at=None, attempts__gt=0).update(due_at=timezone.now())
