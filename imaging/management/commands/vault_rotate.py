"""`manage.py vault_rotate`: seal every private key anew with the first key of MEDHUB_VAULT_KEYS, hospital by hospital."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from imaging.certificates.services import secrets_rotate
from journal.wall.scope import tenant_scope
from tenants.crypto import SecretLostError
from tenants.selectors import tenant_ids_all


class Command(BaseCommand):
    help = "Seal every private key anew with the first key of MEDHUB_VAULT_KEYS; afterwards the others can be taken away."

    def handle(self, *args: Any, **options: Any) -> None:
        count = 0
        for tenant_id in tenant_ids_all():
            try:
                with tenant_scope(tenant_id):
                    count += secrets_rotate()
            except SecretLostError as error:
                raise CommandError(f"hospital {tenant_id}: {error}; nothing of it was changed") from error
        self.stdout.write(f"{count} keys are sealed with the first vault key")
