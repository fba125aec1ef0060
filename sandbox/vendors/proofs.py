"""Who may: signatures and tokens, checked from the published contracts and not with the libraries that made them."""

import base64
import hashlib
import hmac
import json
import secrets
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from sandbox.http import Refusal, Request

SKEW_SECONDS = 300
SAFE = "-_.~"


class Tokens:
    """Bearer tokens that one family gave out: each for one audience, each with an end."""

    def __init__(self) -> None:
        self._given: dict[str, tuple[str, float]] = {}

    def give(self, audience: str, seconds: float) -> str:
        token = secrets.token_urlsafe(24)
        self._given[token] = (audience, time.time() + seconds)
        return token

    def end_all(self) -> None:
        """As if every token had expired: what was given before is refused from now on."""
        self._given.clear()

    def check(self, request: Request, audience: str) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        held = self._given.get(token)
        if scheme != "Bearer" or held is None or held[0] != audience or time.time() > held[1]:
            raise Refusal(401, "no such token, or one that has ended", **{"WWW-Authenticate": "Bearer"})


def key_check(request: Request, key: str) -> None:
    """A fixed bearer key."""
    if not hmac.compare_digest(request.headers.get("authorization", "").encode(), f"Bearer {key}".encode()):
        raise Refusal(401, "no such key", **{"WWW-Authenticate": "Bearer"})


def basic_check(request: Request, user: str, password: str) -> None:
    given = base64.b64encode(f"{user}:{password}".encode()).decode()
    if not hmac.compare_digest(request.headers.get("authorization", ""), f"Basic {given}"):
        raise Refusal(401, "no such user", **{"WWW-Authenticate": 'Basic realm="double"'})


def hub_signature(secret: str, body: bytes, now: float) -> str:
    """The performer profile's X-Hub-Signature."""
    at = str(int(now))
    mark = hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={mark}"


def hub_check(request: Request, secret: str) -> None:
    given = dict(part.split("=", 1) for part in request.headers.get("x-hub-signature", "").split(",") if "=" in part)
    at = given.get("t", "")
    if not at.isdigit() or abs(time.time() - int(at)) > SKEW_SECONDS:
        raise Refusal(401, "no signature, or an old one")
    if not hmac.compare_digest(hub_signature(secret, request.body, int(at)), f"t={at},v1={given.get('v1', '')}"):
        raise Refusal(401, "the signature is wrong")


def sigv4_check(request: Request, *, access: str, secret: str, region: str, service: str) -> None:
    """AWS Signature Version 4: the canonical request and its signature made again from what arrived; 403 unless they agree."""
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    fields = dict(part.strip().split("=", 1) for part in rest.split(",") if "=" in part)
    scope = fields.get("Credential", "").split("/")
    stamp = request.headers.get("x-amz-date", "")
    if scheme != "AWS4-HMAC-SHA256" or len(scope) != 5 or scope[0] != access or scope[2:] != [region, service, "aws4_request"]:
        raise Refusal(403, "MissingAuthenticationToken or UnrecognizedClientException")
    _skew_check(stamp, scope[1])
    if hashlib.sha256(request.body).hexdigest() != request.headers.get("x-amz-content-sha256"):
        raise Refusal(403, "the content is not what was signed")
    signed = fields.get("SignedHeaders", "")
    if not {"host", "x-amz-date", "x-amz-content-sha256"} <= set(signed.split(";")):
        raise Refusal(403, "host, date and content must be signed")
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, "/".join(scope[1:]), hashlib.sha256(_canonical(request, signed)).hexdigest()))
    key = f"AWS4{secret}".encode()
    for part in (*scope[1:], text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    if not hmac.compare_digest(key.hex(), fields.get("Signature", "")):
        raise Refusal(403, "SignatureDoesNotMatch")


def _skew_check(stamp: str, day: str) -> None:
    try:
        at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise Refusal(403, "no date") from error
    if not stamp.startswith(day) or abs(time.time() - at) > SKEW_SECONDS:
        raise Refusal(403, "RequestTimeTooSkewed")


def _canonical(request: Request, signed: str) -> bytes:
    split = urlsplit(request.target)
    pairs = sorted(
        (quote(name, safe=SAFE), quote(value, safe=SAFE)) for name, value in parse_qsl(split.query, keep_blank_values=True)
    )
    headers = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in signed.split(";"))
    lines = (
        request.method, quote(split.path, safe=f"/{SAFE}"), "&".join(f"{name}={value}" for name, value in pairs), headers, signed,
        request.headers.get("x-amz-content-sha256", ""),
    )  # fmt: skip
    return "\n".join(lines).encode()


def jwt_read(assertion: str, public_pem: str) -> dict[str, Any]:
    """The claims of a JWT that this key signed with RS256 (RFC 7515); 400 invalid_grant otherwise."""
    try:
        head, claims, mark = assertion.split(".")
        key = serialization.load_pem_public_key(public_pem.encode())
        if json.loads(_unfold(head)).get("alg") != "RS256" or not isinstance(key, rsa.RSAPublicKey):
            raise Refusal(400, "invalid_grant: not RS256")
        key.verify(_unfold(mark), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
        said: dict[str, Any] = json.loads(_unfold(claims))
    except (ValueError, InvalidSignature) as error:
        raise Refusal(400, "invalid_grant: the signature is wrong") from error
    return said


def _unfold(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
