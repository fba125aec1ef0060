"""`manage.py study_complete --hospital <slug> --study <StudyInstanceUID>`: complete a study now, without its quiet time."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from imaging.completion import study_complete
from imaging.selectors import study_by_uid
from journal.wall.scope import tenant_scope
from tenants.selectors import tenant_by_slug


class Command(BaseCommand):
    help = "Complete a study without waiting for its quiet time."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--hospital", required=True, help="the hospital's slug")
        parser.add_argument("--study", required=True, help="StudyInstanceUID")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = tenant_by_slug(slug=options["hospital"])
        if tenant is None:
            raise CommandError(f"there is no hospital {options['hospital']}")
        with tenant_scope(tenant.id):
            study = study_by_uid(study_uid=options["study"])
            if study is None:
                raise CommandError("this hospital has no such study")
            is_done = study_complete(study_id=study.id, is_forced=True)
        self.stdout.write("completed" if is_done else "it was complete already")
