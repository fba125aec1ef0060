"""Jobs of real platform files against their doubles, through the database: de-identified out, gate, re-identified in, report."""

import json
import time
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.utils import timezone
from pydicom import dcmread

from ai import breaker, dispatch, jobs
from ai.connections import ConnectionRefused, connection_check, connection_set, secrets_open
from ai.models import Connection, Exchange, Job, JobMapping, Report, Result
from ai.outgoing import job_files
from ai.services import connection_create, rule_set
from ai.wires.tasks import HEADER, signature_of
from billing.entitlements import entitlement_set
from imaging.inbox import object_write
from imaging.models import Instance, Study
from journal.audit import Actor
from journal.models import AuditEvent
from tests import house
from tests.ai.platforms.connections import connection, terms_agree

pytestmark = [pytest.mark.database, pytest.mark.xdist_group("doubles")]

ACTOR = Actor(name="user:test")
NAME = "Waldorf^Wanda"


def chest_store(hospital: Any, thorax: list[Path], folder: Path, *, patient: str = "MRN-4711") -> Study:
    """The thorax phantom as a study of a person with a name, in the archive and complete."""
    from tests.ai.handles import fresh

    (out := folder / uuid.uuid4().hex).mkdir()
    for path in fresh(thorax, out):
        ds = dcmread(path)
        ds.PatientName, ds.PatientID, ds.AccessionNumber = NAME, patient, "ACC-42"
        ds.save_as(path, enforce_file_format=True)
        object_write(tenant_id=hospital.tenant.id, source=0, trace_id="0" * 32, parts=[path.read_bytes()])
    uid = dcmread(path, stop_before_pixels=True).StudyInstanceUID
    house.index(hospital)
    house.complete(hospital)
    with hospital.scope():
        return Study.objects.get(study_uid=uid)


def connect(hospital: Any, slug: str, vendors: Any, algorithm: str, **more: str) -> None:
    """The platform connected to its double, and a rule that sends every CT there."""
    values = connection(slug, vendors, **more)
    with hospital.scope():
        entitlement_set(state="active")
        made = connection_set(platform=slug, values=values, is_test=True, actor=ACTOR)
        terms_agree(slug)
        rule_set(name=slug, connection=made, algorithm=algorithm, conditions=[{"fact": "modality", "is": ["CT"]}])


def job_of(hospital: Any, slug: str = "") -> Job:
    with hospital.scope():
        rows = Job.objects.select_related("connection")
        return rows.get(connection__platform=slug) if slug else rows.get()


def run(hospital: Any, until: set[str], seconds: float = 30, slug: str = "") -> Job:
    """Deliver events and step jobs until the job is in one of these states."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        house.index(hospital)
        house.deliver(hospital)
        house.jobs_step(hospital)
        if (job := job_of(hospital, slug)).state in until:
            house.index(hospital)
            house.deliver(hospital)
            return job
        time.sleep(0.05)
    raise AssertionError(f"{job.state}: {job.reason}")


ENDED = {"done", "not_analysable", "failed", "quarantined", "refused", "cancelled"}


@pytest.mark.parametrize(
    ("slug", "algorithm", "more"),
    [("nvidia-clara", "monai-app", {}), ("sharedmind", "by-contract", {}), ("turbine-ai", "by-contract", {"answer": "fhir"})],
)
def test_numbers_come_back_to_the_person(mercy, vendors, thorax, tmp_path, slug, algorithm, more) -> None:
    """"**De-identification** ... **Re-identification** of results ... Every platform file runs its whole loop": through the rows."""
    connect(mercy, slug, vendors, algorithm, **more)
    study = chest_store(mercy, thorax, tmp_path)
    job = run(mercy, ENDED, slug=slug)
    assert (job.state, job.reason) == ("done", "")
    with mercy.scope():
        report = Report.objects.get()
        assert {m["code"]["code"] for m in report.content["measurements"]} == {"118565006", "laa-950", "perc15"}
        assert report.content["study_uid"] == study.study_uid
        ours = set(Instance.objects.filter(study=study).values_list("sop_instance_uid", flat=True))
        assert set(report.content["sop_uids"]) <= ours
        assert report.content["algorithm"]["manufacturer"] == "MedHub Quantify (test double)"
        assert report.content["platform"] == "MedHub Quantify (test double)"
        told = AuditEvent.objects.get(action="ai.send")
        assert "113100" in told.detail["deidentification"]
        assert job.surrogate_uid not in {"", study.study_uid}
        assert NAME.split("^")[0] not in JobMapping.objects.get().content
        assert [one.kind for one in Exchange.objects.order_by("id") if one.is_good][:1] == ["send"]
    assert job_files(tenant_id=mercy.tenant.id, job_id=job.id) == []


def test_nothing_of_the_person_leaves(mercy, vendors, thorax, tmp_path) -> None:
    """What a platform is sent, byte for byte: no name, no number, no UID of ours; the pixels are the same."""
    connect(mercy, "sharedmind", vendors, "by-contract", answer="pushed")
    study = chest_store(mercy, thorax, tmp_path)
    job = run(mercy, {"sent"})
    files = job_files(tenant_id=mercy.tenant.id, job_id=job.id)
    assert len(files) == len(thorax)
    with mercy.scope():
        uids = [study.study_uid, *Instance.objects.values_list("sop_instance_uid", flat=True)]
        keys = list(Instance.objects.order_by("position").values_list("key", flat=True))
    from imaging.storage import object_path

    for path, key in zip(files, keys, strict=True):
        raw = path.read_bytes()
        for word in (b"Waldorf", b"WALDORF", b"Wanda", b"MRN-4711", b"ACC-42", *(uid.encode() for uid in uids)):
            assert word not in raw
        assert dcmread(path).PixelData == dcmread(str(object_path(key))).PixelData
    dispatch.job_cancel(tenant_id=mercy.tenant.id, job_id=job.id)
    assert job_files(tenant_id=mercy.tenant.id, job_id=job.id) == []
    assert job_of(mercy).state == "cancelled"


def test_a_store_yields_a_delivery_and_no_report(mercy, vendors, thorax, tmp_path) -> None:
    """"Stores yield a delivery, language models yield wording, neither a finding"."""
    connect(mercy, "aws-healthlake", vendors, "store")
    chest_store(mercy, thorax, tmp_path)
    job = run(mercy, ENDED)
    assert (job.state, job.reason) == ("done", f"delivered: {len(thorax)} objects, 2 resources")
    with mercy.scope():
        assert Report.objects.count() == 0
        assert Result.objects.get().payload["receipt"]["instances"] == len(thorax)


def test_wording_waits_for_findings_and_stands_beside_them(mercy, vendors, thorax, tmp_path) -> None:
    """"used only to draft the wording of an impression from structured findings, labelled as such"."""
    connect(mercy, "cloud-temple", vendors, "impression-draft")
    connect(mercy, "sharedmind", vendors, "by-contract")
    chest_store(mercy, thorax, tmp_path)
    job = run(mercy, ENDED, slug="cloud-temple", seconds=60)
    assert (job.state, job.reason) == ("done", "")
    with mercy.scope():
        first, second = Report.objects.order_by("version")
    assert (first.uuid, first.version, second.version) == (second.uuid, 1, 2)
    assert first.content.get("wording") is None
    assert second.content["wording"]["text"]
    assert second.content["measurements"] == first.content["measurements"]
    assert second.algorithm == "by-contract"


def hook_post(client: Any, hospital: Any, body: dict[str, Any], secret: str, *, at: float | None = None) -> Any:
    with hospital.scope():
        address = f"/hooks/ai/{Connection.objects.get().uuid}"
    raw = orjson.dumps(body)
    return client.post(
        address, data=raw, content_type="application/json", headers={HEADER: signature_of(secret, raw, at or time.time())}
    )


def pushed(
    hospital: Any, vendors: Any, thorax: list[Path], folder: Path, algorithm: tuple[str, str] = ("sharedmind", "by-contract")
) -> tuple[Job, str]:
    connect(hospital, algorithm[0], vendors, algorithm[1], answer="pushed")
    chest_store(hospital, thorax, folder)
    job = run(hospital, {"sent"}, slug=algorithm[0])
    with hospital.scope():
        return job, secrets_open(Connection.objects.get())["hook_secret"]


def said(job: Job, **more: Any) -> dict[str, Any]:
    finding = {
        "code": "59282003", "system": "http://snomed.info/sct", "display": "Pulmonary embolism", "value": True, "probability": 0.8,
    }  # fmt: skip
    return {
        "job_id": str(job.uuid), "status": "done", "findings": [finding],
        "model": {"name": "MedHub Quantify (test double)", "version": "1"}, **more,
    }  # fmt: skip


def test_a_signed_answer_is_taken_once(client, mercy, vendors, thorax, tmp_path) -> None:
    """"JSON hook", "answers twice": the second call is known and changes nothing."""
    job, secret = pushed(mercy, vendors, thorax, tmp_path)
    assert hook_post(client, mercy, said(job), secret).json() == {"status": "taken"}
    assert hook_post(client, mercy, said(job), secret).json() == {"status": "known"}
    house.deliver(mercy)
    with mercy.scope():
        report = Report.objects.get()
        assert report.conclusion.startswith("Suspected: Pulmonary embolism: Present (0.80)")
        assert Job.objects.get().state == "done"


def test_a_triage_that_does_not_flag_says_nothing(client, mercy, vendors, thorax, tmp_path) -> None:
    """"triage may flag and nothing more": its numbers are left out, no report is made, and the job says that silence is no finding."""
    job, secret = pushed(mercy, vendors, thorax, tmp_path, ("aidoc", "vcf-triage"))
    volume = {"code": "118565006", "system": "http://snomed.info/sct", "display": "Volume", "value": 12.5, "unit": "mL"}
    assert hook_post(client, mercy, said(job, findings=[volume]), secret).json() == {"status": "taken"}
    house.deliver(mercy)
    with mercy.scope():
        job.refresh_from_db()
        assert (job.state, job.reason) == ("done", "the triage algorithm did not flag this study; that is no negative finding")
        assert not Report.objects.exists()


def test_a_hook_lets_nobody_else_in(client, mercy, olaf, vendors, thorax, tmp_path) -> None:
    """"answers for another hospital's job": 404; a wrong, old or missing signature: 401; nothing is taken."""
    job, secret = pushed(mercy, vendors, thorax, tmp_path)
    theirs, their_secret = pushed(olaf, vendors, thorax, tmp_path)
    assert hook_post(client, olaf, said(job), their_secret).status_code == 404
    assert hook_post(client, mercy, said(theirs), secret).status_code == 404
    assert hook_post(client, mercy, said(job), "wrong").status_code == 401
    assert hook_post(client, mercy, said(job), secret, at=time.time() - 301).status_code == 401
    assert client.post(f"/hooks/ai/{uuid.uuid4()}", data=b"{}", content_type="application/json").status_code == 404
    for body in (b"<html>", b"[]", b"{}", b'{"job_id": 7}'):
        with mercy.scope():
            address = f"/hooks/ai/{Connection.objects.get().uuid}"
        headers = {HEADER: signature_of(secret, body, time.time())}
        assert client.post(address, data=body, content_type="application/json", headers=headers).status_code == 400
    assert (job_of(mercy).state, job_of(olaf).state) == ("sent", "sent")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"study_uid": "1.2.840.113619.2.1.1.12345678901.1"}, "something that isn't part of this job"),
        ({"model": {"name": "Aidoc", "version": "1"}}, ""),
        ({"findings": "<b>none</b>"}, "the answer's shape is wrong"),
        ({"findings": []}, "says"),
    ],
)
def test_the_gate_keeps_a_wrong_answer(client, mercy, vendors, thorax, tmp_path, more, words) -> None:
    """"any foreign UID ... -> quarantine, shown"; no vendor's name on what the vendor didn't make."""
    job, secret = pushed(mercy, vendors, thorax, tmp_path)
    told = hook_post(client, mercy, said(job, **more), secret).json()
    house.deliver(mercy)
    ended = job_of(mercy)
    assert told == ({"status": "kept back", "reason": ended.reason} if words else {"status": "taken"})
    with mercy.scope():
        if not words:  # a connection that is marked as test never shows another maker
            assert Report.objects.get().content["algorithm"]["manufacturer"] == "MedHub Quantify (test double)"
            return
        assert (ended.state, Report.objects.count()) == ("quarantined", 0)
        assert words in ended.reason
        assert Result.objects.get().payload["job_id"] == str(job.uuid)
        assert jobs.job_resend(job_id=job.id)


def test_a_stand_in_needs_a_connection_marked_as_test(client, mercy, vendors, thorax, tmp_path) -> None:
    """"A connection to a double is marked *test*": one that isn't takes nothing from a stand-in."""
    job, secret = pushed(mercy, vendors, thorax, tmp_path)
    with mercy.scope():
        Connection.objects.update(is_test=False)
    hook_post(client, mercy, said(job), secret)
    assert job_of(mercy).reason == "a stand-in answered, and the connection is not marked as test"


def test_one_platform_down_leaves_the_others_alone(mercy, vendors, thorax, tmp_path) -> None:
    """"per-target queue, back-off with jitter, circuit breaker": after five failures its jobs wait without being tried."""
    connect(mercy, "sharedmind", vendors, "by-contract")
    with mercy.scope():
        quantify = connection_create(platform="medhub-quantify")
        down = Connection.objects.get(platform="sharedmind")
    vendors.fault("status", path="/performer/.*", status=500, times=1000)
    chest_store(mercy, thorax, tmp_path)
    house.deliver(mercy)
    for _ in range(breaker.FAILURES):
        with mercy.scope():
            Job.objects.update(due_at=timezone.now() - timedelta(seconds=1))
        dispatch.job_run(tenant_id=mercy.tenant.id, job_id=job_of(mercy).id)
    job = job_of(mercy)
    assert (job.state, job.attempts) == ("queued", breaker.FAILURES)
    with mercy.scope():
        Job.objects.update(due_at=timezone.now() - timedelta(seconds=1))
        tried = Exchange.objects.count()
        Connection.objects.update(broken_until=timezone.now() + timedelta(seconds=30))
    wait = dispatch.job_run(tenant_id=mercy.tenant.id, job_id=job.id)
    assert 29 < (wait or 0) <= 30
    with mercy.scope():
        assert Exchange.objects.count() == tried
        assert Job.objects.get().attempts == breaker.FAILURES
        assert breaker.wait_seconds(connection=quantify, now=timezone.now()) is None
        # when the time is over one job tries, and the next one waits
        Connection.objects.filter(id=down.id).update(broken_until=timezone.now() - timedelta(seconds=1))
        row = Connection.objects.get(id=down.id)
        assert breaker.wait_seconds(connection=row, now=timezone.now()) is None
        assert breaker.wait_seconds(connection=row, now=timezone.now()) is not None
        breaker.success_note(connection_id=down.id)
        assert Connection.objects.get(id=down.id).broken_until is None


def test_secrets_are_sealed_and_kept(mercy, vendors) -> None:
    """"Secrets encrypted per tenant, shown once": not in the row, not lost by an empty field, named where one is missing."""
    values = connection("aws-healthlake", vendors)
    with mercy.scope():
        made = connection_set(platform="aws-healthlake", values=values, is_test=True, actor=ACTOR)
        raw = json.dumps(made.settings) + made.secrets
        assert values["secret_key"] not in raw
        again = connection_set(platform="aws-healthlake", values={**values, "secret_key": ""}, is_test=True, actor=ACTOR)
        assert secrets_open(again)["secret_key"] == values["secret_key"]
        assert again.uuid == made.uuid
        with pytest.raises(ConnectionRefused) as refused:
            connection_set(platform="cloud-temple", values={"url": "ftp://x", "nonsense": "1"}, actor=ACTOR)
    assert {"url", "api_key", "nonsense"} <= set(refused.value.problems)
    found = connection_check(tenant_id=mercy.tenant.id, connection_id=made.id, actor=ACTOR)
    assert found.is_good
    with mercy.scope():
        assert Connection.objects.get(id=made.id).check_words == found.words
