"""Rows of objects: series, instances, studies, use, work items. Bulk statements, no ORM object per instance.

Called in a scope by the index worker for what arrived, and by `imaging.workitems` for what somebody decided.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from imaging.describe import InstanceFacts
from imaging.inbox import InboxObject
from imaging.models import Study
from imaging.people import Person
from imaging.query.declared import NONE, DeclaredTags
from imaging.querytags.known import values_write
from imaging.storage import is_remote, object_key
from imaging.storage.digests import dataset_digest
from journal.outbox import NewEvent, events_publish
from journal.wall.ids import id_new, id_time
from journal.wall.scope import tenant_id_current


@dataclass(frozen=True)
class Described:
    """An object with what it says about itself. `sha256` is of the file."""

    item: InboxObject
    facts: InstanceFacts
    sha256: str
    size: int

    @cached_property
    def dataset_sha256(self) -> str:
        """Of the file without group 2; read only when somebody asks."""
        return dataset_digest(self.item.path)


@dataclass(frozen=True, kw_only=True)
class Aside:
    """Bytes that get a work item instead of a row."""

    item: InboxObject
    kind: str
    reason: str
    sha256: str
    size: int
    dataset_sha256: str = ""
    study_id: int | None = None
    instance_id: int | None = None  # the stored one that it is about
    patient_id: int | None = None


@dataclass(frozen=True)
class Stored:
    """An instance as the rows have it."""

    id: int
    sop_instance_uid: str
    series_uid: str
    study_id: int
    key: str
    size: int
    sha256: str
    dataset_sha256: str
    transfer_syntax_uid: str


@dataclass
class Batch:
    """What one transaction does for one hospital."""

    kept: list[tuple[Described, str]] = field(default_factory=list)  # object and key
    aside: list[Aside] = field(default_factory=list)
    replaced: list[tuple[Described, Stored]] = field(default_factory=list)  # the newcomer, and what it takes the place of
    revised: list[Described] = field(default_factory=list)  # rows that point at these by now: their studies are touched
    people: dict[str, Person] = field(default_factory=dict)
    studies: dict[str, Study] = field(default_factory=dict)
    changed: set[int] = field(default_factory=set)  # studies that opened: new, or late images
    derived: list[tuple[int, Described]] = field(default_factory=list)  # study, object
    tags: DeclaredTags = NONE  # the hospital's own query attributes


def aside_key(item: InboxObject) -> str:
    return object_key(tenant_id=item.tenant_id, folder="aside", instance_id=item.instance_id)


def instances_known(uids: list[str]) -> dict[str, Stored]:
    """What is stored under these SOP Instance UIDs."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT i.id, i.sop_instance_uid, e.series_uid, i.study_id, i.key, i.size, i.sha256, i.dataset_sha256, "
            "i.transfer_syntax_uid FROM imaging_instance i JOIN imaging_series e ON e.tenant_id = i.tenant_id AND e.id = i.series_id "
            "WHERE i.tenant_id = %s AND i.sop_instance_uid = ANY(%s)",
            [tenant_id_current(), uids],
        )
        return {row[1]: Stored(*row) for row in cursor.fetchall()}


def batch_write(batch: Batch, *, quiet: int) -> None:
    """All rows of a batch. `quiet` is the hospital's quiet time in seconds."""
    now = timezone.now()
    series = _series_resolve(batch)
    _instances_insert(batch, series)
    for d, stored in batch.replaced:
        instance_replace(d, stored, key=aside_key(d.item))
        if not d.facts.is_derived:
            batch.changed.add(stored.study_id)
    if batch.tags:
        _declared_write(batch)
    _studies_update(batch, now=now, quiet=quiet)
    is_new = _aside_insert(batch, now)
    _conflicts_insert(batch, now)
    use_adjust(
        size=sum(d.size for d, _ in batch.kept) + sum(aside.size for aside in is_new),
        objects=len(batch.kept) + len(is_new),
    )
    _uploads_insert(batch, now)
    events = [
        NewEvent(
            name="study.changed", ids={"study_id": study.id}, trace_id=study.trace_id,
            delay_seconds=settings.MEDHUB_ARRIVING_SECONDS,
        )
        for study in batch.studies.values()
        if study.id in batch.changed
    ]
    events += [
        NewEvent(name="derived.received", ids={"study_id": study_id, "instance_id": d.item.instance_id}, trace_id=d.item.trace_id)
        for study_id, d in batch.derived
    ]
    events_publish(events=events)


def _declared_write(batch: Batch) -> None:
    """What the objects have of the attributes that the hospital asks for; under one UID the last one counts."""
    objects = [*(d for d, _ in batch.kept), *(d for d, _ in batch.replaced), *batch.revised]
    found = {d.facts.sop_instance_uid: d.facts.declared for d in objects}
    values_write(tags=batch.tags, found=found, is_new=not batch.replaced and not batch.revised)


def _by_study(batch: Batch) -> dict[Study, list[Described]]:
    grouped: dict[Study, list[Described]] = {}
    for d in [*(d for d, _ in batch.kept), *(d for d, _ in batch.replaced), *batch.revised]:
        grouped.setdefault(batch.studies[d.facts.study_uid], []).append(d)
    return grouped


def _series_resolve(batch: Batch) -> dict[str, int]:
    """Series by UID; new ones from their first object, in one statement each way."""
    first: dict[str, Described] = {}
    for d, _ in batch.kept:
        first.setdefault(d.facts.series_uid, d)
    if not first:
        return {}
    rows = [
        (
            d.facts.series_uid, batch.studies[d.facts.study_uid].id, d.facts.modality, d.facts.series_number,
            d.facts.series_description, d.facts.body_part, d.facts.laterality, d.facts.manufacturer,
            id_time(d.item.instance_id).isoformat(), id_new(), d.facts.series_extra,
        )
        for d in first.values()
    ]  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO imaging_series (tenant_id, series_uid, study_id, modality, number, description, body_part, laterality, "
            "manufacturer, first_received_at, id, extra, number_of_instances) "
            "SELECT %s, u.*, 0 FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::int[], %s::text[], %s::text[], %s::text[], "
            "%s::text[], %s::timestamptz[], %s::bigint[], %s::text[]) u ON CONFLICT (tenant_id, series_uid) DO NOTHING",
            [tenant_id_current(), *_columns(rows)],
        )
        cursor.execute(
            "SELECT series_uid, id FROM imaging_series WHERE tenant_id = %s AND series_uid = ANY(%s)",
            [tenant_id_current(), list(first)],
        )
        return dict(cursor.fetchall())


INSTANCE_COLUMNS: dict[str, str] = {
    "id": "bigint", "sop_instance_uid": "text", "sop_class_uid": "text", "transfer_syntax_uid": "text", "series_id": "bigint",
    "study_id": "bigint", "number": "int", "frames": "int", "rows": "int", "columns": "int", "position": "float8",
    "extra": "text", "key": "text", "size": "bigint", "sha256": "text", "dataset_sha256": "text", "source": "bigint",
    "received_at": "timestamptz", "scrub_result": "text",
}  # fmt: skip


# What one object brings with it; the rest of a row says which instance it is.
REPLACED = (
    "sop_class_uid", "transfer_syntax_uid", "number", "frames", "rows", "columns", "position", "extra", "key", "size", "sha256",
    "dataset_sha256", "source", "received_at", "scrub_result",
)  # fmt: skip


def _values(d: Described, key: str) -> dict[str, Any]:
    facts = d.facts
    return {
        "sop_class_uid": facts.sop_class_uid, "transfer_syntax_uid": facts.transfer_syntax_uid, "number": facts.number,
        "frames": facts.frames, "rows": facts.rows, "columns": facts.columns, "position": facts.position, "extra": facts.extra,
        "key": key, "size": d.size, "sha256": d.sha256, "dataset_sha256": "", "source": d.item.source,
        "received_at": id_time(d.item.instance_id).isoformat(), "scrub_result": "",
    }  # fmt: skip


def _instances_insert(batch: Batch, series: dict[str, int]) -> None:
    if not batch.kept:
        return
    rows = []
    for d, key in batch.kept:
        values = _values(d, key) | {
            "id": d.item.instance_id, "sop_instance_uid": d.facts.sop_instance_uid, "series_id": series[d.facts.series_uid],
            "study_id": batch.studies[d.facts.study_uid].id,
        }  # fmt: skip
        rows.append(tuple(values[name] for name in INSTANCE_COLUMNS))
    names = ", ".join(f'"{name}"' for name in INSTANCE_COLUMNS)
    arrays = ", ".join(f"%s::{kind}[]" for kind in INSTANCE_COLUMNS.values())
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO imaging_instance (tenant_id, {names}) SELECT %s, u.* FROM unnest({arrays}) u",  # noqa: S608 constants
            [tenant_id_current(), *_columns(rows)],
        )


def instance_replace(d: Described, stored: Stored, *, key: str) -> None:
    """Point the stored instance at other bytes. The old ones are the caller's: they stay where they are, under a work item."""
    values = _values(d, key)
    sets = ", ".join(f'"{name}" = %s' for name in REPLACED)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE imaging_instance SET {sets}, scrubbed_at = NULL WHERE tenant_id = %s AND id = %s",  # noqa: S608 constants
            [*(values[name] for name in REPLACED), tenant_id_current(), stored.id],
        )


def _studies_update(batch: Batch, *, now: datetime, quiet: int) -> None:
    """One statement for all studies of a batch: what new images change, and counts from the rows themselves, so that a replay
    cannot count twice. New images reopen a study and push its quiet time, which runs from their arrival and not from their rows; an AI's
    own objects don't. When the expected number has come the study is due at once.
    """
    touched: list[tuple[Any, ...]] = []
    sources: set[tuple[int, int]] = set()
    for study, items in _by_study(batch).items():
        images = [d for d in items if not d.facts.is_derived]
        batch.derived += [(study.id, d) for d in items if d.facts.is_derived]
        if not images:
            continue
        if study.stored_at is None or study.state == Study.State.COMPLETE:
            batch.changed.add(study.id)
        received = max(id_time(d.item.instance_id) for d in images)
        touched.append((study.id, received, next((d.facts.body_part for d in images if d.facts.body_part), "")))
        sources |= {(study.id, d.item.source) for d in images if d.item.source}
    tenant_id, study_ids = tenant_id_current(), [study.id for study in batch.studies.values()]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE imaging_series s SET number_of_instances = n.count FROM (SELECT series_id, count(*) FROM imaging_instance "
            "WHERE tenant_id = %s AND study_id = ANY(%s) GROUP BY series_id) n "
            "WHERE s.tenant_id = %s AND s.id = n.series_id AND s.number_of_instances <> n.count",
            [tenant_id, study_ids, tenant_id],
        )
        cursor.execute(
            "UPDATE imaging_study t SET number_of_series = n.series, number_of_instances = n.instances, modalities = n.modalities, "
            "state = CASE WHEN u.id IS NULL THEN t.state ELSE %s END, is_from_ai = t.is_from_ai AND u.id IS NULL, "
            "stored_at = CASE WHEN u.id IS NULL THEN t.stored_at ELSE coalesce(t.stored_at, %s) END, "
            "due_at = CASE WHEN n.instances >= t.expected_instances "
            "AND (u.id IS NOT NULL OR t.due_at IS NOT NULL) THEN now() WHEN u.id IS NULL THEN t.due_at "
            "ELSE least(greatest(t.last_received_at, u.received), %s) + %s END, "  # a clock that was set back does not make it wait
            "last_received_at = greatest(t.last_received_at, u.received), "
            "body_part = coalesce(nullif(t.body_part, ''), u.body_part, '') "
            "FROM (SELECT study_id, count(*) AS series, sum(number_of_instances) AS instances, "
            "coalesce(left(string_agg(DISTINCT nullif(modality, ''), ',' ORDER BY nullif(modality, '')), 120), '') AS modalities "
            "FROM imaging_series WHERE tenant_id = %s AND study_id = ANY(%s) GROUP BY study_id) n "
            "LEFT JOIN unnest(%s::bigint[], %s::timestamptz[], %s::text[]) u(id, received, body_part) ON u.id = n.study_id "
            "WHERE t.tenant_id = %s AND t.id = n.study_id",
            [
                Study.State.RECEIVING.value, now, now, timedelta(seconds=quiet), tenant_id, study_ids,
                *(_columns(touched) or [[], [], []]), tenant_id,
            ],
        )  # fmt: skip
        if sources:
            cursor.execute(
                "INSERT INTO imaging_studysource (tenant_id, id, study_id, association) "
                "SELECT %s, u.* FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) u ON CONFLICT DO NOTHING",
                [tenant_id, [id_new() for _ in sources], *_columns(list(sources))],
            )


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Rows as one array a column, for unnest."""
    return [list(column) for column in zip(*rows, strict=True)]


def use_adjust(*, size: int, objects: int) -> None:
    """Add to what the hospital keeps, or take away from it. Bytes aside count like any other."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO imaging_storageuse (tenant_id, id, bytes_kept, objects_kept) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT (tenant_id) DO UPDATE SET bytes_kept = imaging_storageuse.bytes_kept + excluded.bytes_kept, "
            "objects_kept = imaging_storageuse.objects_kept + excluded.objects_kept",
            [tenant_id_current(), id_new(), size, objects],
        )
        cursor.execute(
            "INSERT INTO imaging_scrub (tenant_id, id, after_id, rounds, objects_read, bytes_read, objects_bad, due_at) "
            "VALUES (%s, %s, 0, 0, 0, 0, 0, now()) ON CONFLICT (tenant_id) DO NOTHING",
            [tenant_id_current(), id_new()],
        )


ITEM_COLUMNS = (
    "kind", "reason", "study_id", "instance_id", "patient_id", "key", "size", "sha256", "dataset_sha256", "unique_on", "created_at",
)  # fmt: skip


def item_insert(**values: Any) -> bool:
    """A work item in the hospital in scope, once for its kind and `unique_on`. Returns whether it is new."""
    row = {"study_id": None, "instance_id": None, "patient_id": None, "key": "", "size": 0, "sha256": "", "dataset_sha256": "", **values}
    names = ", ".join(ITEM_COLUMNS)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO imaging_workitem (tenant_id, id, resolution, resolved_by, note, {names}) "  # noqa: S608 constants
            f"VALUES (%s, %s, '', '', '', {', '.join(['%s'] * len(ITEM_COLUMNS))}) ON CONFLICT DO NOTHING",
            [tenant_id_current(), id_new(), *(row[name] for name in ITEM_COLUMNS)],
        )
        return bool(cursor.rowcount)


def _aside_insert(batch: Batch, now: datetime) -> list[Aside]:
    """One item for each object put aside, and for each that was replaced (it holds the old bytes). Returns those that are new."""
    for d, stored in batch.replaced:
        is_new = item_insert(
            kind="duplicate-replaced", reason="same SOP Instance UID, other content: it took the place of the stored one",
            study_id=stored.study_id, instance_id=stored.id, key=stored.key, size=stored.size, sha256=stored.sha256,
            dataset_sha256=stored.dataset_sha256, unique_on=str(d.item.instance_id), created_at=now,
        )  # fmt: skip
        if is_new:
            use_adjust(size=d.size, objects=1)
    return [
        aside for aside in batch.aside
        if item_insert(
            kind=aside.kind, reason=aside.reason, study_id=aside.study_id, instance_id=aside.instance_id,
            patient_id=aside.patient_id, key=aside_key(aside.item), size=aside.size, sha256=aside.sha256,
            dataset_sha256=aside.dataset_sha256, unique_on=str(aside.item.instance_id), created_at=now,
        )
    ]  # fmt: skip


def _conflicts_insert(batch: Batch, now: datetime) -> None:
    """One for each study whose person came under somebody else's number."""
    seen = set()
    for d, _ in batch.kept:
        study, person = batch.studies[d.facts.study_uid], batch.people[d.facts.sop_instance_uid]
        if person.is_conflict and study.id not in seen:
            seen.add(study.id)
            item_insert(
                kind="patient-conflict", reason="another person came under a PatientID that was taken: kept as two patients",
                study_id=study.id, patient_id=person.id, unique_on=f"study-{study.id}", created_at=now,
            )  # fmt: skip


def _uploads_insert(batch: Batch, now: datetime) -> None:
    """Under S3: everything that was settled waits for its way to the store."""
    if not is_remote():
        return
    rows = [(key, d.size, d.sha256) for d, key in batch.kept]
    rows += [(aside_key(aside.item), aside.size, aside.sha256) for aside in batch.aside]
    rows += [(aside_key(d.item), d.size, d.sha256) for d, _ in batch.replaced]
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO imaging_upload (tenant_id, id, key, size, sha256, attempts, last_error, created_at, due_at) "
            "SELECT %s, u.id, u.key, u.size, u.sha256, 0, '', %s, %s "
            "FROM unnest(%s::bigint[], %s::text[], %s::bigint[], %s::text[]) u(id, key, size, sha256) ON CONFLICT DO NOTHING",
            [
                tenant_id_current(), now, now, [id_new() for _ in rows], [row[0] for row in rows], [row[1] for row in rows],
                [row[2] for row in rows],
            ],
        )  # fmt: skip
    nudge = import_string(settings.MEDHUB_UPLOAD_NUDGE)
    transaction.on_commit(partial(nudge, tenant_id=tenant_id_current()), robust=True)
