"""The inbox: the durable journal of received bytes. Doors write here and acknowledge; the index worker takes from here.

`<objects>/inbox/<tenant>/<source>-<trace>/<instance id>.dcm`; nothing in a path comes from an attribute value. What the web door
takes lies in one folder, `0-web/<instance id>-<trace>-<sender>.dcm`: a folder for each request would cost more than its object. The
sender is what the audit trail will say, so that it is as durable as the object and asks the door for no transaction of its own.
"""

import base64
import contextlib
import heapq
import mmap
import os
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from journal.audit import Actor
from journal.faults import fault
from journal.wall.ids import id_new, id_time

Bytes = bytes | bytearray | memoryview
SYNCERS = 8
WEB_FOLDER = "0-web"


@dataclass(frozen=True, kw_only=True)
class InboxObject:
    """One received object: its future instance id, where it came from, and its file."""

    tenant_id: int
    instance_id: int
    source: int  # association id, or 0 for the web door
    trace_id: str
    path: Path
    sender: Actor | None = None  # of the web door; associations have an audit row of their own


def inbox_root() -> Path:
    return settings.MEDHUB_OBJECTS / "inbox"


@lru_cache(maxsize=1024)
def _folder_made(path: Path) -> None:
    """Make a folder and sync its parents' entries: a synced file in an unsynced folder is lost with it."""
    _hospital_folder_made(path.parent)
    path.mkdir(exist_ok=True)
    folder_sync(path.parent)


@lru_cache(maxsize=1024)
def _hospital_folder_made(path: Path) -> None:
    """Made once and never removed, so a process syncs the way to it once."""
    path.mkdir(parents=True, exist_ok=True)
    for parent in (path.parent, path.parent.parent):
        folder_sync(parent)


def folder_sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def object_write(*, tenant_id: int, source: int, trace_id: str, parts: Sequence[Bytes]) -> InboxObject:
    """Write one object and return once it would survive a power cut: fsync(file), rename, fsync(folder).

    Raises OSError (ENOSPC and its kin) with nothing left behind.
    """
    with object_writer(tenant_id=tenant_id, source=source, trace_id=trace_id) as draft:
        draft.write(parts)
        return draft.keep()


class Draft:
    """A file that is not received yet. `keep` makes it so; leaving the block without it removes the file."""

    def __init__(self, folder: Path, *, tenant_id: int, source: int, trace_id: str, sender: Actor | None = None) -> None:
        self._folder = folder
        self._id = id_new()
        self._facts = {"tenant_id": tenant_id, "source": source, "trace_id": trace_id, "sender": sender}
        self._name = f"{self._id}-{trace_id}{_sender_text(sender)}" if folder.name == WEB_FOLDER else str(self._id)
        self._part = folder / f"{self._name}.part"
        self._fd = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._is_kept = False
        self.size = 0

    @property
    def path(self) -> Path:
        return self._part

    def write(self, parts: Sequence[Bytes]) -> None:
        pending = [memoryview(part) for part in parts if len(part)]
        while pending:
            done = os.writev(self._fd, pending[:64])
            self.size += done
            while pending and done >= len(pending[0]):
                done -= len(pending.pop(0))
            if done:  # a short write: go on where it stopped
                pending[0] = pending[0][done:]

    @property
    def instance_id(self) -> int:
        return self._id

    @property
    def folder(self) -> Path:
        return self._folder

    def sync(self) -> None:
        os.fsync(self._fd)

    def keep(self) -> InboxObject:
        fault("ingest.before_fsync")
        self.sync()
        kept = self.settle()
        folder_sync(self._folder)
        index_nudge()
        return kept

    def settle(self) -> InboxObject:
        """From draft to object. Received only when the folder is synced as well."""
        path = self._folder / f"{self._name}.dcm"
        os.rename(self._part, path)
        self._is_kept = True
        fault("ingest.after_rename")
        return InboxObject(instance_id=self._id, path=path, **self._facts)  # type: ignore[arg-type]

    def view(self) -> mmap.mmap:
        """What is written so far, read-only; close it."""
        return mmap.mmap(self._fd, 0, access=mmap.ACCESS_READ)

    def close(self) -> None:
        os.close(self._fd)
        if not self._is_kept:
            with contextlib.suppress(FileNotFoundError):
                self._part.unlink()


def draft_open(*, tenant_id: int, source: int, trace_id: str, sender: Actor | None = None) -> Draft:
    """A draft for bytes that come in pieces; the caller closes it. Raises OSError."""
    folder = inbox_root() / str(tenant_id) / (f"{source}-{trace_id}" if source else WEB_FOLDER)
    _folder_made(folder)
    try:
        return Draft(folder, tenant_id=tenant_id, source=source, trace_id=trace_id, sender=sender)
    except FileNotFoundError:  # the index worker swept the empty folder in between
        _folder_made.cache_clear()
        _folder_made(folder)
        return Draft(folder, tenant_id=tenant_id, source=source, trace_id=trace_id, sender=sender)


@lru_cache(maxsize=1)
def _syncers() -> ThreadPoolExecutor:
    """A disk commits what several threads ask for at once together; a tenth of the time for small objects (measured)."""
    return ThreadPoolExecutor(SYNCERS, thread_name_prefix="fsync")


def drafts_keep(drafts: Sequence[Draft]) -> list[OSError | None]:
    """`Draft.keep` for many of one folder: what went wrong with each, None for those that are received."""
    fault("ingest.before_fsync")
    failures = [_synced(drafts[0])] if len(drafts) == 1 else list(_syncers().map(_synced, drafts))
    good = [draft for draft, failure in zip(drafts, failures, strict=True) if failure is None]
    try:
        for draft in good:
            draft.settle()
        for folder in {draft.folder for draft in good}:
            folder_sync(folder)
    except OSError as error:
        failures = [failure or error for failure in failures]
    index_nudge()
    return failures


def _synced(draft: Draft) -> OSError | None:
    try:
        draft.sync()
    except OSError as error:
        return error
    return None


@contextlib.contextmanager
def object_writer(*, tenant_id: int, source: int, trace_id: str) -> Iterator[Draft]:
    """`draft_open` for a block."""
    draft = draft_open(tenant_id=tenant_id, source=source, trace_id=trace_id)
    try:
        yield draft
    finally:
        draft.close()


def inbox_objects(*, limit: int) -> Iterator[list[InboxObject]]:
    """What waits, a list per hospital, oldest first. Also what a crash left: the inbox is the journal."""
    root = inbox_root()
    if not root.is_dir():
        return
    for tenant in sorted((e for e in os.scandir(root) if e.is_dir()), key=lambda entry: entry.name):
        waiting = [
            (_id_of(entry.name), folder.name, entry.path)
            for folder in os.scandir(tenant.path)
            for entry in os.scandir(folder.path)
            if entry.name.endswith(".dcm")
        ]
        # of a migration's backlog only the oldest become objects, each time round
        if waiting:
            yield [_waiting_object(int(tenant.name), *one) for one in heapq.nsmallest(limit, waiting)]


def _id_of(name: str) -> int:
    return int(name[:-4].partition("-")[0])


def _waiting_object(tenant_id: int, instance_id: int, folder: str, path: str) -> InboxObject:
    source, _, trace_id = folder.partition("-")
    sender = None
    if folder == WEB_FOLDER:
        _, trace_id, *rest = os.path.basename(path)[:-4].split("-", 2)
        sender = _sender_read(rest[0]) if rest else None
    return InboxObject(
        tenant_id=tenant_id, instance_id=instance_id, source=int(source), trace_id=trace_id, path=Path(path), sender=sender,
    )  # fmt: skip


def _sender_text(sender: Actor | None) -> str:
    if sender is None:
        return ""
    return "-" + base64.urlsafe_b64encode(f"{sender.name} {sender.address or ''}".encode()).decode().rstrip("=")


def _sender_read(text: str) -> Actor:
    name, _, address = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().partition(" ")
    return Actor(name=name, address=address or None)


def inbox_watermark(*, tenant_id: int) -> datetime | None:
    """When the oldest object that waits for the index worker was received; None when nothing waits. Before it all is indexed."""
    folder = inbox_root() / str(tenant_id)
    if not folder.is_dir():
        return None
    waiting = [
        _id_of(entry.name)
        for source in os.scandir(folder)
        for entry in os.scandir(source.path)
        if entry.name.endswith(".dcm")
    ]
    return id_time(min(waiting)) if waiting else None


def inbox_bytes(*, tenant_id: int) -> int:
    """What was acknowledged and has no rows yet."""
    folder, size = inbox_root() / str(tenant_id), 0
    with contextlib.suppress(FileNotFoundError):
        for source in os.scandir(folder):
            for entry in os.scandir(source.path):
                if entry.name.endswith(".dcm"):
                    with contextlib.suppress(FileNotFoundError):
                        size += entry.stat().st_size
    return size


def inbox_sweep(*, older_than: float) -> None:
    """Remove empty folders and drafts whose writer died. `older_than` is a POSIX time."""
    for tenant in (entry for entry in os.scandir(inbox_root()) if entry.is_dir()):
        for folder in os.scandir(tenant.path):
            for entry in os.scandir(folder.path):
                if entry.name.endswith(".part") and entry.stat().st_mtime < older_than:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(entry.path)
            if folder.stat().st_mtime < older_than:
                with contextlib.suppress(OSError):  # not empty, or written to just now
                    os.rmdir(folder.path)


def _nudge_path() -> str:
    return str(settings.HOME.sockets / "index.sock")


_nudger = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)


def index_nudge() -> None:
    """Wake the index worker. Only a hint, without content: a full or absent socket costs one poll interval."""
    with contextlib.suppress(OSError):
        _nudger.sendto(b"1", _nudge_path())


def index_bell() -> socket.socket:
    """The index worker's end of the hint."""
    bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_nudge_path())
    bell.bind(_nudge_path())
    return bell
