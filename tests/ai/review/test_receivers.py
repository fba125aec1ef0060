"""What a PACS gets after a verdict: the signed document, or the note that rejects it, where the first one went."""

import pytest

from ai.delivery.services import delivery_resend
from imaging.models import Node
from journal.audit import Actor
from tests.ai.delivery.reports import deliveries, finish, issued
from tests.ai.review.reviewing import decide, person_of

pytestmark = [pytest.mark.database, pytest.mark.peers, pytest.mark.xdist_group("orthanc")]

SR, KOS = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.88.59"


def held(orthanc) -> list[dict]:
    return [orthanc.rest(f"/instances/{one}/simplified-tags") for one in orthanc.rest("/instances")]


def test_a_pacs_gets_the_signed_one_and_the_rejection(mercy, node_at, orthanc) -> None:
    """"delivered to the archive and to nodes that had the first one ... a rejection is ... delivered likewise", also when the node
    takes no results any more; and what was rejected is not sent again.
    """
    node = node_at(mercy, orthanc.port, "ORTHANC", results_as="sr")
    first, jane = issued(mercy), person_of(mercy)
    finish(mercy)
    final = decide(mercy, first, "accept", jane)
    documents = [one for one in held(orthanc) if one["SOPClassUID"] == SR]
    assert sorted(one["VerificationFlag"] for one in documents) == ["UNVERIFIED", "VERIFIED"]
    with mercy.scope():
        Node.objects.filter(id=node.id).update(results_as="")
    decide(mercy, final, "reject", jane, reason="false-positive")
    [note] = [one for one in held(orthanc) if one["SOPClassUID"] == KOS]
    assert note["ConceptNameCodeSequence"][0]["CodeValue"] == "113037"
    [study] = note["CurrentRequestedProcedureEvidenceSequence"]
    named = {item["ReferencedSOPInstanceUID"] for series in study["ReferencedSeriesSequence"] for item in series["ReferencedSOPSequence"]}
    assert {one["SOPInstanceUID"] for one in documents} <= named
    rows = deliveries(mercy, kind="pacs_dimse")
    assert [(row.report.version, row.state) for row in rows] == [(1, "sent"), (2, "sent"), (3, "sent")]
    with mercy.scope():
        assert not delivery_resend(actor=Actor(name="test"), delivery=rows[0])
        assert not delivery_resend(actor=Actor(name="test"), delivery=rows[1])
        assert delivery_resend(actor=Actor(name="test"), delivery=rows[2])
