"""Receivers that answer, are slow, fail, hang and recover: every event comes, in order, and nobody waits for another."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from fhirapi.models import Subscriber, SubscriptionEvent
from fhirapi.projections import diagnostic_report_project, imaging_study_project
from fhirapi.subscriptions import rows
from journal.models import AuditEvent
from journal.wall.tasks import rows_due
from tenants.models import ApiToken
from tests.conftest import Hospital
from tests.fhirapi.conftest import event, report_make, study_make
from tests.fhirapi.subscriptions.conftest import Subscribing, numbers_of, status_of, wait
from tests.fhirapi.writing import entry, observation, patient
from tests.killing import KILLED, killed_or_done

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("subscriptions")]


def issued(mercy: Hospital) -> Any:
    with mercy.scope():
        study = study_make()
        imaging_study_project(event=event("study.completed", mercy, study_id=study.id))
        report = report_make(study)
        diagnostic_report_project(event=event("report.issued", mercy, report_id=report.id))
    return report


def test_topic_handshake_and_ids(hook: Subscribing, mercy: Hospital) -> None:
    """ "the R5 topic backport (topic `report-issued`, `study-available`), handshake, ..., id-only by default"."""
    reports = hook.subscribed("reports", topic="report-issued")
    studies = hook.subscribed("studies", topic="study-available", content="full-resource")
    (shake,) = hook.receiver.bundles("reports", "handshake")
    assert status_of(shake)["status"] == "requested"
    assert status_of(shake)["events-since-subscription-start"] == "0"
    assert status_of(shake)["topic"].endswith("SubscriptionTopic/report-issued")
    report = issued(mercy)
    hook.step(reports)
    hook.step(studies)
    (bundle,) = hook.receiver.bundles("reports")
    assert numbers_of(bundle) == [1]
    told, entries = status_of(bundle), bundle["entry"][1:]
    assert told["status"] == "active"
    assert [one["fullUrl"].rpartition("/r4/")[2] for one in entries] == [f"DiagnosticReport/{report.uuid}"]
    assert "resource" not in entries[0]
    (bundle,) = hook.receiver.bundles("studies")
    stored = hook.get(f"ImagingStudy/{report.study.uuid}")
    assert bundle["entry"][1]["resource"] == stored.json()
    assert json.dumps(stored.json(), separators=(",", ":"), ensure_ascii=False) in hook.receiver.seen("studies")[-1]["body"]
    with mercy.scope():
        told = set(AuditEvent.objects.filter(action="fhir.notify").values_list("actor", "object_type", "object_id"))
    assert told == {
        (f"system:subscription-{reports}", "DiagnosticReport", str(report.uuid)),
        (f"system:subscription-{studies}", "ImagingStudy", str(report.study.uuid)),
    }


def test_r4_criteria(hook: Subscribing) -> None:
    """ "R4 rest-hook": an empty POST without a payload, PUT of the resource with one; only what meets the criteria."""
    bare = hook.subscribed("bare", criteria="Observation?status=final")
    header = {"channel": {"payload": "application/fhir+json", "header": ["Authorization: Bearer s3cret"]}}
    full = hook.subscribed("full", criteria="Observation?code=http://loinc.org|1-8&subject=Patient/a", **header)
    hook.made(observation("Patient/b", status="amended"))
    made = hook.made(observation("Patient/a"))
    bundle = hook.bundle("transaction", entry("POST", "Observation", observation("Patient/a")), entry("POST", "Patient", patient("1")))
    assert bundle.status_code == 200
    hook.step(bare)
    hook.step(full)
    assert [(one["method"], one["body"]) for one in hook.receiver.seen("bare")] == [("POST", "")] * 2
    first, _ = hook.receiver.seen("full")
    assert (first["method"], first["path"], json.loads(first["body"])) == ("PUT", f"Observation/{made['id']}", made)
    assert first["headers"]["Authorization"] == "Bearer s3cret"
    shown = hook.get(f"Subscription/{full}").content.decode()
    assert "s3cret" not in shown
    assert "s3cret" not in hook.row(full).headers
    again = json.loads(shown)
    assert hook.put(f"Subscription/{full}", again).status_code == 200  # what was read back keeps the header
    assert rows.headers_open(hook.row(full)) == {"Authorization": "Bearer s3cret"}
    moved = again | {"channel": again["channel"] | {"endpoint": hook.receiver.url("elsewhere")}}
    assert hook.put(f"Subscription/{full}", moved).status_code == 422  # a secret never goes to where it was not entered for


def test_one_hangs_another_gets_its_event_at_once(hook: Subscribing) -> None:
    """ "a slow subscriber holds back nobody": one hangs, the other has each event in less than a second."""
    stuck = hook.subscribed("stuck", topic="report-issued", timeout=10)
    quick = hook.subscribed("quick", criteria="Observation")
    with hook.hospital.scope():
        Subscriber.objects.filter(fhir_id=stuck).update(rtype="Observation", filters=[])
    rows.watches_forget(tenant_id=hook.hospital.tenant.id)
    hook.receiver.mode("stuck", "hang")
    with hook.worker(stuck, quick):
        hook.made(observation())
        wait(lambda: len(hook.receiver.bundles("stuck")) == 1, "the one that hangs")
        took = []
        for count in range(1, 4):
            began = time.time()
            hook.made(observation())
            came = wait(lambda count=count: hook.receiver.seen("quick")[count:], "the quick one's event")
            took.append(came[-1]["at"] - began)
        assert sorted(took)[1] < 1  # and the slowest, on a machine that has other work, still long before the one that hangs
        assert max(took) < 5
        assert len(hook.receiver.bundles("stuck")) == 1
        assert hook.row(stuck).sent_number == 0
        hook.receiver.mode("stuck", "ok")  # its hanging answer is a 503, then it recovers
        wait(lambda: hook.row(stuck).sent_number == 4, "the slow one's events")
    assert hook.receiver.numbers("stuck") == [1, 1, 2, 3, 4]


def test_fails_and_recovers(hook: Subscribing, settings: Any) -> None:
    """ "retries with back-off": in order, no number lost, and what the receiver says is told to nobody."""
    settings.MEDHUB_BACKOFF_UNIT_SECONDS = 10
    fhir_id = hook.subscribed("fails", topic="report-issued", most=2)
    with hook.hospital.scope():
        Subscriber.objects.filter(fhir_id=fhir_id).update(rtype="Observation", filters=[])
    rows.watches_forget(tenant_id=hook.hospital.tenant.id)
    hook.receiver.mode("fails", "500")
    hook.made(observation())
    first = hook.step(fhir_id)
    assert first is not None
    assert 10 <= first <= 20
    row = hook.row(fhir_id)
    assert (row.words, row.attempts, row.sent_number) == ("the receiver answered 500", 1, 0)
    for _ in range(4):
        hook.made(observation())
    assert hook.step(fhir_id) is None  # news does not cut the wait short
    hook.due(fhir_id)
    assert (hook.step(fhir_id) or 0) > 0
    hook.receiver.mode("fails", "ok")
    hook.due(fhir_id)
    hook.step(fhir_id)
    good = [one for one in hook.receiver.seen("fails") if one["mode"] == "ok" and "event-number" in one["body"]]
    assert [numbers_of(json.loads(one["body"])) for one in good] == [[1, 2], [3, 4], [5]]
    assert (hook.row(fhir_id).attempts, hook.row(fhir_id).words) == (0, "")


def test_given_up_shown_resumed(hook: Subscribing) -> None:
    """After the last attempt the Subscription says `error` and why; requested again, it goes on where it stopped."""
    fhir_id = hook.subscribed("down", criteria="Observation?status=final")
    hook.receiver.mode("down", "500")
    hook.made(observation())
    hook.due(fhir_id, attempts=rows.MAX_ATTEMPTS - 1)
    assert hook.step(fhir_id) is None
    shown = hook.get(f"Subscription/{fhir_id}").json()
    assert (shown["status"], shown["error"]) == ("error", "the receiver answered 500")
    hook.made(observation())
    hook.receiver.mode("down", "ok")
    assert hook.put(f"Subscription/{fhir_id}", shown | {"status": "requested"}).status_code == 200
    hook.due(fhir_id)
    hook.step(fhir_id)
    assert hook.status(fhir_id) == "active"
    assert "error" not in hook.get(f"Subscription/{fhir_id}").json()
    assert len([one for one in hook.receiver.seen("down") if one["mode"] == "ok"]) == 2
    assert hook.row(fhir_id).sent_number == 2


def test_gone_ends_it(hook: Subscribing) -> None:
    fhir_id = hook.subscribed("gone", criteria="Observation")
    hook.receiver.mode("gone", "410")
    hook.made(observation())
    assert hook.step(fhir_id) is None
    assert hook.status(fhir_id) == "error"


def test_heartbeat(hook: Subscribing) -> None:
    """ "heartbeat": while nothing happens the receiver hears that we are there."""
    fhir_id = hook.subscribed("beats", topic="report-issued", heartbeat=30)
    due_at = hook.row(fhir_id).due_at
    assert due_at is not None
    assert 25 < (due_at - timezone.now()).total_seconds() <= 30
    hook.due(fhir_id)
    hook.step(fhir_id)
    (bundle,) = hook.receiver.bundles("beats", "heartbeat")
    assert (status_of(bundle)["status"], len(bundle["entry"])) == ("active", 1)
    assert (hook.row(fhir_id).due_at - timezone.now()).total_seconds() > 25


@pytest.mark.parametrize("point", ["notify.before_send", "notify.after_send"])
def test_killed_there_nothing_is_lost(hook: Subscribing, tmp_path: Path, point: str) -> None:
    """A worker that dies over it leaves a row that becomes due: the event comes, under the same number."""
    fhir_id = hook.subscribed(point, topic="report-issued")
    issued(hook.hospital)
    (tmp_path / point).touch()
    ids = {"tenant_id": hook.hospital.tenant.id, "subscriber_id": hook.row(fhir_id).id}
    assert killed_or_done("fhirapi.subscriptions.run", "subscriber_step", faults=tmp_path, **ids) == KILLED
    assert hook.step(fhir_id) is None  # the lease of the dead
    hook.due(fhir_id)
    hook.step(fhir_id)
    assert set(hook.receiver.numbers(point)) == {1}
    assert hook.row(fhir_id).sent_number == 1


def test_a_lost_message_costs_one_sweep(hook: Subscribing) -> None:
    """An event is due from the transaction that wrote its resource until a worker has numbered it."""
    fhir_id = hook.subscribed("swept", criteria="Observation")
    hook.made(observation())
    with hook.hospital.scope():
        (one,) = SubscriptionEvent.objects.all()
    assert one.number is None
    assert (one.tenant_id, one.id) in rows_due("fhirapi_subscriptionevent")
    hook.step(fhir_id)
    assert (one.tenant_id, one.id) not in rows_due("fhirapi_subscriptionevent")


def test_rolled_back_is_never_told(hook: Subscribing) -> None:
    """Events stand or fall with the write: numbers have no gap."""
    fhir_id = hook.subscribed("rolled", criteria="Observation")
    broken = entry("PUT", "Observation/x", observation() | {"id": "y"})
    assert hook.bundle("transaction", entry("POST", "Observation", observation()), broken).status_code == 400
    hook.made(observation())
    hook.step(fhir_id)
    assert (hook.row(fhir_id).last_number, len(hook.receiver.seen("rolled"))) == (1, 1)


def test_revoked_key_stops_it(hook: Subscribing) -> None:
    """A subscription may only give what its creator may read: it ends with the key that made it."""
    fhir_id = hook.subscribed("revoked", criteria="Observation")
    hook.made(observation())
    ApiToken.objects.filter(tenant=hook.hospital.tenant).update(revoked_at=timezone.now())
    assert hook.step(fhir_id) is None
    row = hook.row(fhir_id)
    assert (row.state, hook.receiver.seen("revoked")) == ("off", [])
    assert "revoked" in row.words


def test_a_hospital_without_subscribers_pays_one_look(hook: Subscribing) -> None:
    """Writes of a hospital that nobody subscribed to cost no statement more, once this process has looked."""
    hook.made(patient("1"))
    with CaptureQueriesContext(connection) as caught:
        hook.made(patient("2"))
    assert [one["sql"] for one in caught.captured_queries if "subscri" in one["sql"].lower()] == []


def test_old_events_are_forgotten(hook: Subscribing, settings: Any) -> None:
    """Kept MEDHUB_SUBSCRIPTION_DAYS after they were told; what was not told yet stays."""
    fhir_id = hook.subscribed("kept", criteria="Observation")
    hook.made(observation())
    hook.step(fhir_id)
    hook.receiver.mode("kept", "500")
    hook.made(observation())
    hook.step(fhir_id)
    settings.MEDHUB_SUBSCRIPTION_DAYS = -1
    with hook.hospital.scope():
        assert rows.events_purge() == 1
        assert list(SubscriptionEvent.objects.values_list("number", flat=True)) == [2]
