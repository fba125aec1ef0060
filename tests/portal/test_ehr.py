"""EHR servers, sent reports and subscriptions in the portal and over the API."""

from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from fhirapi.models import EhrPush, EhrServer, Subscriber, SubscriptionEvent
from tests.conftest import Hospital
from tests.portal.test_pages import signed_in

pytestmark = pytest.mark.database
JSON = "application/json"


def subscriber_make(**values: Any) -> Subscriber:
    defaults = {
        "fhir_id": "s1", "rtype": "DiagnosticReport", "topic": "report-issued", "endpoint": "https://ehr.example/secret-path",
        "content": "id-only", "creator": "token:1", "role": "integrator", "created_at": timezone.now(),
    }  # fmt: skip
    return Subscriber.objects.create(**(defaults | values))


def test_a_server_from_its_form_to_its_end(client, mercy: Hospital) -> None:
    """ "page to configure (test button ...)": refusals stay at their field, a secret is never shown, a key's address is."""
    signed_in(client, mercy, "admin")
    page = reverse("ehr", args=[mercy.slug])
    assert "No EHR yet" in client.get(page).content.decode()
    new = reverse("ehr-new", args=[mercy.slug])
    refused = client.post(new, {"name": "EHR", "base_url": "http://ehr.example", "auth": "none"}).content.decode()
    assert "an https address" in refused
    values = {"name": "EHR", "base_url": "https://10.1.2.3/fhir", "auth": "none"}
    assert "an https address" in client.post(new, values).content.decode()
    values = {"name": "Epic <b>", "base_url": "https://ehr.invalid/fhir", "auth": "bearer", "secret": "s3cret", "is_enabled": "on"}
    made = client.post(new, values, follow=True).content.decode()
    assert "Epic &lt;b&gt; is saved." in made
    assert "s3cret" not in made
    with mercy.scope():
        row = EhrServer.objects.get()
    assert "s3cret" not in row.secret
    checked = client.post(reverse("ehr-check", args=[mercy.slug, row.uuid]), follow=True).content.decode()
    assert "not reached" in checked
    edit = reverse("ehr-edit", args=[mercy.slug, row.uuid])
    smart = client.post(edit, values | {"auth": "smart", "client_id": "us", "algorithm": "ES384"}, follow=True).content.decode()
    assert f"/fhir/r4/ehr/{row.uuid}/jwks.json" in smart
    assert "No EHR yet" in client.post(reverse("ehr-delete", args=[mercy.slug, row.uuid]), follow=True).content.decode()


def test_sent_reports_and_resend(client, mercy: Hospital) -> None:
    """ "list of deliveries with attempts, answers, resend"."""
    now = timezone.now()
    with mercy.scope():
        server = EhrServer.objects.create(name="EHR", base_url="https://ehr.example", created_at=now)
        push = EhrPush.objects.create(server=server, report="r1", version=2, state="dead", words="the server answered 422", created_at=now)
        push.ehrattempt_set.create(is_good=False, status=422, words="the server answered 422 (error value)", milliseconds=12, at=now)
    signed_in(client, mercy, "integrator")
    assert "not delivered" in client.get(reverse("ehr", args=[mercy.slug])).content.decode()
    waits = client.get(reverse("attention", args=[mercy.slug])).content.decode()
    assert "Reports that the EHR did not take" in waits
    assert "(error value)" in client.get(reverse("ehr-push", args=[mercy.slug, push.id])).content.decode()
    again = reverse("ehr-push-resend", args=[mercy.slug, push.id])
    assert "on its way again" in client.post(again, follow=True).content.decode()
    assert "on its way already" in client.post(again, follow=True).content.decode()
    base = f"/t/{mercy.slug}/api/v1/ehr/deliveries"
    listed = client.get(f"{base}?state=queued", headers=mercy.auth).json()["items"]
    assert [one["id"] for one in listed] == [str(push.id)]
    assert client.get(f"{base}/{push.id}", headers=mercy.auth).json()["tries"][0]["status"] == 422
    assert client.post(f"{base}/{push.id}/resend", headers=mercy.auth).status_code == 409
    assert client.get(f"{base}?state=nonsense", headers=mercy.auth).status_code == 400


def test_servers_over_the_api(client, mercy: Hospital, olaf: Hospital) -> None:
    base = f"/t/{mercy.slug}/api/v1/ehr/servers"
    values = {"name": "EHR", "base_url": "https://ehr.example/fhir", "auth": "basic", "user": "u", "secret": "s3cret"}
    made = client.post(base, values, JSON, headers=mercy.auth)
    assert made.status_code == 201, made.content
    assert (made.json()["has_secret"], "s3cret" in made.content.decode()) == (True, False)
    place = f"{base}/{made.json()['id']}"
    moved = values | {"base_url": "https://elsewhere.example/fhir"}
    del moved["secret"]
    refused = client.put(place, moved, JSON, headers=mercy.auth)
    assert (refused.status_code, list(refused.json()["errors"])) == (400, ["secret"])
    assert client.post(f"{place}/key", headers=mercy.auth).status_code == 409
    theirs = f"/t/{olaf.slug}/api/v1/ehr/servers/{made.json()['id']}"
    assert client.get(theirs, headers=olaf.auth).status_code == 404
    assert client.delete(place, headers=mercy.auth).status_code == 204
    assert client.get(base, headers=mercy.auth).json() == {"items": []}


def test_subscriptions_page(client, mercy: Hospital) -> None:
    """ "list with state, last success, failures, 'resume', 'send a test'"; a path may hold a secret and is not shown."""
    signed_in(client, mercy, "integrator")
    page = reverse("subscriptions", args=[mercy.slug])
    assert "No subscription yet" in client.get(page).content.decode()
    with mercy.scope():
        failed = subscriber_make(state="error", words="the receiver answered 500", attempts=12, last_number=3, sent_number=1)
        active = subscriber_make(fhir_id="s2", state="active")
        SubscriptionEvent.objects.create(subscriber=failed, number=2, rtype="DiagnosticReport", fhir_id="r", version=1, at=timezone.now())
    assert "Subscriptions that were given up" in client.get(reverse("attention", args=[mercy.slug])).content.decode()
    shown = client.get(page).content.decode()
    assert "1 of 3 told" in shown
    assert "the receiver answered 500" in shown
    assert "secret-path" not in shown
    assert "goes on where" in client.post(reverse("subscription-resume", args=[mercy.slug, failed.id]), follow=True).content.decode()
    with mercy.scope():
        failed.refresh_from_db()
    assert (failed.state, failed.attempts, failed.due_at is not None) == ("requested", 0, True)
    assert "heartbeat" in client.post(reverse("subscription-test", args=[mercy.slug, active.id]), follow=True).content.decode()
    items = client.get(f"/t/{mercy.slug}/api/v1/subscriptions", headers=mercy.auth).json()["items"]
    assert [(one["id"], one["status"]) for one in items] == [("s2", "active"), ("s1", "requested")]
    assert client.post(f"/t/{mercy.slug}/api/v1/subscriptions/s2/resume", headers=mercy.auth).status_code == 409
