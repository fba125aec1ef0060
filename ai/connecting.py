"""Saving a connection as its form and the API do: a secret of signatures is made where none was entered, and told this once."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.conf import settings
from django.db import transaction

from ai.connections import ConnectionRefused, connection_set, secrets_open
from ai.contract import Platform, platforms
from ai.models import Connection
from imaging.nodes import NodeError, addresses_check
from journal.audit import Actor
from journal.wall.scope import tenant_id_current
from tenants.crypto import SecretLostError
from tenants.selectors import tenant_get
from tenants.services import AETitleTakenError, OpenReturnError, return_ae_clear, return_ae_set

HOOK_SECRET = "hook_secret"  # noqa: S105 a name
RETURN_AE = "return_ae"
SECRET_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class Saved:
    """`made`: secrets that we made, by name; they can be read nowhere again."""

    connection: Connection
    made: Mapping[str, str] = field(repr=False)


def connection_save(
    *, platform: str, values: Mapping[str, str], is_test: bool = False, is_enabled: bool | None = None, actor: Actor
) -> Saved:
    """Make or change; `is_enabled` of None leaves a switch as it is. Raises ConnectionRefused."""
    before = Connection.objects.filter(platform=platform).first()
    found = platforms().get(platform)
    made: dict[str, str] = {}
    is_given = bool(values.get(HOOK_SECRET, "").strip()) or HOOK_SECRET in secrets_held(before)
    if found is not None and not is_given and _is_signed(found, values):
        made[HOOK_SECRET] = secrets.token_urlsafe(SECRET_BYTES)
    with transaction.atomic():
        connection = connection_set(
            platform=platform, name=before.name if before else "", values={**values, **made}, is_test=is_test, actor=actor,
            is_enabled=is_enabled if is_enabled is not None else before is None or before.is_enabled,
        )  # fmt: skip
        _return_ae_keep(connection, before=before.settings.get(RETURN_AE, "") if before else "")
    return Saved(connection=connection, made=made)


def _return_ae_keep(connection: Connection, *, before: str) -> None:
    """Open, move or close the way back of results by C-STORE, as the form says. Raises ConnectionRefused."""
    said, tenant = connection.settings, tenant_get(tenant_id=tenant_id_current())
    if not said.get(RETURN_AE):
        if before:
            return_ae_clear(tenant=tenant, connection_id=connection.id)
        return
    if not said.get("return_from_ae"):
        raise ConnectionRefused({"return_from_ae": "the AE title that results are sent by is needed"})
    try:
        return_ae_set(
            tenant=tenant, ae_title=said[RETURN_AE], connection_id=connection.id, calling_ae=said["return_from_ae"],
            addresses=addresses_check(said.get("return_addresses", "").split(",")), needs_tls=said.get("return_tls") == "yes",
        )  # fmt: skip
    except NodeError as error:
        raise ConnectionRefused({"return_addresses": str(error)}) from None
    except OpenReturnError:
        raise ConnectionRefused({"return_addresses": "addresses are needed, or TLS: anybody may know an AE title"}) from None
    except AETitleTakenError:
        raise ConnectionRefused({RETURN_AE: "this AE title serves something else"}) from None


def _is_signed(platform: Platform, values: Mapping[str, str]) -> bool:
    """Do answers come by themselves, or does work go out as signed tasks? Of a platform whose form knows the secret."""
    if HOOK_SECRET not in {one.name for one in platform.settings}:
        return False
    full = {one.name: values.get(one.name) or one.default for one in platform.settings}
    return platform.is_pushed(full) or full.get("way") == "task"


def secrets_held(connection: Connection | None) -> frozenset[str]:
    """Names of the secrets that are there; none when they cannot be opened any more."""
    try:
        return frozenset(secrets_open(connection)) if connection else frozenset()
    except SecretLostError:
        return frozenset()


def hook_url(connection: Connection) -> str:
    """Where the platform posts signed answers."""
    return f"{settings.MEDHUB_PUBLIC_URL}/hooks/ai/{connection.uuid}"
