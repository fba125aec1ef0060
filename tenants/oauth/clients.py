"""Clients of a hospital: programs with a key pair (SMART Backend Services), plain keys with scopes, apps that act for people."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.utils import timezone
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from journal.audit import Actor, audit_record
from journal.wall.scope import tenant_id_current
from tenants.models import ApiToken, OAuthClient, OAuthGrant, Tenant
from tenants.oauth.scopes import SYSTEM, scopes_read, scopes_text, words_read
from tenants.services import token_create, token_digest

CLIENTS_CAP = 200
KEYS_CAP = 20
BACKEND, KEY, APP = "backend", "key", "app"
KEY_PAIR, SECRET, PUBLIC = "private_key_jwt", "client_secret_basic", "none"  # how an app signs in, in RFC 7591's words
REDIRECTS_CAP, URL_CHARS = 10, 500
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
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


def origin_is_known(*, slug: str, origin: str) -> bool:
    """Is it where an app of this hospital stands: the origin of one of its redirect addresses? Asked before a scope."""
    live = OAuthClient.objects.filter(tenant__slug=slug, tenant__is_active=True, kind=APP, revoked_at=None)
    return any(
        f"{parts.scheme}://{parts.netloc}" == origin
        for uris in live.values_list("redirect_uris", flat=True)
        for parts in map(urlsplit, uris)
    )


def client_add(
    *, actor: Actor, name: str, kind: str = BACKEND, scopes: str, jwks: Mapping[str, Any] | None = None, jwks_url: str = "",
    auth_method: str = "", redirect_uris: Sequence[str] = (), launch_url: str = "",
) -> tuple[OAuthClient, str]:  # fmt: skip
    """The client, and of a plain key its text or of an app its secret, returned this once. Raises ClientError."""
    tenant_id = tenant_id_current()
    if not name.strip():
        raise ClientError("name", "is missing")
    if kind not in (BACKEND, KEY, APP):
        raise ClientError("kind", "is backend, key or app")
    granted = _scopes_checked(kind, scopes)
    if kind == APP:
        auth_method = auth_method or PUBLIC
        _app_check(auth_method, redirect_uris, launch_url)
    elif auth_method not in ("", KEY_PAIR) or redirect_uris or launch_url:
        raise ClientError("kind", "is app for what has a redirect address, a launch address or a secret")
    _keys_check(kind == BACKEND or auth_method == KEY_PAIR, jwks, jwks_url)
    if OAuthClient.objects.filter(tenant_id=tenant_id, revoked_at=None).count() >= CLIENTS_CAP:
        raise ClientError("name", f"a hospital has at most {CLIENTS_CAP} clients")
    secret = secrets.token_urlsafe(32) if auth_method == SECRET else ""
    row = OAuthClient.objects.create(
        tenant_id=tenant_id, client_id=secrets.token_hex(16), name=name.strip()[:80], kind=kind, scopes=granted, jwks=dict(jwks or {}),
        jwks_url=jwks_url[:URL_CHARS], auth_method=auth_method if kind == APP else "", redirect_uris=list(dict.fromkeys(redirect_uris)),
        launch_url=launch_url, secret_digest=token_digest(secret) if secret else "", created_by=actor.name,
    )  # fmt: skip
    audit_record(actor=actor, action="client.add", object_type="OAuthClient", object_id=row.client_id, detail={"kind": kind})
    if kind == KEY:
        text = token_create(tenant=Tenant.objects.get(id=tenant_id), name=row.name)
        ApiToken.objects.filter(digest=token_digest(text)).update(scopes=row.scopes, client=row)
        return row, text
    return row, secret


def _keys_check(has_keys: bool, jwks: Mapping[str, Any] | None, jwks_url: str) -> None:
    """Raises ClientError."""
    if has_keys and bool(jwks) == bool(jwks_url):
        raise ClientError("jwks", "is needed, inline or by its address, and not both")
    if not has_keys and (jwks or jwks_url):
        raise ClientError("jwks", "is of no use: this client signs in without a key pair")
    if jwks_url and not jwks_url.startswith(("https://", "http://")):
        raise ClientError("jwks_url", "is no address")
    if jwks:
        jwks_check(jwks)


def _scopes_checked(kind: str, text: str) -> str:
    """What is registered. Raises ClientError for scopes that this kind of client cannot have."""
    scopes, words, parts = scopes_read(text), words_read(text), set(text.split())
    if kind == APP:
        if not scopes or any(scope.context == SYSTEM for scope in scopes) or len(scopes) + len(words) != len(parts):
            raise ClientError(
                "scopes", "has one that is none of an app: like user/ImagingStudy.rs, patient/Observation.rs (which reads and searches "
                "only), launch, launch/patient, offline_access",
            )  # fmt: skip
        return " ".join([*words, scopes_text(scopes)])
    if not scopes or any(scope.context != SYSTEM for scope in scopes) or len(scopes) != len(parts):
        raise ClientError("scopes", "has a scope that is none of a system: like system/Observation.rs")
    return scopes_text(scopes)


def _app_check(auth_method: str, redirect_uris: Sequence[str], launch_url: str) -> None:
    """Raises ClientError."""
    if auth_method not in (KEY_PAIR, SECRET, PUBLIC):
        raise ClientError("auth_method", f"is {KEY_PAIR}, {SECRET} or {PUBLIC}")
    if not 0 < len(redirect_uris) <= REDIRECTS_CAP:
        raise ClientError("redirect_uris", f"are one to {REDIRECTS_CAP} addresses")
    for uri in redirect_uris:
        if not _is_redirect(uri):
            raise ClientError(
                "redirect_uris", "has one that is neither https, nor http on the app's own machine, nor an address of an app's own like "
                "com.example.app:/back, or that has a fragment",
            )  # fmt: skip
    if launch_url and not _is_web(launch_url):
        raise ClientError("launch_url", "is neither an https address nor one of this machine")


def _is_redirect(uri: str) -> bool:
    """RFC 8252 7: https, loopback, or a private-use scheme, which has a dot."""
    scheme = uri.partition(":")[0]
    if scheme in {"http", "https"}:
        return _is_web(uri)
    return _is_plain(uri) and "." in scheme and urlsplit(uri).scheme == scheme


def _is_web(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        host = parts.hostname or ""
    except ValueError:
        return False
    is_right = parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK)
    return _is_plain(uri) and is_right and bool(host) and "@" not in parts.netloc


def _is_plain(uri: str) -> bool:
    return len(uri) <= URL_CHARS and uri.isascii() and uri.isprintable() and not set(uri) & set(" \\\"<>#")


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
    """Its tokens open nothing from now on, and what people granted it is over. Idempotent."""
    now = timezone.now()
    if OAuthClient.objects.filter(id=row.id, revoked_at=None).update(revoked_at=now):
        ApiToken.objects.filter(client=row, revoked_at=None).update(revoked_at=now)
        OAuthGrant.objects.filter(client_id=row.id, revoked_at=None).update(revoked_at=now)
        audit_record(actor=actor, action="client.revoke", object_type="OAuthClient", object_id=row.client_id)
