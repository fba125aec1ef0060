"""`fhir_rebuild --tenant <slug>`: write everything that the hub made of a hospital's rows again."""

from collections.abc import Callable, Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from fhirapi.audit_events import audit_events_put
from fhirapi.projections import imaging_studies_put, jobs_put, orders_put, patients_put, reports_put
from fhirapi.sources import hospital_id, ids_read
from fhirapi.store import Stored
from journal.wall.scope import tenant_scope

BATCH = 50  # rows a transaction: short ones, so receiving and reporting go on meanwhile
Put = Callable[[Sequence[int]], list[Stored]]
# Studies bring their patients; people without a study, and those who were merged away, come after them.
STEPS: dict[str, Put] = {
    "studies": lambda ids: imaging_studies_put(study_ids=ids),
    "patients": lambda ids: patients_put(patient_ids=ids),
    "orders": lambda ids: orders_put(order_ids=ids),
    "jobs": lambda ids: jobs_put(job_ids=ids),
    "reports": lambda ids: reports_put(report_ids=ids),
    "audit records": lambda ids: audit_events_put(first=ids[0], last=ids[-1]),
}


class Command(BaseCommand):
    help = "Rebuild the FHIR projections of a hospital. Content that did not change keeps its version."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", required=True, help="slug of the hospital")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant_id = hospital_id(slug=options["tenant"])
        if tenant_id is None:
            raise CommandError("no active hospital has this slug")
        for name, put in STEPS.items():
            seen, changed = self.walk(tenant_id, name, put)
            self.stdout.write(f"{seen} {name}, {changed} resources changed")

    def walk(self, tenant_id: int, name: str, put: Put) -> tuple[int, int]:
        seen = changed = after = 0
        while True:
            with tenant_scope(tenant_id):
                ids = ids_read(name=name, after=after, limit=BATCH)
                stored = put(ids) if ids else []
            if not ids:
                return seen, changed
            after, seen = ids[-1], seen + len(ids)
            changed += sum(resource.is_changed for resource in stored)
