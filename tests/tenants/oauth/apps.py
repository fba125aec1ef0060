"""An app of a hospital, as its own side: PKCE, the authorization endpoint in somebody's browser, the token endpoint."""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.test import Client

from journal.audit import Actor
from tenants.models import OAuthClient
from tenants.oauth.clients import APP, client_add
from tests.conftest import PASSWORD, Hospital
from tests.fhirapi.writing import Writer

ACTOR = Actor(name="user:test")
BACK = "http://localhost:9999/back"
SCOPES = "launch launch/patient offline_access online_access patient/*.rs user/*.cruds"


def challenge_of(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


@dataclass
class App:
    hospital: Hospital
    row: OAuthClient
    secret: str = ""
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    @property
    def base(self) -> str:
        return f"http://testserver/t/{self.hospital.slug}/fhir/r4"

    @property
    def token_url(self) -> str:
        return f"/t/{self.hospital.slug}/oauth/token"

    def asking(self, scope: str = "launch/patient patient/*.rs", **more: Any) -> dict[str, str]:
        found = {
            "response_type": "code", "client_id": self.row.client_id, "redirect_uri": BACK, "scope": scope, "state": "s1", "aud": self.base,
            "code_challenge": challenge_of(self.verifier), "code_challenge_method": "S256",
        } | more  # fmt: skip
        return {name: value for name, value in found.items() if value is not None}

    def page(self, browser: Client, **asked: Any) -> Any:
        return browser.get(f"/t/{self.hospital.slug}/oauth/authorize", self.asking(**asked))

    def answer(self, browser: Client, decision: str = "allow", *, patient: str = "", q: str = "", **asked: Any) -> Any:
        query = self.asking(**asked)
        return browser.post(
            f"/t/{self.hospital.slug}/oauth/authorize", {"decision": decision, "patient": patient, "q": q}, query_params=query
        )

    def code(self, browser: Client, *, patient: str = "", **asked: Any) -> str:
        back = returned(self.answer(browser, patient=patient, **asked))
        assert back["state"] == "s1"
        return back["code"]

    def ask(self, *, grant_type: str = "authorization_code", where: str = "", **form: Any) -> Any:
        """At the token endpoint, as this app signs in."""
        fields = {"grant_type": grant_type, **form}
        headers = {}
        if self.secret:
            words = base64.b64encode(f"{self.row.client_id}:{self.secret}".encode()).decode()
            headers = {"authorization": f"Basic {words}"}
        else:
            fields["client_id"] = self.row.client_id
        return Client().post(where or self.token_url, {k: v for k, v in fields.items() if v is not None}, headers=headers)

    def exchange(self, code: str, **more: Any) -> Any:
        return self.ask(**({"code": code, "redirect_uri": BACK, "code_verifier": self.verifier} | more))

    def token(self, browser: Client, *, patient: str = "", **asked: Any) -> dict[str, Any]:
        answer = self.exchange(self.code(browser, patient=patient, **asked))
        assert answer.status_code == 200, answer.content
        found: dict[str, Any] = answer.json()
        return found

    def fhir(self, token: str) -> Writer:
        return Writer(Hospital(tenant=self.hospital.tenant, slug=self.hospital.slug, token=token, called_ae="", calling_ae=""))


def app_make(hospital: Hospital, *, scopes: str = SCOPES, auth_method: str = "none", launch_url: str = "", **more: Any) -> App:
    with hospital.scope():
        row, secret = client_add(
            actor=ACTOR, name="Growth chart", kind=APP, scopes=scopes, auth_method=auth_method, redirect_uris=[BACK], launch_url=launch_url,
            **more,
        )  # fmt: skip
    return App(hospital, row, secret)


def browser_of(hospital: Hospital, role: str = "admin") -> Client:
    hospital.member(role)
    browser = Client()
    browser.post("/accounts/login/", {"login": f"{role}@{hospital.slug}.example", "password": PASSWORD})
    return browser


def returned(answer: Any) -> dict[str, str]:
    """What came back to the app's address."""
    assert answer.status_code == 302, (answer.status_code, answer.content[:2000])
    assert answer["Location"].startswith(BACK + "?"), answer["Location"]
    return {name: values[0] for name, values in parse_qs(urlsplit(answer["Location"]).query).items()}
