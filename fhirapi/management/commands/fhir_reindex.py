"""`fhir_reindex --hospital <slug>`: index every stored resource again from its text, after definitions or the index changed."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from fhirapi.index.reindex import index_is_missing, resources_reindex
from fhirapi.sources import hospital_id
from journal.wall.scope import tenant_scope
from tenants.selectors import tenant_ids_all

BATCH = 200  # resources a transaction: short ones, so that the hospital goes on working meanwhile


class Command(BaseCommand):
    help = "Index a hospital's FHIR resources again. Text, versions and times stay; what is indexed already is passed over."

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--hospital", help="slug of the hospital")
        which.add_argument("--missing", action="store_true", help="every hospital whose index a migration has emptied")
        parser.add_argument("--after", type=int, default=0, help="go on behind this row, as the last line of an earlier run said")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["missing"]:
            for tenant_id in tenant_ids_all():
                with tenant_scope(tenant_id):
                    is_missing = index_is_missing()
                if is_missing:
                    self._hospital(tenant_id, after=0)
            return
        found = hospital_id(slug=options["hospital"])
        if found is None:
            raise CommandError("no active hospital has this slug")
        self._hospital(found, after=options["after"])

    def _hospital(self, tenant_id: int, *, after: int) -> None:
        seen = changed = 0
        while True:
            with tenant_scope(tenant_id):
                done = resources_reindex(after=after, limit=BATCH)
            if not done.seen:
                break
            after, seen, changed = done.last, seen + done.seen, changed + done.changed
            self.stdout.write(f"{seen} seen, {changed} indexed again, up to row {after}")
        self.stdout.write(f"{seen} resources, {changed} indexed again")
