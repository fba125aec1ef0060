"""`fhir_reindex --hospital <slug>`: index every stored resource again from its text, after definitions or the index changed."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from fhirapi.reindex import resources_reindex
from fhirapi.sources import hospital_id
from journal.wall.scope import tenant_scope

BATCH = 200  # resources a transaction: short ones, so that the hospital goes on working meanwhile


class Command(BaseCommand):
    help = "Index a hospital's FHIR resources again. Text, versions and times stay; what is indexed already is passed over."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--hospital", required=True, help="slug of the hospital")
        parser.add_argument(
            "--after", type=int, default=0, help="go on behind this row, as the last line of an earlier run said"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        tenant_id = hospital_id(slug=options["hospital"])
        if tenant_id is None:
            raise CommandError("no active hospital has this slug")
        after, seen, changed = options["after"], 0, 0
        while True:
            with tenant_scope(tenant_id):
                done = resources_reindex(after=after, limit=BATCH)
            if not done.seen:
                break
            after, seen, changed = done.last, seen + done.seen, changed + done.changed
            self.stdout.write(f"{seen} seen, {changed} indexed again, up to row {after}")
        self.stdout.write(f"{seen} resources, {changed} indexed again")
