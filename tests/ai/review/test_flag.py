"""The worklist's flag from a platform's answer to a person's decision: AI raises, people settle."""

from datetime import timedelta

import pytest
from django.utils import timezone

from ai.contract import Payload
from ai.deident.cleaner import Geometry
from ai.deident.mapping import Mapping, Source
from ai.models import Job, JobMapping, Report
from ai.results import result_take
from imaging.listing import StudyWish, studies_list
from imaging.models import Series, Study
from imaging.priorities import study_priority_set
from journal.audit import Actor
from tests import house
from tests.ai.delivery.reports import sources_take
from tests.ai.reading.test_hook import PNEUMOTHORAX, body
from tests.ai.review.reviewing import decide, person_of
from tests.portal.test_worklist import linked, studies_make

pytestmark = pytest.mark.database
TOLD = ("2.25.91", "2.25.92")  # study, series: what the vendor knows


def asked(hospital) -> tuple[Job, str]:
    """A triage job that its vendor has, over stored images; and the image that was sent, by the vendor's name for it."""
    sources = sources_take(hospital, 2)
    with hospital.scope():
        series = Series.objects.select_related("study").get()
        job = Job.objects.create(
            study=series.study, study_version=1, connection=linked("viz-ai"), algorithm="ich-triage", state="sent", series=series.id,
            surrogate_uid=TOLD[0], created_at=timezone.now(), sent_at=timezone.now(),
        )  # fmt: skip
        pairs = {f"2.25.{100 + n}": str(one.SOPInstanceUID) for n, one in enumerate(sources)}
        uids = {"study": {TOLD[0]: series.study.study_uid}, "series": {TOLD[1]: series.series_uid}, "sop": pairs}
        mapping = Mapping(
            study_uid=TOLD[0], patient="S1", original_patient="p", shift_days=0, sent_on=timezone.now().date(), uids=uids,
            sources={uid: Source(str(sources[0].SOPClassUID), TOLD[1], Geometry()) for uid in pairs},
        )  # fmt: skip
        JobMapping.objects.create(job=job, content=mapping.to_json())
    return job, next(iter(pairs))


def test_a_flagged_answer_raises_and_a_decision_settles(mercy) -> None:
    """"human priority first, AI flag second": a flag that came through the gate stands behind people's wish and before all others,
    until a radiologist has decided; what is taken back is undecided again.
    """
    job, image = asked(mercy)
    with mercy.scope():
        newer, wished = studies_make(2)
        Study.objects.filter(id=job.study_id).update(first_received_at=timezone.now() - timedelta(days=1))
        study_priority_set(study_uuid=wished.uuid, priority="urgent", actor=Actor(name="user:anna"))

    def order() -> list[int]:
        with mercy.scope():
            return [one.id for one in studies_list(wish=StudyWish(), now=timezone.now()).studies]

    raised, settled = [wished.id, job.study_id, newer.id], [wished.id, newer.id, job.study_id]
    assert order() == settled
    said = body({**PNEUMOTHORAX, "value": True, "sop_refs": [image]}, job_id=str(job.uuid))
    assert result_take(tenant_id=mercy.tenant.id, job_id=job.id, payload=Payload(kind="json", data=said))
    assert order() == raised
    house.deliver(mercy)
    jane = person_of(mercy)
    with mercy.scope():
        version = Report.objects.get()
    for action, more, expected in (
        ("accept", {}, settled), ("undo", {}, raised), ("reject", {"reason": "false-positive"}, settled), ("undo", {}, raised),
        ("correct", {"reason": "missed", "words": "Chronic."}, settled),
    ):  # fmt: skip
        version = decide(mercy, version, action, jane, **more)
        assert order() == expected, action
