"""`manage.py demo`: the house from nothing, one study from C-STORE to DiagnosticReport. `make demo` calls it."""

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console

from ai.models import Report
from imaging.models import Study
from medhub import database
from medhub.demo.follow import DemoFailed, report_tell, study_follow
from medhub.demo.seed import (
    MERCY,
    OLAF,
    PASSWORD,
    facts_before,
    hl7_facts,
    hospital_facts,
    hospital_seed,
    oru_address,
    smart_facts,
    tokens_of,
)
from medhub.embedded import EmbeddedError
from medhub.stack import ROOT, Ports, Stack, StackError, signals_raised


class Command(BaseCommand):
    help = "Start everything on embedded defaults and walk one study through the house."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="stop everything after the report and exit")
        parser.add_argument("--study", type=Path, help="a folder, a file or a zip of your own DICOM")

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
        home, ports = settings.HOME, Ports.from_environment()
        study = options["study"]
        if study is not None and not study.exists():
            raise CommandError(f"{study}: no such file or folder")
        if study is not None and not _is_dicom(study):
            raise CommandError(f"{study}: no DICOM object found")
        home.folders_make()
        with (home.root / "run" / "demo.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise CommandError("a demo of this folder is running; end it with Ctrl-C") from error
            try:
                with signals_raised(), Stack(home=home, ports=ports, egress=(oru_address(),)) as stack:
                    Demo(console, stack).run(study, is_once=options["once"])
            except KeyboardInterrupt:
                console.print("\nstopped")
            except (StackError, EmbeddedError, DemoFailed) as error:
                raise CommandError(str(error)) from error


def _is_dicom(path: Path) -> bool:
    """Asked before anything is started: a house takes longer than a look."""
    look = [sys.executable, "-m", "sandbox.modality", str(path), "--look"]
    return subprocess.run(look, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode == 0  # noqa: S603 our own module


class Demo:
    def __init__(self, console: Console, stack: Stack) -> None:
        self.console = console
        self.stack = stack
        self.home = stack.home.root
        self.facts_file = self.home / "demo.json"

    def run(self, study: Path | None, *, is_once: bool) -> None:
        self.stack.ports.check()
        phantom = None if study else self._phantom_start()
        tenants = self._house_start()
        path, truth = study or self._phantom_wait(phantom), None
        if study is None:
            truth = json.loads((path / "truth.json").read_text(encoding="utf-8"))
        self.console.print(f"\n{MERCY.name} receives a study from {MERCY.calling_ae}", style="bold")
        found, report = study_follow(
            self.console, tenant_id=tenants[0].id, hospital=MERCY, path=path, ports=self.stack.ports
        )
        self._facts_write(tenants, found, report)
        if report:
            report_tell(self.console, report, truth)
        else:
            self.console.print("\nno report: the reason stands beside the hop above", style="yellow")
        self._addresses_tell()
        if not is_once:
            self.console.print("\nRunning. Ctrl-C stops everything.", style="bold")
            while True:
                time.sleep(3600)

    def _house_start(self) -> list[Any]:
        with self.console.status("starting PostgreSQL and the broker") as status:
            self.stack.start_base()
            status.update("preparing the database")
            database.roles_create(self.stack.superuser)
            database.database_create(self.stack.superuser, self.stack.database)
            database.schema_prepare()
            status.update("starting the house")
            self.stack.start_house()
            tenants = [hospital_seed(MERCY), hospital_seed(OLAF)]
            self.stack.wait_ready()
        names = ", ".join(sorted(self.stack.pids()))
        self.console.print(f"[green]✓[/green] up: {names}")
        return tenants

    def _phantom_start(self) -> subprocess.Popen[bytes] | None:
        folder = self.home / "demo" / "phantom"
        if (folder / "truth.json").exists():
            return None
        return subprocess.Popen(  # noqa: S603 our own module
            [sys.executable, "-m", "sandbox.phantoms", "--out", str(folder)], cwd=ROOT, stdout=subprocess.DEVNULL
        )

    def _phantom_wait(self, phantom: subprocess.Popen[bytes] | None) -> Path:
        if phantom is not None and phantom.wait():
            raise DemoFailed("the thorax phantom could not be made")
        return self.home / "demo" / "phantom"

    def _facts_write(self, tenants: list[Any], study: Study, report: Report | None) -> None:
        before = facts_before(self.facts_file)
        blocks = [
            hospital_facts(hospital, tokens=tokens_of(tenant, old), ports=self.stack.ports)
            for hospital, tenant, old in zip((MERCY, OLAF), tenants, (before, before.get("other", {})), strict=True)
        ]
        smart = before.get("smart", {})
        mercy = smart_facts(tenants[0], smart, ports=self.stack.ports)
        olaf = smart_facts(tenants[1], smart.get("other", {}), ports=self.stack.ports)
        facts = {
            **blocks[0], "smart": {**mercy, "other": olaf}, "hl7": hl7_facts(ports=self.stack.ports), "study_uid": study.study_uid,
            "report_id": str(report.uuid) if report else None, "other": blocks[1],
        }  # fmt: skip
        draft = self.facts_file.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(facts, indent=2), encoding="utf-8")
        os.replace(draft, self.facts_file)

    def _addresses_tell(self) -> None:
        facts = facts_before(self.facts_file)
        self.console.print(f"\n[bold]Portal[/bold]  {facts['portal']}", soft_wrap=True)
        people = ", ".join(user["email"] for user in facts["users"])
        self.console.print(f"  sign in as {people}; password {PASSWORD}", soft_wrap=True)
        self.console.print(f"[bold]FHIR[/bold]    {facts['fhir']}", soft_wrap=True)
        dimse = facts["dimse"]
        self.console.print(
            f"[bold]DICOM[/bold]   {dimse['called_ae']} at {dimse['host']}:{dimse['port']}, from {dimse['calling_ae']}", soft_wrap=True
        )
        self.console.print(f"  keys and the second hospital: {self.facts_file}", soft_wrap=True)
