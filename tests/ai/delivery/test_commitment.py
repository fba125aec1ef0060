"""We ask archives for storage commitment of the results they were sent (PS3.4 Annex J), as SCU: Orthanc, and pynetdicom's SCP: on our
association, on one of its own, late, never. Answers that we must not believe: test_commitment_answers."""

import time
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from ai.delivery import services
from ai.delivery.hearing import handlers
from ai.delivery.services import delivery_resend
from ai.models import DeliveryAttempt, ReportDelivery
from imaging.dimse.contexts import COMMITMENT, COMMITMENT_INSTANCE
from imaging.models import Association, Node
from imaging.nodes import node_add, node_update
from imaging.scu import commit
from journal.audit import Actor
from journal.models import AuditEvent
from journal.wall.tasks import rows_due
from medhub.celery import app
from tests.ai.delivery.committing import (
    FAILED,
    KEPT,
    PDF,
    SR,
    Pacs,
    event_of,
    listener,
    pacs_run,
    report,
    row_of,
    said,
    state,
)
from tests.ai.delivery.reports import issued, step
from tests.dicom_files import series_of
from tests.imaging.scu_peers import scp, with_meta
from tests.orthanc import port_free
from tests.portal.test_pages import signed_in

__all__ = ["listener"]
pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("orthanc")]
ACTOR = Actor(name="user:test")
CT, FIND = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.2.2.1"
NAMES = ("Comprehensive 3D SR", "Encapsulated PDF")


class TestAsked:
    """ "after a C-STORE delivery the hub sends N-ACTION with the objects' UIDs and a transaction UID that is stored first"."""

    def test_stored_then_asked_then_committed_on_a_new_association(self, listener, mercy, settings) -> None:
        """"on a NEW association from the PACS to our listener (role selection: SCU proposes SCP role; PS3.7 D.3.3.4) – also hours

        later": the archive may ask us for nothing, and still brings its answer. "stored, commitment asked / committed".
        """
        with pacs_run(settings, mercy) as pacs:
            issued(mercy)
            step(mercy)
        [asked] = pacs.asked
        row = row_of(mercy)
        assert (row.state, row.words, row.ended_at) == ("stored", "commitment asked", None)
        assert asked.TransactionUID == row.transaction_uid != ""
        names = {(str(i.ReferencedSOPClassUID), str(i.ReferencedSOPInstanceUID)) for i in asked.ReferencedSOPSequence}
        assert names == {(sop_class, uid) for sop_class, uids in row.references.items() for uid in uids}
        assert {sop_class for sop_class, _ in names} == {SR, PDF}
        assert row.due_at - row.asked_at == timedelta(hours=24)
        with mercy.scope():  # hours later
            ReportDelivery.objects.filter(id=row.id).update(asked_at=row.asked_at - timedelta(hours=7))
        assert report(listener, mercy.called_ae, event_of(asked)) == (0, "")
        row = row_of(mercy)
        assert (row.state, row.words, row.due_at, row.failures) == ("confirmed", "the node answers for 2 objects", None, {})
        assert row.ended_at is not None
        assert said(mercy) == [(True, "2 objects taken"), (True, "commitment asked"), (True, "the node answers for 2 objects")]
        with mercy.scope():
            event = AuditEvent.objects.get(action="delivery.commitment")
            assert DeliveryAttempt.objects.order_by("-id")[0].milliseconds >= 7 * 3_600_000
        assert (event.actor, event.detail) == (f"ae:{Pacs.title}", {"failures": 0})

    def test_the_answer_on_the_same_association(self, mercy, settings) -> None:
        """"takes the N-EVENT-REPORT ... on the same association (wait a short time)": it comes at once, and finds its transaction."""

        def at_once(pacs: Pacs, event: evt.Event, asked: Dataset) -> None:
            time.sleep(0.1)  # behind the response to the N-ACTION
            status, _ = event.assoc.send_n_event_report(event_of(asked), KEPT, COMMITMENT, COMMITMENT_INSTANCE)
            pacs.keep(status)

        with pacs_run(settings, mercy, at_once) as pacs:
            issued(mercy)
            step(mercy)
        assert pacs.answers == [(0, "")]
        assert state(mercy) == ("confirmed", "the node answers for 2 objects")
        assert said(mercy)[-1] == (True, "the node answers for 2 objects")

    def test_an_answer_that_overtakes_the_response(self, listener, mercy, settings) -> None:
        """"a transaction UID that is stored first (so an answer that comes at once finds it)": reported elsewhere before it responds."""

        def first(pacs: Pacs, event: evt.Event, asked: Dataset) -> None:
            pacs.answers.append(report(listener, mercy.called_ae, event_of(asked)))

        class Quick(Pacs):
            def action(self, event: evt.Event) -> tuple[int, None]:
                answer = super().action(event)
                self.threads[-1].join(10)
                return answer

        pacs = Quick(first)
        with scp(pacs.title, [SR, PDF, COMMITMENT], [(evt.EVT_C_STORE, pacs.store), (evt.EVT_N_ACTION, pacs.action)]) as port:
            settings.EGRESS_ALLOW = [*settings.EGRESS_ALLOW, f"127.0.0.1:{port}"]
            with mercy.scope():
                node_add(ae_title=pacs.title, host="127.0.0.1", port=port, results_as="sr", is_commitment_asked=True)
            issued(mercy)
            step(mercy)
        assert pacs.answers == [(0, "")]
        assert state(mercy) == ("confirmed", "the node answers for 1 object")

    def test_orthanc_commits(self, listener, mercy, settings, node_at, orthanc) -> None:
        """"Orthanc has storage commitment as SCP (it opens a new association to the requester for N-EVENT-REPORT ...)": both moods."""
        orthanc.modality(mercy.called_ae, listener.port)
        node_at(mercy, orthanc.port, "ORTHANC", results_as="sr+pdf", is_commitment_asked=True, services=[])
        issued(mercy)
        step(mercy)
        self.wait(mercy, "confirmed")
        assert state(mercy) == ("confirmed", "the node answers for 2 objects")
        with mercy.scope():
            assert Association.objects.filter(calling_ae="ORTHANC", outcome="released").exists()
            row = row_of(mercy)
            ReportDelivery.objects.filter(id=row.id).update(state="stored", failures=None, asked_at=None, due_at=timezone.now(), attempts=0)
        orthanc.clear()  # it has lost them: asked once more, it says so
        step(mercy)
        self.wait(mercy, "failed")
        told = row_of(mercy).words.removeprefix("commitment refused for 2 of 2 objects: ")
        assert sorted(told.split("; ")) == [f"{name}, no such object (0112)" for name in NAMES]

    def wait(self, hospital: Any, wanted: str, seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while row_of(hospital).state != wanted:
            assert time.monotonic() < end, state(hospital)
            time.sleep(0.05)

    def test_it_is_let_in_for_its_answer_and_for_nothing_else(self, listener, mercy, settings) -> None:
        """A node without any service: nothing may be stored, asked or found by it; without the switch it is a stranger again."""
        with pacs_run(settings, mercy) as pacs:
            ae = AE(ae_title=pacs.title)
            for sop_class in (CT, COMMITMENT, FIND):
                ae.add_requested_context(sop_class)
            association = ae.associate("127.0.0.1", listener.port, ae_title=mercy.called_ae)
            assert association.is_established
            [image] = with_meta(series_of(1))
            assert association.send_c_store(image).Status == 0x0124
            assert association.send_n_action(image, 1, COMMITMENT, COMMITMENT_INSTANCE)[0].Status == 0x0124
            query = Dataset()
            query.QueryRetrieveLevel = "STUDY"
            assert [status.Status for status, _ in association.send_c_find(query, FIND)] == [0x0124]
            association.release()
            with mercy.scope():
                node_update(actor=ACTOR, node=Node.objects.get(ae_title=pacs.title), is_commitment_asked=False)
            assert not ae.associate("127.0.0.1", listener.port, ae_title=mercy.called_ae).is_established

    def test_the_worker_listens_with_these_handlers(self) -> None:
        """What the tests listen with is what the worker listens with."""
        assert app.conf.medhub_dimse["handlers"] == f"{handlers.__module__}.{handlers.__name__}"

    def test_sent_again_while_an_answer_is_awaited(self, listener, mercy, settings) -> None:
        """A person need not wait a day; the first question is forgotten, not while a worker has the row."""
        with pacs_run(settings, mercy) as pacs:
            issued(mercy)
            with mercy.scope():
                assert not delivery_resend(actor=ACTOR, delivery=row_of(mercy))
            step(mercy)
            with mercy.scope():
                assert delivery_resend(actor=ACTOR, delivery=row_of(mercy))
            step(mercy)
            first, second = pacs.asked
            assert report(listener, mercy.called_ae, event_of(first))[0] == 0x0112
            assert report(listener, mercy.called_ae, event_of(second)) == (0, "")
        assert row_of(mercy).state == "confirmed"

    def test_only_nodes_with_the_switch_are_asked(self, mercy, settings) -> None:
        """"per node a switch `is_commitment_asked`"; switched off before it was asked, it is sent and nothing more."""
        with pacs_run(settings, mercy, is_commitment_asked=False) as pacs:
            issued(mercy)
            step(mercy)
            assert (state(mercy), pacs.asked) == (("sent", "2 objects taken"), [])
            with mercy.scope():
                node = Node.objects.get(ae_title=pacs.title)
                node_update(actor=ACTOR, node=node, is_commitment_asked=True)
                assert delivery_resend(actor=ACTOR, delivery=row_of(mercy))
            pacs.statuses = [0x0213]
            step(mercy)
            assert row_of(mercy).state == "stored"
            with mercy.scope():
                node_update(actor=ACTOR, node=node, is_commitment_asked=False)
            step(mercy, is_waited=True)
            with mercy.scope():
                ReportDelivery.objects.filter(state="stored").update(due_at=timezone.now())
            step(mercy)
            assert row_of(mercy).state == "sent"


class TestRefused:
    """ "refused for N objects: reason (failure reason codes in words)"."""

    def test_reasons_in_words_and_sent_again_byte_for_byte(self, listener, mercy, settings) -> None:
        """"a failed commitment makes the delivery failed with resend (resend sends the same bytes again)"; what is answered to the

        first transaction after that changes nothing.
        """
        with pacs_run(settings, mercy) as pacs:
            issued(mercy)
            step(mercy)
            [asked] = pacs.asked
            one, other = (str(item.ReferencedSOPInstanceUID) for item in asked.ReferencedSOPSequence)
            assert report(listener, mercy.called_ae, event_of(asked, {one: 0x0110, other: 0x0122}), FAILED) == (0, "")
            row = row_of(mercy)
            assert (row.state, row.due_at, row.failures) == ("failed", None, {one: 0x0110, other: 0x0122})
            assert row.words.startswith("commitment refused for 2 of 2 objects: ")
            for name, reason in zip(NAMES, ("processing failure (0110)", "SOP class not supported (0122)"), strict=True):
                assert f"{name}, {reason}" in row.words
            assert said(mercy)[-1] == (False, row.words)
            with mercy.scope():
                assert delivery_resend(actor=ACTOR, delivery=row)
            assert report(listener, mercy.called_ae, event_of(asked)) == (0x0112, "no such transaction of this AE title is open")
            assert row_of(mercy).state == "pending"
            step(mercy)
            assert sorted(pacs.stored[:2]) == sorted(pacs.stored[2:])
            assert pacs.asked[1].TransactionUID != asked.TransactionUID
            assert report(listener, mercy.called_ae, event_of(pacs.asked[1], {one: 0x0110}), FAILED) == (0, "")
            assert state(mercy) == ("failed", "commitment refused for 1 of 2 objects: Comprehensive 3D SR, processing failure (0110)")

    def test_what_is_not_named_is_not_committed(self, listener, mercy, settings) -> None:
        """An answer that speaks of half of the objects is never a success."""
        with pacs_run(settings, mercy) as pacs:
            issued(mercy)
            step(mercy)
        half = event_of(pacs.asked[0])
        half.ReferencedSOPSequence = half.ReferencedSOPSequence[:1]
        assert report(listener, mercy.called_ae, half) == (0, "")
        assert state(mercy) == ("failed", "commitment refused for 1 of 2 objects: Encapsulated PDF, not named in the answer")

    @pytest.mark.parametrize(
        ("statuses", "wanted", "words"),
        [
            ([0x0124], "failed", "commitment not asked: the node refused to be asked for commitment (0124): we are not authorized"),
            ([0x0110], "stored", "commitment not asked: the node refused to be asked for commitment (0110)"),
        ],
    )
    def test_a_request_that_is_refused(self, mercy, settings, statuses, wanted, words) -> None:
        """For good or for now: the objects are not sent again for it."""
        with pacs_run(settings, mercy) as pacs:
            pacs.statuses = statuses
            issued(mercy)
            step(mercy)
            row = row_of(mercy)
            assert (row.state, row.words) == (wanted, words)
            assert row.asked_at is None
            if wanted == "stored":
                assert row.due_at is not None
                with mercy.scope():
                    ReportDelivery.objects.filter(id=row.id).update(due_at=timezone.now())
                step(mercy)
                assert state(mercy) == ("stored", "commitment asked")
                assert row_of(mercy).asked_at is not None
            assert len(pacs.stored) == 2

    def test_an_archive_without_the_service(self, mercy, settings) -> None:
        """It never accepted the class: the admin has switched on what cannot be had, and is told so."""
        with scp("PACS", [SR], [(evt.EVT_C_STORE, lambda event: 0)]) as port:
            settings.EGRESS_ALLOW = [*settings.EGRESS_ALLOW, f"127.0.0.1:{port}"]
            with mercy.scope():
                node_add(ae_title="PACS", host="127.0.0.1", port=port, results_as="sr", is_commitment_asked=True)
            issued(mercy)
            step(mercy)
        row = row_of(mercy)
        assert (row.state, row.due_at) == ("failed", None)
        assert row.words == "commitment not asked: the node does not offer storage commitment"


class TestOverdue:
    """ "A commitment that never comes is shown as overdue after a day (setting), never as success"."""

    def test_overdue_then_a_late_answer(self, listener, mercy, settings, client) -> None:
        """Shown under "Needs attention" with resend; the answer that comes in the end is still taken."""
        settings.MEDHUB_COMMITMENT_HOURS = 2.0
        with pacs_run(settings, mercy) as pacs:
            issued(mercy)
            step(mercy)
        row = row_of(mercy)
        assert row.due_at - row.asked_at == timedelta(hours=2)
        step(mercy)
        assert row_of(mercy).state == "stored"
        with mercy.scope():
            ReportDelivery.objects.filter(id=row.id).update(due_at=timezone.now())
        step(mercy)
        row = row_of(mercy)
        assert (row.state, row.due_at, row.words) == ("overdue", None, "no answer within 2 h")
        found = client.get(f"/t/{mercy.slug}/api/v1/deliveries?state=overdue", headers=mercy.auth).json()["items"]
        assert [(one["target_name"], one["not_committed"]) for one in found] == [("PACS", None)]
        page = signed_in(client, mercy, "admin").get(reverse("attention", args=[mercy.slug])).content.decode()
        for words in ("stored, commitment overdue", "no answer within 2 h", reverse("report-resend", args=[mercy.slug, row.id])):
            assert words in page, words
        assert report(listener, mercy.called_ae, event_of(pacs.asked[0])) == (0, "")
        assert state(mercy) == ("confirmed", "the node answers for 2 objects")

    def test_the_lease_never_shortens_the_wait(self, mercy, settings, monkeypatch) -> None:
        """The worker stays a moment for the answer, its lease beats meanwhile: what is due is still the overdue time."""
        settings.MEDHUB_LEASE_SECONDS = 0.2
        monkeypatch.setattr(commit, "HEAR_SECONDS", 0.5)
        with pacs_run(settings, mercy):
            issued(mercy)
            step(mercy)
        row = row_of(mercy)
        assert row.due_at - row.asked_at == timedelta(hours=24)


def test_the_sweep_finds_what_is_overdue(mercy, settings) -> None:
    """The clock is the row's: a message that was lost is made good by beat."""
    with pacs_run(settings, mercy):
        issued(mercy)
        step(mercy)
    row = row_of(mercy)
    assert (mercy.tenant.id, row.id) not in rows_due("ai_reportdelivery", limit=100_000)
    with mercy.scope():
        ReportDelivery.objects.filter(id=row.id).update(due_at=timezone.now() - timedelta(seconds=60))
    assert (mercy.tenant.id, row.id) in rows_due("ai_reportdelivery", grace_seconds=1, limit=100_000)
    step(mercy)
    assert row_of(mercy).state == "overdue"


def test_an_archive_that_goes_away_before_it_is_asked(mercy, settings, monkeypatch) -> None:
    """Asked again with back-off, under a new transaction each time, and given up in the end; nothing is sent twice for it."""
    monkeypatch.setattr(services, "MAX_ATTEMPTS", 2)
    stored: list[Any] = []
    port = port_free()
    settings.EGRESS_ALLOW = [*settings.EGRESS_ALLOW, f"127.0.0.1:{port}"]
    with mercy.scope():
        node_add(ae_title="PACS", host="127.0.0.1", port=port, results_as="sr", is_commitment_asked=True)
    with scp("PACS", [SR, COMMITMENT], [
        (evt.EVT_C_STORE, lambda event: stored.append(1) or 0), (evt.EVT_N_ACTION, lambda event: event.assoc.abort() or (0, None)),
    ], port=port):  # fmt: skip
        issued(mercy)
        step(mercy)
        first = row_of(mercy)
        assert (first.state, first.asked_at) == ("stored", None)
        with mercy.scope():
            ReportDelivery.objects.filter(id=first.id).update(due_at=timezone.now())
        step(mercy)
    second = row_of(mercy)
    assert (second.state, len(stored)) == ("failed", 1)
    assert second.words.startswith("commitment not asked: ")
    assert second.transaction_uid not in {"", first.transaction_uid}
