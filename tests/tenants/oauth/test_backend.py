"""SMART Backend Services from registration to a resource, and what must not open anything."""

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.test import Client
from django.utils import timezone
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from ai.workitems.watching import channel_open
from fhirapi.models import Subscriber
from imaging.models import Study
from journal.audit import Actor
from tenants.models import ApiToken, OAuthClient
from tenants.oauth.clients import ClientError, client_add, client_get, client_revoke
from tests.conftest import Hospital, hospital_make
from tests.fhirapi.writing import Writer, entry, observation, patient

pytestmark = pytest.mark.database
ACTOR = Actor(name="user:test")
TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"


def key_new(kind: str = "EC") -> Any:
    kid = {"kid": uuid.uuid4().hex}
    return ECKey.generate_key("P-384", parameters=kid) if kind == "EC" else RSAKey.generate_key(2048, parameters=kid)


@dataclass
class Service:
    """A backend service of a hospital, with its private key."""

    hospital: Hospital
    client_id: str
    key: Any
    alg: str = "ES384"

    @property
    def url(self) -> str:
        return f"http://testserver/t/{self.hospital.slug}/oauth/token"

    def claims(self, **more: Any) -> dict[str, Any]:
        now = int(time.time())
        found = {"iss": self.client_id, "sub": self.client_id, "aud": self.url, "exp": now + 240, "jti": uuid.uuid4().hex} | more
        return {name: value for name, value in found.items() if value is not None}

    def assertion(self, *, key: Any = None, header: dict[str, Any] | None = None, **more: Any) -> str:
        signer = key or self.key
        head = {"alg": self.alg, "kid": self.key.kid, "typ": "JWT"} | (header or {})
        return jwt.encode(head, self.claims(**more), signer, algorithms=[head["alg"]])

    def ask(self, assertion: str | None = None, *, scope: str = "system/*.cruds", where: str = "", **more: str) -> Any:
        form = {"grant_type": "client_credentials", "scope": scope, "client_assertion_type": TYPE} | more
        form["client_assertion"] = assertion if assertion is not None else self.assertion()
        return Client().post(where or f"/t/{self.hospital.slug}/oauth/token", form)

    def token(self, scope: str) -> str:
        answer = self.ask(scope=scope)
        assert answer.status_code == 200, answer.content
        return str(answer.json()["access_token"])

    def fhir(self, scope: str) -> Writer:
        """The hospital's FHIR base with a token of these scopes."""
        holder = Hospital(
            tenant=self.hospital.tenant, slug=self.hospital.slug, token=self.token(scope), called_ae="", calling_ae=""
        )
        return Writer(holder)


def service(hospital: Hospital, *, kind: str = "EC", scopes: str = "system/*.cruds") -> Service:
    key = key_new(kind)
    with hospital.scope():
        row, _ = client_add(actor=ACTOR, name="lab", scopes=scopes, jwks={"keys": [key.as_dict(private=False)]})
    return Service(hospital, row.client_id, key, "ES384" if kind == "EC" else "RS384")


@pytest.fixture
def lab(mercy: Hospital) -> Service:
    return service(mercy)


@pytest.mark.parametrize("kind", ["EC", "RSA"])
def test_a_token_and_what_it_opens(mercy: Hospital, kind: str) -> None:
    """ "Backend Services (client_credentials, private_key_jwt RS384/ES384, JWKS ... inline": five minutes, and the scopes given."""
    found = service(mercy, kind=kind)
    answer = found.ask(scope="system/Patient.rs system/Observation.cruds")
    assert answer.status_code == 200, answer.content
    assert "no-store" in answer["Cache-Control"]
    token = answer.json()
    assert (token["token_type"], token["expires_in"]) == ("Bearer", 300)
    assert token["scope"] == "system/Patient.rs system/Observation.cruds"
    held = ApiToken.objects.get(client__client_id=found.client_id)
    assert token["access_token"] not in (held.digest, held.prefix)
    fhir = found.fhir("system/*.cruds")
    made = fhir.made(patient("1"))
    assert fhir.get(f"Patient/{made['id']}").status_code == 200


NEGATIVE = {
    "wrong audience": {"aud": "https://elsewhere.example/token"}, "expired": {"exp": int(time.time()) - 600},
    "good for an hour": {"exp": int(time.time()) + 3600}, "no exp": {"exp": None}, "no jti": {"jti": None},
    "issuer is not subject": {"iss": "somebody"}, "nobody's client": {"iss": "x", "sub": "x"}, "no audience": {"aud": None},
}  # fmt: skip


@pytest.mark.parametrize("how", NEGATIVE)
def test_assertions_that_are_refused(lab: Service, how: str) -> None:
    """ "ten negative paths (wrong audience, expired ...": 401 invalid_client, and no token is made."""
    answer = lab.ask(lab.assertion(**NEGATIVE[how]))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), answer.content
    assert not ApiToken.objects.filter(client__client_id=lab.client_id).exists()


def test_a_replayed_jti(lab: Service) -> None:
    """ "jti replay refused"."""
    assertion = lab.assertion()
    assert lab.ask(assertion).status_code == 200
    again = lab.ask(assertion)
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")


def test_none_a_wrong_key_and_a_weak_algorithm(lab: Service) -> None:
    """ "`none`, wrong key": nor HS256 with the public key as its secret, nor a kid that was not registered."""
    part = [lab.assertion().split(".")[1]]
    none = "eyJhbGciOiJub25lIn0." + part[0] + "."
    stranger = key_new()
    public = OctKey.import_key(orjson.dumps(lab.key.as_dict(private=False)))
    shared = jwt.encode({"alg": "HS256", "kid": lab.key.kid}, lab.claims(), public, algorithms=["HS256"])
    for assertion in (none, lab.assertion(key=stranger), shared, "", "a.b.c", lab.assertion(header={"kid": "other"})):
        answer = lab.ask(assertion)
        assert answer.status_code in {400, 401}, (assertion, answer.content)
        assert answer.json()["error"] in {"invalid_client", "invalid_request"}


def test_another_hospitals_key_and_token(mercy: Hospital, olaf: Hospital, lab: Service) -> None:
    """ "other tenant's key" and "Tenant crossing on tokens ...: refused"."""
    theirs = service(olaf)
    at_mercy = f"/t/{mercy.slug}/oauth/token"
    assert theirs.ask(where=at_mercy).status_code == 401
    assert theirs.ask(theirs.assertion(aud=lab.url), where=at_mercy).status_code == 401
    token = theirs.token("system/*.rs")
    answer = Client().get(f"/t/{mercy.slug}/fhir/r4/Patient", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 404
    assert lab.ask(where=f"/t/{olaf.slug}/oauth/introspect", token=token).status_code == 401


def test_scopes_are_what_was_allowed(mercy: Hospital) -> None:
    """ "v1 and v2 scopes incl. `.rs`, `.cruds`": asked within the client's; nothing left is invalid_scope."""
    found = service(mercy, scopes="system/Patient.rs system/Observation.read")
    asked = {
        "system/*.read": "system/Patient.rs system/Observation.rs", "system/Patient.cruds": "system/Patient.rs",
        "system/Observation.s system/Encounter.rs": "system/Observation.s", "": "system/Patient.rs system/Observation.rs",
    }  # fmt: skip
    for scope, granted in asked.items():
        assert found.ask(scope=scope).json()["scope"] == granted, scope
    for scope in ("system/Encounter.rs", "system/Patient.c", "user/*.*", "patient/Patient.rs", "nonsense", "system/Patient.sr"):
        answer = found.ask(scope=scope)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope"), scope


class TestEnforced:
    """Scopes at the FHIR door, "enforced on includes too"."""

    @pytest.fixture
    def stored(self, mercy: Hospital) -> dict[str, str]:
        writer = Writer(mercy)
        person = writer.made(patient("7"))["id"]
        ids = {"patient": person}
        for name, category in (("lab", "laboratory"), ("vital", "vital-signs")):
            coded = [{"coding": [{"system": CATEGORY, "code": category}]}]
            ids[name] = writer.made(observation(f"Patient/{person}", category=coded))["id"]
        return ids

    def test_by_letter(self, lab: Service, stored: dict[str, str]) -> None:
        """read, search, create, update, delete each by its own letter; another type is 403."""
        reader, searcher, maker = (lab.fhir(f"system/Patient.{letter}") for letter in "rsc")
        path = f"Patient/{stored['patient']}"
        assert [one.get(path).status_code for one in (reader, searcher, maker)] == [200, 403, 403]
        assert [one.get("Patient").status_code for one in (reader, searcher, maker)] == [403, 200, 403]
        assert [one.post("Patient", patient("8")).status_code for one in (reader, searcher, maker)] == [403, 403, 201]
        assert maker.put(path, patient("7", id=stored["patient"])).status_code == 403
        assert lab.fhir("system/Patient.u").put(path, patient("7", id=stored["patient"])).status_code == 200
        assert maker.delete(path).status_code == 403
        assert reader.get(f"Observation/{stored['lab']}").status_code == 403
        asking = {"if_none_exist": "identifier=urn:oid:1.2.3|8"}  # whether it is there
        assert maker.post("Patient", patient("8"), **asking).status_code == 403
        assert reader.get(f"{path}/_history").status_code == 200

    def test_includes_chains_and_the_whole_system(self, lab: Service, stored: dict[str, str]) -> None:
        """What is not in scope comes by no include, is not asked about by chain, and is in no history, $everything or system search."""
        fhir = lab.fhir("system/Observation.rs")
        found = fhir.get("Observation?_include=Observation:subject").json()
        assert {one["resource"]["resourceType"] for one in found["entry"]} == {"Observation"}
        both = lab.fhir("system/Observation.rs system/Patient.rs").get("Observation?_include=Observation:subject").json()
        assert {one["resource"]["resourceType"] for one in both["entry"]} == {"Observation", "Patient"}
        people = lab.fhir("system/Patient.rs")
        back = people.get("Patient?_revinclude=Observation:subject").json()
        assert {one["resource"]["resourceType"] for one in back["entry"]} == {"Patient"}
        assert fhir.get("Observation?subject:Patient.gender=female").status_code == 403
        assert people.get("Patient?_has:Observation:subject:category=laboratory").status_code == 403
        whole = fhir.get("").json()
        assert {one["resource"]["resourceType"] for one in whole["entry"]} == {"Observation"}
        told = fhir.get("_history").json()
        assert {one["resource"]["resourceType"] for one in told["entry"] if "resource" in one} == {"Observation"}
        everything = people.get(f"Patient/{stored['patient']}/$everything").json()
        assert {one["resource"]["resourceType"] for one in everything["entry"]} == {"Patient"}
        assert fhir.get(f"Patient/{stored['patient']}/$everything").status_code == 403

    def test_narrowed_by_a_query(self, lab: Service, stored: dict[str, str]) -> None:
        """ "query-scoped ones": read and search within what the query finds; by no include, no history, no other way."""
        scope = f"system/Observation.rs?category={CATEGORY}|laboratory"
        fhir = lab.fhir(scope)
        assert [one["resource"]["id"] for one in fhir.get("Observation").json()["entry"]] == [stored["lab"]]
        assert fhir.get(f"Observation/{stored['lab']}").status_code == 200
        assert fhir.get(f"Observation/{stored['vital']}").status_code == 404
        assert fhir.get("Observation?category=vital-signs").json().get("entry", []) == []
        assert fhir.get(f"Observation/{stored['lab']}/_history").status_code == 403
        assert fhir.get("Observation?_include=Observation:has-member").status_code == 403
        assert fhir.get("").json().get("entry", []) == []
        assert fhir.post("Observation", observation()).status_code == 403
        two = lab.fhir(f"{scope} system/Observation.rs?category={CATEGORY}|vital-signs")
        assert {one["resource"]["id"] for one in two.get("Observation").json()["entry"]} == {stored["lab"], stored["vital"]}
        other = lab.fhir(f"{scope} system/Observation.rs?_id={stored['vital']} system/Observation.rs?category=none&status=final")
        assert {one["resource"]["id"] for one in other.get("Observation").json()["entry"]} == {stored["lab"], stored["vital"]}
        assert other.get(f"Observation/{stored['vital']}").status_code == 200
        assert other.get("Observation?_summary=count").json()["total"] == 2

    @pytest.mark.parametrize("query", ["nonsense=1", "_count=5", "_include=Observation:subject", "category:unheard=x", "_sort=date"])
    def test_what_narrows_by_nothing_opens_nothing(self, lab: Service, stored: dict[str, str], query: str) -> None:
        """A query that is not understood would be ignored by a search, and so find everybody's: it fails closed."""
        fhir = lab.fhir(f"system/Observation.rs?{query}")
        assert fhir.get("Observation").status_code in {400, 403}
        assert fhir.get(f"Observation/{stored['lab']}").status_code in {400, 403}

    def test_bundles(self, lab: Service, stored: dict[str, str]) -> None:
        """Each entry by its own letter, in a batch and in a transaction; conditional references look only where search is allowed."""
        fhir = lab.fhir("system/Observation.crs")
        batch = fhir.bundle("batch", entry("GET", f"Patient/{stored['patient']}"), entry("GET", f"Observation/{stored['lab']}")).json()
        assert [one["response"]["status"] for one in batch["entry"]] == ["403", "200"]
        assert fhir.bundle("transaction", entry("POST", "Patient", patient("9"))).status_code == 403
        assert fhir.bundle("transaction", entry("DELETE", f"Observation/{stored['lab']}")).status_code == 403
        asking = entry("POST", "Observation", observation("Patient?identifier=urn:oid:1.2.3|7"))
        assert fhir.bundle("transaction", asking).status_code == 403
        assert fhir.bundle("transaction", entry("POST", "Observation", observation("Patient/x"))).status_code == 200

    def test_exports_hold_what_is_in_scope(self, lab: Service, stored: dict[str, str]) -> None:
        """ "files behind the same authorization": a type that is not in scope cannot be asked for, and another's export is not there."""
        whole = lab.fhir("system/*.rs").get("$export", accept="application/fhir+json", prefer="respond-async")
        assert whole.status_code == 202, whole.content
        place = whole["Content-Location"]
        fhir = lab.fhir("system/Patient.rs")
        refused = fhir.get("$export?_type=Observation", accept="application/fhir+json", prefer="respond-async")
        assert refused.status_code in {400, 403}
        assert fhir.get(place).status_code == 404

    def test_nothing_but_fhir(self, lab: Service, mercy: Hospital) -> None:
        """Scopes speak of FHIR resources: neither DICOMweb nor the API opens, whatever the role behind the token may."""
        auth = {"authorization": f"Bearer {lab.token('system/*.cruds')}"}
        for path in ("dicomweb/studies", "api/v1/nodes", "api/v1/clients", "api/v1/workitems"):
            assert Client().get(f"/t/{mercy.slug}/{path}", headers=auth).status_code == 403, path
        assert channel_open(slug=mercy.slug, ae_title="LAB", token=lab.token("system/*.cruds")) == 403
        with mercy.scope():
            assert not Study.objects.exists()


def test_introspection_and_revocation(mercy: Hospital, lab: Service) -> None:
    """ "token introspection and revocation": by the client that has it, of nobody else's."""
    token, other = lab.token("system/Patient.rs"), service(mercy)

    def asked(who: Service, what: str) -> Any:
        return who.ask(who.assertion(), where=f"/t/{mercy.slug}/oauth/{what}", token=token)

    told = asked(lab, "introspect").json()
    assert (told["active"], told["scope"], told["client_id"]) == (True, "system/Patient.rs", lab.client_id)
    assert asked(other, "introspect").json() == {"active": False}
    assert asked(other, "revoke").status_code in {200, 400, 401}
    auth = {"authorization": f"Bearer {token}"}
    assert Client().get(f"/t/{mercy.slug}/fhir/r4/Patient", headers=auth).status_code == 200
    assert asked(lab, "revoke").status_code == 200
    assert Client().get(f"/t/{mercy.slug}/fhir/r4/Patient", headers=auth).status_code == 401
    assert asked(lab, "introspect").json() == {"active": False}


def test_a_revoked_client_and_its_tokens(mercy: Hospital, lab: Service) -> None:
    token = lab.token("system/Patient.rs")
    with mercy.scope():
        row = client_get(client_id=lab.client_id)
        assert row
        client_revoke(actor=ACTOR, row=row)
    assert lab.ask().status_code == 401
    assert Client().get(f"/t/{mercy.slug}/fhir/r4/Patient", headers={"authorization": f"Bearer {token}"}).status_code == 401


@pytest.fixture
def key_server(tmp_path: Path) -> Iterator[str]:
    """A vendor's web server, in a process of its own, with a JWK Set in `jwks`."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().split("port ")[1].split(" ")[0]
        yield f"127.0.0.1:{port}"
        process.kill()


def test_keys_by_their_address(mercy: Hospital, key_server: str, tmp_path: Path, settings: Any) -> None:
    """ "JWKS by URL": fetched over the hospital's way out, kept for a minute, and followed when the vendor turns its keys over."""
    old, new = key_new(), key_new()
    place = tmp_path / "jwks"
    place.write_bytes(orjson.dumps({"keys": [old.as_dict(private=False)]}))
    with mercy.scope():
        row, _ = client_add(actor=ACTOR, name="lab", scopes="system/*.rs", jwks_url=f"http://{key_server}/jwks")
    found = Service(mercy, row.client_id, old)
    assert (found.ask().status_code, found.ask().json()["error"]) == (401, "invalid_client")  # loopback is not let out to by itself
    settings.EGRESS_ALLOW = [key_server]
    assert found.ask().status_code == 200
    place.write_bytes(orjson.dumps({"keys": [new.as_dict(private=False)]}))
    turned = Service(mercy, row.client_id, new)
    assert turned.ask().status_code == 401
    OAuthClient.objects.filter(id=row.id).update(jwks_at=timezone.now() - timedelta(minutes=2))
    assert turned.ask().status_code == 200
    assert found.ask().status_code == 401
    for wrong in (b"no JSON", b"[]", b'{"keys": []}', orjson.dumps({"keys": [new.as_dict(private=True)]}), b"x" * 100_000):
        place.write_bytes(wrong)
        OAuthClient.objects.filter(id=row.id).update(jwks_at=None)
        assert turned.ask().status_code == 401, wrong[:20]
    place.unlink()
    assert turned.ask().status_code == 401


def test_events_of_a_subscription_are_in_scope_too(mercy: Hospital, lab: Service) -> None:
    """ "wrong scope, scope on includes": what a Subscription told of is read with the scopes of that type, by `$events` as well."""
    with mercy.scope():
        Subscriber.objects.create(
            fhir_id="sub1", rtype="Observation", endpoint="https://10.0.0.1/x", content="full-resource", state="active", creator="-",
            role="-", created_at=timezone.now(),
        )  # fmt: skip
    assert lab.fhir("system/Subscription.rs system/Observation.r").get("Subscription/sub1/$events").status_code == 403
    assert lab.fhir("system/Subscription.rs").get("Subscription/sub1/$events").status_code == 403
    assert lab.fhir("system/Subscription.rs system/Observation.rs").get("Subscription/sub1/$events").status_code == 200


def test_what_is_published(mercy: Hospital) -> None:
    """ "`.well-known/smart-configuration`": open; it promises nothing that is not there."""
    base = f"/t/{mercy.slug}/fhir/r4"
    found = Client().get(f"{base}/.well-known/smart-configuration").json()
    assert found["token_endpoint"].endswith(f"/t/{mercy.slug}/oauth/token")
    assert found["token_endpoint_auth_signing_alg_values_supported"] == ["RS384", "ES384"]
    assert found["authorization_endpoint"].endswith(f"/t/{mercy.slug}/oauth/authorize")
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert {"launch-ehr", "launch-standalone", "context-standalone-patient", "client-confidential-asymmetric"} <= set(found["capabilities"])
    security = Client().get(f"{base}/metadata").json()["rest"][0]["security"]
    assert security["service"][0]["coding"][0]["code"] == "SMART-on-FHIR"
    assert "extension" not in security  # oauth-uris are of SMART 1.0, and clients that find them refuse plain keys
    assert Client().get("/t/no-such-hospital/fhir/r4/.well-known/smart-configuration").status_code == 404


class TestRegistration:
    def test_by_the_api_a_service_and_a_key(self, mercy: Hospital, client: Any) -> None:
        """ "Clients are registered ... by `/t/<slug>/api/v1/clients`", "also plain API keys with scopes for simple clients"."""
        url = f"/t/{mercy.slug}/api/v1/clients"
        key = key_new()
        wish = {"name": "lab", "scopes": "system/Patient.rs", "jwks": {"keys": [key.as_dict(private=False)]}}
        made = client.post(url, wish, content_type="application/json", headers=mercy.auth)
        assert made.status_code == 201, made.content
        assert Service(mercy, made.json()["client_id"], key).ask(scope="system/Patient.rs").status_code == 200
        plain = {"name": "k", "kind": "key", "scopes": "system/Patient.rs"}
        simple = client.post(url, plain, content_type="application/json", headers=mercy.auth)
        auth = {"authorization": f"Bearer {simple.json()['key']}"}
        assert client.get(f"/t/{mercy.slug}/fhir/r4/Patient", headers=auth).status_code == 200
        assert client.get(f"/t/{mercy.slug}/fhir/r4/Observation", headers=auth).status_code == 403
        listed = client.get(url, headers=mercy.auth).json()["items"]
        assert len(listed) == 2
        assert simple.json()["key"] not in str(listed)
        assert client.delete(f"{url}/{simple.json()['client_id']}", headers=mercy.auth).status_code == 204
        assert client.get(f"/t/{mercy.slug}/fhir/r4/Patient", headers=auth).status_code == 401
        theirs = hospital_make("olaf")
        assert client.get(f"/t/{theirs.slug}/api/v1/clients/{made.json()['client_id']}", headers=theirs.auth).status_code == 404

    def test_by_rfc_7591(self, mercy: Hospital, client: Any) -> None:
        """ "RFC 7591 dynamic registration (with a token that may)"."""
        url, key = f"/t/{mercy.slug}/oauth/register", key_new()
        wish = {"client_name": "lab", "scope": "system/Patient.rs", "jwks": {"keys": [key.as_dict(private=False)]}}
        assert client.post(url, wish, content_type="application/json").status_code == 401
        made = client.post(url, wish, content_type="application/json", headers=mercy.auth)
        assert made.status_code == 201, made.content
        assert made.json()["grant_types"] == ["client_credentials"]
        assert Service(mercy, made.json()["client_id"], key).ask(scope="system/Patient.rs").status_code == 200
        bad = client.post(url, wish | {"scope": "user/*.*"}, content_type="application/json", headers=mercy.auth)
        assert (bad.status_code, bad.json()["error"]) == (400, "invalid_client_metadata")

    def test_keys_that_are_refused(self, mercy: Hospital) -> None:
        """A private key, a short one, one of another curve or without a kid, none at all."""
        good = key_new().as_dict(private=False)
        short = RSAKey.generate_key(1024, parameters={"kid": "x"}).as_dict(private=False)
        curve = ECKey.generate_key("P-256", parameters={"kid": "x"}).as_dict(private=False)
        nameless, shared = {k: v for k, v in good.items() if k != "kid"}, {"kty": "oct", "k": "x", "kid": "x"}
        for keys in ([key_new().as_dict(private=True)], [short], [curve], [nameless], [], [shared]):
            with mercy.scope(), pytest.raises(ClientError):
                client_add(actor=ACTOR, name="x", scopes="system/Patient.rs", jwks={"keys": keys})
        assert not OAuthClient.objects.filter(tenant=mercy.tenant).exists()
