"""`manage.py node_check --hospital <slug> --ae <title>`: call a node and tell each hop with its milliseconds. Fails with the hop."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from imaging.models import Node
from imaging.scu.check import node_check
from journal.audit import Actor
from journal.wall.scope import tenant_scope
from tenants.selectors import tenant_by_slug


class Command(BaseCommand):
    help = "Call a node: name, connection, TLS, association, echo, DICOMweb. Tells the first hop that fails."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--hospital", required=True, help="the hospital's slug")
        parser.add_argument("--ae", required=True, help="the node's AE title")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = tenant_by_slug(slug=options["hospital"])
        if tenant is None:
            raise CommandError(f"there is no hospital {options['hospital']}")
        with tenant_scope(tenant.id):
            node = Node.objects.filter(ae_title=options["ae"]).first()
        if node is None:
            raise CommandError(f"{tenant.slug} has no node {options['ae']}")
        hops = node_check(tenant_id=tenant.id, node_id=node.id, actor=Actor(name="command:node_check"))
        for hop in hops:
            self.stdout.write(f"{'ok ' if hop.is_ok else 'NO '} {hop.hop:12} {hop.milliseconds:8.1f} ms  {hop.words}")
        failed = next((hop for hop in hops if not hop.is_ok), None)
        if failed is not None:
            raise CommandError(f"{failed.hop}: {failed.words}")
