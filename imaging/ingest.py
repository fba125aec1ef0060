"""The one door for bytes: what must be refused is refused here, the rest is made durable, then acknowledged.

Called by the DIMSE listener and by STOW-RS. No database on this path except a quota figure read every few seconds; a hospital
that refuses duplicates pays a look-up for series that are not new (`imaging.duplicates`).
"""

import contextlib
import errno
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import DatabaseError, close_old_connections

from imaging import duplicates
from imaging.dimse.contract import Admission, StoreAnswer, StoreRefused
from imaging.header import Header, HeaderError, header_read, part10_read, uid_is_valid
from imaging.inbox import Bytes, Draft, draft_open, inbox_bytes
from imaging.inbox import drafts_keep as inbox_drafts_keep
from imaging.models import StorageUse
from imaging.part10 import file_meta_bytes
from imaging.storage import StoreAwayError, bucket, is_remote, object_key
from imaging.storage.digests import dataset_digest, file_digest
from journal.wall.scope import is_in_scope, tenant_scope
from tenants.models import DuplicatePolicy
from tenants.selectors import tenant_get

log = logging.getLogger(__name__)

SOP_CLASS, SOP_INSTANCE, STUDY, SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
CHECKED = frozenset({SOP_CLASS, SOP_INSTANCE, STUDY, SERIES})
NAMES = {STUDY: "StudyInstanceUID", SERIES: "SeriesInstanceUID", SOP_INSTANCE: "SOPInstanceUID", SOP_CLASS: "SOPClassUID"}
MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
QUOTA_SECONDS = 5.0
NEAR_BYTES = 1 << 30
HELD_BYTES = 64 << 10  # a smaller object makes no file before it has been checked

# PS3.4 B.2.3 and PS3.18 Annex I: the same numbers over DIMSE and over the web.
SUCCESS, OUT_OF_RESOURCES, NO_MATCH, NOT_UNDERSTOOD, INVALID_UID, PROCESSING_FAILURE = 0, 0xA700, 0xA900, 0xC000, 0x0117, 0x0110


class Refused(Exception):
    """Why an object is not taken: a status of the standard and words without a value from the object."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class ObjectFacts:
    """What the check before the acknowledgement read."""

    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str
    series_uid: str


def header_check(header: Header) -> ObjectFacts:
    """The check of DESIGN section 3. Raises Refused: missing or malformed UIDs, or a directory sent as an instance."""
    found = {}
    for tag, name in NAMES.items():
        uid = header.uid(tag)
        if not uid:
            raise Refused(NO_MATCH, f"{name} is missing")
        if not uid_is_valid(uid):
            raise Refused(INVALID_UID, f"{name} is not a UID")
        found[tag] = uid
    if found[SOP_CLASS] == MEDIA_STORAGE_DIRECTORY:
        raise Refused(NO_MATCH, "a DICOMDIR is not an instance")
    return ObjectFacts(
        sop_class_uid=found[SOP_CLASS], sop_instance_uid=found[SOP_INSTANCE], study_uid=found[STUDY], series_uid=found[SERIES],
    )  # fmt: skip


def dataset_check(dataset: Bytes, *, transfer_syntax_uid: str) -> ObjectFacts:
    """Walk the header up to the pixels. Raises Refused, also for nesting and lengths that no honest object has."""
    try:
        return header_check(header_read(dataset, transfer_syntax_uid=transfer_syntax_uid, wanted=CHECKED))
    except HeaderError as error:
        raise Refused(NOT_UNDERSTOOD, f"cannot understand: {error}") from error


class IncomingObject:
    """A C-STORE on its way to the inbox (PS3.4 B.2.3): small ones wait in memory, larger ones are written as they come."""

    def __init__(
        self, *, admission: Admission, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str
    ) -> None:
        self._admission = admission
        self._uids = (sop_class_uid, sop_instance_uid)
        self._transfer_syntax_uid = transfer_syntax_uid
        self._meta = file_meta_bytes(
            sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid, transfer_syntax_uid=transfer_syntax_uid,
            source_ae=admission.calling_ae,
        )  # fmt: skip
        self._held = bytearray()
        self._size = 0
        self._draft: Draft | None = None

    def write(self, fragment: Bytes) -> None:
        """Raises StoreRefused when there is no room, on the disk or in the hospital's quota."""
        self._size += len(fragment)
        if self._draft is None and self._size <= HELD_BYTES:
            self._held += fragment
            return
        with _answered():
            if self._draft is None:
                quota_check(tenant_id=self._admission.tenant_id, size=self._size)
                self._begun().write([self._meta, self._held, fragment])
            else:
                self._draft.write([fragment])

    def _begun(self) -> Draft:
        given = self._admission
        draft = self._draft = draft_open(
            tenant_id=given.tenant_id, source=given.association_id, trace_id=given.trace_id
        )
        return draft

    def finish(self) -> StoreAnswer:
        """Check, make durable, answer: 0x0000 only after fsync of the object and of its folder. Raises StoreRefused."""
        with _answered():
            facts = self._checked()
            if (facts.sop_class_uid, facts.sop_instance_uid) != self._uids:
                raise Refused(NO_MATCH, "command and data set name different objects")
            self._duplicate_check(facts)
            quota_take(tenant_id=self._admission.tenant_id, size=self._size)
            draft = self._draft
            if draft is None:
                draft = self._begun()
                draft.write([self._meta, self._held])
            draft_keep(draft, tenant_id=self._admission.tenant_id)
        return StoreAnswer(status=SUCCESS, comment="")

    def _checked(self) -> ObjectFacts:
        if self._draft is None:
            return dataset_check(self._held, transfer_syntax_uid=self._transfer_syntax_uid)
        with self._draft.view() as view, memoryview(view)[len(self._meta) :] as dataset:
            return dataset_check(dataset, transfer_syntax_uid=self._transfer_syntax_uid)

    def _duplicate_check(self, facts: ObjectFacts) -> None:
        given = self._admission
        if _allowances.policy(tenant_id=given.tenant_id) == DuplicatePolicy.REFUSE:
            duplicate_check(
                tenant_id=given.tenant_id, facts=facts, transfer_syntax_uid=self._transfer_syntax_uid, digest=self._digest,
                association_id=given.association_id,
            )  # fmt: skip

    def _digest(self) -> str:
        """Of the data set, as `dataset_digest` will find it in the file."""
        if self._draft is None:
            return hashlib.sha256(self._held).hexdigest()
        with self._draft.view() as view, memoryview(view)[len(self._meta) :] as dataset:
            return hashlib.sha256(dataset).hexdigest()

    def close(self) -> None:
        """Remove what was not kept."""
        if self._draft is not None:
            self._draft.close()
            self._draft = None


@contextlib.contextmanager
def _answered() -> Iterator[None]:
    """Refusals and full disks as answers to a C-STORE."""
    try:
        yield
    except Refused as refused:
        raise StoreRefused(StoreAnswer(status=refused.status, comment=refused.reason[:64])) from refused
    except OSError as error:
        answer = StoreAnswer(status=disk_status(error), comment="no room: nothing of this object was kept")
        raise StoreRefused(answer) from error


def instance_receive(
    *, admission: Admission, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, dataset: Bytes
) -> StoreAnswer:
    """A whole data set through the same door: what a C-GET of ours brings."""
    incoming = IncomingObject(
        admission=admission, sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid,
        transfer_syntax_uid=transfer_syntax_uid,
    )  # fmt: skip
    try:
        incoming.write(dataset)
        return incoming.finish()
    except StoreRefused as refused:
        return refused.answer
    finally:
        incoming.close()


def disk_status(error: OSError) -> int:
    """A full disk is the sender's cue to retry later (A700); anything else is a processing failure."""
    log.error("object not kept: %s", errno.errorcode.get(error.errno or 0, "?"))
    return OUT_OF_RESOURCES if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} else PROCESSING_FAILURE


def draft_check(draft: Draft, *, tenant_id: int) -> ObjectFacts:
    """STOW-RS: the same check over a draft whose bytes came in pieces. Raises Refused."""
    try:
        head = part10_read(draft.path, wanted=CHECKED)
        facts = header_check(head.header)
    except HeaderError as error:
        raise Refused(NOT_UNDERSTOOD, f"cannot understand: {error}") from error
    if _allowances.policy(tenant_id=tenant_id) == DuplicatePolicy.REFUSE:
        duplicate_check(
            tenant_id=tenant_id, facts=facts, transfer_syntax_uid=head.transfer_syntax_uid,
            digest=lambda: dataset_digest(draft.path),
        )  # fmt: skip
    quota_take(tenant_id=tenant_id, size=draft.size)
    return facts


def duplicate_check(
    *, tenant_id: int, facts: ObjectFacts, transfer_syntax_uid: str, digest: Callable[[], str], association_id: int = 0
) -> None:
    """Under "refuse": other content under a UID that is stored is refused, with a work item. Raises Refused."""
    is_taken = duplicates.is_taken(
        tenant_id=tenant_id, sop_instance_uid=facts.sop_instance_uid, series_uid=facts.series_uid,
        transfer_syntax_uid=transfer_syntax_uid, digest=digest, association_id=association_id,
    )  # fmt: skip
    if is_taken:
        raise Refused(PROCESSING_FAILURE, "another object with this SOP Instance UID is stored")


def draft_keep(draft: Draft, *, tenant_id: int) -> None:
    """Make a draft received. Where the acknowledgement waits for the object store, the store has it first. Raises Refused, OSError."""
    if is_remote() and settings.MEDHUB_OBJECTS_ACK == "store":
        key = object_key(tenant_id=tenant_id, folder="in", instance_id=draft.instance_id)
        try:
            bucket().put(key, draft.path, size=draft.size, sha256=file_digest(draft.path))
        except StoreAwayError as error:
            log.error("object not kept: %s", error.user_message)
            raise Refused(OUT_OF_RESOURCES, "the object store is away: nothing of this object was kept") from None
    draft.keep()


def drafts_keep(drafts: Sequence[Draft], *, tenant_id: int) -> list[Refused | OSError | None]:
    """`draft_keep` for many of one sender, with fewer waits for the disk: what went wrong with each."""
    if not (is_remote() and settings.MEDHUB_OBJECTS_ACK == "store"):
        return list(inbox_drafts_keep(drafts))
    found: list[Refused | OSError | None] = []
    for draft in drafts:
        try:
            draft_keep(draft, tenant_id=tenant_id)
            found.append(None)
        except (Refused, OSError) as error:
            found.append(error)
    return found


class _Allowance:
    """What one hospital may still send, as last read."""

    def __init__(self, left: int, policy: str) -> None:
        self.read_at = time.monotonic()
        self.left = left
        self.policy = policy

    @property
    def is_stale(self) -> bool:
        return time.monotonic() - self.read_at > QUOTA_SECONDS


class _Allowances:
    """Bytes that hospitals may still send, counted down between two looks. Near the limit every object looks for itself.

    Each receiver process has its own: together they may pass a quota by what is in flight (one object an association), as long as
    they take less than NEAR_BYTES in QUOTA_SECONDS.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[int, _Allowance] = {}

    def take(self, *, tenant_id: int, size: int) -> None:
        found = self._current(tenant_id)
        if found.left < NEAR_BYTES:
            found = self._read(tenant_id)
        with self._lock:
            if found.left < size:
                raise Refused(OUT_OF_RESOURCES, "the hospital's storage quota is used up")
            found.left -= size

    def check(self, *, tenant_id: int, size: int) -> None:
        if self._current(tenant_id).left < size:
            raise Refused(OUT_OF_RESOURCES, "the hospital's storage quota is used up")

    def policy(self, *, tenant_id: int) -> str:
        return self._current(tenant_id).policy

    def _current(self, tenant_id: int) -> _Allowance:
        found = self._of.get(tenant_id)
        return self._read(tenant_id) if found is None or found.is_stale else found

    def _read(self, tenant_id: int) -> _Allowance:
        before = self._of.get(tenant_id)
        try:
            found = _allowance_read(tenant_id)
        except DatabaseError:
            # Images fail open: a database that is away must not cost a study; the next read counts again.
            found = _Allowance(settings.MEDHUB_MAX_OBJECT_BYTES, before.policy if before else DuplicatePolicy.ASIDE)
        self._of[tenant_id] = found
        return found

    def forget(self) -> None:
        self._of.clear()


def _allowance_read(tenant_id: int) -> _Allowance:
    # The inbox first: what gets its rows in between is counted twice rather than not at all.
    waiting = inbox_bytes(tenant_id=tenant_id)
    if not is_in_scope():
        close_old_connections()
    tenant = tenant_get(tenant_id=tenant_id)
    with tenant_scope(tenant_id):
        used: Sequence[int] = StorageUse.objects.values_list("bytes_kept", flat=True)[:1]
        kept = used[0] if used else 0
    return _Allowance(tenant.quota_bytes - kept - waiting, tenant.duplicate_policy)


_allowances = _Allowances()
quota_forget = _allowances.forget


def quota_check(*, tenant_id: int, size: int) -> None:
    """Whether `size` bytes would fit now, without counting them. Raises Refused (A700)."""
    _allowances.check(tenant_id=tenant_id, size=size)


def quota_take(*, tenant_id: int, size: int) -> None:
    """Count `size` bytes against the quota. Raises Refused (A700) when they don't fit."""
    if size > settings.MEDHUB_MAX_OBJECT_BYTES:
        raise Refused(OUT_OF_RESOURCES, "the object is larger than this archive takes")
    _allowances.take(tenant_id=tenant_id, size=size)
