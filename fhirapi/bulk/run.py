"""One step of an export: chunks until its share of time is used up, then whoever else waits. Called by the task.

The row is lease and place. A chunk is read and made durable, then counted in the same transaction: a crash anywhere costs one chunk
that nobody counted. Each lease writes files of its own, so a worker that lost it cannot spoil what its successor writes.
"""

import logging
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import orjson
from django.conf import settings
from django.db import OperationalError
from django.db.models import QuerySet
from django.utils import timezone

from fhirapi.bulk import chunks
from fhirapi.bulk.files import Extent, chunk_write, export_folder, folder_make
from fhirapi.bulk.members import Members, filter_terms, filters_condition, group_patients
from fhirapi.models import BulkExport, BulkFile
from fhirapi.outcomes import FhirError, outcome
from fhirapi.search.pages import CANCELED
from fhirapi.search.terms import Sql
from fhirapi.sources import hospital_read
from journal.faults import fault
from journal.leases import Lease
from journal.outbox import lease_end
from journal.wall.ids import id_new
from journal.wall.scope import tenant_scope

log = logging.getLogger(__name__)

STEP_SECONDS = 10.0  # then other hospitals have their turn
UNSETTLED_SECONDS = 0.5
CHUNK_BYTES = 16 * 1024**2  # what a chunk should have; the number of ids follows
STEP_MIN, STEP_MAX = 20, 20_000  # ids of a chunk
FILE_BYTES = 512 * 1024**2  # then another file begins
DELETIONS = 20_000
ATTEMPTS = 5
TOO_COSTLY = "This type takes too long to be filtered; narrow _typeFilter, or leave it out."
State, Kind = BulkExport.State, BulkFile.Kind


class _LostError(Exception):
    """Somebody else has the lease, or the export was cancelled: nothing of this chunk counts."""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What a place stands for: a type's resources, or its deletions."""

    kind: str
    rtype: str


def export_step(*, tenant_id: int, export_id: int) -> float | None:
    """Returns seconds until the next step, or None when nobody or the sweep should take it."""
    with tenant_scope(tenant_id):
        row = _claim(export_id)
        if row is None:
            return None
        is_settled = row.state != State.RUNNING or chunks.is_settled(at=row.at, margin=settings.MEDHUB_BULK_SETTLE_SECONDS)
        if not is_settled:
            return _wait(row, UNSETTLED_SECONDS)
    if row.state != State.RUNNING:
        _remove(tenant_id, row)
        return None

    def renew() -> bool:
        return bool(_mine(row).update(due_at=lease_end(timezone.now())))

    try:
        with Lease(tenant_id=tenant_id, renew=renew) as lease:
            with tenant_scope(tenant_id):
                writer = _Writer(tenant_id, row)
            is_over = writer.run(lease)
    except _LostError:
        return None
    except Exception as error:  # noqa: BLE001 disk or database: it is tried again, and given up in the end
        return _fail(tenant_id, row, error)
    if is_over:
        return None
    with tenant_scope(tenant_id):  # given back when nobody renews it any more
        return _wait(row, 0)


def _claim(export_id: int) -> BulkExport | None:
    """The lease of a due row: one conditional UPDATE, so two workers never both get it."""
    now, claim = timezone.now(), id_new()
    if not BulkExport.objects.filter(id=export_id, due_at__lte=now).update(due_at=lease_end(now), claim=claim):
        return None
    row: BulkExport = BulkExport.objects.get(id=export_id)
    return row


def _mine(row: BulkExport) -> QuerySet[BulkExport]:
    return BulkExport.objects.filter(id=row.id, claim=row.claim, state=State.RUNNING)


def _wait(row: BulkExport, seconds: float) -> float:
    _mine(row).update(due_at=timezone.now() + timedelta(seconds=seconds))
    return seconds


def _fail(tenant_id: int, row: BulkExport, error: Exception) -> float | None:
    """Once more, later and later; given up after some attempts without a chunk in between."""
    log.warning("bulk export %s did not go on: %s", row.id, type(error).__name__)
    with tenant_scope(tenant_id):
        row.attempts += 1
        if row.attempts < ATTEMPTS:
            _mine(row).update(attempts=row.attempts)
            return _wait(row, 2.0**row.attempts)
        _mine(row).update(state=State.FAILED, ended_at=timezone.now(), due_at=_expiry())
    return None


def _expiry() -> datetime:
    return timezone.now() + timedelta(hours=settings.MEDHUB_BULK_HOURS)


def _remove(tenant_id: int, row: BulkExport) -> None:
    """Its time is over: files first, since no row would tell of them afterwards."""
    shutil.rmtree(export_folder(tenant_id=tenant_id, export_id=row.id), ignore_errors=True)
    with tenant_scope(tenant_id):
        BulkFile.objects.filter(export_id=row.id).delete()
        BulkExport.objects.filter(id=row.id).delete()


class _Writer:
    """One lease's work. Made in a scope."""

    def __init__(self, tenant_id: int, row: BulkExport) -> None:
        self.tenant_id, self.row = tenant_id, row
        self.moment = chunks.Moment(at=row.at, since=row.since)
        self.parts = [_Part(kind=Kind.OUTPUT, rtype=name) for name in row.rtypes]
        if row.since:
            self.parts += [_Part(kind=Kind.DELETED, rtype=name) for name in row.rtypes]
        self.folder = export_folder(tenant_id=tenant_id, export_id=row.id)
        self.file: BulkFile | None = None
        self.numbers = BulkFile.objects.filter(export_id=row.id).count()  # of all leases
        self.members = self.members_read()
        self.narrowed: dict[str, Sql | None] = {}
        self.zone: ZoneInfo | None = None

    def run(self, lease: Lease) -> bool:
        """Until the end (True) or until the time is used up. Raises _LostError."""
        folder_make(self.folder)
        began = time.monotonic()
        while self.row.place < len(self.parts):
            if not lease.go():
                raise _LostError
            self.chunk(self.parts[self.row.place])
            if time.monotonic() - began > STEP_SECONDS:
                return False
        with tenant_scope(self.tenant_id):
            self.finish()
        return True

    def members_read(self) -> Members:
        patients = frozenset(self.row.patients) or None
        if self.row.level == BulkExport.Level.GROUP:
            content = chunks.version_at(rtype="Group", fhir_id=self.row.group_id, at=self.row.at)
            inside = group_patients(content=content) if content else frozenset()
            patients = inside & patients if patients else inside
        return Members(level=self.row.level, patients=patients)

    def chunk(self, part: _Part) -> None:
        """The next ids of a part. What takes too long is tried with fewer, then told as the type's error."""
        try:
            with tenant_scope(self.tenant_id):
                chunks.time_limit()
                if part.kind == Kind.OUTPUT:
                    self.resources(part)
                else:
                    self.deletions(part)
                fault("bulk.before_commit")
            fault("bulk.after_commit")
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", "") != CANCELED:
                raise
            self.refresh()
            if part.kind == Kind.OUTPUT and self.row.step > STEP_MIN:
                self.row.step = max(STEP_MIN, self.row.step // 8)
                return
            self.give_up(part, "too-costly", TOO_COSTLY)
        except FhirError as error:
            self.refresh()
            self.give_up(part, error.code, error.diagnostics)

    def resources(self, part: _Part) -> None:
        narrowed = self.narrowed_by(part.rtype)
        of = chunks.range_next(rtype=part.rtype, after=self.row.after, step=self.row.step)
        texts = chunks.texts_read(of=of, moment=self.moment, members=self.members, narrowed=narrowed)
        size = self.write(part, texts, name=part.rtype)
        # As many ids as make a chunk of the wished size, at most doubled at a time.
        fitting = self.row.step * CHUNK_BYTES // size if size else STEP_MAX
        step = min(max(fitting, STEP_MIN), self.row.step * 2, STEP_MAX)
        self.count(after=of.until, step=step)

    def deletions(self, part: _Part) -> None:
        found = chunks.deletions_read(
            rtype=part.rtype, after=self.row.after, step=DELETIONS, moment=self.moment, members=self.members
        )
        self.write(part, [found.lines], name="deleted")
        self.count(after=found.after or None, step=self.row.step)

    def narrowed_by(self, rtype: str) -> Sql | None:
        if rtype not in self.narrowed:
            self.narrowed[rtype] = filters_condition([
                filter_terms(
                    rtype=rtype, search=search, base=self.row.base, zone=self.hospitals_zone, hidden=frozenset(self.row.hidden)
                )
                for name, search in self.row.filters if name == rtype
            ])  # fmt: skip
        return self.narrowed[rtype]

    def hospitals_zone(self) -> ZoneInfo:
        self.zone = self.zone or hospital_read().zone
        return self.zone

    def write(self, part: _Part, batches: Iterable[list[str]], *, name: str) -> int:
        """Add lines to the part's file, which begins with the first of them. Returns their bytes."""
        file = self.file
        if file is None or (file.kind, file.rtype) != _kind_of(part) or file.size > FILE_BYTES:
            kind, rtype = _kind_of(part)
            file = BulkFile(export_id=self.row.id, name=f"{name}-{self.numbers + 1}", kind=kind, rtype=rtype)
        before = Extent(count=file.count, size=file.size, stored=file.stored, crc=file.crc)
        after = chunk_write(self.folder / str(file.id), extent=before, batches=batches)
        fault("bulk.after_write")
        if after.count == before.count:
            return 0
        self.hold()
        is_new = not before.stored
        file.count, file.size, file.stored, file.crc = after.count, after.size, after.stored, after.crc
        file.save(force_insert=is_new)
        self.numbers += is_new
        self.row.count += after.count - before.count
        self.file = file
        return after.size - before.size

    def count(self, *, after: str | None, step: int) -> None:
        """The chunk counts, if the lease is still ours; without `after` the part is at its end."""
        self.row.place += after is None
        self.row.after, self.row.step, self.row.attempts = after or "", step, 0
        row = self.row
        self.hold(
            place=row.place, after=row.after, step=row.step, attempts=row.attempts, errors=row.errors, count=row.count
        )

    def hold(self, **values: object) -> None:
        """Raises _LostError; else the row is ours until the transaction ends."""
        if not _mine(self.row).update(due_at=lease_end(timezone.now()), **values):
            raise _LostError

    def give_up(self, part: _Part, code: str, words: str) -> None:
        """The type's error is told beside the others' resources; its deletions are another part."""
        self.row.errors.append([part.rtype, code, words])
        with tenant_scope(self.tenant_id):
            self.count(after=None, step=self.row.step)

    def refresh(self) -> None:
        """As it is committed: the chunk that failed may have moved what is in memory."""
        with tenant_scope(self.tenant_id):
            step = self.row.step
            row = _mine(self.row).first()
            if row is None:
                raise _LostError
            self.row, self.file = row, None
            self.row.step = min(step, row.step)
            self.numbers = BulkFile.objects.filter(export_id=row.id).count()

    def finish(self) -> None:
        lines = [_error_line(*one) for one in self.row.errors]
        count = self.row.count
        self.write(_Part(kind=Kind.ERROR, rtype="OperationOutcome"), [lines], name="errors")
        if not _mine(self.row).update(state=State.DONE, count=count, ended_at=timezone.now(), due_at=_expiry()):
            raise _LostError
        fault("bulk.before_end")


def _kind_of(part: _Part) -> tuple[str, str]:
    """Deletions of all types share a file, since a file holds one type and they are all Bundles."""
    return (part.kind, "Bundle") if part.kind == Kind.DELETED else (part.kind, part.rtype)


def _error_line(rtype: str, code: str, words: str) -> str:
    return orjson.dumps(outcome(severity="error", code=code, diagnostics=f"{rtype}: {words}")).decode()
