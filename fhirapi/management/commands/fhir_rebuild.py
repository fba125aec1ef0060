"""`fhir_rebuild --tenant <slug>`: write every Patient and ImagingStudy of a hospital again from its DICOM rows."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from fhirapi.projections import imaging_studies_put
from fhirapi.sources import hospital_id, study_ids_read
from journal.wall.scope import tenant_scope

BATCH = 50  # studies a transaction: short ones, so receiving and reporting go on meanwhile


class Command(BaseCommand):
    help = "Rebuild the FHIR projections of a hospital's studies and patients. Content that did not change keeps its version."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", required=True, help="slug of the hospital")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant_id = hospital_id(slug=options["tenant"])
        if tenant_id is None:
            raise CommandError("no active hospital has this slug")
        seen = changed = after = 0
        while True:
            with tenant_scope(tenant_id):
                study_ids = study_ids_read(after=after, limit=BATCH)
                stored = imaging_studies_put(study_ids=study_ids) if study_ids else []
            if not study_ids:
                break
            after, seen = study_ids[-1], seen + len(study_ids)
            changed += sum(resource.is_changed for resource in stored)
        self.stdout.write(f"{seen} studies, {changed} resources changed")
