"""Answers of an archive about storage commitment that we must not believe, and those that we take all the same (PS3.4 Annex J)."""

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from imaging.nodes import node_add
from journal.models import AuditEvent
from tests.ai.delivery.committing import FAILED, KEPT, SR, Pacs, event_of, listener, pacs_run, report, row_of, said, state
from tests.ai.delivery.reports import issued, step

__all__ = ["listener"]
pytestmark = [pytest.mark.peers, pytest.mark.xdist_group("orthanc")]


class TestNotBelieved:
    """ "An answer with another transaction UID, from another hospital's AE, or naming objects we did not ask for changes nothing"."""

    @pytest.fixture
    def asked(self, mercy, settings) -> Dataset:
        with pacs_run(settings, mercy) as pacs:
            issued(mercy)
            step(mercy)
        return pacs.asked[0]

    def test_strange_answers(self, listener, mercy, asked, caplog) -> None:
        """"... and is a logged refusal status per PS3.7 (0x0112/0x0110...)"."""
        before = row_of(mercy)
        stranger, other_class = event_of(asked), event_of(asked)
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = SR, generate_uid()
        stranger.ReferencedSOPSequence = [*stranger.ReferencedSOPSequence, item]
        wrong = Dataset()
        wrong.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        wrong.ReferencedSOPInstanceUID = asked.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        other_class.ReferencedSOPSequence = [wrong]
        both = event_of(asked)
        both.FailedSOPSequence = both.ReferencedSOPSequence
        nothing = Dataset()
        nothing.TransactionUID = asked.TransactionUID
        one = str(item.ReferencedSOPInstanceUID)
        for event, kind, status in (
            (event_of(asked, TransactionUID=generate_uid()), KEPT, 0x0112), (event_of(asked, TransactionUID=""), KEPT, 0x0115),
            (stranger, KEPT, 0x0115), (other_class, KEPT, 0x0119), (both, FAILED, 0x0115), (nothing, KEPT, 0x0115),
            (event_of(asked), FAILED, 0x0115), (event_of(asked), 3, 0x0113),
        ):  # fmt: skip
            assert report(listener, mercy.called_ae, event, kind)[0] == status, (kind, hex(status))
        assert report(listener, mercy.called_ae, event_of(asked), instance="1.2.3")[0] == 0x0112
        after = row_of(mercy)
        assert (after.state, after.words, after.failures, after.due_at) == (before.state, before.words, None, before.due_at)
        assert "commitment: refused with 0112" in caplog.text
        assert one not in caplog.text
        assert asked.TransactionUID not in caplog.text
        assert report(listener, mercy.called_ae, event_of(asked)) == (0, "")

    def test_another_hospital_and_another_node(self, listener, mercy, olaf, asked) -> None:
        """The wall: olaf's archive of the same AE title, olaf's called title, mercy's CT, and somebody unknown."""
        with olaf.scope():
            node_add(ae_title=Pacs.title, services=["store"])
        assert report(listener, olaf.called_ae, event_of(asked))[0] == 0x0112
        assert report(listener, mercy.called_ae, event_of(asked), calling=mercy.calling_ae)[0] == 0x0112
        assert report(listener, mercy.called_ae, event_of(asked), calling="STRANGER")[0] == -1
        assert report(listener, mercy.called_ae, event_of(asked), calling=olaf.calling_ae)[0] == -1
        assert row_of(mercy).state == "stored"

    def test_twice_is_once(self, listener, mercy, asked) -> None:
        """"Idempotent by event", "answering twice": the same again is success and changes nothing; a contradiction is refused."""
        for _ in range(2):
            assert report(listener, mercy.called_ae, event_of(asked)) == (0, "")
        uid = str(asked.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        status, comment = report(listener, mercy.called_ae, event_of(asked, {uid: 0x0110}), FAILED)
        assert (status, comment) == (0x0110, "this transaction was answered otherwise before")
        assert state(mercy) == ("confirmed", "the node answers for 2 objects")
        assert [words for _, words in said(mercy)].count("the node answers for 2 objects") == 1
        with mercy.scope():
            assert AuditEvent.objects.filter(action="delivery.commitment").count() == 1

    def test_an_archive_without_role_selection(self, listener, mercy, asked) -> None:
        """Old archives report without proposing their role; the class itself says who reports (PS3.4 J.3.3)."""
        assert report(listener, mercy.called_ae, event_of(asked), has_role=False) == (0, "")
        assert row_of(mercy).state == "confirmed"

    def test_a_node_that_was_moved_to_another_address(self, listener, mercy, asked) -> None:
        """"addresses" of the node hold for its answers too."""
        with mercy.scope():
            node_add(ae_title=Pacs.title, address="192.0.2.7")
        assert report(listener, mercy.called_ae, event_of(asked))[0] == -1
        with mercy.scope():
            node_add(ae_title=Pacs.title, address="127.0.0.1")
        assert report(listener, mercy.called_ae, event_of(asked)) == (0, "")
