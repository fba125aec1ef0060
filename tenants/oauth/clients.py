"""Clients of a hospital: programs that sign in with a key pair (SMART Backend Services), and plain keys with scopes."""

import secrets
from collections.abc import Mapping
from typing import Any

from django.utils import timezone
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from journal.audit import Actor, audit_record
from journal.wall.scope import tenant_id_current
from tenants.models import ApiToken, OAuthClient, Tenant
from tenants.oauth.scopes import scopes_read, scopes_text
from tenants.services import token_create, token_digest

CLIENTS_CAP = 200
KEYS_CAP = 20
BACKEND, KEY = "backend", "key"
ALGORITHMS = {"RSA": "RS384", "EC": "ES384"}


class ClientError(Exception):
    """A client cannot be like that. The text is ours and may be shown."""

    def __init__(self, field: str, words: str) -> None:
        super().__init__(words)
        self.field = field


def clients_list() -> list[OAuthClient]:
    """Of the hospital in scope, the newest first."""
    return list(OAuthClient.objects.filter(tenant_id=tenant_id_current()).order_by("-id"))


def client_get(*, client_id: str) -> OAuthClient | None:
    return OAuthClient.objects.filter(tenant_id=tenant_id_current(), client_id=client_id).first()


def client_add(
    *, actor: Actor, name: str, kind: str = BACKEND, scopes: str, jwks: Mapping[str, Any] | None = None, jwks_url: str = "",
) -> tuple[OAuthClient, str]:  # fmt: skip
    """The client, and of a plain key its text, returned this once. Raises ClientError."""
    tenant_id = tenant_id_current()
    granted = scopes_read(scopes)
    if not name.strip():
        raise ClientError("name", "is missing")
    if kind not in (BACKEND, KEY):
        raise ClientError("kind", "is backend or key")
    if not granted or len(granted) != len(set(scopes.split())):
        raise ClientError("scopes", "has a scope that is none of a system: like system/Observation.rs")
    if kind == BACKEND and bool(jwks) == bool(jwks_url):
        raise ClientError("jwks", "is needed, inline or by its address, and not both")
    if jwks_url and not jwks_url.startswith("https://") and not jwks_url.startswith("http://"):
        raise ClientError("jwks_url", "is no address")
    if jwks:
        jwks_check(jwks)
    if OAuthClient.objects.filter(tenant_id=tenant_id, revoked_at=None).count() >= CLIENTS_CAP:
        raise ClientError("name", f"a hospital has at most {CLIENTS_CAP} clients")
    row = OAuthClient.objects.create(
        tenant_id=tenant_id, client_id=secrets.token_hex(16), name=name.strip()[:80], kind=kind, scopes=scopes_text(granted),
        jwks=dict(jwks or {}), jwks_url=jwks_url[:500], created_by=actor.name,
    )  # fmt: skip
    audit_record(actor=actor, action="client.add", object_type="OAuthClient", object_id=row.client_id, detail={"kind": kind})
    text = ""
    if kind == KEY:
        text = token_create(tenant=Tenant.objects.get(id=tenant_id), name=row.name)
        ApiToken.objects.filter(digest=token_digest(text)).update(scopes=row.scopes, client=row)
    return row, text


def jwks_check(jwks: Mapping[str, Any]) -> KeySet:
    """Raises ClientError: public keys for RS384 and ES384 with a kid each, nothing private."""
    keys = jwks.get("keys")
    if not isinstance(keys, list) or not 0 < len(keys) <= KEYS_CAP:
        raise ClientError("jwks", f"is {{'keys': [...]}} with at most {KEYS_CAP} keys")
    for key in keys:
        if not isinstance(key, dict) or key.get("kty") not in ALGORITHMS or not isinstance(key.get("kid"), str):
            raise ClientError("jwks", "has a key that is no RSA or EC key with a kid")
        if {"d", "p", "q", "k"} & set(key):
            raise ClientError("jwks", "holds a private key: take it back, and send the public one")
        if key["kty"] == "EC" and key.get("crv") != "P-384":
            raise ClientError("jwks", "has an EC key that is not on P-384 (ES384)")
    try:
        found: KeySet = KeySet.import_key_set(dict(jwks))  # type: ignore[arg-type]
        if any(key.key_type == "RSA" and key.public_key.key_size < 2048 for key in found.keys):  # type: ignore[union-attr]
            raise ClientError("jwks", "has an RSA key of less than 2048 bits")
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise ClientError("jwks", "has a key that cannot be read") from error
    return found


def client_revoke(*, actor: Actor, row: OAuthClient) -> None:
    """Its tokens open nothing from now on. Idempotent."""
    now = timezone.now()
    if OAuthClient.objects.filter(id=row.id, revoked_at=None).update(revoked_at=now):
        ApiToken.objects.filter(client=row, revoked_at=None).update(revoked_at=now)
        audit_record(actor=actor, action="client.revoke", object_type="OAuthClient", object_id=row.client_id)
