"""The index worker's process: one per inbox volume, niced, alive while the broker is down."""

import contextlib
import fcntl
import logging
import os
import select
import signal
import socket
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import InterfaceError, OperationalError, close_old_connections, connections

from imaging.inbox import inbox_objects, inbox_root, inbox_sweep, index_bell
from imaging.index import batch_index

log = logging.getLogger(__name__)

BATCH = 200
POLL_SECONDS = 1.0  # the bell is only a hint
GATHER_SECONDS = 0.1  # a transaction for forty objects costs little more than one for a single object
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
            self._run()

    def _run(self) -> None:
        is_running = True

        def stop(*_: object) -> None:
            nonlocal is_running
            is_running = False

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        bell, swept = index_bell(), time.monotonic()
        planned = 0.0
        while is_running:
            close_old_connections()
            if time.monotonic() - planned > PLAN_SECONDS:
                plans_forget()
                planned = time.monotonic()
            if inbox_drain() >= BATCH:
                continue
            if time.monotonic() - swept > SWEEP_SECONDS:
                inbox_sweep(older_than=time.time() - DRAFT_SECONDS)
                swept = time.monotonic()
            if select.select([bell], [], [], POLL_SECONDS)[0]:
                time.sleep(GATHER_SECONDS)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        bell.recv(64, socket.MSG_DONTWAIT)


def plans_forget() -> None:
    """PostgreSQL checks each foreign key by a plan that it keeps. One made while a table was empty reads all rows of the
    hospital (measured: 0.3 ms a key instead of 0.01), until statistics come a minute later, in the midst of a first migration.
    """
    with contextlib.suppress(OperationalError, InterfaceError), connections["default"].cursor() as cursor:
        cursor.execute("DISCARD PLANS")


def inbox_drain() -> int:
    """One batch of every hospital that has something waiting. Returns how many objects were taken."""
    taken = 0
    for objects in inbox_objects(limit=BATCH):
        try:
            taken += batch_index(tenant_id=objects[0].tenant_id, objects=objects)
        except (OperationalError, InterfaceError):
            # The objects are safe where they lie; come back with a fresh connection.
            log.exception("index batch not written")
            connections.close_all()
            time.sleep(POLL_SECONDS)
    return taken
