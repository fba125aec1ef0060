"""The hospital's own FHIR servers: their form, their secrets and keys, their test. The portal and the API call it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.utils import timezone
from joserfc.jwk import ECKey, RSAKey

from ai.contract import Http, PlatformError
from fhirapi.models import EhrServer
from fhirapi.outcomes import FhirError
from fhirapi.push.signin import signed_in
from fhirapi.subscriptions.asking import endpoint_check
from fhirapi.subscriptions.known import fhir_base
from journal.audit import Actor, audit_record
from journal.wall.scope import tenant_id_current, tenant_scope
from tenants.crypto import SecretLostError, secret_seal
from tenants.egress import CertificateUnusable, Egress, EgressFailed, EgressRefused

Auth = EhrServer.Auth
ALGORITHMS = ("RS384", "ES384")
RSA_BITS = 3072
SERVERS_MAX, SECRET_CHARS = 20, 8192
SCOPE = "system/*.cruds"
SCOPE_FORM = re.compile(r"[\x21\x23-\x5b\x5d-\x7e ]*")


class EhrServerRefused(Exception):
    """The form cannot be kept. `problems`: name of a field -> words for people."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("the server cannot be kept")
        self.problems = dict(problems)


@dataclass(frozen=True, kw_only=True)
class CheckAnswer:
    is_good: bool
    words: str


def ehr_servers() -> list[EhrServer]:
    return list(EhrServer.objects.order_by("name", "id"))


def ehr_server_get(*, server_uuid: object) -> EhrServer | None:
    found: EhrServer | None = EhrServer.objects.filter(uuid=server_uuid).first()
    return found


def ehr_server_save(*, actor: Actor, values: Mapping[str, Any], row: EhrServer | None = None) -> EhrServer:
    """Make or change one. An empty `secret` keeps what is there, unless the address is another. Raises EhrServerRefused."""
    is_new = row is None
    row = row or EhrServer(created_at=timezone.now())
    problems = _problems(row, values)
    if is_new and EhrServer.objects.count() >= SERVERS_MAX:
        problems["name"] = f"a hospital has at most {SERVERS_MAX} of them"
    if problems:
        raise EhrServerRefused(problems)
    secret = str(values.get("secret", ""))
    for name in ("name", "auth", "user", "client_id", "token_url"):
        setattr(row, name, str(values.get(name, "")).strip())
    row.base_url = str(values["base_url"]).strip().rstrip("/")
    row.scope = str(values.get("scope", "")).strip() or (SCOPE if row.auth == Auth.SMART else "")
    row.has_studies, row.is_enabled = bool(values.get("has_studies", True)), bool(values.get("is_enabled", True))
    if secret:
        row.secret = secret_seal(secret.encode(), tenant_id=tenant_id_current())
    elif row.auth not in {Auth.BASIC, Auth.BEARER}:
        row.secret = ""
    algorithm = str(values.get("algorithm") or row.algorithm)
    if row.auth == Auth.SMART and (not row.private_key or algorithm != row.algorithm):
        row.algorithm = algorithm
        _key_make(row)
    row.save()
    audit_record(
        actor=actor, action="ehr.set", object_type="EhrServer", object_id=str(row.uuid), detail={"auth": row.auth, "new": int(is_new)}
    )
    return row


def _problems(row: EhrServer, values: Mapping[str, Any]) -> dict[str, str]:
    text = {name: str(values.get(name, "")).strip() for name in ("name", "base_url", "auth", "user", "client_id", "token_url", "scope")}
    problems: dict[str, str] = {}
    if not text["name"] or len(text["name"]) > 80:
        problems["name"] = "a name of at most 80 characters is needed"
    for name in ("base_url", "token_url"):
        if text[name] or name == "base_url":
            problems |= _address_problem(name, text[name])
    if text["auth"] not in Auth.values:
        problems["auth"] = f"one of {', '.join(Auth.values)}"
    return problems | _signin_problems(row, values, text)


def _signin_problems(row: EhrServer, values: Mapping[str, Any], text: Mapping[str, str]) -> dict[str, str]:
    problems: dict[str, str] = {}
    is_kept = bool(row.secret) and row.auth == text["auth"] and _origin(row.base_url) == _origin(text["base_url"])
    secret = str(values.get("secret", ""))
    if text["auth"] in {Auth.BASIC, Auth.BEARER} and not secret and not is_kept:
        problems |= {"secret": "needed; another address or way of signing in wants it again"}
    if len(secret) > SECRET_CHARS or not secret.isprintable() or not secret.isascii():
        problems["secret"] = f"at most {SECRET_CHARS} printable ASCII characters"
    if text["auth"] == Auth.BASIC and (not text["user"] or ":" in text["user"] or len(text["user"]) > 200):
        problems["user"] = "needed, without a colon (RFC 7617), at most 200 characters"
    if text["auth"] == Auth.SMART and (not text["client_id"] or len(text["client_id"]) > 200):
        problems["client_id"] = "needed: what the EHR registered us as, at most 200 characters"
    if len(text["scope"]) > 400 or not SCOPE_FORM.fullmatch(text["scope"]):
        problems["scope"] = "scopes with a space between (RFC 6749), at most 400 characters"
    if values.get("algorithm") and values["algorithm"] not in ALGORITHMS:
        problems["algorithm"] = f"one of {', '.join(ALGORITHMS)}"
    return problems


def _address_problem(name: str, text: str) -> dict[str, str]:
    try:
        endpoint_check(text)
    except FhirError:
        return {name: "an https address that can be reached from here (the operator may allow others by EGRESS_ALLOW)"}
    return {name: "an address without a query"} if "?" in text else {}


def _origin(url: str) -> tuple[str, str]:
    return urlsplit(url).scheme, urlsplit(url).netloc


def _key_make(row: EhrServer) -> None:
    """A key pair for this server alone; the private half never leaves (SMART App Launch 2.2, client-confidential-asymmetric)."""
    is_rsa = row.algorithm == "RS384"
    made: Any = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS) if is_rsa else ec.generate_private_key(ec.SECP384R1())
    pem = made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key: RSAKey | ECKey = RSAKey.import_key(pem) if is_rsa else ECKey.import_key(pem)
    row.public_jwk = {**key.as_dict(private=False), "alg": row.algorithm, "kid": key.thumbprint(), "key_ops": ["verify"]}
    row.private_key = secret_seal(pem, tenant_id=tenant_id_current())


def ehr_server_key_renew(*, actor: Actor, row: EhrServer) -> None:
    """Another key pair: the EHR must hear of the public half before the next push."""
    _key_make(row)
    row.save(update_fields=["public_jwk", "private_key"])
    audit_record(actor=actor, action="ehr.key", object_type="EhrServer", object_id=str(row.uuid))


def ehr_server_delete(*, actor: Actor, row: EhrServer) -> None:
    """With its deliveries. What is on its way may still arrive."""
    audit_record(actor=actor, action="ehr.delete", object_type="EhrServer", object_id=str(row.uuid))
    row.delete()


def jwks_url(row: EhrServer) -> str:
    """Where the EHR reads our public key; "" for a server that is signed in to without one. In a scope."""
    if row.auth != Auth.SMART:
        return ""
    return f"{fhir_base(tenant_id=row.tenant_id)}/ehr/{row.uuid}/jwks.json"


def server_jwks(row: EhrServer) -> bytes:
    return orjson.dumps({"keys": [row.public_jwk] if row.public_jwk else []})


def ehr_server_check(*, tenant_id: int, server_uuid: object) -> CheckAnswer | None:
    """Ask for its CapabilityStatement with our sign-in. Opens short scopes itself: the network is in none. None: no such server."""
    with tenant_scope(tenant_id):
        row = ehr_server_get(server_uuid=server_uuid)
    return _check(row) if row is not None else None


def _check(row: EhrServer) -> CheckAnswer:
    try:
        http: Http = signed_in(row, Egress())
        status, _, body = http.request("GET", f"{row.base_url}/metadata", headers={"Accept": "application/fhir+json"})
    except PlatformError as error:
        return CheckAnswer(is_good=False, words=error.user_message)
    except (EgressRefused, EgressFailed, CertificateUnusable) as error:
        return CheckAnswer(is_good=False, words=error.user_message)
    except SecretLostError:
        return CheckAnswer(is_good=False, words="its secret cannot be opened any more; enter it again")
    if status != 200:
        return CheckAnswer(is_good=False, words=f"its metadata answered {status}")
    try:
        found = json.loads(body)
        version, rests = str(found["fhirVersion"]), found["rest"]
    except (ValueError, KeyError, TypeError):
        return CheckAnswer(is_good=False, words="its metadata is no CapabilityStatement")
    if not version.startswith("4."):
        return CheckAnswer(is_good=False, words="it speaks another version of FHIR than R4")
    codes = {one.get("code") for rest in rests if isinstance(rest, dict) for one in rest.get("interaction", ()) if isinstance(one, dict)}
    if "transaction" not in codes:
        return CheckAnswer(is_good=True, words="signed in; its CapabilityStatement does not name transaction, which a push needs")
    return CheckAnswer(is_good=True, words="signed in; it takes transactions")
