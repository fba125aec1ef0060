"""A hospital's connection to a platform: its form, its secrets, its switch, its test. The portal, the API and commands call it."""

import base64
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from django.conf import settings
from django.utils import timezone

from ai.cards import Setting
from ai.contract import Platform, PlatformError, platforms
from ai.deident.surrogates import SECRET_BYTES, Keys
from ai.governance.terms import terms_accepted_version
from ai.models import Connection
from ai.ways import platform_ways
from journal.audit import Actor, audit_record
from journal.wall.scope import tenant_id_current, tenant_scope
from tenants.crypto import SecretLostError, secret_open, secret_rotate, secret_seal
from tenants.egress import EgressFailed, EgressRefused
from tenants.services import hook_set

LONGEST = 16_384  # characters of a value: a certificate, a service account


class ConnectionRefused(Exception):
    """The form cannot be kept. `problems`: name of a setting -> words for people."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("the connection cannot be kept")
        self.problems = dict(problems)
        self.user_message = "; ".join(self.problems.values())


@dataclass(frozen=True, kw_only=True)
class CheckAnswer:
    """What the "Test connection" button found."""

    is_good: bool
    words: str


def connection_set(
    *, platform: str, name: str = "", values: Mapping[str, str], is_test: bool = False, actor: Actor, is_enabled: bool = True
) -> Connection:
    """Make or change the hospital's connection to a platform. An empty secret keeps the one that is there.

    Raises ConnectionRefused.
    """
    found = platforms().get(platform)
    if found is None:
        raise ConnectionRefused({"platform": "no platform of that name"})
    connection = Connection.objects.filter(platform=platform).first()
    before = _secrets_before(connection)
    plain, hidden = _sorted(found, values, before)
    connection = connection or Connection(platform=platform, created_at=timezone.now(), pseudonyms=_sealed(_key_new()))
    connection.name, connection.is_test, connection.is_enabled = name or found.card.name, is_test, is_enabled
    connection.settings, connection.secrets = plain, _sealed(json.dumps(hidden)) if hidden else ""
    connection.failures, connection.broken_until = 0, None
    connection.terms = connection.terms or terms_accepted_version(platform=platform)
    connection.save()
    hook_set(tenant_id=tenant_id_current(), hook_id=connection.uuid)
    audit_record(
        actor=actor, action="connection.set", object_type="Connection", object_id=str(connection.uuid),
        detail={"platform": platform, "is_test": str(is_test)},
    )  # fmt: skip
    return connection


def _secrets_before(connection: Connection | None) -> dict[str, str]:
    """Nothing when they cannot be opened any more: then they are entered again, and that must be possible."""
    try:
        return secrets_open(connection) if connection else {}
    except SecretLostError:
        return {}


def _sorted(platform: Platform, values: Mapping[str, str], before: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Plain and secret values by the platform's own form. Raises ConnectionRefused."""
    problems = {name: f"{name} is no setting of {platform.card.name}" for name in values if name not in {s.name for s in platform.settings}}
    plain: dict[str, str] = {}
    hidden: dict[str, str] = {}
    given = {one.name: _given(one, values, before) for one in platform.settings}
    for one in platform.settings:
        if one.only_with and given.get(one.only_with[0]) != one.only_with[1]:
            continue
        value = given[one.name]
        if words := _problem(one, value):
            problems[one.name] = words
        elif value:
            (hidden if one.kind == "secret" else plain)[one.name] = value
    if problems:
        raise ConnectionRefused(problems)
    return plain, hidden


def _given(one: Setting, values: Mapping[str, str], before: Mapping[str, str]) -> str:
    value = str(values.get(one.name, "")).strip()
    if one.kind == "secret" and not value:
        return before.get(one.name, "")
    return value or one.default


def _problem(one: Setting, value: str) -> str:
    """Why a value cannot be kept; empty when it can."""
    if not value:
        return f"{one.label} is needed" if one.is_required else ""
    checks = {
        "url": lambda: urlsplit(value).scheme in {"https", "http"} and bool(urlsplit(value).hostname),
        "choice": lambda: value in one.choices,
        "port": lambda: value.isascii() and value.isdigit() and 0 < int(value) < 65536,
        "number": lambda: value.replace(".", "", 1).isdigit(),
        "ae_title": lambda: len(value) <= 16 and value.isascii() and value.isprintable() and "\\" not in value,
        "host": lambda: len(value) <= 253 and value.isascii() and not set(value) & set(" /\\@?#"),
        "pem": lambda: value.startswith("-----BEGIN "),
    }  # fmt: skip
    is_right = len(value) <= LONGEST and checks.get(one.kind, lambda: True)()
    return "" if is_right else f"{one.label} cannot be that"


def secrets_open(connection: Connection) -> dict[str, str]:
    """Raises SecretLostError."""
    if not connection.secrets:
        return {}
    opened: dict[str, str] = json.loads(secret_open(connection.secrets, tenant_id=connection.tenant_id))
    return opened


def connection_settings(connection: Connection) -> dict[str, str]:
    """Everything that the platform file is handed. Raises PlatformError when a secret is lost."""
    if platforms()[connection.platform].card.is_in_house:
        return {"base_url": settings.QUANTIFY_URL, "api_key": settings.QUANTIFY_KEY}
    try:
        return {**connection.settings, **secrets_open(connection)}
    except SecretLostError:
        raise PlatformError("the connection's secrets cannot be opened: enter them again", is_permanent=True) from None


def connection_keys(connection: Connection, *, job_uuid: str = "") -> Keys:
    """What surrogates are made with, for this connection alone; with `job_uuid` for this one job, so that an answer to an earlier

    question about the same study can never pass as an answer to this one. Raises PlatformError when it is lost.
    """
    try:
        secret = base64.b64decode(secret_open(connection.pseudonyms, tenant_id=connection.tenant_id))
        return Keys(hmac.digest(secret, job_uuid.encode(), "sha256") if job_uuid else secret)
    except SecretLostError:
        raise PlatformError("the connection's key of pseudonyms cannot be opened", is_permanent=True) from None


def connection_check(*, tenant_id: int, connection_id: int, actor: Actor) -> CheckAnswer:
    """Ask the platform, keep what it said. Opens short scopes itself; the network is never inside one."""
    with tenant_scope(tenant_id):
        connection = Connection.objects.get(id=connection_id)
        audit_record(actor=actor, action="connection.check", object_type="Connection", object_id=str(connection.uuid))
    try:
        found = CheckAnswer(is_good=True, words=platform_check(connection)[:300])
    except (PlatformError, EgressRefused, EgressFailed) as error:
        found = CheckAnswer(is_good=False, words=error.user_message[:300])
    with tenant_scope(tenant_id):
        Connection.objects.filter(id=connection_id).update(
            checked_at=timezone.now(), is_check_good=found.is_good, check_words=found.words
        )
    return found


def platform_check(connection: Connection) -> str:
    """A sentence about what answered. Raises PlatformError, EgressRefused, EgressFailed."""
    platform, values = platforms()[connection.platform], connection_settings(connection)
    with TemporaryDirectory() as folder, platform_ways(platform, values, folder=Path(folder)) as ways:
        return platform.check(values, ways)


def platform_name(connection: Connection) -> str:
    """Shown on reports and objects: the vendor's only where the vendor made it."""
    return "MedHub Quantify (test double)" if connection.is_test else platforms()[connection.platform].card.name


def connections_reseal() -> int:
    """Secrets and pseudonym keys of the hospital's connections anew, with the first vault key. How many. Raises SecretLostError."""
    count = 0
    for row in Connection.objects.select_for_update():
        for name in ("secrets", "pseudonyms"):
            if sealed := getattr(row, name):
                setattr(row, name, secret_rotate(sealed, tenant_id=row.tenant_id))
                count += 1
        row.save(update_fields=["secrets", "pseudonyms"])
    return count


def _key_new() -> str:
    return base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _sealed(text: str) -> str:
    return secret_seal(text.encode(), tenant_id=tenant_id_current())


def connections_pushed() -> list[Connection]:
    """Those of the hospital in scope whose answers come by themselves, by name."""
    rows = Connection.objects.order_by("name", "id")
    return [row for row in rows if row.platform in platforms() and _is_pushed(row)]


def _is_pushed(row: Connection) -> bool:
    try:
        return platforms()[row.platform].is_pushed(connection_settings(row))
    except PlatformError:
        return False
