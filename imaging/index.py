"""The index worker: takes objects from the inbox, gives them rows and a resting place. Bulk statements, no ORM object per instance.

Called by `manage.py ingest_index`; idempotent, so a crash anywhere is cured by running it again over the same inbox.
"""

import contextlib
import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from imaging.describe import InstanceFacts, instance_describe
from imaging.header import HeaderError
from imaging.inbox import InboxObject
from imaging.models import Study, WorkItem
from imaging.people import Person, patients_resolve
from imaging.query import fold, moments
from imaging.storage import object_folder, object_key, objects_settle
from journal.faults import fault
from journal.outbox import NewEvent, events_publish
from journal.wall.ids import id_new, id_time
from journal.wall.scope import tenant_id_current, tenant_scope
from tenants.selectors import tenant_get

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Described:
    item: InboxObject
    facts: InstanceFacts
    sha256: str
    size: int


@dataclass
class Batch:
    """What one transaction does for one hospital."""

    kept: list[tuple[Described, str]] = field(default_factory=list)  # object and key
    aside: list[tuple[InboxObject, str, str]] = field(default_factory=list)  # object, kind, reason
    people: dict[str, Person] = field(default_factory=dict)
    studies: dict[str, Study] = field(default_factory=dict)
    changed: set[int] = field(default_factory=set)  # studies that opened: new, or late images
    derived: list[tuple[int, Described]] = field(default_factory=list)  # study, object


def instances_index(*, tenant_id: int, objects: Sequence[InboxObject]) -> int:
    """Index a batch of one hospital's inbox in one transaction, then empty it. Returns the number of objects taken."""
    described, batch = _describe(objects)
    quiet = tenant_get(tenant_id=tenant_id).quiet_seconds
    with tenant_scope(tenant_id):
        _sort(described, batch)
        objects_settle([(d.item.path, key) for d, key in batch.kept])
        objects_settle([(item.path, _aside_key(item)) for item, _, _ in batch.aside])
        fault("index.after_settle")
        _rows_write(batch, quiet=quiet)
        fault("index.before_commit")
    fault("index.after_commit")
    for item in objects:
        with contextlib.suppress(FileNotFoundError):
            item.path.unlink()
    return len(objects)


def batch_index(*, tenant_id: int, objects: Sequence[InboxObject]) -> int:
    """`instances_index` that no single object can stop: what cannot be indexed even alone is put aside with a work item.

    Raises OperationalError or InterfaceError when the database is away: then nothing is wrong with the objects.
    """
    try:
        return instances_index(tenant_id=tenant_id, objects=objects)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        log.exception("a batch of %s objects was not indexed", len(objects))
        if len(objects) > 1:
            return sum(batch_index(tenant_id=tenant_id, objects=[item]) for item in objects)
        _put_aside(objects[0], reason=f"could not be indexed ({type(error).__name__}): kept aside")
        return 1


def _put_aside(item: InboxObject, *, reason: str) -> None:
    batch = Batch(aside=[(item, "unreadable", reason)])
    with tenant_scope(item.tenant_id):
        objects_settle([(item.path, _aside_key(item))])
        _use_count(batch)
        _work_items(batch, timezone.now())
    item.path.unlink(missing_ok=True)


def _describe(objects: Iterable[InboxObject]) -> tuple[list[Described], Batch]:
    described, batch = [], Batch()
    for item in objects:
        try:
            facts = instance_describe(item.path)
        except HeaderError as error:
            batch.aside.append((item, "unreadable", f"not readable: {error}"[:200]))
            continue
        with item.path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        described.append(Described(item, facts, sha256, item.path.stat().st_size))
    return described, batch


def _aside_key(item: InboxObject) -> str:
    return object_key(tenant_id=item.tenant_id, folder="aside", instance_id=item.instance_id)


def _sort(described: list[Described], batch: Batch) -> None:
    """Decide for each object: new, the same again, or something a person must look at. Nothing is dropped that differs."""
    batch.people = patients_resolve(objects=[d.facts for d in described])
    batch.studies = _studies_resolve(described, batch)
    there = _known([d.facts.sop_instance_uid for d in described])
    homes = _series_homes([d.facts.series_uid for d in described])
    for d in described:
        study = batch.studies[d.facts.study_uid]
        known = there.get(d.facts.sop_instance_uid)
        if known is not None:
            if known[1] != d.sha256:
                batch.aside.append((d.item, "duplicate", "same SOP Instance UID, other content: kept aside"))
            continue  # a replay, or the same object again: idempotent success
        if study.patient_id != batch.people[d.facts.sop_instance_uid].id:
            reason = "names another patient than the rest of its study: kept aside"
            batch.aside.append((d.item, "patient-conflict", reason))
            continue
        if homes.setdefault(d.facts.series_uid, study.id) != study.id:
            batch.aside.append((d.item, "series-conflict", "its series belongs to another study: kept aside"))
            continue
        there[d.facts.sop_instance_uid] = (d.item.instance_id, d.sha256)
        key = object_key(tenant_id=d.item.tenant_id, folder=object_folder(d.item.instance_id), instance_id=d.item.instance_id)
        batch.kept.append((d, key))


def _known(uids: list[str]) -> dict[str, tuple[int, str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sop_instance_uid, id, sha256 FROM imaging_instance WHERE tenant_id = %s AND sop_instance_uid = ANY(%s)",
            [tenant_id_current(), uids],
        )
        return {uid: (instance_id, sha256) for uid, instance_id, sha256 in cursor.fetchall()}


def _series_homes(uids: list[str]) -> dict[str, int]:
    """Which study each known series belongs to."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT series_uid, study_id FROM imaging_series WHERE tenant_id = %s AND series_uid = ANY(%s)",
            [tenant_id_current(), uids],
        )
        return dict(cursor.fetchall())


def _studies_resolve(described: list[Described], batch: Batch) -> dict[str, Study]:
    """The studies of a batch, locked in id order; new ones are made from their first object."""
    first: dict[str, Described] = {}
    for d in described:
        first.setdefault(d.facts.study_uid, d)
    studies = _studies_locked(first)
    new = [_study_new(d, batch.people[d.facts.sop_instance_uid].id) for uid, d in first.items() if uid not in studies]
    if new:
        Study.objects.bulk_create(new, ignore_conflicts=True)
        studies = _studies_locked(first)
    return studies


def _studies_locked(uids: Iterable[str]) -> dict[str, Study]:
    rows = Study.objects.select_for_update(of=("self",)).filter(study_uid__in=list(uids)).order_by("id")
    return {study.study_uid: study for study in rows}


def _study_new(d: Described, patient_id: int) -> Study:
    facts, at = d.facts, id_time(d.item.instance_id)
    return Study(
        study_uid=facts.study_uid, patient_id=patient_id, accession_number=facts.accession_number,
        accession_issuer=facts.accession_issuer, study_date=facts.study_date, study_time=facts.study_time,
        utc_offset=facts.utc_offset, description=facts.study_description, referrer=facts.referrer,
        body_part=facts.body_part, patient_age=facts.patient_age, expected_instances=facts.expected_instances,
        study_identifier=facts.study_identifier, extra=facts.study_extra,
        started_key=moments.started_key(facts.study_date, facts.study_time), time_key=moments.time_key(facts.study_time),
        accession_key=fold.text_fold(facts.accession_number), identifier_key=fold.text_fold(facts.study_identifier),
        description_key=fold.text_fold(facts.study_description), referrer_key=fold.name_key(facts.referrer),
        is_from_ai=facts.is_derived, trace_id=d.item.trace_id, first_received_at=at, last_received_at=at,
    )  # fmt: skip


def _rows_write(batch: Batch, *, quiet: int) -> None:
    now = timezone.now()
    series = _series_resolve(batch)
    _instances_insert(batch, series)
    _studies_update(batch, now=now, quiet=quiet)
    _use_count(batch)
    _work_items(batch, now)
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


def _by_study(batch: Batch) -> dict[Study, list[Described]]:
    grouped: dict[Study, list[Described]] = {}
    for d, _ in batch.kept:
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
            id_time(d.item.instance_id), id_new(), d.facts.series_extra,
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
    "extra": "text", "key": "text", "size": "bigint", "sha256": "text", "source": "bigint", "received_at": "timestamptz",
}  # fmt: skip


def _instances_insert(batch: Batch, series: dict[str, int]) -> None:
    if not batch.kept:
        return
    rows: list[tuple[Any, ...]] = [
        (
            d.item.instance_id, d.facts.sop_instance_uid, d.facts.sop_class_uid, d.facts.transfer_syntax_uid,
            series[d.facts.series_uid], batch.studies[d.facts.study_uid].id, d.facts.number, d.facts.frames, d.facts.rows,
            d.facts.columns, d.facts.position, d.facts.extra, key, d.size, d.sha256, d.item.source, id_time(d.item.instance_id),
        )
        for d, key in batch.kept
    ]  # fmt: skip
    names = ", ".join(f'"{name}"' for name in INSTANCE_COLUMNS)
    arrays = ", ".join(f"%s::{kind}[]" for kind in INSTANCE_COLUMNS.values())
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO imaging_instance (tenant_id, {names}) SELECT %s, u.* FROM unnest({arrays}) u",  # noqa: S608 constants
            [tenant_id_current(), *_columns(rows)],
        )


def _studies_update(batch: Batch, *, now: datetime, quiet: int) -> None:
    """One statement for all studies of a batch: what new images change, and counts from the rows themselves, so that a replay
    cannot count twice. New images reopen a study and push its quiet time; an AI's own objects don't. When the expected number
    has come the study is due at once.
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
            "AND (u.id IS NOT NULL OR t.due_at IS NOT NULL) THEN now() WHEN u.id IS NULL THEN t.due_at ELSE %s END, "
            "last_received_at = greatest(t.last_received_at, u.received), "
            "body_part = coalesce(nullif(t.body_part, ''), u.body_part, '') "
            "FROM (SELECT study_id, count(*) AS series, sum(number_of_instances) AS instances, "
            "coalesce(left(string_agg(DISTINCT nullif(modality, ''), ',' ORDER BY nullif(modality, '')), 120), '') AS modalities "
            "FROM imaging_series WHERE tenant_id = %s AND study_id = ANY(%s) GROUP BY study_id) n "
            "LEFT JOIN unnest(%s::bigint[], %s::timestamptz[], %s::text[]) u(id, received, body_part) ON u.id = n.study_id "
            "WHERE t.tenant_id = %s AND t.id = n.study_id",
            [
                Study.State.RECEIVING.value, now, now + timedelta(seconds=quiet), tenant_id, study_ids,
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


def _use_count(batch: Batch) -> None:
    size = sum(d.size for d, _ in batch.kept) + sum(item.path.stat().st_size for item, _, _ in batch.aside)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO imaging_storageuse (tenant_id, id, bytes_kept, objects_kept) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT (tenant_id) DO UPDATE SET bytes_kept = imaging_storageuse.bytes_kept + excluded.bytes_kept, "
            "objects_kept = imaging_storageuse.objects_kept + excluded.objects_kept",
            [tenant_id_current(), id_new(), size, len(batch.kept) + len(batch.aside)],
        )


def _work_items(batch: Batch, now: datetime) -> None:
    """One item for each object put aside, and one for each person who came under somebody else's number."""
    items = [
        WorkItem(kind=kind, reason=reason, key=_aside_key(item), unique_on=str(item.instance_id), created_at=now)
        for item, kind, reason in batch.aside
    ]
    seen = set()
    for d, _ in batch.kept:
        study = batch.studies[d.facts.study_uid]
        if batch.people[d.facts.sop_instance_uid].is_conflict and study.id not in seen:
            seen.add(study.id)
            reason = "another person came under a PatientID that was taken: kept as two patients"
            items.append(
                WorkItem(kind="patient-conflict", reason=reason, study=study, unique_on=f"study-{study.id}", created_at=now)
            )
    WorkItem.objects.bulk_create(items, ignore_conflicts=True)
