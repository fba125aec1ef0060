"""An EHR's FHIR server as a process of its own: it takes transactions, and looks hard at each and at who signs in.

Its token endpoint verifies private_key_jwt by another library than ours (PyJWT): signature by the registered JWKS, algorithm, audience,
lifetime, and a jti that was not seen before (SMART App Launch 2.2.0). It refuses entries that would make duplicates.
"""

import base64
import json
import secrets
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import jwt

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Refused(Exception):
    def __init__(self, status: int, code: str, **headers: str) -> None:
        super().__init__(code)
        self.status, self.code, self.headers = status, code, headers


class Ehr:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.stored: dict[tuple[str, str], dict[str, Any]] = {}  # (type, criteria) -> resource
        self.versions: dict[tuple[str, str], int] = {}
        self.bundles: list[dict[str, Any]] = []
        self.failing: list[dict[str, Any]] = []  # answers to give first
        self.tokens: dict[str, float] = {}
        self.jtis: set[str] = set()
        self.keys: dict[str, Any] = {}
        self.signed: list[str] = []  # what was tried at the token endpoint
        self.auth = "none"

    def authorize(self, header: str) -> None:
        good = {"basic": "Basic " + base64.b64encode(b"medhub:pass word").decode(), "bearer": "Bearer fixed-token"}
        is_good = self.auth == "none" or header == good.get(self.auth)
        if self.auth == "smart":
            is_good = self.tokens.get(header.removeprefix("Bearer "), 0) > time.time()
        if not is_good:
            raise Refused(401, "login", **{"WWW-Authenticate": "Bearer"})

    def token(self, form: dict[str, list[str]], here: str) -> dict[str, Any]:
        if form.get("grant_type") != ["client_credentials"] or form.get("client_assertion_type") != [ASSERTION]:
            raise Refused(400, "unsupported_grant_type")
        text = form["client_assertion"][0]
        head = jwt.get_unverified_header(text)
        key = jwt.PyJWK.from_dict(self.keys[head["kid"]])
        try:
            claims = jwt.decode(
                text, key, algorithms=["RS384", "ES384"], audience=here, issuer="medhub-client",
                options={"require": ["iss", "sub", "aud", "exp", "jti"]},
            )  # fmt: skip
        except jwt.PyJWTError as error:
            self.signed.append(type(error).__name__)
            raise Refused(401, "invalid_client") from None
        if claims["sub"] != claims["iss"] or claims["exp"] > time.time() + 300 or claims["jti"] in self.jtis or head["typ"] != "JWT":
            self.signed.append("replayed or too long")
            raise Refused(401, "invalid_client")
        self.jtis.add(claims["jti"])
        self.signed.append("ok")
        made = secrets.token_urlsafe(16)
        self.tokens[made] = time.time() + 120
        return {"access_token": made, "token_type": "bearer", "expires_in": 120, "scope": form["scope"][0]}

    def transaction(self, bundle: dict[str, Any]) -> dict[str, Any]:
        self.bundles.append(bundle)
        entries = bundle["entry"]
        urls = [one["fullUrl"] for one in entries]
        if bundle["type"] != "transaction" or len(set(urls)) != len(urls) or not all(url.startswith("urn:uuid:") for url in urls):
            raise Refused(400, "structure")
        wanted = [self._criteria(one) for one in entries]
        if len(set(wanted)) != len(wanted):
            raise Refused(400, "duplicate")
        for one in entries:
            if "id" in one["resource"] or {"versionId", "lastUpdated"} & set(one["resource"].get("meta", {})):
                raise Refused(400, "value")
            for reference in references(one["resource"]):
                if reference.startswith("urn:uuid:") and reference not in urls:
                    raise Refused(400, "not-found")
                if not reference.startswith(("urn:uuid:", "http")):
                    raise Refused(400, "not-found")
        answers = []
        for name, one in zip(wanted, entries, strict=True):
            is_new = name not in self.stored
            if is_new or one["request"]["method"] == "PUT":
                self.stored[name] = one["resource"]
                self.versions[name] = self.versions.get(name, 0) + 1
            answers.append({"response": {"status": "201 Created" if is_new else "200 OK", "location": f"{name[0]}/x/_history/1"}})
        return {"resourceType": "Bundle", "type": "transaction-response", "entry": answers}

    def _criteria(self, entry: dict[str, Any]) -> tuple[str, str]:
        request, resource = entry["request"], entry["resource"]
        rtype, _, query = request["url"].partition("?")
        if request["method"] == "POST":
            query = request.get("ifNoneExist", "")
        if rtype != resource["resourceType"] or not query:
            raise Refused(400, "business-rule")  # it would be made twice
        ((name, value),) = parse_qsl(query, strict_parsing=True)
        system, _, code = value.partition("|")
        told = resource.get("identifier", []) if name == "identifier" else resource["meta"]["tag"]
        if not any(one.get("system") == system and one.get("value", one.get("code")) == code for one in told):
            raise Refused(400, "value")
        return rtype, f"{name}={value}"


def references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [text for item in node for text in references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["reference"]] if isinstance(node.get("reference"), str) else []
    return own + [text for value in node.values() for text in references(value)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ehr = Ehr()

    def _answer(self, status: int, value: Any, **headers: str) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/fhir+json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def _take(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            with self.ehr.lock:
                self._answer(200, self._route(urlsplit(self.path).path, body))
        except Refused as error:
            issue = {"severity": "error", "code": error.code, "diagnostics": "DOE^JANE 4711 is not known"}
            self._answer(error.status, {"resourceType": "OperationOutcome", "issue": [issue]}, **error.headers)

    def _route(self, path: str, body: bytes) -> Any:
        ehr, here = self.ehr, f"http://{self.headers['Host']}"
        if path == "/control":
            for name, value in json.loads(body).items():
                setattr(ehr, name, value)
            return {}
        if path == "/seen":
            stored = [{"name": list(name), "versions": ehr.versions[name], "resource": one} for name, one in ehr.stored.items()]
            return {"stored": stored, "bundles": ehr.bundles, "signed": ehr.signed}
        if path == "/forget":
            self.ehr.__init__()  # type: ignore[misc]
            return {}
        if path == "/token":
            return ehr.token(parse_qs(body.decode()), f"{here}/token")
        if path == "/fhir/.well-known/smart-configuration":
            return {"token_endpoint": f"{here}/token"}
        ehr.authorize(self.headers.get("Authorization", ""))
        if path == "/fhir/metadata":
            return {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": [{"interaction": [{"code": "transaction"}]}]}
        if path != "/fhir" or self.command != "POST":
            raise Refused(404, "not-found")
        if ehr.failing:
            told = ehr.failing.pop(0)
            raise Refused(told["status"], "exception", **told.get("headers", {}))
        return ehr.transaction(json.loads(body))

    do_GET = do_POST = _take  # noqa: N815 the names of http.server

    def log_message(self, format: str, *args: Any) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()
