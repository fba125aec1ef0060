"""The index worker's process: one per inbox volume, niced, alive while the broker is down."""

import contextlib
import fcntl
import logging
import os
import select
import signal
import socket
import time
from collections import deque
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import InterfaceError, OperationalError, close_old_connections, connections

from imaging.dicomweb.ahead import Ahead, SeriesKey, series_document_make, series_worthwhile
from imaging.inbox import inbox_objects, inbox_root, inbox_sweep, index_bell
from imaging.index import Grown, batch_index

log = logging.getLogger(__name__)

BATCH = 200
POLL_SECONDS = 1.0  # the bell is only a hint
GATHER_SECONDS = 0.1  # a transaction for forty objects costs little more than one for a single object
STREAM_SECONDS = 0.4  # while small objects keep coming one by one: the cores are theirs, and rows may take 2 s
SWEEP_SECONDS = 60.0
PLAN_SECONDS = 5.0
DRAFT_SECONDS = 3600.0
NICENESS = 10  # below the receivers, which keep the cores, and above the workers for whom its rows are the start


class Command(BaseCommand):
    requires_system_checks: list[str] = []
    help = "Index what lies in the inbox, for ever (or --once)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="empty the inbox and end")

    def handle(self, *args: Any, **options: Any) -> None:
        inbox_root().mkdir(parents=True, exist_ok=True)
        with (inbox_root() / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a second worker of the same volume waits here
            if options["once"]:
                while inbox_drain():
                    pass
                return
            os.nice(NICENESS)
            _Worker().run()


class _Worker:
    """Rounds of the inbox; in between plans are forgotten, folders swept, metadata documents made ahead."""

    def __init__(self) -> None:
        self._is_running = True
        self._bell = index_bell()
        self._ahead = Ahead()
        self._to_make: deque[SeriesKey] = deque()
        self._planned, self._swept, self._drained = 0.0, time.monotonic(), 0.0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, *_: object) -> None:
        self._is_running = False

    def run(self) -> None:
        while self._is_running:
            close_old_connections()
            self._upkeep()
            if self._drain() >= BATCH:
                continue
            self._to_make.extend(series_worthwhile(self._ahead.due(now=time.monotonic())))
            if self._to_make:
                series_document_make(self._to_make.popleft(), between=self._arrived)
            elif self._has_rung(POLL_SECONDS):
                is_stream = time.monotonic() - self._drained < STREAM_SECONDS
                time.sleep(STREAM_SECONDS if is_stream else GATHER_SECONDS)
                self._hear()

    def _upkeep(self) -> None:
        now = time.monotonic()
        if now - self._planned > PLAN_SECONDS:
            plans_forget()
            self._planned = now
        if now - self._swept > SWEEP_SECONDS:
            inbox_sweep(older_than=time.time() - DRAFT_SECONDS)
            self._swept = now

    def _drain(self) -> int:
        grown: Grown = set()
        taken = inbox_drain(grown)
        if taken:
            self._drained = time.monotonic()
        self._ahead.note(grown, now=time.monotonic())
        return taken

    def _arrived(self) -> None:
        """Between the instances of a metadata document: what comes in goes first, gathered, and so does the end."""
        if not self._is_running:
            raise InterruptedError
        if time.monotonic() - self._drained > STREAM_SECONDS and self._has_rung(0):
            self._hear()
            self._drain()

    def _has_rung(self, seconds: float) -> bool:
        return bool(select.select([self._bell], [], [], seconds)[0])

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._bell.recv(64, socket.MSG_DONTWAIT)


def plans_forget() -> None:
    """PostgreSQL checks each foreign key by a plan that it keeps. One made while a table was empty reads all rows of the
    hospital (measured: 0.3 ms a key instead of 0.01), until statistics come a minute later, in the midst of a first migration.
    """
    with contextlib.suppress(OperationalError, InterfaceError), connections["default"].cursor() as cursor:
        cursor.execute("DISCARD PLANS")


def inbox_drain(grown: Grown | None = None) -> int:
    """One batch of every hospital that has something waiting. Returns how many objects were taken, and adds what has `grown`."""
    taken = 0
    for objects in inbox_objects(limit=BATCH):
        try:
            taken += batch_index(tenant_id=objects[0].tenant_id, objects=objects, grown=grown)
        except (OperationalError, InterfaceError):
            # The objects are safe where they lie; come back with a fresh connection.
            log.exception("index batch not written")
            connections.close_all()
            time.sleep(POLL_SECONDS)
    return taken
