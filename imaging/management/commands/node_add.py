"""`manage.py node_add --hospital <slug> --ae <title>`: let a DICOM device store. Idempotent."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from imaging.nodes import node_add
from journal.wall.scope import tenant_scope
from tenants.selectors import tenant_by_slug


class Command(BaseCommand):
    help = "Let a calling AE title store into a hospital (again: changes its address)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--hospital", required=True, help="the hospital's slug")
        parser.add_argument("--ae", required=True, help="the device's AE title, at most 16 characters")
        parser.add_argument("--address", help="the only address it may come from; any, if not given")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = tenant_by_slug(slug=options["hospital"])
        if tenant is None:
            raise CommandError(f"there is no hospital {options['hospital']}")
        title = options["ae"].strip()
        if not 1 <= len(title) <= 16 or not title.isascii() or "\\" in title:
            raise CommandError("an AE title has 1 to 16 ASCII characters and no backslash (PS3.5 6.2)")
        with tenant_scope(tenant.id):
            node_add(ae_title=title, address=options["address"])
        self.stdout.write(f"{title} may store into {tenant.slug}")
