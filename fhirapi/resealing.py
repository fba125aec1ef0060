"""What this app keeps sealed: how we sign in at EHRs, and what subscribers want to see in headers."""

from typing import Any

from fhirapi.models import EhrServer, Subscriber
from tenants.crypto import secret_rotate

SEALED: tuple[tuple[Any, tuple[str, ...]], ...] = ((EhrServer, ("secret", "private_key")), (Subscriber, ("headers",)))


def secrets_reseal() -> int:
    """All of the hospital in scope anew, with the first vault key. How many. Raises SecretLostError."""
    count = 0
    for model, names in SEALED:
        for row in model.objects.select_for_update():
            for name in names:
                if sealed := getattr(row, name):
                    setattr(row, name, secret_rotate(sealed, tenant_id=row.tenant_id))
                    count += 1
            row.save(update_fields=list(names))
    return count
