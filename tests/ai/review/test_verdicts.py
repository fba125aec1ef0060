"""A person accepts, corrects, rejects, takes back: rows, versions, and what each is in DICOM."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import highdicom as hd
import pytest
from django.db import connections

from ai.findings import Correction
from ai.models import Report, ReportDelivery, Verdict
from ai.readers import Reader
from ai.reports import report_issue
from ai.review.services import VerdictRefused, verdict_give
from journal.audit import Actor
from journal.models import AuditEvent
from journal.types import Event
from tests.ai.delivery.reports import deliveries, finish, issued
from tests.ai.encoding.cases import judged, reread
from tests.ai.review.answers import result_make
from tests.ai.review.reviewing import decide, person_of, stored
from tests.orthanc import port_free

pytestmark = pytest.mark.database

WRONG = {"action": "correct", "reason": "wrong-value"}
SR, KOS = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.88.59"


def statuses(hospital, report) -> list[tuple[int, str]]:
    with hospital.scope():
        return list(Report.objects.filter(uuid=report.uuid).order_by("version").values_list("version", "status"))


def test_accepted_is_a_final_version_signed_in_dicom(mercy) -> None:
    """"accept ... report versions preliminary -> final": a row with who and when, and a VERIFIED SR that names its predecessor."""
    first = issued(mercy)
    finish(mercy)
    made = decide(mercy, first, "accept", person_of(mercy))
    assert statuses(mercy, first) == [(1, "preliminary"), (2, "final")]
    with mercy.scope():
        verdict = Verdict.objects.get()
        assert (verdict.action, verdict.by_name, verdict.made_version, verdict.report_id) == ("accept", "Jane Q Roe", 2, first.id)
        assert AuditEvent.objects.filter(action="report.review.accept", object_id=str(made.study.uuid)).count() == 1
    before, after = stored(mercy, SR)
    assert (before.VerificationFlag, after.VerificationFlag) == ("UNVERIFIED", "VERIFIED")
    assert (after.CompletionFlag, after.PreliminaryFlag) == ("COMPLETE", "FINAL")
    [who] = after.VerifyingObserverSequence
    assert str(who.VerifyingObserverName) == "Roe^Jane Q"
    assert who.VerifyingOrganization
    assert datetime.strptime(who.VerificationDateTime, "%Y%m%d%H%M%S%z") == made.issued_at.replace(microsecond=0)
    replaced = after.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert replaced.ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert "preliminary" not in made.conclusion
    assert made.conclusion.endswith("Accepted by Jane Q Roe. AI-generated, not a medical device.")
    judged(after)
    assert len(reread(after).measurements) == len(reread(before).measurements)


def test_corrected_keeps_the_algorithms_own_beside_it(mercy) -> None:
    """"correct -> amended (the corrected findings/words with who did it; the machine's own stays readable beside it)"."""
    first = issued(mercy)
    finish(mercy)
    made = decide(
        mercy, first, "correct", person_of(mercy), reason="wrong-value", words="The window was cut at the diaphragm.",
        corrections=[Correction(item="measurement/0", value=5000.0), Correction(item="finding/0", words="skin fold")],
    )  # fmt: skip
    assert statuses(mercy, first)[-1] == (2, "amended")
    assert made.content["measurements"][0]["value"] == first.content["measurements"][0]["value"] == pytest.approx(5373.123456789)
    assert "5,000 mL" in made.conclusion
    assert "Suspected: Pneumothorax: Present" not in made.conclusion
    _, document = stored(mercy, SR)
    judged(document)
    said = reread(document)
    assert said.measurements[0].value == 5000
    assert all(one.value is None for one in said.findings if one.code.display == "Pneumothorax")
    assert any("skin fold (corrected by Jane Q Roe)" in one.words for one in said.findings)
    texts = [str(element.value) for element in document.iterall() if element.keyword == "TextValue"]
    assert any("5,000 mL; the algorithm said: 5,373 mL" in text for text in texts)
    names = [str(element.value) for element in document.iterall() if element.keyword == "PersonName"]
    assert names == ["Roe^Jane Q"], "who changed it has observed it too, beside the device"


def test_everything_denied_is_still_a_document(mercy) -> None:
    """A PACS that shows version 1 must get version 2, also when nothing of what was found holds."""
    sources_content = issued(mercy, measurements=())
    finish(mercy)
    count = len(sources_content.content["findings"])
    decide(
        mercy, sources_content, "correct", person_of(mercy), reason="false-positive",
        corrections=[Correction(item=f"finding/{n}") for n in range(count)],
    )  # fmt: skip
    _, document = stored(mercy, SR)
    judged(document)
    assert all(one.value is None and one.probability is None for one in reread(document).findings)


def test_rejected_is_a_note_about_every_object(mercy) -> None:
    """"a rejection is an IHE KOS rejection note ... referencing the objects"; cancelled, because it never was final."""
    first = issued(mercy)
    finish(mercy)
    made = decide(mercy, first, "reject", person_of(mercy), reason="false-positive", words="fissure")
    assert statuses(mercy, first)[-1] == (2, "cancelled")
    assert made.conclusion == (
        "Rejected by Jane Q Roe (what it says is not there: fissure). What the algorithm said is not to be used. "
        "AI-generated, not a medical device."
    )
    [note] = stored(mercy, KOS)
    judged(note)
    title = note.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113037", "DCM")
    assert note.Manufacturer == "MedicalCloudAIHub", "no vendor made it"
    document = hd.ko.KeyObjectSelectionDocument.from_dataset(note)
    evidence = {
        str(item.ReferencedSOPInstanceUID)
        for study in document.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    made_before = {str(one.SOPInstanceUID) for uid in (SR, "1.2.840.10008.5.1.4.1.1.104.1") for one in stored(mercy, uid)}
    assert evidence == made_before
    assert len(stored(mercy, SR)) == 1, "no document says again what was rejected"
    assert [str(element.value) for element in note.iterall() if element.keyword == "PersonName"] == ["Roe^Jane Q"]


def test_undo_is_a_next_version_with_the_former_status(mercy) -> None:
    """"undo": the row stays, each step is taken back by its own, and what was final once is entered-in-error when it is rejected."""
    first, jane, ali = issued(mercy), person_of(mercy), person_of(mercy, "owner", "Ali Ahmadi")
    finish(mercy)
    version = decide(mercy, first, "accept", jane)
    version = decide(mercy, version, "correct", ali, reason="missed", words="Small effusion on the left.")
    version = decide(mercy, version, "undo", jane)
    assert (version.status, version.content["review"]["by"]) == ("final", "Jane Q Roe")
    version = decide(mercy, version, "undo", jane)
    assert (version.status, version.content["review"]) == ("preliminary", None)
    version = decide(mercy, version, "reject", ali, reason="poor-input")
    assert version.status == "entered-in-error"
    version = decide(mercy, version, "undo", ali)
    assert statuses(mercy, first) == [
        (1, "preliminary"), (2, "final"), (3, "amended"), (4, "final"), (5, "preliminary"), (6, "entered-in-error"), (7, "preliminary"),
    ]  # fmt: skip
    with mercy.scope(), pytest.raises(VerdictRefused, match="nothing to take back"):
        verdict_give(report_uuid=first.uuid, version=7, action="undo", actor=jane, reader=Reader())
    documents = stored(mercy, SR)
    assert [one.VerificationFlag for one in documents] == ["UNVERIFIED", "VERIFIED", "VERIFIED", "VERIFIED", "UNVERIFIED", "UNVERIFIED"]
    with mercy.scope():
        assert Verdict.objects.count() == 6


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"action": "reject"}, "reason", "choose a reason"),
        ({"action": "reject", "reason": "missed"}, "reason", "choose a reason"),
        ({"action": "reject", "reason": "other"}, "words", "say which"),
        ({"action": "correct", "reason": "missed"}, "words", "say what is right"),
        ({**WRONG, "corrections": [Correction(item="measurement/9", value=1)]}, "corrections", "no such"),
        ({**WRONG, "corrections": [Correction(item="finding/0", value=1)]}, "corrections", "a number"),
        ({"action": "accept", "reason": "missed"}, "reason", "needs no reason"),
        ({"action": "approve"}, "action", "accept, correct"),
        ({"action": "accept", "version": 2}, "", "there is a newer version"),
        ({"action": "accept", "actor": Actor(name="token:1")}, "", "a verdict is a person's"),
    ],
)  # fmt: skip
def test_refused_in_words(mercy, values, field, words) -> None:
    """"reject with reason"; "a report of another version than the one seen is refused"; a machine's key decides nothing."""
    first = issued(mercy)
    given = {"version": 1, "actor": person_of(mercy), **values}
    with mercy.scope(), pytest.raises(VerdictRefused, match=words) as refused:
        verdict_give(report_uuid=first.uuid, reader=Reader(), **given)
    assert refused.value.field == field
    assert statuses(mercy, first) == [(1, "preliminary")]


def test_two_at_once_make_one_version(mercy) -> None:
    """Two people press at the same moment: one verdict stands, the other is told to look."""
    first, actors = issued(mercy), [person_of(mercy), person_of(mercy, "owner", "Ali")]

    def press(actor: Actor) -> str:
        try:
            with mercy.scope():
                verdict_give(report_uuid=first.uuid, version=1, action="accept", actor=actor, reader=Reader())
            return "made"
        except VerdictRefused as refused:
            return refused.user_message
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        said = sorted(pool.map(press, actors))
    assert sum(one == "made" for one in said) == 1
    assert any("there is a newer version: 2, final" in one for one in said)
    assert statuses(mercy, first) == [(1, "preliminary"), (2, "final")]


def test_a_new_result_leaves_what_was_decided(mercy) -> None:
    """"A reviewed report never goes back to preliminary by a re-run ... else it is a separate visible item"."""
    first = issued(mercy)
    jane = person_of(mercy)
    decide(mercy, first, "accept", jane)
    with mercy.scope():
        result = result_make(first, study_version=2)
        report_issue(event=Event(id=1, tenant_id=mercy.tenant.id, name="result.received", ids={"result_id": result.id}, trace_id="0" * 32))
        second = Report.objects.get(result=result)
        assert second.uuid != first.uuid
        assert (second.version, second.status) == (1, "preliminary")
        again = result_make(first, study_version=3)
        report_issue(event=Event(id=2, tenant_id=mercy.tenant.id, name="result.received", ids={"result_id": again.id}, trace_id="0" * 32))
        third = Report.objects.get(result=again)
        assert (third.uuid, third.version) == (second.uuid, 2), "the one that nobody has decided goes on"
    assert statuses(mercy, first) == [(1, "preliminary"), (2, "final")]


def test_what_was_not_sent_is_not_sent_after_a_rejection(mercy, node_at) -> None:
    """A node that was away gets neither the rejected report later nor a note about what it never had."""
    node_at(mercy, port_free(), "PACS_7", results_as="sr")
    first = issued(mercy)
    assert [row.state for row in deliveries(mercy, kind="pacs_dimse")] == ["pending"]
    decide(mercy, first, "reject", person_of(mercy), reason="poor-input")
    [row] = deliveries(mercy, kind="pacs_dimse")
    assert (row.state, row.due_at, row.words) == ("superseded", None, "a person decided before it was sent")
    assert [one.report.version for one in deliveries(mercy, kind="archive")] == [1, 2]
    with mercy.scope():
        assert ReportDelivery.objects.filter(state="pending").count() == 0


def test_only_a_shown_report_is_decided(mercy, olaf) -> None:
    """What is in shadow, or another hospital's, is not there."""
    first = issued(mercy)
    jane = person_of(mercy)
    with olaf.scope():
        assert verdict_give(report_uuid=first.uuid, version=1, action="accept", actor=jane, reader=Reader()) is None
    with mercy.scope():
        Report.objects.filter(id=first.id).update(stage="shadow")
        assert verdict_give(report_uuid=first.uuid, version=1, action="accept", actor=jane, reader=Reader()) is None
