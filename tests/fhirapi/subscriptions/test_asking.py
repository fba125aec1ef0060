"""What a Subscription may ask for, $status and $events, and the wall between hospitals."""

from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.parameters import Parameters

from fhirapi.models import Subscriber, SubscriptionEvent
from fhirapi.projections import diagnostic_report_project
from fhirapi.subscriptions.topics import SUBSCRIPTION_PROFILE, TOPIC_EXTENSION, TOPICS
from tests.conftest import Hospital
from tests.fhirapi.conftest import event, report_make, study_make
from tests.fhirapi.subscriptions.conftest import Subscribing, numbers_of, status_of
from tests.fhirapi.test_http import assert_outcome
from tests.fhirapi.writing import entry, observation

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("subscriptions")]


def refused(hook: Subscribing, body: dict[str, Any], word: str) -> None:
    response = hook.post("Subscription", body)
    assert_outcome(response, 422)
    assert word in response.json()["issue"][0]["diagnostics"], response.json()


@pytest.mark.parametrize(("more", "word"), [
    ({"channel": {"type": "email"}}, "rest-hook"),
    ({"channel": {"type": "websocket"}}, "rest-hook"),
    ({"channel": {"endpoint": "http://example.com/x"}}, "https"),
    ({"channel": {"endpoint": "https://10.0.0.1/x"}}, "EGRESS_ALLOW"),
    ({"channel": {"endpoint": "https://localhost/x"}}, "EGRESS_ALLOW"),
    ({"channel": {"endpoint": "https://user:pw@example.com/x"}}, "https"),
    ({"channel": {"endpoint": "ftp://example.com/x"}}, "https"),
    ({"channel": {"payload": "application/fhir+xml"}}, "payload"),
    ({"channel": {"header": ["no colon"]}}, "header"),
    ({"channel": {"header": ["Host: elsewhere"]}}, "header"),
    ({"channel": {"header": [f"X-{n}: 1" for n in range(11)]}}, "at most"),
    ({"channel": {"header": ["X: " + "v" * 5000]}}, "at most"),
    ({"criteria": "Observation?subject:Patient.name=x"}, "chains"),
    ({"criteria": "Observation?nonsense=1"}, "criteria"),
    ({"criteria": "Observation?_sort=date"}, "criteria"),
    ({"criteria": "AuditEvent?action=R"}, "criteria"),
    ({"criteria": "Subscription"}, "criteria"),
    ({"criteria": "Unheard?x=1"}, "criteria"),
    ({"criteria": "https://medicalcloudaihub.com/fhir/SubscriptionTopic/unknown"}, "topic"),
])  # fmt: skip
def test_refused_with_words(hook: Subscribing, more: dict[str, Any], word: str) -> None:
    """What cannot be delivered is refused when it is asked for, and the words say what to do."""
    refused(hook, hook.body("x", **({"criteria": "Observation?status=final"} | more)), word)


def test_filters_of_a_topic(hook: Subscribing, mercy: Hospital) -> None:
    """Filters of the backport narrow a topic; several must all be met; others than the topic's are refused."""
    refused(hook, hook.body("x", topic="report-issued", filters=("Observation?status=final",)), "filter")
    refused(hook, hook.body("x", topic="report-issued", filters=("DiagnosticReport?issued=2026",)), "filter")
    with mercy.scope():
        first, second = (report_make(study_make()) for _ in range(2))
    mine = f"DiagnosticReport?patient=Patient/{first.study.patient.uuid}"
    both = hook.subscribed("filters", topic="report-issued", filters=(mine, "DiagnosticReport?status=preliminary"))
    none = hook.subscribed("nothing", topic="report-issued", filters=(mine, "DiagnosticReport?status=final"))
    with mercy.scope():
        for report in (first, second):
            diagnostic_report_project(event=event("report.issued", mercy, report_id=report.id))
    hook.step(both)
    hook.step(none)
    (bundle,) = hook.receiver.bundles("filters")
    assert [one["fullUrl"].rpartition("/")[2] for one in bundle["entry"][1:]] == [str(first.uuid)]
    assert hook.receiver.bundles("nothing") == []


def test_status_is_the_servers(hook: Subscribing) -> None:
    """A client asks for `requested` or `off`; that it is `active` the server says, after the handshake."""
    made = hook.made(hook.body("claims", topic="report-issued", status="active", error="of the client's"))
    assert (made["status"], "error" in made) == ("requested", False)
    hook.due(made["id"])
    hook.step(made["id"])
    assert hook.status(made["id"]) == "active"
    switched = [{"op": "replace", "path": "/status", "value": "off"}]
    assert hook.patch(f"Subscription/{made['id']}", switched).json()["status"] == "off"
    hook.made(observation())
    assert hook.step(made["id"]) is None
    assert hook.row(made["id"]).last_number == 0
    assert hook.delete(f"Subscription/{made['id']}").status_code == 204
    with hook.hospital.scope():
        assert not Subscriber.objects.exists()


def test_handshake_that_fails(hook: Subscribing) -> None:
    """No handshake, no events sent: after a few attempts the status is `error`."""
    made = hook.made(hook.body("shy", topic="report-issued"))
    hook.receiver.mode("shy", "404")
    for _ in range(4):
        hook.due(made["id"])
        hook.step(made["id"])
    assert hook.status(made["id"]) == "error"
    assert len(hook.receiver.bundles("shy", "handshake")) == 4


def test_address_that_leads_inside(hook: Subscribing, settings: Any) -> None:
    """A name that leads to a private address passes the form, and is refused when it is connected to: nothing is sent."""
    made = hook.made(hook.body("x", criteria="Observation", channel={"endpoint": "https://localhost.localdomain/hook"}))
    hook.due(made["id"])
    hook.step(made["id"])
    assert hook.status(made["id"]) in {"error", "requested"}
    assert hook.row(made["id"]).success_at is None


def test_status_and_events(hook: Subscribing) -> None:
    """ "`$status`, `$events` replay"."""
    fhir_id = hook.subscribed("asks", criteria="Observation", channel={"payload": "application/fhir+json"})
    made = [hook.made(observation()) for _ in range(3)]
    hook.step(fhir_id)
    bundle = hook.get(f"Subscription/{fhir_id}/$status").json()
    Parameters.model_validate(bundle["entry"][0]["resource"])
    told = status_of(bundle)
    assert (told["type"], told["status"], told["events-since-subscription-start"]) == ("query-status", "active", "3")
    assert told["subscription"]["reference"].endswith(f"Subscription/{fhir_id}")
    assert hook.get(f"Subscription/$status?id={fhir_id}&status=active").json()["total"] == 1
    assert hook.get("Subscription/$status?status=error").json()["total"] == 0
    missed = hook.get(f"Subscription/{fhir_id}/$events?eventsSinceNumber=2&eventsUntilNumber=3").json()
    Bundle.model_validate(missed)
    assert (missed["type"], numbers_of(missed)) == ("history", [2, 3])
    assert [one["resource"] for one in missed["entry"][1:]] == made[1:]
    bare = hook.get(f"Subscription/{fhir_id}/$events?content=empty").json()
    assert (numbers_of(bare), len(bare["entry"])) == ([1, 2, 3], 1)
    assert "focus" not in str(bare)
    parameters = {"resourceType": "Parameters", "parameter": [{"name": "eventsSinceNumber", "valueString": "3"}]}
    assert numbers_of(hook.post(f"Subscription/{fhir_id}/$events", parameters).json()) == [3]
    for query in ("eventsSinceNumber=x", "content=all"):
        assert_outcome(hook.get(f"Subscription/{fhir_id}/$events?{query}"), 400)


def test_another_hospitals(hook: Subscribing, olaf: Hospital) -> None:
    """ "Tenant crossing on subscriptions: refused": 404, and what happens at one hospital is told at that one."""
    fhir_id = hook.subscribed("mercy", criteria="Observation")
    other = Subscribing(olaf)
    other.receiver = hook.receiver
    theirs = other.subscribed("olaf", criteria="Observation")
    for path in (f"Subscription/{fhir_id}", f"Subscription/{fhir_id}/$status", f"Subscription/{fhir_id}/$events"):
        assert_outcome(other.get(path), 404)
        assert other.client.get(f"{hook.path}/{path}", headers=olaf.auth).status_code == 404
    assert other.get(f"Subscription/$status?id={fhir_id}").json()["total"] == 0
    hook.made(observation())
    hook.step(fhir_id)
    other.step(theirs)
    assert (len(hook.receiver.seen("mercy")), hook.receiver.seen("olaf")) == (1, [])
    with olaf.scope():
        assert not SubscriptionEvent.objects.exists()
        assert not Subscriber.objects.filter(fhir_id=fhir_id).exists()


def test_by_bundle_and_conditional(hook: Subscribing) -> None:
    """Whichever way a Subscription is written, the same is asked of it."""
    body = hook.body("bundled", criteria="Observation")
    assert hook.bundle("transaction", entry("POST", "Subscription", body)).status_code == 200
    assert hook.put("Subscription?url=" + body["channel"]["endpoint"], body | {"reason": "again"}).status_code == 200
    with hook.hospital.scope():
        assert Subscriber.objects.get().state == "requested"
    bad = hook.body("bundled", criteria="Observation?nonsense=1")
    assert hook.bundle("transaction", entry("POST", "Subscription", bad)).status_code == 422
    batch = hook.bundle("batch", entry("POST", "Subscription", bad)).json()
    assert batch["entry"][0]["response"]["status"].startswith("422")


def test_topics_are_told(hook: Subscribing) -> None:
    """ "SubscriptionTopic discovery as the R4 IG says" (capabilitystatement-subscriptiontopic-canonical)."""
    resources = hook.get("metadata").json()["rest"][0]["resource"]
    found = next(one for one in resources if one["type"] == "Subscription")
    assert [(one["url"], one["valueCanonical"]) for one in found["extension"]] == [
        (TOPIC_EXTENSION, one.canonical) for one in TOPICS.values()
    ]
    assert found["supportedProfile"] == [SUBSCRIPTION_PROFILE]
    assert {"status", "events"} <= {one["name"] for one in found["operation"]}
