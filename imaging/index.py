"""The index worker: takes objects from the inbox, decides what each one is, has rows made (`imaging.filing`) and settles the bytes.

Called by `manage.py ingest_index`; idempotent, so a crash anywhere is cured by running it again over the same inbox.
"""

import contextlib
import logging
from collections.abc import Iterable, Sequence

from django.db import InterfaceError, OperationalError, connection

from imaging.describe import instance_describe
from imaging.duplicates import stored_digest
from imaging.filing import Aside, Batch, Described, Stored, aside_key, batch_write, instances_known
from imaging.header import HeaderError
from imaging.inbox import InboxObject
from imaging.matching import studies_arrived_match
from imaging.models import Study
from imaging.people import patients_resolve
from imaging.query import fold, moments
from imaging.querytags.known import tags_declared
from imaging.storage import object_folder, object_key, objects_settle
from imaging.storage.digests import file_digest
from journal.audit import AuditRow, audits_add
from journal.faults import fault
from journal.wall.arrays import rows_insert
from journal.wall.ids import id_time
from journal.wall.scope import tenant_id_current, tenant_scope
from tenants.models import DuplicatePolicy
from tenants.selectors import tenant_get

log = logging.getLogger(__name__)

OTHER_CONTENT = "same SOP Instance UID, other content: kept aside"
OTHER_PLACE = "same SOP Instance UID in another study or series: kept aside"
Grown = set[tuple[int, str, str]]  # hospital, study and series that have new instances


def instances_index(*, tenant_id: int, objects: Sequence[InboxObject], grown: Grown | None = None) -> int:
    """Index a batch of one hospital's inbox in one transaction, then empty it. Returns the number of objects taken."""
    described, batch = _describe(tenant_id, objects)
    tenant = tenant_get(tenant_id=tenant_id)
    with tenant_scope(tenant_id):
        _sort(described, batch, policy=tenant.duplicate_policy)
        objects_settle([(d.item.path, key) for d, key in batch.kept])
        objects_settle([(d.item.path, aside_key(d.item)) for d, _ in batch.replaced])
        objects_settle([(aside.item.path, aside_key(aside.item)) for aside in batch.aside])
        fault("index.after_settle")
        batch_write(batch, quiet=tenant.quiet_seconds)
        _stores_audit(described, batch.aside)
        fault("index.before_commit")
    fault("index.after_commit")
    if grown is not None:
        grown.update((tenant_id, d.facts.study_uid, d.facts.series_uid) for d, _ in batch.kept)
    for item in objects:
        with contextlib.suppress(FileNotFoundError):
            item.path.unlink()
    return len(objects)


def batch_index(*, tenant_id: int, objects: Sequence[InboxObject], grown: Grown | None = None) -> int:
    """`instances_index` that no single object can stop: what cannot be indexed even alone is put aside with a work item.

    Raises OperationalError or InterfaceError when the database is away: then nothing is wrong with the objects.
    """
    try:
        return instances_index(tenant_id=tenant_id, objects=objects, grown=grown)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        log.exception("a batch of %s objects was not indexed", len(objects))
        if len(objects) > 1:
            return sum(batch_index(tenant_id=tenant_id, objects=[item], grown=grown) for item in objects)
        _put_aside(objects[0], reason=f"could not be indexed ({type(error).__name__}): kept aside")
        return 1


def _put_aside(item: InboxObject, *, reason: str) -> None:
    batch = Batch(aside=[_unreadable(item, reason)])
    with tenant_scope(item.tenant_id):
        objects_settle([(item.path, aside_key(item))])
        batch_write(batch, quiet=0)
        _stores_audit([], batch.aside)
    item.path.unlink(missing_ok=True)


def _unreadable(item: InboxObject, reason: str) -> Aside:
    sha256 = file_digest(item.path)
    return Aside(item=item, kind="unreadable", reason=reason[:200], sha256=sha256, size=item.path.stat().st_size)


def _stores_audit(described: Sequence[Described], aside: Sequence[Aside]) -> None:
    """Who sent what by the web, as the door wrote it beside the bytes: one row a sender, study and five minutes."""
    studies = {(d.item.sender, d.facts.study_uid): d.item for d in described}
    studies |= {(one.item.sender, "unreadable"): one.item for one in aside if one.kind == "unreadable"}
    audits_add(
        rows=[
            AuditRow(
                actor=sender, action="dicom.store", object_type="Study", object_id=study_uid, at=id_time(item.instance_id),
                trace_id=item.trace_id,
            )
            for (sender, study_uid), item in studies.items()
            if sender is not None
        ]
    )  # fmt: skip


def _describe(tenant_id: int, objects: Iterable[InboxObject]) -> tuple[list[Described], Batch]:
    described, batch = [], Batch(tags=tags_declared(tenant_id=tenant_id))
    for item in objects:
        try:
            facts = instance_describe(item.path, tags=batch.tags)
        except HeaderError as error:
            batch.aside.append(_unreadable(item, f"not readable: {error}"))
            continue
        described.append(Described(item, facts, file_digest(item.path), item.path.stat().st_size))
    return described, batch


def _sort(described: list[Described], batch: Batch, *, policy: str) -> None:
    """Decide for each object: new, the same again, or something a person must look at. Nothing is dropped that differs."""
    settled = _settled([d.item.instance_id for d in described])
    described = [d for d in described if d.item.instance_id not in settled]
    batch.aside = [aside for aside in batch.aside if aside.item.instance_id not in settled]
    batch.people = patients_resolve(objects=[d.facts for d in described])
    batch.studies = _studies_resolve(described, batch)
    there = instances_known([d.facts.sop_instance_uid for d in described])
    fresh: dict[str, Described] = {}
    homes = _series_homes([d.facts.series_uid for d in described])
    for d in described:
        study = batch.studies[d.facts.study_uid]
        known = there.get(d.facts.sop_instance_uid)
        if known is not None:
            if not _is_same(d, known, fresh) and not _is_aside_already(d, known):
                there[d.facts.sop_instance_uid] = _duplicate(d, known, study, batch, policy)
                fresh[aside_key(d.item)] = d
            continue  # the same object again: idempotent success
        if study.patient_id != batch.people[d.facts.sop_instance_uid].id:
            reason = "names another patient than the rest of its study: kept aside"
            batch.aside.append(_aside(d, "patient-conflict", reason, study_id=study.id, patient_id=_person_id(d, batch)))
            continue
        if homes.setdefault(d.facts.series_uid, study.id) != study.id:
            reason = "its series belongs to another study: kept aside"
            batch.aside.append(_aside(d, "series-conflict", reason, study_id=study.id))
            continue
        key = object_key(tenant_id=d.item.tenant_id, folder=object_folder(d.item.instance_id), instance_id=d.item.instance_id)
        there[d.facts.sop_instance_uid] = stored_of(d, d.item.instance_id, study.id, key)
        batch.kept.append((d, key))
        fresh[key] = d


def _person_id(d: Described, batch: Batch) -> int:
    return batch.people[d.facts.sop_instance_uid].id


def _settled(ids: list[int]) -> set[int]:
    """Objects that have a row or a work item already: a crash came between the commit and the unlink."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM imaging_instance WHERE tenant_id = %s AND id = ANY(%s) UNION ALL "
            "SELECT unique_on::bigint FROM imaging_workitem WHERE tenant_id = %s AND kind = ANY(%s) AND unique_on = ANY(%s)",
            [tenant_id_current(), ids, tenant_id_current(), list(ASIDE_KINDS), [str(instance_id) for instance_id in ids]],
        )
        return {instance_id for (instance_id,) in cursor.fetchall()}


ASIDE_KINDS = ("duplicate", "duplicate-replaced", "patient-conflict", "series-conflict", "unreadable")


def _is_same(d: Described, known: Stored, fresh: dict[str, Described]) -> bool:
    """`fresh`: the objects of this batch by their keys; they have no resting place yet."""
    if known.transfer_syntax_uid != d.facts.transfer_syntax_uid:
        return False
    if known.sha256 == d.sha256:
        return True
    newcomer = fresh.get(known.key)
    return d.dataset_sha256 == (newcomer.dataset_sha256 if newcomer else stored_digest(known))


def _is_aside_already(d: Described, known: Stored) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM imaging_workitem WHERE tenant_id = %s AND instance_id = %s AND dataset_sha256 = %s "
            "AND kind = 'duplicate' AND resolved_at IS NULL",
            [tenant_id_current(), known.id, d.dataset_sha256],
        )
        return cursor.fetchone() is not None


def _duplicate(d: Described, known: Stored, study: Study, batch: Batch, policy: str) -> Stored:
    """Other content under a UID that is taken. Returns what is stored under it from now on."""
    is_at_home = (known.study_id, known.series_uid) == (study.id, d.facts.series_uid)
    if not is_at_home or policy != DuplicatePolicy.REPLACE or study.patient_id != _person_id(d, batch):
        # Under "refuse" this one was acknowledged before the other had a row: it is kept, and somebody decides.
        reason = OTHER_CONTENT if is_at_home else OTHER_PLACE
        batch.aside.append(_aside(d, "duplicate", reason, study_id=known.study_id, instance_id=known.id))
        return known
    batch.replaced.append((d, known))
    return stored_of(d, known.id, known.study_id, aside_key(d.item))


def _aside(d: Described, kind: str, reason: str, **about: int) -> Aside:
    return Aside(
        item=d.item, kind=kind, reason=reason, sha256=d.sha256, dataset_sha256=d.dataset_sha256, size=d.size, **about,
    )  # fmt: skip


def stored_of(d: Described, instance_id: int, study_id: int, key: str) -> Stored:
    return Stored(
        instance_id, d.facts.sop_instance_uid, d.facts.series_uid, study_id, key, d.size, d.sha256, "",
        d.facts.transfer_syntax_uid,
    )  # fmt: skip


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
        rows_insert(new, is_conflict_ignored=True)
        studies = _studies_locked(first)
        studies_arrived_match(studies=[studies[one.study_uid] for one in new])
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
