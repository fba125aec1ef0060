"""What left the house: each disclosure is written before its first byte, and is found again by who may look."""

import csv
import io
import uuid
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from django.db import connections, transaction
from django.utils import timezone

from ai.connections import connection_set
from ai.contract import PlatformError, platforms
from ai.dispatch import job_run
from ai.governance.disclosures import DisclosureQuery, disclosure_begin, disclosures_csv, disclosures_page, receiver_of
from ai.jobs import job_resend
from ai.models import Connection, Disclosure, Job
from ai.services import connection_create
from billing.entitlements import entitlement_set
from imaging.models import Series, Study
from journal.audit import Actor
from tests import house
from tests.ai.governance.rows import jobs_end, link, study_take
from tests.ai.platforms.connections import terms_agree
from tests.ai.test_api import FORM, Api
from tests.dicom_files import series_of

pytestmark = pytest.mark.database

ACTOR = Actor(name="user:test")
UTC_ZONE = ZoneInfo("UTC")
CODES = {"113100", "113103", "113105", "113107", "113108", "113109", "113111"}


def job_due(study: Study, link: Connection, algorithm: str) -> Job:
    now = timezone.now()
    return Job.objects.create(
        study=study, study_version=study.version, connection=link, algorithm=algorithm, series=Series.objects.get(study=study).id,
        created_at=now, due_at=now,
    )  # fmt: skip


@pytest.fixture
def sent(mercy) -> Job:
    """A job that lies in our worklist, de-identified."""
    house.store(mercy, series_of(3))
    house.index(mercy)
    house.complete(mercy)
    with mercy.scope():
        entitlement_set(state="active")
        made = connection_set(platform="sharedmind", values=FORM, is_test=True, actor=ACTOR)
        terms_agree("sharedmind")
        job = job_due(Study.objects.get(), made, "by-contract")
    job_run(tenant_id=mercy.tenant.id, job_id=job.id)
    with mercy.scope():
        job.refresh_from_db()
        assert job.state == "sent"
    return job


def test_to_whom_when_which_study_under_which_profile_by_which_job(mercy, sent) -> None:
    """"what left, to whom, when, which study (by our ids), which de-identification profile and options, by which job"."""
    with mercy.scope():
        row = Disclosure.objects.select_related("study").get()
        assert (row.job_uuid, row.study, row.platform, row.algorithm) == (sent.uuid, sent.study, "sharedmind", "by-contract")
        assert (row.profile, set(row.codes), row.what, row.instances) == ("default", CODES, "images", 3)
        assert (row.is_test, row.input_sha256, row.attempts) == (True, sent.input_sha256, 1)
        assert row.at <= row.taken_at


def test_it_is_written_before_a_byte_leaves_and_each_try_counts(mercy, sent, monkeypatch) -> None:
    """A platform that never answers: what may have left in part stands there, begun and not taken; a retry is one attempt more."""

    def no_answer(*_args: object, **_kwargs: object) -> str:
        with mercy.scope():  # committed already
            seen.append(Disclosure.objects.get(job_uuid=job.uuid).attempts)
        raise PlatformError("it did not answer", is_permanent=True)

    seen: list[int] = []
    with mercy.scope():
        made = connection_set(platform="turbine-ai", values=FORM, is_test=True, actor=ACTOR)
        terms_agree("turbine-ai")
        job = job_due(sent.study, made, "by-contract")
    monkeypatch.setattr(type(platforms()["turbine-ai"]), "send", no_answer)
    for _ in range(2):
        job_run(tenant_id=mercy.tenant.id, job_id=job.id)
        with mercy.scope():
            assert job_resend(job_id=job.id)
    assert seen == [1, 2]
    with mercy.scope():
        assert Disclosure.objects.get(job_uuid=job.uuid).taken_at is None
        assert Disclosure.objects.count() == 2  # two platforms within five minutes are two disclosures


def test_what_stays_in_the_house_is_no_disclosure(mercy, sent) -> None:
    """MedHub Quantify computes here: nothing is disclosed, whatever it answers."""
    with mercy.scope():
        job = job_due(sent.study, connection_create(platform="medhub-quantify"), "lung-density-mask")
    job_run(tenant_id=mercy.tenant.id, job_id=job.id)
    with mercy.scope():
        assert not Disclosure.objects.filter(platform="medhub-quantify").exists()


def begun(study: Study, platform: str, at: datetime) -> Disclosure:
    made = link(platform)
    disclosure_begin(
        job_uuid=str(uuid.uuid4()), study_id=study.id, connection=made, algorithm="x", what="images", instances=1, profile="default",
        codes=sorted(CODES), input_sha256="",
    )  # fmt: skip
    row = Disclosure.objects.latest("id")
    Disclosure.objects.filter(id=row.id).update(at=at)
    return row


def test_days_of_the_hospital_platforms_and_pages(client, mercy, olaf) -> None:
    """"Date range, platform filter, keyset paging, CSV download": the hospital's own days, each row once, and only its own."""
    study = study_take(mercy)
    with mercy.scope():
        for hour in (4, 6):  # 06:00 UTC is midnight in Chicago
            begun(study, "viz-ai", datetime(2026, 11, 20, hour, tzinfo=UTC))
        begun(study, "aidoc", datetime(2026, 11, 20, 7, tzinfo=UTC))
        zone = ZoneInfo("America/Chicago")
        day = DisclosureQuery(since=date(2026, 11, 20), until=date(2026, 11, 20))
        assert [row.platform for row in disclosures_page(query=day, zone=zone).rows] == ["aidoc", "viz-ai"]
        before = DisclosureQuery(until=date(2026, 11, 19))
        assert [row.platform for row in disclosures_page(query=before, zone=zone).rows] == ["viz-ai"]
        table = list(csv.DictReader(io.StringIO(disclosures_csv(query=DisclosureQuery(platform="viz-ai"), zone=zone))))
        assert [(row["study"], row["codes"]) for row in table] == [(str(study.uuid), " ".join(sorted(CODES)))] * 2
    owner = Api(client, mercy, "owner")
    seen, path = [], "disclosures?limit=1"
    while path:
        page = owner.ask("GET", path).json()
        seen += [one["platform"] for one in page["items"]]
        path = page["next"] and "disclosures?" + page["next"].split("?")[1]
    assert seen == ["aidoc", "viz-ai", "viz-ai"]
    assert [one["platform"] for one in owner.ask("GET", "disclosures?platform=viz-ai&to=2026-11-19").json()["items"]] == ["viz-ai"]
    assert [owner.ask("GET", f"disclosures?{text}").status_code for text in ("from=x", "to=2026-13-01", "platform=x")] == [400] * 3
    assert Api(client, mercy, "admin").ask("GET", "disclosures").status_code == 403
    assert Api(client, olaf, "auditor").ask("GET", "disclosures").json()["items"] == []


def test_hosts_and_no_secret(mercy) -> None:
    """"to whom": the host names of the connection's settings, never a path, a user or a key."""
    values = {**FORM, "way": "stow", "dicomweb_url": "https://dicom.vendor.example/v2/secret-path", "auth": "bearer", "token": "s3cret"}
    with mercy.scope():
        assert receiver_of(connection_set(platform="aidoc", values=values, actor=ACTOR)) == "dicom.vendor.example"
        assert receiver_of(link("viz-ai")) == ""


def test_what_was_sent_before_is_taken_over(mercy) -> None:
    """An upgrade: jobs that were sent before disclosures were kept stand there too, and say that their profile was not recorded."""
    from importlib import import_module

    study = study_take(mercy)
    with mercy.scope():
        [job] = jobs_end(study, link("viz-ai"), ["done"])
        jobs_end(study, link("medhub-quantify"), ["done"], algorithm="lung-density-mask")
    with transaction.atomic(using="owner"), connections["owner"].cursor() as cursor:
        first, *statements = import_module("ai.migrations.0008_recall").TAKE_OVER
        cursor.execute(first)
        cursor.execute("DELETE FROM ai_disclosure")  # as it is at that moment; all of this is taken back
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("SELECT set_config('app.tenant', %s, true)", [str(mercy.tenant.id)])
        cursor.execute("SELECT job_uuid, what, profile, at FROM ai_disclosure WHERE tenant_id = %s", [mercy.tenant.id])
        assert cursor.fetchall() == [(job.uuid, "not recorded", "", job.sent_at)]
        transaction.set_rollback(True, using="owner")
