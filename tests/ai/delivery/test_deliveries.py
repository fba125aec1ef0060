"""Reports leave as DICOM: into our archive, to real archives, again when these were away."""

from typing import Any

import pytest
from django.utils import timezone
from pydicom import dcmread
from pynetdicom import evt

from ai.delivery import services
from ai.delivery.run import delivery_run
from ai.delivery.services import delivery_claim, delivery_resend, report_deliver
from ai.findings import Algorithm, Document, Note
from ai.models import DeliveryAttempt, Job, Report
from imaging.models import Instance, Node, Series, Study, WorkItem
from imaging.nodes import node_delete
from imaging.storage import object_path
from journal.audit import Actor
from journal.models import AuditEvent, OutboxEvent
from journal.types import Event
from tests import house
from tests.ai.delivery.reports import deliveries, finish, issued, report_make, sources_take, step
from tests.ai.encoding.cases import content_of, judged
from tests.imaging.scu_peers import scp
from tests.imaging.test_get import kept
from tests.imaging.test_query_peers import received, storescp
from tests.orthanc import port_free

pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("orthanc")]
ACTOR = Actor(name="user:test")
SR, PDF, SC = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.7"
VENDOR = Algorithm(name="pneumothorax", version="2.1", manufacturer="Example Vendor")


def archived(hospital: Any, sop_class: str) -> list[Any]:
    """What lies in our archive of this class, oldest first."""
    with hospital.scope():
        keys = list(Instance.objects.filter(sop_class_uid=sop_class).order_by("number").values_list("key", flat=True))
    return [dcmread(str(object_path(key))) for key in keys]


class TestOurArchive:
    """ "out ... as DICOM (SR TID 1500 ...; SC and tagged PDF for those who cannot show SR)", on delivery rows."""

    def test_sr_and_pdf_stand_beside_the_images(self, mercy) -> None:
        report = issued(mercy)
        step(mercy)
        [row] = deliveries(mercy)
        assert (row.kind, row.state, row.words, row.attempts) == ("archive", "sent", "2 objects taken", 1)
        [sr], [pdf] = archived(mercy, SR), archived(mercy, PDF)
        judged(sr)
        with mercy.scope():
            study = Study.objects.get()
            assert sr.StudyInstanceUID == pdf.StudyInstanceUID == study.study_uid
            assert set(Series.objects.values_list("modality", flat=True)) == {"CT", "SR", "DOC"}
            [attempt] = DeliveryAttempt.objects.all()
        assert (attempt.is_good, attempt.words) == (True, row.words)
        assert sr.ContentSequence[0].ConceptNameCodeSequence[0].CodeMeaning
        assert pdf.EncapsulatedDocument.startswith(b"%PDF-")
        assert str(report.uuid) not in str(pdf.get("DocumentTitle"))

    @pytest.mark.parametrize("algorithm", [None, VENDOR], ids=["quantify", "vendor"])
    def test_they_never_start_routing_again(self, mercy, algorithm) -> None:
        """"Objects made by AI never retrigger routing": whoever made them, the study stays complete in its version."""
        issued(mercy, **({"algorithm": algorithm} if algorithm else {}))
        with mercy.scope():
            before = Study.objects.get()
            jobs, events = Job.objects.count(), OutboxEvent.objects.filter(name__in=["study.completed", "study.changed"]).count()
        step(mercy)
        house.settle(mercy)
        with mercy.scope():
            after = Study.objects.get()
            assert (after.version, after.state, after.due_at) == (before.version, before.state, None)
            assert after.number_of_instances == before.number_of_instances + 2
            assert Job.objects.count() == jobs
            assert OutboxEvent.objects.filter(name__in=["study.completed", "study.changed"]).count() == events

    def test_again_is_the_same_bytes(self, mercy) -> None:
        """"a retry is the same object": sent again it is known, nothing is added, nobody has to decide anything."""
        issued(mercy)
        step(mercy)
        before = kept(mercy)
        with mercy.scope():
            assert delivery_resend(actor=ACTOR, delivery=deliveries(mercy)[0])
        step(mercy)
        assert [row.state for row in deliveries(mercy)] == ["sent"]
        assert kept(mercy) == before
        with mercy.scope():
            assert not WorkItem.objects.exists()
            assert DeliveryAttempt.objects.count() == 2
            assert AuditEvent.objects.filter(action="delivery.resend").count() == 1

    def test_the_next_version_names_the_one_before(self, mercy) -> None:
        """"next SR replaces predecessor": same series, Predecessor Documents Sequence."""
        content = content_of(sources_take(mercy))
        first = report_make(mercy, content)
        second = report_make(mercy, content, before=first)
        step(mercy)
        old, new = archived(mercy, SR)
        assert old.SeriesInstanceUID == new.SeriesInstanceUID
        predecessor = new.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
        assert predecessor.ReferencedSOPInstanceUID == old.SOPInstanceUID
        assert {row.report_id for row in deliveries(mercy)} == {first.id, second.id}

    def test_not_analysable_goes_out_with_its_reason(self, mercy) -> None:
        """A report that says why there is nothing is a report."""
        issued(mercy, measurements=(), findings=(), not_analysable=Note(code="spacing", text="slices 6.0 mm apart, at most 2.5"))
        step(mercy)
        [sr] = archived(mercy, SR)
        said = [str(element.value) for element in sr.iterall() if element.keyword in {"TextValue", "CodeMeaning"}]
        assert any("slices 6.0 mm apart, at most 2.5" in text for text in said), said

    def test_nothing_but_documents_is_no_sr_and_that_is_said(self, mercy) -> None:
        document = Document(kind="PDF", sop_class_uid=PDF, sop_uid="1.2.3", series_uid="1.2", title="Vendor report")
        issued(mercy, measurements=(), findings=(), notes=(), documents=(document,))
        step(mercy)
        [row] = deliveries(mercy)
        assert row.state == "sent"
        assert row.words.startswith("1 object taken; no SR: ")
        assert (archived(mercy, SR), len(archived(mercy, PDF))) == ([], 1)

    def test_without_its_images_nobody_can_say_whose_it_is(self, mercy) -> None:
        issued(mercy, sop_uids=("1.2.3.4",))
        step(mercy)
        [row] = deliveries(mercy)
        assert (row.state, row.due_at) == ("failed", None)
        assert "not in the archive any more" in row.words


class TestNodes:
    """ "delivered to PACS (C-STORE ...)": nodes that get results, at real archives."""

    def test_orthanc_gets_sr_and_pdf(self, mercy, node_at, orthanc) -> None:
        """And a node that is not to get results gets none."""
        node_at(mercy, port_free(), "OTHER")
        node = node_at(mercy, orthanc.port, "ORTHANC", results_as="sr+pdf")
        report = issued(mercy)
        finish(mercy)
        assert [(row.target_name, row.state, row.words) for row in deliveries(mercy, kind="pacs_dimse")] == [
            ("ORTHANC", "sent", "2 objects taken")
        ]
        classes = {orthanc.rest(f"/instances/{one}/simplified-tags")["SOPClassUID"] for one in orthanc.rest("/instances")}
        assert classes == {SR, PDF}
        with mercy.scope():
            event = AuditEvent.objects.get(action="dicom.send")
        assert event.detail == {"node": str(node.id), "instances": 2, "report": str(report.uuid)}
        assert event.trace_id == deliveries(mercy)[0].trace_id != ""

    @pytest.mark.parametrize(("results_as", "classes"), [("sr", {SR}), ("pdf", {PDF}), ("sc", {SC}), ("sr+pdf", {SR, PDF})])
    def test_each_form_byte_for_byte(self, mercy, node_at, tmp_path, results_as, classes) -> None:
        """dcmtk's storescp has what our archive has, where that has it too."""
        with storescp(tmp_path / "got") as port:
            node_at(mercy, port, "RECV", results_as=results_as)
            issued(mercy)
            finish(mercy)
        found, ours = received(tmp_path / "got"), kept(mercy)
        got = [dcmread(path) for path in (tmp_path / "got").iterdir()]
        assert {ds.SOPClassUID for ds in got} == classes
        assert all(found[ds.SOPInstanceUID] == ours[ds.SOPInstanceUID] for ds in got if ds.SOPClassUID != SC)
        for ds in got:
            judged(ds)

    def test_a_pacs_that_is_down_gets_it_afterwards(self, mercy, node_at, tmp_path) -> None:
        """"PACS down -> retries -> arrives after": every attempt is on record with what was answered."""
        port = port_free()
        node_at(mercy, port, "RECV", results_as="sr")
        issued(mercy)
        step(mercy)
        step(mercy, is_waited=True)
        [row] = deliveries(mercy, kind="pacs_dimse")
        assert (row.state, row.attempts) == ("pending", 2)
        assert row.words.startswith("no connection")
        assert row.due_at > timezone.now()
        got = []
        with scp("RECV", [SR], [(evt.EVT_C_STORE, lambda event: got.append(event.request.AffectedSOPInstanceUID) or 0)], port=port):
            step(mercy, is_waited=True)
        [row] = deliveries(mercy, kind="pacs_dimse")
        assert (row.state, len(got)) == ("sent", 1)
        with mercy.scope():
            tries = list(DeliveryAttempt.objects.filter(delivery=row).order_by("id").values_list("is_good", flat=True))
        assert tries == [False, False, True]

    def test_what_a_pacs_refuses_is_told_in_its_words_and_ends_with_resend(self, mercy, node_at, monkeypatch) -> None:
        """"answer, resend": status A700 each time, given up after the last attempt; then a person sends it again."""
        monkeypatch.setattr(services, "MAX_ATTEMPTS", 2)
        answers = [0xA700, 0xA700, 0]
        with scp("RECV", [SR], [(evt.EVT_C_STORE, lambda event: answers.pop(0))]) as port:
            node_at(mercy, port, "RECV", results_as="sr")
            issued(mercy)
            for _ in range(3):
                step(mercy, is_waited=True)
            [row] = deliveries(mercy, kind="pacs_dimse")
            assert (row.state, row.due_at, row.words) == ("failed", None, "the node answered with status A700")
            with mercy.scope():
                assert delivery_resend(actor=ACTOR, delivery=row)
                assert not delivery_resend(actor=ACTOR, delivery=row)  # it is on its way
            step(mercy)
        [row] = deliveries(mercy, kind="pacs_dimse")
        assert (row.state, row.attempts, answers) == ("sent", 1, [])

    def test_a_node_that_was_deleted_is_over_at_once(self, mercy, node_at) -> None:
        node = node_at(mercy, port_free(), "RECV", results_as="sr")
        issued(mercy)
        with mercy.scope():
            node_delete(actor=ACTOR, node=Node.objects.get(id=node.id))
        step(mercy)
        [row] = deliveries(mercy, kind="pacs_dimse")
        assert (row.state, row.words, row.target_name) == ("failed", "the node was deleted", "RECV")


class TestOnce:
    """ "a broker that loses or doubles changes nothing"."""

    def test_the_event_twice_makes_one_row(self, mercy) -> None:
        report = issued(mercy)
        with mercy.scope():
            event = Event(id=1, tenant_id=mercy.tenant.id, name="report.issued", ids={"report_id": report.id}, trace_id="")
            report_deliver(event=event)
        assert len(deliveries(mercy)) == 1

    def test_the_message_twice_is_one_attempt(self, mercy) -> None:
        issued(mercy)
        [row] = deliveries(mercy)
        for _ in range(2):
            delivery_run(tenant_id=mercy.tenant.id, delivery_id=row.id)
        with mercy.scope():
            assert DeliveryAttempt.objects.count() == 1

    def test_what_a_dead_worker_held_goes_to_the_next(self, mercy) -> None:
        """The lease runs out; whoever comes late with the old one changes nothing."""
        issued(mercy)
        [row] = deliveries(mercy)
        with mercy.scope():
            dead = delivery_claim(delivery_id=row.id)
            assert delivery_claim(delivery_id=row.id) is None
        step(mercy, is_waited=True)
        with mercy.scope():
            assert not services.delivery_done(dead, words="late", began=0.0)
        [row] = deliveries(mercy)
        assert (row.state, row.attempts, row.words) == ("sent", 2, "2 objects taken")

    def test_one_that_kills_every_worker_ends(self, mercy, monkeypatch) -> None:
        monkeypatch.setattr(services, "MAX_ATTEMPTS", 1)
        issued(mercy)
        [row] = deliveries(mercy)
        with mercy.scope():
            assert delivery_claim(delivery_id=row.id)
        step(mercy, is_waited=True)
        assert [(row.state, row.words) for row in deliveries(mercy)] == [("failed", "given up: no attempt came to an end")]

    def test_reports_of_another_hospital_are_not_touched(self, mercy, olaf) -> None:
        issued(mercy)
        [row] = deliveries(mercy)
        assert delivery_run(tenant_id=olaf.tenant.id, delivery_id=row.id) is None
        with olaf.scope():
            assert not Report.objects.exists()
        assert deliveries(mercy)[0].state == "pending"
