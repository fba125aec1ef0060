"""The audit trail: who did or saw what. Doors call `audit_record` inside their transaction, so it commits before the first byte.

One task per hospital seals the hash chain within seconds; `audit_verify` finds an edited, removed or reordered row.
45 CFR 164.312(b).
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import orjson
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from journal.models import AuditEvent, AuditSeal
from journal.outbox import event_publish
from journal.trace import trace_id_current
from journal.wall.ids import id_new
from journal.wall.reads import tenant_rows
from journal.wall.scope import tenant_id_current

BUCKET_SECONDS = 300
SEAL_EVERY_SECONDS = 4.0  # a process asks for at most one seal per hospital in this time ...
SEAL_AFTER_SECONDS = 6.0  # ... which runs this much later, when whatever was written in between has committed
SEAL_BATCH = 1000
LATEST_MS = 3_600_000  # ids begin with milliseconds (journal/wall/ids.py)


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who acts: `kind:id` and the address they came from. Never a name."""

    name: str
    address: str | None = None


def audit_record(*, actor: Actor, action: str, object_type: str, object_id: str, detail: dict[str, int | str] | None = None) -> None:
    """Write one row per actor, object, action and five minutes; a repeat within them changes nothing. In a scope."""
    audits_append(
        tenant_id=tenant_id_current(), actor=actor, action=action, object_type=object_type, object_ids=[object_id], detail=detail,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    """Something that was done at another time than it is written."""

    actor: Actor
    action: str
    object_type: str
    object_id: str
    at: datetime
    trace_id: str


def audits_add(*, rows: Sequence[AuditRow]) -> None:
    """`audit_record` for what many did, in one statement. In a scope."""
    if not rows:
        return
    tenant_id = tenant_id_current()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO journal_auditevent (tenant_id, id, actor, action, object_type, object_id, bucket, recorded_at, "
            "address, trace_id, detail) SELECT %s, o.*, '{}' FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], "
            "%s::text[], %s::bigint[], %s::timestamptz[], %s::inet[], %s::text[]) AS o ON CONFLICT DO NOTHING",
            [
                tenant_id, [id_new() for _ in rows], [row.actor.name for row in rows], [row.action for row in rows],
                [row.object_type for row in rows], [row.object_id for row in rows],
                [int(row.at.timestamp()) // BUCKET_SECONDS for row in rows], [row.at for row in rows],
                [row.actor.address for row in rows], [row.trace_id for row in rows],
            ],
        )  # fmt: skip
    audit_written(tenant_id=tenant_id)


def audits_append(
    *, tenant_id: int, actor: Actor, action: str, object_type: str, object_ids: Sequence[str],
    detail: dict[str, int | str] | None = None,
) -> None:
    """`audit_record` for many objects. Joins a scope of the hospital; outside of one it is committed, in one round trip, on return."""
    audit_facts_append(
        tenant_id=tenant_id, actor=actor, facts=[(action, object_type, object_id) for object_id in object_ids], detail=detail
    )


def audit_facts_append(
    *, tenant_id: int, actor: Actor, facts: Sequence[tuple[str, str, str]], detail: dict[str, int | str] | None = None
) -> None:
    """`audits_append` for many (action, type of object, id of object) at once."""
    sql, values = audit_statement(tenant_id=tenant_id, actor=actor, facts=facts, detail=detail)
    tenant_rows(tenant_id=tenant_id, sql=f"{sql} RETURNING id", values=values)
    audit_written(tenant_id=tenant_id)


def audit_statement(
    *, tenant_id: int, actor: Actor, facts: Sequence[tuple[str, str, str]], detail: dict[str, int | str] | None = None
) -> tuple[str, list[Any]]:
    """What `audit_facts_append` runs, for whoever sends it with others; `audit_written` comes after it."""
    now = timezone.now()
    actions, kinds, names = (list(column) for column in zip(*facts, strict=True)) if facts else ([], [], [])
    sql = (
        "INSERT INTO journal_auditevent (tenant_id, id, actor, action, object_type, object_id, bucket, recorded_at, "
        "address, trace_id, detail) SELECT %s, o.id, %s, o.action, o.kind, o.name, %s, %s, %s, %s, %s "
        "FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[]) AS o(id, action, kind, name) ON CONFLICT DO NOTHING"
    )
    return sql, [
        tenant_id, actor.name, int(now.timestamp()) // BUCKET_SECONDS, now, actor.address, trace_id_current(),
        orjson.dumps(detail or {}).decode(), [id_new() for _ in facts], actions, kinds, names,
    ]  # fmt: skip


_asked: dict[int, float] = {}


def audit_written(*, tenant_id: int) -> None:
    """Ask for a seal within 10 s, once for a burst. A lost message is made good by the next event or the slow sweep."""
    now = time.monotonic()
    if now - _asked.get(tenant_id, -SEAL_EVERY_SECONDS) < SEAL_EVERY_SECONDS:
        return
    if len(_asked) > 10_000:
        _asked.clear()
    _asked[tenant_id] = now
    nudge = import_string(settings.MEDHUB_SEAL_NUDGE)
    transaction.on_commit(partial(nudge, tenant_id=tenant_id), robust=True)


def _digest(before: str, event: AuditEvent) -> str:
    facts = [
        str(event.id), event.actor, event.action, event.object_type, event.object_id, event.recorded_at.isoformat(),
        event.address or "", event.trace_id, orjson.dumps(event.detail, option=orjson.OPT_SORT_KEYS).decode(),
    ]  # fmt: skip
    return hashlib.sha256("\x1f".join([before, *facts]).encode()).hexdigest()


def audit_seal() -> int:
    """Add what is not sealed yet to the chain. Returns how many rows. One runner per hospital, by advisory lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('audit.seal', %s))", [tenant_id_current()])
    last = AuditSeal.objects.order_by("-position").first()
    position, digest = (last.position, last.digest) if last else (0, "")
    # What is sealed is not looked through again: an id is made at most a transaction's length before its row is seen.
    floor = last.event_id - (LATEST_MS << 22) if last else 0
    seals = []
    for event in AuditEvent.objects.filter(auditseal__isnull=True, id__gt=floor).order_by("id")[:SEAL_BATCH]:
        position += 1
        digest = _digest(digest, event)
        seals.append(AuditSeal(position=position, event=event, digest=digest))
    AuditSeal.objects.bulk_create(seals)
    if seals:
        event_publish(name="audit.sealed", ids={"first": seals[0].position, "last": position})
    return len(seals)


def audit_verify() -> int | None:
    """Walk the chain of the hospital in scope. Returns the first position that does not hold, or None when all do."""
    digest = ""
    for expected, seal in enumerate(AuditSeal.objects.select_related("event").order_by("position").iterator(), start=1):
        digest = _digest(digest, seal.event)
        if seal.position != expected or seal.digest != digest:
            return expected
    return None
