"""`manage.py vault_rotate`: seal every secret anew with the first key of MEDHUB_VAULT_KEYS, hospital by hospital.

It lies in fhirapi because nothing above fhirapi holds a sealed column.
"""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ai.connections import connections_reseal
from fhirapi.resealing import secrets_reseal
from imaging.certificates.services import secrets_rotate
from journal.wall.scope import tenant_scope
from tenants.crypto import SecretLostError
from tenants.selectors import tenant_by_slug, tenant_ids_all


class Command(BaseCommand):
    help = "Seal every secret and private key anew with the first key of MEDHUB_VAULT_KEYS; afterwards the others can be taken away."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--hospital", metavar="SLUG", help="this one only; without it all of them")

    def handle(self, *args: Any, **options: Any) -> None:
        count = 0
        slug = options["hospital"]
        found = tenant_by_slug(slug=slug) if slug else None
        if slug and found is None:
            raise CommandError(f"no hospital {slug}")
        for tenant_id in [found.id] if found else tenant_ids_all():
            try:
                with tenant_scope(tenant_id):
                    count += secrets_rotate() + connections_reseal() + secrets_reseal()
            except SecretLostError as error:
                raise CommandError(f"hospital {tenant_id}: {error}; nothing of it was changed") from error
        self.stdout.write(f"{count} secrets are sealed with the first vault key")
