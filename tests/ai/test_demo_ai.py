"""`manage.py demo_ai`: what it prints opens the doors that it names."""

import fcntl
import json
import threading
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from ai.connections import connection_set
from ai.dispatch import job_run
from ai.jobs import job_requeue, job_resend
from ai.models import Connection, Job, Result, ReturnedObject, Workitem
from ai.returned.copies import copies_folder
from billing.entitlements import entitlement_set
from imaging.inbox import inbox_root
from imaging.models import Study
from journal.audit import Actor
from tests import house
from tests.ai.test_dispatch import hook_post, said
from tests.dicom_files import ct_slice, part10

pytestmark = pytest.mark.database


def demo(mercy, olaf) -> dict[str, object]:
    for hospital in (mercy, olaf):
        with hospital.scope():
            entitlement_set(state="active")
    out = StringIO()
    call_command("demo_ai", "--json", hospital=mercy.slug, other=olaf.slug, stdout=out)
    return json.loads(out.getvalue())


def test_its_jobs_wait_for_a_signed_answer(client, mercy, olaf) -> None:
    """"opens two jobs of Mercy and one of St. Olaf that wait for a webhook answer": a signed answer is taken; another's job is 404."""
    found = demo(mercy, olaf)
    hook = found["webhook"]
    assert len({*hook["jobs"], hook["other_job"]}) == 3
    for uuid in hook["jobs"]:
        with mercy.scope():
            job = Job.objects.get(uuid=uuid)
            assert job.state == "sent"
            assert hook["url"].endswith(f"/hooks/ai/{job.connection.uuid}")
        assert hook_post(client, mercy, said(job), hook["secret"]).json() == {"status": "taken"}
        with mercy.scope():
            assert Job.objects.get(uuid=uuid).state == "done"
    with olaf.scope():
        theirs = Job.objects.get()
    assert str(theirs.uuid) == hook["other_job"]
    assert hook_post(client, mercy, said(theirs), hook["secret"]).status_code == 404
    house.index(mercy)
    house.deliver(mercy)
    with mercy.scope():
        assert {study.patient.patient_id for study in Study.objects.select_related("patient")} == {"DEMO-AI"}


def test_its_worklist_opens_with_its_token(client, mercy, olaf) -> None:
    """"ups", "performer_token": the two workitems and nobody else's."""
    found = demo(mercy, olaf)
    path = "/t/" + found["ups"].split("/t/")[1]
    answer = client.get(path, headers={"authorization": f"Bearer {found['performer_token']}", "accept": "application/dicom+json"})
    assert answer.status_code == 200
    assert len(answer.json()) == 2
    assert client.get(path).status_code == 401


def test_its_return_ae_is_bound_to_the_connection(mercy, olaf) -> None:
    """"return_ae": host, port, both titles, and the study as the performer knows it. A second run opens new jobs over the same doors."""
    from tenants.selectors import return_ae_of

    first, second = demo(mercy, olaf), demo(mercy, olaf)
    back = first["return_ae"]
    assert all(back[name] for name in ("host", "port", "called_ae", "calling_ae", "study_uid"))
    with mercy.scope():
        connection = Connection.objects.get()
        assert Job.objects.get(uuid=first["webhook"]["jobs"][0]).surrogate_uid == back["study_uid"]
    assert return_ae_of(tenant_id=mercy.tenant.id, connection_id=connection.id) == back["called_ae"]
    assert second["webhook"]["secret"] == first["webhook"]["secret"]
    assert set(second["webhook"]["jobs"]).isdisjoint(first["webhook"]["jobs"])


def test_beside_a_running_index_worker(mercy, olaf) -> None:
    """While a worker holds the inbox the command writes there and waits: two never index at once."""
    is_over = threading.Event()

    def work() -> None:
        with (inbox_root() / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            begun.set()
            while not is_over.wait(0.05):
                taken.append(house.index(mercy) + house.index(olaf))
        connections.close_all()

    begun, taken = threading.Event(), []
    inbox_root().mkdir(parents=True, exist_ok=True)
    worker = threading.Thread(target=work)
    worker.start()
    try:
        assert begun.wait(10)
        assert len(demo(mercy, olaf)["webhook"]["jobs"]) == 2
    finally:
        is_over.set()
        worker.join(10)
    assert sum(taken) == 9


def test_a_real_connection_is_left_alone(mercy, olaf) -> None:
    with mercy.scope():
        connection_set(platform="sharedmind", values={"contract": "real", "auth": "none"}, actor=Actor(name="user:test"))
    with pytest.raises(CommandError, match="not marked as test"):
        demo(mercy, olaf)
    with mercy.scope():
        assert Connection.objects.get().settings["contract"] == "real"
    with pytest.raises(CommandError, match="run the demo first"):
        call_command("demo_ai", hospital="no-such-hospital")


def test_an_edited_job_leaves_the_worklist_with_its_old_question(client, mercy, olaf) -> None:
    """"dead letter with edit-and-requeue", by UPS-RS: nobody can claim the old workitem any more, the new question has one of its own."""
    found = demo(mercy, olaf)
    with mercy.scope():
        job = Job.objects.get(uuid=found["webhook"]["jobs"][0])
    hook_post(client, mercy, said(job, findings="<b>none</b>"), found["webhook"]["secret"])
    with mercy.scope():
        old = Workitem.objects.get(job=job)
        assert old.state == Workitem.State.CANCELED, "the job has ended, though not well: nobody is to work on it"
        again = job_requeue(job_id=job.id, series_id=job.series, algorithm=job.algorithm, actor=Actor(name="user:test"))
        assert again.state == "queued"
    job_run(tenant_id=mercy.tenant.id, job_id=job.id)
    with mercy.scope():
        new = Workitem.objects.get(job=job, state=Workitem.State.SCHEDULED)
        assert new.workitem_uid != old.workitem_uid
        assert Job.objects.get(id=job.id).state == "sent"
    path = "/t/" + found["ups"].split("/t/")[1]
    listed = client.get(f"{path}?00741000=SCHEDULED", headers={"authorization": f"Bearer {found['performer_token']}"}).json()
    assert old.workitem_uid not in {item["00080018"]["Value"][0] for item in listed}
    assert len(listed) == 2


def test_a_job_is_asked_anew_when_its_workitem_was_completed(client, mercy, olaf) -> None:
    """"quarantine and dead letters with resend", by UPS-RS: the performer sees the question again, and the old end is no answer."""
    found = demo(mercy, olaf)
    with mercy.scope():
        job = Job.objects.get(uuid=found["webhook"]["jobs"][0])
    hook_post(client, mercy, said(job, findings="<b>none</b>"), found["webhook"]["secret"])
    with mercy.scope():
        Workitem.objects.filter(job=job).update(state=Workitem.State.COMPLETED)
        assert job_resend(job_id=job.id)
    for _ in range(2):
        job_run(tenant_id=mercy.tenant.id, job_id=job.id)
        with mercy.scope():
            Job.objects.filter(id=job.id).update(due_at=job.created_at)
            assert Job.objects.get(id=job.id).state == "sent"
            assert sorted(Workitem.objects.filter(job=job).values_list("state", flat=True)) == ["COMPLETED", "SCHEDULED"]


def test_objects_that_were_kept_back_are_no_answer_to_the_next_try(mercy, olaf, settings) -> None:
    """"quarantine and dead letters with resend": they stay for people to look at, and the job that is sent again waits for new ones."""
    demo(mercy, olaf)
    content = part10(ct_slice())
    with mercy.scope():
        job = Job.objects.first()
        Workitem.objects.filter(job=job).update(state=Workitem.State.COMPLETED)
        key = f"returned/{mercy.tenant.id}/1.dcm"
        path = settings.MEDHUB_OBJECTS / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        ReturnedObject.objects.create(
            connection=job.connection, job=job, study_uid=job.surrogate_uid, sop_class_uid="1.2", sop_instance_uid="1.2.3", key=key,
            size=len(content), received_at=job.created_at - timedelta(hours=1),
        )  # fmt: skip
        Job.objects.filter(id=job.id).update(due_at=job.created_at)
    job_run(tenant_id=mercy.tenant.id, job_id=job.id)
    with mercy.scope():
        assert Job.objects.get(id=job.id).state == "quarantined"
        (kept,) = Result.objects.get(job=job).files
        assert (copies_folder(tenant_id=mercy.tenant.id, job_uuid=job.uuid) / kept["name"]).read_bytes() == content
        assert not ReturnedObject.objects.exists()
        assert job_resend(job_id=job.id)
    assert not path.exists()
    for _ in range(2):
        job_run(tenant_id=mercy.tenant.id, job_id=job.id)
        with mercy.scope():
            Job.objects.filter(id=job.id).update(due_at=job.created_at)
            assert Job.objects.get(id=job.id).state == "sent"
