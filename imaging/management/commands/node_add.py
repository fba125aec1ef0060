"""`manage.py node_add --hospital <slug> --ae <title> [--host H --port P] [--services store,find,...]`. Idempotent."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from imaging.nodes import SERVICES, node_add, services_of
from journal.wall.scope import tenant_scope
from tenants.selectors import tenant_by_slug


class Command(BaseCommand):
    help = "Let a calling AE title into a hospital, or change what it may do and where it is. What is not given stays."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--hospital", required=True, help="the hospital's slug")
        parser.add_argument("--ae", required=True, help="the device's AE title, at most 16 characters")
        parser.add_argument("--address", help="the only address it may call from, or `any` (a new node's default)")
        parser.add_argument("--host", help="where it listens, when C-MOVE shall go there")
        parser.add_argument("--port", type=int, help="and on which port")
        parser.add_argument("--services", help=f"what it may ask for, of {','.join(SERVICES)} (a new node's default: store)")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = tenant_by_slug(slug=options["hospital"])
        if tenant is None:
            raise CommandError(f"there is no hospital {options['hospital']}")
        title = options["ae"].strip()
        if not 1 <= len(title) <= 16 or not title.isascii() or "\\" in title:
            raise CommandError("an AE title has 1 to 16 ASCII characters and no backslash (PS3.5 6.2)")
        address, port = options["address"], options.get("port")
        if port is not None and not 1 <= port <= 65535:
            raise CommandError("a port is 1 to 65535")
        with tenant_scope(tenant.id):
            node = node_add(
                ae_title=title, address="" if address == "any" else address, host=options.get("host"), port=port,
                services=self._services(options.get("services")),
            )  # fmt: skip
        at = f", listens at {node.host}:{node.port}" if node.host and node.port else ""
        self.stdout.write(f"{title} may {', '.join(sorted(services_of(node))) or 'nothing'} at {tenant.slug}{at}")

    def _services(self, text: str | None) -> list[str] | None:
        if text is None:
            return None
        services = [name.strip() for name in text.split(",") if name.strip()]
        if not set(services) <= set(SERVICES):
            raise CommandError(f"services are of {','.join(SERVICES)}")
        return services
