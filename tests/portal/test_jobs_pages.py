"""The pages of jobs: the list, one job's story, what was kept back, and the ways on."""

import uuid

import pytest
from django.urls import reverse
from django.utils import timezone

from ai.jobs import RequeueRefused, job_requeue
from ai.models import Exchange, Job, Result
from ai.services import connection_create
from imaging.models import Series, Study
from journal.audit import Actor
from journal.models import AuditEvent
from tests import house
from tests.dicom_files import ct_slice, series_of
from tests.portal.test_pages import signed_in

pytestmark = pytest.mark.database

ACTOR = Actor(name="user:test")


@pytest.fixture
def job(mercy) -> Job:
    """A quarantined one, of a study with a long CT series and a single slice."""
    slices = series_of(25)
    house.store(mercy, [*slices, ct_slice(StudyInstanceUID=slices[0].StudyInstanceUID, SeriesNumber=9)])
    house.index(mercy)
    with mercy.scope():
        study = Study.objects.get()
        made = Job.objects.create(
            study=study, study_version=study.version, connection=connection_create(platform="medhub-quantify"),
            algorithm="lung-density-mask", series=Series.objects.order_by("-number_of_instances").first().id, state="quarantined",
            reason="the answer names another study", created_at=timezone.now(), sent_at=timezone.now(), ended_at=timezone.now(),
            input_sha256="ab" * 32, remote_id="r1", surrogate_uid="2.25.7",
        )  # fmt: skip
        Exchange.objects.create(job=made, kind="send", is_good=True, words="25 objects", milliseconds=41, at=timezone.now())
        Result.objects.create(
            job=made, payload={"study_uid": "9.9", "note": "<script>"}, is_analysable=False, received_at=timezone.now(),
            files=[{"name": "0000.dcm", "size": 1234, "sha256": "cd" * 32}],
        )  # fmt: skip
        return made


def page_of(hospital, job, name: str = "job") -> str:
    return reverse(name, args=[hospital.slug, job.uuid])


def test_a_quarantined_answer_is_shown_as_what_it_is(client, mercy, job) -> None:
    """"quarantine and dead letters": why, what came, objects with size and digest; looking is audited, nothing of it is markup."""
    page = signed_in(client, mercy, "admin").get(page_of(mercy, job)).content.decode()
    for words in (
        "the answer names another study", "This is no result", "&quot;study_uid&quot;: &quot;9.9&quot;", "&lt;script&gt;", "0000.dcm",
        "1234", "cd" * 32, "25 objects", "41 ms", "ab" * 32, "nothing leaves the house", "Send again", "<title>Job - MedHub</title>",
    ):  # fmt: skip
        assert words in page, words
    assert "DOE" not in page
    with mercy.scope():
        assert AuditEvent.objects.filter(action="job.view", object_id=str(job.uuid)).count() == 1
    attention = client.get(reverse("attention", args=[mercy.slug])).content.decode()
    assert page_of(mercy, job) in attention


def test_roles(client, mercy, job) -> None:
    """Radiologists see jobs read-only; an integrator, who reads no studies, does not see what came."""
    page = signed_in(client, mercy, "radiologist").get(page_of(mercy, job)).content.decode()
    assert "This is no result" in page
    assert "Send again" not in page
    assert client.post(page_of(mercy, job, "job-again")).status_code == 403
    client.logout()
    page = signed_in(client, mercy, "integrator").get(page_of(mercy, job)).content.decode()
    assert "answer kept back" in page
    assert "9.9" not in page


def test_the_list_is_filtered_by_its_address(client, mercy, job, monkeypatch) -> None:
    """Newest first, keyset paging, state and platform in the address; what it cannot mean is left out."""
    monkeypatch.setattr("portal.views.jobs.SIZE", 2)
    with mercy.scope():
        for name in ("b", "c"):
            Job.objects.create(
                study=job.study, study_version=1, connection=job.connection, algorithm=name, state="failed", created_at=timezone.now()
            )
    url = reverse("jobs", args=[mercy.slug])
    first = signed_in(client, mercy, "radiologist").get(url)
    assert [row.job.algorithm for row in first.context["rows"]] == ["c", "b"]
    older = client.get(f"{url}?{first.context['older']}")
    assert [row.job.algorithm for row in older.context["rows"]] == ["lung-density-mask"]
    assert [row.job.algorithm for row in client.get(url, {"state": "quarantined"}).context["rows"]] == ["lung-density-mask"]
    assert "No job is like that" in client.get(url, {"platform": "aidoc"}).content.decode()
    for hostile in ("9" * 19, "-1", "x", "9" * 400):
        assert client.get(url, {"before": hostile, "state": "'", "platform": "'"}).status_code == 200


def test_empty_says_the_next_step(client, mercy) -> None:
    page = signed_in(client, mercy, "radiologist").get(reverse("jobs", args=[mercy.slug])).content.decode()
    assert "No job yet" in page
    assert "Look at the platforms" in page


def test_cancel_and_resend(client, mercy, job) -> None:
    """Buttons move the row by its table; a second press changes nothing and says so."""
    signed_in(client, mercy, "owner")
    assert "It is sent again" in client.post(page_of(mercy, job, "job-again"), follow=True).content.decode()
    assert "Nothing was changed" in client.post(page_of(mercy, job, "job-again"), follow=True).content.decode()
    assert "Cancelled." in client.post(page_of(mercy, job, "job-cancel"), follow=True).content.decode()
    assert "Nothing was changed" in client.post(page_of(mercy, job, "job-cancel"), follow=True).content.decode()
    with mercy.scope():
        assert Job.objects.get().state == "cancelled"
        assert {"job.resend", "job.cancel"} <= set(AuditEvent.objects.values_list("action", flat=True))
    assert client.get(reverse("worklist", args=[mercy.slug])).status_code == 200
    assert client.post(reverse("job-cancel", args=[mercy.slug, uuid.uuid4()])).status_code == 404


def test_another_series_is_another_question(client, mercy, job) -> None:
    """"dead letter with edit-and-requeue": off-label is refused with its reason; what fits is queued under an id of its own."""
    signed_in(client, mercy, "owner")
    with mercy.scope():
        short, long = Series.objects.order_by("number_of_instances")
    url = page_of(mercy, job, "job-requeue")
    page = client.post(url, {"series": str(short.id), "algorithm": job.algorithm}).content.decode()
    assert "1 slice, " in page
    with mercy.scope():
        assert Job.objects.get().state == "quarantined"
    page = client.post(url, {"series": str(long.id), "algorithm": job.algorithm}, follow=True)
    with mercy.scope():
        now = Job.objects.get()
        assert (now.state, now.series, now.surrogate_uid, now.input_sha256, now.sent_at) == ("queued", long.id, "", "", None)
        assert AuditEvent.objects.get(action="job.requeue").object_id == str(job.uuid)
    assert now.uuid != job.uuid
    assert page.redirect_chain == [(page_of(mercy, now), 302)]
    assert client.get(page_of(mercy, job)).status_code == 404
    assert "Nothing was changed" in client.post(page_of(mercy, now, "job-requeue"), follow=True).content.decode()


def test_another_algorithm_is_another_job(client, mercy, job) -> None:
    """The old row ends with the reason; one that exists already, a foreign series and a newer study are refused."""
    with mercy.scope():
        Job.objects.filter(id=job.id).update(algorithm="old", state="failed", ended_at=job.created_at)
        series = Series.objects.order_by("-number_of_instances").first()
        with pytest.raises(RequeueRefused, match="no such series"):
            job_requeue(job_id=job.id, series_id=1, algorithm="lung-density-mask", actor=ACTOR)
        with pytest.raises(RequeueRefused, match="no algorithm of that name"):
            job_requeue(job_id=job.id, series_id=series.id, algorithm="none", actor=ACTOR)
        assert not AuditEvent.objects.filter(action="job.requeue").exists()
        new = job_requeue(job_id=job.id, series_id=series.id, algorithm="lung-density-mask", actor=ACTOR)
        old = Job.objects.get(id=job.id)
        assert (old.state, old.reason, old.due_at) == ("cancelled", "sent again as lung-density-mask", None)
        assert (new.state, new.series, new.algorithm, new.uuid == old.uuid) == ("queued", series.id, "lung-density-mask", False)
        assert new.due_at is not None
        with pytest.raises(RequeueRefused, match="has a job for this study already"):
            job_requeue(job_id=job.id, series_id=series.id, algorithm="lung-density-mask", actor=ACTOR)
        with pytest.raises(RequeueRefused, match="open or has its answer"):
            job_requeue(job_id=new.id, series_id=series.id, algorithm="lung-density-mask", actor=ACTOR)
        Study.objects.update(version=job.study_version + 1)
        with pytest.raises(RequeueRefused, match="newer version"):
            job_requeue(job_id=job.id, series_id=series.id, algorithm="old", actor=ACTOR)
