"""`fhir_import --hospital <slug> [file ...]`: NDJSON into a hospital's FHIR store, validated, in parallel, repeatable."""

import gc
import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fhirapi.sources import hospital_id
from fhirapi.validation import models_warm
from fhirapi.writing.imports import Imported, Line, lines_import

BATCH = 500  # lines a transaction
LINE_MAX = 16 << 20
AHEAD = 6  # batches that are read before they are asked for
REASONS = 20  # that are written out


class Command(BaseCommand):
    requires_system_checks: list[str] = []  # they load every page of the portal; `make test` runs them
    help = (
        "Import resources, one JSON text a line, each with its resourceType and id. What is there already is updated; what says the same "
        "makes no new version, so a run that was interrupted is simply run again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", nargs="*", default=["-"], help="files of NDJSON; - or none for the standard input")
        parser.add_argument("--hospital", required=True, help="slug of the hospital")
        parser.add_argument("--keep-going", action="store_true", help="write all valid lines; without it the first bad batch ends the run")
        # one more than there are cores: one of them waits for the disk
        parser.add_argument("--processes", type=int, default=(os.cpu_count() or 1) + 1, help="how many validate and write at once")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant_id = hospital_id(slug=options["hospital"])
        if tenant_id is None:
            raise CommandError("no active hospital has this slug")
        models_warm()  # once, before the processes share it
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        connections.close_all()
        work = partial(lines_import, tenant_id=tenant_id, is_going_on=options["keep_going"])
        context = multiprocessing.get_context("fork")
        total = Imported()
        with ProcessPoolExecutor(max(options["processes"], 1), mp_context=context) as pool:
            for name in options["files"]:
                total = self._file(name, pool, work, total, is_going_on=options["keep_going"])
                if total.refused and not options["keep_going"]:
                    break
        self._tell(total, is_going_on=options["keep_going"])

    def _file(self, name: str, pool: ProcessPoolExecutor, work: Any, total: Imported, *, is_going_on: bool) -> Imported:
        size = Path(name).stat().st_size if name != "-" and Path(name).is_file() else None
        source = sys.stdin.buffer if name == "-" else _opened(name)
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("bytes"), TimeRemainingColumn())
        with source, Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task(Path(name).name if name != "-" else "standard input", total=size)
            waiting: dict[Future[Imported], int] = {}
            batches = _batches(source)
            while True:
                may_send = is_going_on or not total.refused
                while may_send and len(waiting) < AHEAD and (batch := next(batches, None)):
                    waiting[pool.submit(work, lines=batch)] = sum(len(text) for _, text in batch)
                if not waiting:
                    return total
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    progress.advance(task, waiting.pop(future))
                    total = _added(total, future.result(), name)

    def _tell(self, total: Imported, *, is_going_on: bool) -> None:
        for one in total.refused[:REASONS]:
            self.stderr.write(f"{one.source} line {one.number}: {one.reason}".removeprefix("- "))
        if len(total.refused) > REASONS:
            self.stderr.write(f"and {len(total.refused) - REASONS} more lines")
        told = f"{total.written} resources are in the store, {total.changed} of them new or changed"
        if total.refused:
            kept = "all other lines were written"
            if not is_going_on:
                kept = f"nothing was kept of their batches of {BATCH} lines; correct them and run it again"
            raise CommandError(f"{told}; {len(total.refused)} lines were refused: {kept}")
        self.stdout.write(told)


def _opened(name: str) -> BinaryIO:
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise CommandError(f"{name} cannot be read ({type(error).__name__})") from None


def _batches(source: BinaryIO) -> Iterator[list[Line]]:
    lines = _lines(source)
    while batch := list(islice(lines, BATCH)):
        yield batch


def _lines(source: BinaryIO) -> Iterator[Line]:
    number = 0
    while text := source.readline(LINE_MAX):
        number += 1
        if len(text) == LINE_MAX and not text.endswith(b"\n"):
            raise CommandError(f"line {number} is longer than {LINE_MAX >> 20} MiB; the lines before its batch may be written")
        if stripped := text.strip():
            yield number, stripped


def _added(total: Imported, one: Imported, name: str) -> Imported:
    refused = (*total.refused, *(replace(line, source=name) for line in one.refused))
    return Imported(
        written=total.written + one.written, changed=total.changed + one.changed,
        refused=tuple(sorted(refused, key=lambda line: (line.source, line.number))),
    )  # fmt: skip
