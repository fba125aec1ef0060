"""SMART apps with a person: authorization code with PKCE, standalone and EHR launch, refresh; and what must not open anything."""

import time
import uuid
from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.test import Client
from django.utils import timezone
from joserfc import jwt
from joserfc.jwk import ECKey

from journal.models import AuditEvent
from tenants.models import ApiToken, Membership, OAuthClient, OAuthGrant, OAuthLaunch
from tenants.oauth.clients import ClientError, client_get, client_revoke
from tenants.oauth.grants import LaunchContext, launch_create
from tests.conftest import Hospital
from tests.fhirapi.writing import Writer, observation, patient
from tests.tenants.oauth.apps import ACTOR, BACK, App, app_make, browser_of, returned

pytestmark = pytest.mark.database
TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture
def app(mercy: Hospital) -> App:
    return app_make(mercy)


@pytest.fixture
def jane(mercy: Hospital) -> str:
    found: str = Writer(mercy).made(patient("J1", name=[{"family": "Doe", "given": ["Jane"]}]))["id"]
    return found


@pytest.fixture
def browser(mercy: Hospital) -> Client:
    return browser_of(mercy)


class TestStandalone:
    def test_picker_consent_token(self, mercy: Hospital, app: App, jane: str, browser: Client) -> None:
        """ "authorization code with PKCE, EHR and standalone launch, patient picker": found by a name, chosen, allowed, told."""
        page = app.page(browser)
        assert page.status_code == 200
        assert "no-store" in page["Cache-Control"]
        assert b"Growth chart asks to be let in" in page.content
        found = app.answer(browser, "find", q="doe").content.decode()
        assert f'value="{jane}"' in found
        assert f'value="{jane}"' not in app.answer(browser, "find", q="nobody-like-this").content.decode()
        assert f'value="{jane}"' in app.answer(browser, "find", q="J1").content.decode()
        told = app.token(browser, patient=jane)
        assert (told["patient"], told["need_patient_banner"], told["expires_in"], told["token_type"]) == (jane, True, 3600, "Bearer")
        assert told["scope"] == "launch/patient patient/*.rs"
        assert "refresh_token" not in told
        assert app.fhir(told["access_token"]).get(f"Patient/{jane}").status_code == 200

    def test_no_patient_chosen_is_asked_for(self, app: App, jane: str, browser: Client) -> None:
        page = app.answer(browser)
        assert page.status_code == 200
        assert b"Choose a patient first" in page.content
        assert app.answer(browser, patient="no-such-patient").status_code == 200  # nor is a code given for one that is not there

    def test_without_a_patient_when_nothing_asks_for_one(self, app: App, jane: str, browser: Client) -> None:
        told = app.token(browser, scope="user/Patient.rs")
        assert "patient" not in told
        assert app.fhir(told["access_token"]).get(f"Patient/{jane}").status_code == 200
        assert app.fhir(told["access_token"]).get("Observation").status_code == 403

    def test_denied(self, app: App, browser: Client) -> None:
        assert returned(app.answer(browser, "deny")) == {"error": "access_denied", "state": "s1"} | {
            k: v for k, v in returned(app.answer(browser, "deny")).items() if k == "error_description"
        }
        assert not OAuthClient.objects.filter(id=app.row.id, used_at__isnull=False).exists()

    def test_the_form_may_lead_to_the_app(self, app: App, browser: Client) -> None:
        """Chromium looks at where a form's answer redirects: the policy of this page names the app's address, others do not."""
        assert "form-action 'self' http://localhost:9999" in app.page(browser)["Content-Security-Policy"]

    def test_who_did_it_is_in_the_trail(self, mercy: Hospital, app: App, jane: str, browser: Client) -> None:
        person = Membership.objects.get(tenant=mercy.tenant, role="admin").user_id
        told = app.token(browser, patient=jane)
        app.fhir(told["access_token"]).get(f"Patient/{jane}")
        with mercy.scope():
            seen = set(AuditEvent.objects.filter(actor=f"user:{person}").values_list("action", "object_id"))
        wanted = {("client.grant", app.row.client_id), ("client.launch", jane), ("client.token", app.row.client_id), ("fhir.read", jane)}
        assert wanted <= seen


def _used(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


class TestRefused:
    @pytest.mark.parametrize(
        ("asked", "error"),
        [
            ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
            ({"code_challenge_method": "plain"}, "invalid_request"), ({"code_challenge_method": None}, "invalid_request"),
            ({"code_challenge": "short"}, "invalid_request"), ({"state": None}, "invalid_request"), ({"aud": None}, "invalid_request"),
            ({"aud": "https://elsewhere.example/fhir"}, "invalid_request"), ({"scope": "system/*.rs"}, "invalid_scope"),
            ({"scope": "launch offline_access"}, "invalid_scope"), ({"scope": ""}, None), ({"launch": "made-up"}, "invalid_request"),
            ({"response_type": "token"}, "unsupported_response_type"),
        ],
    )  # fmt: skip
    def test_at_the_authorization_endpoint(self, app: App, browser: Client, asked: dict[str, Any], error: str | None) -> None:
        """ "authorization code with PKCE": not without, not plain; state and aud are there; nothing beyond what is registered."""
        answer = app.page(browser, **asked)
        if error is None:  # nothing asked for is everything that is registered
            assert answer.status_code == 200
            return
        assert returned(answer)["error"] == error
        assert returned(app.answer(browser, **asked))["error"] == error

    @pytest.mark.parametrize("asked", [{"redirect_uri": "https://evil.example/"}, {"redirect_uri": BACK + "/"}, {"client_id": "x"}])
    def test_nobody_is_sent_to_an_address_that_is_not_registered(self, app: App, browser: Client, asked: dict[str, str]) -> None:
        for answer in (app.page(browser, **asked), app.answer(browser, **asked), app.answer(browser, "deny", **asked)):
            assert answer.status_code == 400
            assert b"cannot be let in" in answer.content

    def test_who_may_not_open_apps_and_who_is_not_signed_in(self, mercy: Hospital, olaf: Hospital, app: App) -> None:
        assert app.page(browser_of(mercy, "auditor")).status_code == 403
        assert app.page(browser_of(olaf)).status_code == 404
        assert app.page(Client())["Location"].startswith("/accounts/login/")

    def test_a_post_of_another_page(self, app: App, mercy: Hospital, jane: str) -> None:
        """No site answers for somebody: the form needs the token of our own page."""
        browser = browser_of(mercy)
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = browser.cookies
        assert app.answer(strict, patient=jane).status_code == 403

    def test_the_verifier(self, app: App, jane: str, browser: Client) -> None:
        for wrong in ("w" * 43, None):
            code = app.code(browser, patient=jane)
            assert app.exchange(code, code_verifier=wrong).status_code == 400
            assert _used(app.exchange(code)) == (400, "invalid_grant")  # a try has used it up
        assert not ApiToken.objects.filter(client=app.row).exists()

    def test_a_code_twice_ends_what_came_of_it(self, app: App, jane: str, browser: Client) -> None:
        """RFC 6749 4.1.2: a code that comes again was stolen from one of the two."""
        code = app.code(browser, patient=jane)
        token = app.exchange(code).json()["access_token"]
        assert app.fhir(token).get(f"Patient/{jane}").status_code == 200
        assert _used(app.exchange(code)) == (400, "invalid_grant")
        assert app.fhir(token).get(f"Patient/{jane}").status_code == 401

    def test_a_code_of_another_app_hospital_or_address(self, mercy: Hospital, olaf: Hospital, app: App, jane: str, browser: Client) -> None:
        code = app.code(browser, patient=jane)
        other = app_make(mercy)
        assert _used(other.exchange(code, code_verifier=app.verifier)) == (400, "invalid_grant")
        assert _used(app.exchange(code, where=f"/t/{olaf.slug}/oauth/token")) == (401, "invalid_client")
        assert app.exchange(code, redirect_uri="http://localhost:9999/other").status_code == 400
        code = app.code(browser, patient=jane)
        with mercy.scope():
            OAuthGrant.objects.update(code_expires_at=timezone.now() - timedelta(seconds=1))
        assert _used(app.exchange(code)) == (400, "invalid_grant")

    def test_a_confidential_app_shows_who_it_is(self, mercy: Hospital, jane: str, browser: Client) -> None:
        """client_secret_basic: with the secret, not with a wrong one, not as a public app; private_key_jwt likewise."""
        app = app_make(mercy, auth_method="client_secret_basic")
        right, app.secret = app.secret, "wrong"
        assert _used(app.exchange(app.code(browser, patient=jane))) == (401, "invalid_client")
        app.secret = ""
        assert _used(app.exchange(app.code(browser, patient=jane))) == (401, "invalid_client")
        app.secret = right
        assert app.token(browser, patient=jane)["patient"] == jane
        key = ECKey.generate_key("P-384", parameters={"kid": "k1"})
        signed = app_make(mercy, auth_method="private_key_jwt", jwks={"keys": [key.as_dict(private=False)]})
        assert _used(signed.exchange(signed.code(browser, patient=jane))) == (401, "invalid_client")
        claims = {
            "iss": signed.row.client_id, "sub": signed.row.client_id, "aud": f"http://testserver{signed.token_url}",
            "exp": int(time.time()) + 200, "jti": uuid.uuid4().hex,
        }  # fmt: skip
        assertion = jwt.encode({"alg": "ES384", "kid": "k1"}, claims, key, algorithms=["ES384"])
        more = {"client_assertion_type": TYPE, "client_assertion": assertion}
        assert signed.exchange(signed.code(browser, patient=jane), **more).status_code == 200

    def test_an_app_is_no_service_and_a_service_no_app(self, mercy: Hospital, app: App, browser: Client) -> None:
        assert app.ask(grant_type="client_credentials", scope="user/*.rs").status_code in {400, 401}
        OAuthClient.objects.filter(id=app.row.id).update(kind="backend")
        assert app.page(browser).status_code == 302
        assert returned(app.page(browser))["error"] == "unauthorized_client"


class TestWhoAllows:
    def test_an_app_may_no_more_than_the_person(self, mercy: Hospital, app: App, jane: str) -> None:
        """A radiologist reads: letters that write are not granted, and the door asks for the role of the moment."""
        reader = browser_of(mercy, "radiologist")
        told = app.token(reader, scope="user/*.cruds")
        assert told["scope"] == "user/*.rs"
        assert app.fhir(told["access_token"]).get(f"Patient/{jane}").status_code == 200
        assert app.fhir(told["access_token"]).post("Observation", observation(f"Patient/{jane}")).status_code == 403
        Membership.objects.filter(tenant=mercy.tenant, role="radiologist").update(role="billing")
        assert app.fhir(told["access_token"]).get(f"Patient/{jane}").status_code == 403
        Membership.objects.filter(tenant=mercy.tenant, role="billing").delete()
        assert app.fhir(told["access_token"]).get(f"Patient/{jane}").status_code == 401

    def test_writing_in_somebodys_name(self, app: App, jane: str, browser: Client) -> None:
        told = app.token(browser, scope="user/*.cruds")
        assert app.fhir(told["access_token"]).post("Observation", observation(f"Patient/{jane}")).status_code == 201
        subscription = {
            "resourceType": "Subscription", "status": "requested", "reason": "x", "criteria": "Observation",
            "channel": {"type": "rest-hook", "endpoint": "https://10.0.0.1/x"},
        }  # fmt: skip
        assert app.fhir(told["access_token"]).post("Subscription", subscription).status_code == 403  # it would outlive the grant

    def test_opens_fhir_and_nothing_else(self, mercy: Hospital, app: App, browser: Client) -> None:
        auth = {"authorization": f"Bearer {app.token(browser, scope='user/*.cruds')['access_token']}"}
        for place in ("dicomweb/studies", "api/v1/nodes", "api/v1/clients"):
            assert Client().get(f"/t/{mercy.slug}/{place}", headers=auth).status_code == 403, place

    def test_a_switched_off_person(self, mercy: Hospital, app: App, jane: str, browser: Client) -> None:
        token = app.token(browser, patient=jane)["access_token"]
        person = Membership.objects.get(tenant=mercy.tenant, role="admin").user
        person.is_active = False
        person.save()
        assert app.fhir(token).get(f"Patient/{jane}").status_code == 401


class TestRefresh:
    def first(self, app: App, jane: str, browser: Client, word: str = "offline_access") -> dict[str, Any]:
        return app.token(browser, patient=jane, scope=f"launch/patient {word} patient/*.rs")

    def again(self, app: App, text: str, **more: str) -> Any:
        return app.ask(grant_type="refresh_token", refresh_token=text, **more)

    @pytest.mark.parametrize("word", ["offline_access", "online_access"])
    def test_a_new_one_each_time(self, app: App, jane: str, browser: Client, word: str) -> None:
        told = self.first(app, jane, browser, word)
        new = self.again(app, told["refresh_token"]).json()
        assert new["refresh_token"] != told["refresh_token"]
        assert (new["patient"], new["scope"]) == (jane, told["scope"])
        assert app.fhir(new["access_token"]).get(f"Patient/{jane}").status_code == 200

    def test_a_used_one_ends_the_grant(self, app: App, jane: str, browser: Client) -> None:
        """RFC 9700 4.14.2: somebody else holds the other."""
        told = self.first(app, jane, browser)
        new = self.again(app, told["refresh_token"]).json()
        assert _used(self.again(app, told["refresh_token"])) == (400, "invalid_grant")
        assert app.fhir(new["access_token"]).get(f"Patient/{jane}").status_code == 401
        assert _used(self.again(app, new["refresh_token"])) == (400, "invalid_grant")

    def test_without_its_id(self, mercy: Hospital, app: App, jane: str, browser: Client) -> None:
        """A public app need not say who it is again; a confidential one must."""
        told = self.first(app, jane, browser)
        form = {"grant_type": "refresh_token", "refresh_token": told["refresh_token"]}
        assert Client().post(app.token_url, form).json()["patient"] == jane
        secret = app_make(mercy, auth_method="client_secret_basic")
        form["refresh_token"] = self.first(secret, jane, browser)["refresh_token"]
        assert _used(Client().post(app.token_url, form)) == (401, "invalid_client")
        assert Client().post(app.token_url, {"grant_type": "refresh_token"}).status_code in {400, 401}

    def test_less_is_given_more_is_not(self, app: App, jane: str, browser: Client) -> None:
        told = self.first(app, jane, browser)
        more = self.again(app, told["refresh_token"], scope="user/*.rs")
        assert _used(more) == (400, "invalid_scope")
        less = self.again(app, told["refresh_token"], scope="patient/Observation.rs").json()
        assert less["scope"] == "patient/Observation.rs"
        assert app.fhir(less["access_token"]).get(f"Patient/{jane}").status_code == 403
        assert self.again(app, less["refresh_token"]).json()["scope"] == told["scope"]  # what was granted stays granted

    def test_of_another_app_of_nobody_and_after_the_end(self, mercy: Hospital, app: App, jane: str, browser: Client) -> None:
        told = self.first(app, jane, browser)
        assert _used(self.again(app_make(mercy), told["refresh_token"])) == (400, "invalid_grant")
        assert _used(self.again(app, "mr_made-up")) == (400, "invalid_grant")
        with mercy.scope():
            OAuthGrant.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        assert _used(self.again(app, told["refresh_token"])) == (400, "invalid_grant")

    def test_the_person_has_left_the_hospital(self, mercy: Hospital, app: App, jane: str, browser: Client) -> None:
        told = self.first(app, jane, browser)
        Membership.objects.filter(tenant=mercy.tenant, role="admin").delete()
        assert self.again(app, told["refresh_token"]).status_code == 400

    def test_ways_out(self, mercy: Hospital, app: App, jane: str, browser: Client) -> None:
        """ "token introspection and revocation"; what one person granted is taken back on the page; the app is revoked."""
        told = self.first(app, jane, browser)
        seen = app.ask(where=f"/t/{mercy.slug}/oauth/introspect", token=told["access_token"], grant_type="").json()
        person = Membership.objects.get(tenant=mercy.tenant, role="admin").user_id
        assert (seen["active"], seen["sub"], seen["client_id"]) == (True, str(person), app.row.client_id)
        assert app.ask(where=f"/t/{mercy.slug}/oauth/revoke", token=told["refresh_token"], grant_type="").status_code == 200
        assert app.fhir(told["access_token"]).get(f"Patient/{jane}").status_code == 401
        assert self.again(app, told["refresh_token"]).status_code == 400
        told = self.first(app, jane, browser)
        page = browser.get(f"/t/{mercy.slug}/apps").content.decode()
        assert "let in once" in page
        with mercy.scope():
            grant = OAuthGrant.objects.get(revoked_at=None)
        assert browser.post(f"/t/{mercy.slug}/apps/grants/{grant.id}/revoke").status_code == 302
        assert app.fhir(told["access_token"]).get(f"Patient/{jane}").status_code == 401
        told = self.first(app, jane, browser)
        with mercy.scope():
            row = client_get(client_id=app.row.client_id)
            assert row
            client_revoke(actor=ACTOR, row=row)
        assert app.fhir(told["access_token"]).get(f"Patient/{jane}").status_code == 401
        assert _used(self.again(app, told["refresh_token"])) == (401, "invalid_client")


class TestEhrLaunch:
    def launch(self, mercy: Hospital, app: App, jane: str, role: str = "admin") -> str:
        person = Membership.objects.get(tenant=mercy.tenant, role=role).user_id
        with mercy.scope():
            return launch_create(row=app.row, user_id=person, context=LaunchContext(patient=jane, study="s1"))

    def test_no_picker_and_the_patient_of_the_page(self, mercy: Hospital, app: App, jane: str, browser: Client) -> None:
        """ "EHR ... launch": the patient and the study that the page was on, chosen by nobody and changed by nobody."""
        asked = {"scope": "launch patient/*.rs", "launch": self.launch(mercy, app, jane)}
        page = app.page(browser, **asked).content.decode()
        assert "Doe" in page
        assert 'name="q"' not in page
        told = app.token(browser, patient="somebody-else", **asked)
        assert (told["patient"], told["fhirContext"]) == (jane, [{"reference": "ImagingStudy/s1"}])
        assert returned(app.page(browser, **asked))["error"] == "invalid_request"  # good once

    def test_of_another_person_app_or_time(self, mercy: Hospital, app: App, jane: str, browser: Client) -> None:
        other = browser_of(mercy, "owner")
        launch = self.launch(mercy, app, jane)
        assert returned(app.page(other, scope="launch patient/*.rs", launch=launch))["error"] == "invalid_request"
        assert returned(app_make(mercy).page(browser, scope="launch patient/*.rs", launch=launch))["error"] == "invalid_request"
        assert returned(app.page(browser, scope="patient/*.rs", launch=launch))["error"] == "invalid_request"
        with mercy.scope():
            OAuthLaunch.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        assert returned(app.page(browser, scope="launch patient/*.rs", launch=launch))["error"] == "invalid_request"


class TestRegistration:
    @pytest.mark.parametrize(
        ("facts", "field"),
        [
            ({"scopes": "system/*.rs"}, "scopes"), ({"scopes": "launch"}, "scopes"), ({"scopes": "patient/*.cud"}, "scopes"),
            ({"redirect_uris": []}, "redirect_uris"), ({"redirect_uris": ["http://app.example/back"]}, "redirect_uris"),
            ({"redirect_uris": ["https://app.example/back#x"]}, "redirect_uris"),
            ({"redirect_uris": ["javascript:alert(1)"]}, "redirect_uris"),
            ({"redirect_uris": ["https://me@app.example/"]}, "redirect_uris"), ({"redirect_uris": ["app:/back"]}, "redirect_uris"),
            ({"launch_url": "http://app.example/"}, "launch_url"), ({"auth_method": "client_secret_post"}, "auth_method"),
            ({"auth_method": "private_key_jwt"}, "jwks"), ({"jwks": {"keys": []}, "auth_method": "private_key_jwt"}, "jwks"),
            ({"jwks_url": "https://app.example/jwks"}, "jwks"),
        ],
    )  # fmt: skip
    def test_what_an_app_cannot_be(self, mercy: Hospital, facts: dict[str, Any], field: str) -> None:
        from tenants.oauth.clients import client_add

        good = {"name": "x", "kind": "app", "scopes": "patient/*.rs", "redirect_uris": ["https://app.example/back"]}
        with mercy.scope():
            client_add(actor=ACTOR, **good)
            client_add(actor=ACTOR, **(good | {"redirect_uris": ["com.example.app:/back", "http://127.0.0.1:1/back"]}))
            with pytest.raises(ClientError) as refused:
                client_add(actor=ACTOR, **(good | facts))
        assert refused.value.field == field

    def test_by_the_api_by_rfc_7591_and_on_the_page(self, mercy: Hospital, jane: str, browser: Client) -> None:
        """ "Clients are registered on a portal page, by `/t/<slug>/api/v1/clients` and by RFC 7591 dynamic registration"."""
        def send(place: str, body: dict[str, Any]) -> Any:
            return Client().post(f"/t/{mercy.slug}/{place}", orjson.dumps(body), content_type="application/json", headers=mercy.auth)

        body = {
            "name": "a", "kind": "app", "scopes": "launch/patient patient/*.rs", "redirect_uris": [BACK], "launch_url": "https://app.example/go",
            "auth_method": "client_secret_basic",
        }  # fmt: skip
        made = send("api/v1/clients", body).json()
        assert (made["auth_method"], made["redirect_uris"], made["launch_url"]) == ("client_secret_basic", [BACK], "https://app.example/go")
        assert made["key"] is None
        with mercy.scope():
            row = client_get(client_id=made["client_id"])
        assert row
        assert App(mercy, row, made["client_secret"]).token(browser, patient=jane)["patient"] == jane
        asked = {
            "client_name": "b", "redirect_uris": [BACK], "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
            "token_endpoint_auth_method": "none", "scope": "launch/patient offline_access patient/*.rs",
        }  # fmt: skip
        answer = send("oauth/register", asked)
        assert answer.status_code == 201, answer.content
        told = answer.json()
        assert (told["redirect_uris"], told["token_endpoint_auth_method"], "client_secret" in told) == ([BACK], "none", False)
        basic = send("oauth/register", {k: v for k, v in asked.items() if k not in {"token_endpoint_auth_method", "grant_types"}}).json()
        assert (basic["token_endpoint_auth_method"], basic["client_secret_expires_at"], len(basic["client_secret"]) > 40) == (
            "client_secret_basic", 0, True,
        )  # fmt: skip
        wrong = send("oauth/register", asked | {"redirect_uris": ["http://app.example/x"]})
        assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_redirect_uri")
        for bad in ({"grant_types": ["implicit"]}, {"response_types": ["token"]}, {"redirect_uris": "x"}, {"scope": "system/*.rs"}):
            assert send("oauth/register", asked | bad).status_code == 400, bad
        form = {"name": "c", "kind": "app", "scopes": "patient/*.rs", "auth_method": "none"}
        form["redirect_uris"] = f"{BACK}\nhttps://app.example/b"
        page = browser.post(f"/t/{mercy.slug}/apps/new", form).content.decode()
        assert "c may ask now" in page
        row = OAuthClient.objects.get(tenant=mercy.tenant, name="c")
        assert (row.redirect_uris, row.auth_method, row.kind) == ([BACK, "https://app.example/b"], "none", "app")


def test_a_browser_app_of_another_origin(mercy: Hospital, olaf: Hospital, app: App) -> None:
    """An app in a browser asks from its own origin: that of a registered redirect address may, at its hospital, without cookies."""
    origin = {"origin": "http://localhost:9999"}
    preflight = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    for place in ("fhir/r4/Patient", "fhir/r4/metadata", "fhir/r4/.well-known/smart-configuration", "oauth/token", "oauth/revoke"):
        asked = Client().options(f"/t/{mercy.slug}/{place}", headers=origin | preflight)
        assert asked.headers.get("Access-Control-Allow-Origin") == origin["origin"], place
        assert "Access-Control-Allow-Credentials" not in asked.headers
        assert "authorization" in asked.headers["Access-Control-Allow-Headers"]
    answer = Client().get(f"/t/{mercy.slug}/fhir/r4/Patient", headers=origin | mercy.auth)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, origin["origin"])
    assert "ETag" in answer.headers["Access-Control-Expose-Headers"]
    for place in ("worklist", "oauth/authorize", "api/v1/nodes", "dicomweb/studies"):
        assert "Access-Control-Allow-Origin" not in Client().get(f"/t/{mercy.slug}/{place}", headers=origin).headers, place
    for slug, who in ((mercy.slug, "http://localhost:9998"), (mercy.slug, "null"), (olaf.slug, "http://localhost:9999")):
        assert "Access-Control-Allow-Origin" not in Client().get(f"/t/{slug}/fhir/r4/metadata", headers={"origin": who}).headers
    OAuthClient.objects.filter(id=app.row.id).update(revoked_at=timezone.now())
    assert "Access-Control-Allow-Origin" not in Client().get(f"/t/{mercy.slug}/fhir/r4/metadata", headers=origin).headers
