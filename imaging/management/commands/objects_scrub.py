"""`manage.py objects_scrub --hospital <slug>`: read every object of a hospital now and compare it with its checksum."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from imaging import scrub
from journal.wall.scope import tenant_scope
from tenants.selectors import tenant_by_slug


class Command(BaseCommand):
    help = "Read every object of a hospital, compare it with its checksum, and say what is damaged (exit code 1)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--hospital", required=True, help="the hospital's slug")
        parser.add_argument("--fast", action="store_true", help="as fast as the disk allows, not at MEDHUB_SCRUB_BYTES_PER_SECOND")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = tenant_by_slug(slug=options["hospital"])
        if tenant is None:
            raise CommandError(f"there is no hospital {options['hospital']}")
        with tenant_scope(tenant.id):
            before = scrub.scrub_restart()
        while True:
            step = scrub.scrub_step(tenant_id=tenant.id)
            with tenant_scope(tenant.id):
                if options["fast"]:
                    scrub.scrub_hurry()
                state = scrub.scrub_state()
            if state is None or state.rounds > before:
                break
            # None: the sweep's worker has it for the moment
            time.sleep(0 if options["fast"] else 0.2 if step is None else step.wait or 0)
        bad = state.objects_bad if state else 0
        with tenant_scope(tenant.id):
            scrub.scrub_audit(objects=state.objects_read if state else 0, bad=bad)
        self.stdout.write(f"{state.objects_read} objects, {state.bytes_read} bytes read, {bad} bad" if state else "nothing is kept")
        if bad:
            raise SystemExit(1)
