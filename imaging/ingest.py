"""The one door for bytes: what must be refused is refused here, the rest is made durable, then acknowledged.

Called by the DIMSE listener and by STOW-RS. No database on this path except a quota figure read every few seconds.
"""

import contextlib
import errno
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import DatabaseError, close_old_connections

from imaging.dimse.contract import Admission, StoreAnswer, StoreRefused
from imaging.header import Header, HeaderError, header_read, part10_read, uid_is_valid
from imaging.inbox import Bytes, Draft, draft_open
from imaging.models import StorageUse
from imaging.part10 import file_meta_bytes
from journal.wall.scope import is_in_scope, tenant_scope
from tenants.selectors import tenant_get

log = logging.getLogger(__name__)

SOP_CLASS, SOP_INSTANCE, STUDY, SERIES = 0x00080016, 0x00080018, 0x0020000D, 0x0020000E
CHECKED = frozenset({SOP_CLASS, SOP_INSTANCE, STUDY, SERIES})
NAMES = {STUDY: "StudyInstanceUID", SERIES: "SeriesInstanceUID", SOP_INSTANCE: "SOPInstanceUID", SOP_CLASS: "SOPClassUID"}
MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
QUOTA_SECONDS = 5.0
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
    return ObjectFacts(sop_class_uid=found[SOP_CLASS], sop_instance_uid=found[SOP_INSTANCE], study_uid=found[STUDY])


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
            quota_take(tenant_id=self._admission.tenant_id, size=self._size)
            draft = self._draft
            if draft is None:
                draft = self._begun()
                draft.write([self._meta, self._held])
            draft.keep()
        return StoreAnswer(status=SUCCESS, comment="")

    def _checked(self) -> ObjectFacts:
        if self._draft is None:
            return dataset_check(self._held, transfer_syntax_uid=self._transfer_syntax_uid)
        with self._draft.view() as view, memoryview(view)[len(self._meta) :] as dataset:
            return dataset_check(dataset, transfer_syntax_uid=self._transfer_syntax_uid)

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
        facts = header_check(part10_read(draft.path, wanted=CHECKED).header)
    except HeaderError as error:
        raise Refused(NOT_UNDERSTOOD, f"cannot understand: {error}") from error
    quota_take(tenant_id=tenant_id, size=draft.size)
    return facts


class _Quota:
    """Bytes a hospital may still send, read every few seconds and counted down in between."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: dict[int, tuple[float, int]] = {}

    def check(self, *, tenant_id: int, size: int) -> None:
        if self._current(tenant_id)[1] < size:
            raise Refused(OUT_OF_RESOURCES, "the hospital's storage quota is used up")

    def take(self, *, tenant_id: int, size: int) -> None:
        read_at, left = self._current(tenant_id)
        with self._lock:
            self._left[tenant_id] = (read_at, left - size)
        if left < size:
            raise Refused(OUT_OF_RESOURCES, "the hospital's storage quota is used up")

    def _current(self, tenant_id: int) -> tuple[float, int]:
        with self._lock:
            read_at, left = self._left.get(tenant_id, (0.0, 0))
        if time.monotonic() - read_at > QUOTA_SECONDS:
            read_at, left = time.monotonic(), _quota_left(tenant_id)
        return read_at, left

    def forget(self) -> None:
        self._left.clear()


_quota = _Quota()
quota_forget = _quota.forget


def quota_check(*, tenant_id: int, size: int) -> None:
    """Whether `size` bytes would fit now, without counting them. Raises Refused (A700)."""
    _quota.check(tenant_id=tenant_id, size=size)


def quota_take(*, tenant_id: int, size: int) -> None:
    """Count `size` bytes against the quota. Raises Refused (A700) when they don't fit."""
    if size > settings.MEDHUB_MAX_OBJECT_BYTES:
        raise Refused(OUT_OF_RESOURCES, "the object is larger than this archive takes")
    _quota.take(tenant_id=tenant_id, size=size)


def _quota_left(tenant_id: int) -> int:
    try:
        if not is_in_scope():
            close_old_connections()
        limit = tenant_get(tenant_id=tenant_id).quota_bytes
        with tenant_scope(tenant_id):
            used: Sequence[int] = StorageUse.objects.values_list("bytes_kept", flat=True)[:1]
            return limit - (used[0] if used else 0)
    except DatabaseError:
        # Images fail open: a database that is away must not cost a study; the next read counts again.
        return settings.MEDHUB_MAX_OBJECT_BYTES
