"""The recall switch: nothing new is sent, and reports say so wherever they are read, until a person lifts it."""

from dataclasses import fields, replace

import pytest
from django.utils import timezone

from ai.delivery.dossier import shown_sheet
from ai.dispatch import job_run
from ai.findings import Answer
from ai.governance.recalls import (
    RecallRefused,
    recall_lift,
    recall_start,
    recalls_standing,
    report_flags,
    reports_flagged_count,
)
from ai.models import Decision, Job, Report, ReportDelivery, Result
from ai.printing.pdf import report_pdf
from ai.reports import report_issue
from ai.routing.dryrun import studies_try
from ai.services import connection_create, rule_set
from billing.entitlements import entitlement_set
from imaging.models import Series
from journal.audit import Actor
from journal.models import AuditEvent
from journal.types import Event
from tests import house
from tests.ai.delivery.reports import issued
from tests.ai.governance.rows import link
from tests.ai.test_api import Api
from tests.dicom_files import series_of

pytestmark = pytest.mark.database

ACTOR = Actor(name="user:test")
LUNG = {"platform": "medhub-quantify", "algorithm": "lung-density-mask"}
WHY = "vendor notice 7: volumes too low"


def fhir(client, hospital, path: str):
    return client.get(f"/t/{hospital.slug}/fhir/r4/{path}", headers=hospital.auth).json()


def test_new_runs_are_refused_with_the_reason(mercy) -> None:
    """"new jobs for it are refused with the reason (routing says it too; a job already queued ends as refused)"."""
    house.store(mercy, series_of(25))
    house.index(mercy)
    with mercy.scope():
        entitlement_set(state="active")
        made = connection_create(platform="medhub-quantify")
        rules = rule_set(name="here", connection=made, algorithm="lung-density-mask", conditions=[])
        recall_start(**LUNG, reason=WHY, actor=ACTOR)
    house.complete(mercy)
    house.deliver(mercy)
    with mercy.scope():
        row = Decision.objects.get()
        assert (row.matched, row.summary) == (0, f"recalled by the hospital: {WHY}")
        assert list(studies_try(rules=rules.rules, last=5).studies[0].held.values()) == [f"recalled by the hospital: {WHY}"]
        now = timezone.now()
        due = Job.objects.create(
            study=row.study, study_version=1, connection=made, algorithm="lung-density-mask", series=Series.objects.get().id,
            created_at=now, due_at=now,
        )  # fmt: skip
    assert job_run(tenant_id=mercy.tenant.id, job_id=due.id) is None
    with mercy.scope():
        due.refresh_from_db()
        assert (due.state, due.reason) == ("refused", f"recalled by the hospital: {WHY}")


def test_reports_say_so_on_paper_in_the_api_and_in_fhir(client, mercy) -> None:
    """"reports already issued show a banner on page, print, PDF, API, FHIR ... never change a status by itself ... and stay"."""
    report = issued(mercy)
    before = fhir(client, mercy, f"DiagnosticReport/{report.uuid}")
    with mercy.scope():
        deliveries = ReportDelivery.objects.count()
        recall_start(**LUNG, reason=WHY, actor=ACTOR)
        sheet = shown_sheet(report=Report.objects.select_related("study__patient", "connection").get())
        assert WHY in sheet.recalls[0]
    assert len(report_pdf(sheet)) > len(report_pdf(replace(sheet, recalls=())))
    house.deliver(mercy)
    after = fhir(client, mercy, f"DiagnosticReport/{report.uuid}")
    assert after["meta"]["tag"] == [{
        "system": "https://medicalcloudaihub.com/fhir/CodeSystem/report-flag", "code": "recalled",
        "display": "Algorithm recalled by the hospital",
    }]  # fmt: skip
    assert int(after["meta"]["versionId"]) == int(before["meta"]["versionId"]) + 1
    assert after["status"] == before["status"] == "preliminary"
    said = {one["url"]: one for one in after["extension"][0]["extension"]}
    assert said["reason"]["valueString"] == WHY
    assert after["conclusion"].startswith("RECALLED: ")
    assert before["conclusion"] in after["conclusion"]
    assert WHY in after["text"]["div"]
    assert before["result"] == after["result"]
    found = fhir(client, mercy, "DiagnosticReport?_tag=https://medicalcloudaihub.com/fhir/CodeSystem/report-flag%7Crecalled")
    assert [entry["resource"]["id"] for entry in found["entry"]] == [str(report.uuid)]
    assert "tag" in fhir(client, mercy, after["result"][0]["reference"])["meta"]
    told = Api(client, mercy, "admin").ask("GET", f"reports/{report.uuid}").json()
    assert ([one["reason"] for one in told["recalls"]], told["status"]) == ([WHY], "preliminary")
    with mercy.scope():
        assert ReportDelivery.objects.count() == deliveries  # nobody is sent it again


def test_lifting_is_a_persons_step_and_does_not_mend_reports(client, mercy) -> None:
    """"Lifting a recall is a person's step too, kept": old reports stay flagged unless a person says that they were right after all."""
    report = issued(mercy)
    with mercy.scope():
        first = recall_start(**LUNG, reason=WHY, actor=ACTOR)
        with pytest.raises(RecallRefused, match="already"):
            recall_start(**LUNG, reason="again", actor=ACTOR)
        with pytest.raises(RecallRefused, match="reason"):
            recall_lift(recall=first, reason=" ", are_reports_cleared=True, actor=ACTOR)
        lifted = recall_lift(recall=first, reason="version 2 is here", are_reports_cleared=False, actor=Actor(name="user:other"))
        assert (lifted.lifted_by, lifted.lifted_reason, lifted.is_cleared) == ("user:other", "version 2 is here", False)
        assert recalls_standing() == {}
        assert [flag.is_lifted for flag in report_flags(report_ids=[report.id])[report.id]] == [True]
        with pytest.raises(RecallRefused, match="lifted already"):
            recall_lift(recall=lifted, reason="x", are_reports_cleared=True, actor=ACTOR)
    later = issued(mercy)
    with mercy.scope():
        assert report_flags(report_ids=[later.id]) == {}  # issued when new runs were allowed again
        second = recall_start(**LUNG, reason="by mistake", actor=ACTOR)
        assert reports_flagged_count(recall=second) == 2
        recall_lift(recall=second, reason="it was another vendor's notice", are_reports_cleared=True, actor=ACTOR)
        assert report_flags(report_ids=[later.id]) == {}
        assert [event.action for event in AuditEvent.objects.filter(object_type="Recall").order_by("id")] == [
            "recall.start", "recall.lift", "recall.start", "recall.lift",
        ]  # fmt: skip
    house.deliver(mercy)
    assert "tag" not in fhir(client, mercy, f"DiagnosticReport/{later.uuid}")["meta"]
    assert "tag" in fhir(client, mercy, f"DiagnosticReport/{report.uuid}")["meta"]


def test_of_one_version_only_its_reports_are_flagged(mercy) -> None:
    """"recall switch that stops new runs and flags reports already issued": with a version, only reports of that version."""
    report = issued(mercy)
    version = report.content["algorithm"]["version"]
    with mercy.scope():
        other = recall_start(**LUNG, version="0.0.9", reason=WHY, actor=ACTOR)
        assert (reports_flagged_count(recall=other), list(recalls_standing())) == (0, [tuple(LUNG.values())])
        recall_lift(recall=other, reason="x", are_reports_cleared=False, actor=ACTOR)
        same = recall_start(**LUNG, version=version, reason=WHY, actor=ACTOR)
        assert reports_flagged_count(recall=same) == 1


def test_what_was_under_way_says_so_itself(mercy) -> None:
    """A result that comes after the recall is issued, and its own words carry the reason to where no flag is read: PACS, print."""
    report = issued(mercy)
    with mercy.scope():
        recall_start(**LUNG, reason=WHY, actor=ACTOR)
        content, result = report.content, report.result
        Report.objects.all().delete()
        answer = {one.name: content[one.name] for one in fields(Answer) if one.name in content}
        type(result).objects.filter(id=result.id).update(payload=answer)
        report_issue(event=Event(id=1, tenant_id=mercy.tenant.id, name="result.received", ids={"result_id": result.id}, trace_id=""))
        made = Report.objects.get()
        assert {"code": "recalled", "text": f"issued while its algorithm was recalled by the hospital: {WHY}"} in made.content["notes"]


def test_recalls_over_the_api(client, mercy, olaf) -> None:
    """"Registry page "Algorithms" ... recall switch (role that has `ai.write`): reason obligatory, who and when kept" as API."""
    report = issued(mercy)
    admin, reader = Api(client, mercy, "admin"), Api(client, mercy, "integrator")
    path = "algorithms/medhub-quantify/lung-density-mask/recall"
    assert reader.ask("POST", path, {"reason": WHY}).status_code == 403
    assert set(admin.ask("POST", path, {}).json()["errors"]) == {"reason"}
    assert admin.ask("POST", "algorithms/aidoc/ich-triage/recall", {"reason": WHY}).status_code == 404  # not connected
    made = admin.ask("POST", path, {"reason": WHY})
    assert (made.status_code, made.json()["reports_flagged"], made.json()["by"].startswith("token:")) == (201, 1, True)
    assert admin.ask("POST", path, {"reason": WHY}).status_code == 409
    rows = {one["algorithm"]: one for one in reader.ask("GET", "algorithms").json()["items"]}
    assert rows["lung-density-mask"]["recall"]["reason"] == WHY
    assert rows["brain-volume"]["recall"] is None
    lift = f"recalls/{made.json()['id']}/lift"
    assert Api(client, olaf, "admin").ask("POST", lift, {"reason": "x"}).status_code == 404
    assert admin.ask("POST", lift, {"reason": "x", "are_reports_cleared": True}).json()["is_cleared"] is True
    assert admin.ask("POST", lift, {"reason": "x"}).status_code == 409
    assert [one["reason"] for one in reader.ask("GET", "recalls").json()["items"]] == [WHY]
    assert Api(client, olaf, "admin").ask("GET", "recalls").json()["items"] == []
    assert admin.ask("GET", f"reports/{report.uuid}").json()["recalls"] == []


def test_a_worded_report_is_flagged_by_both_its_makers(mercy) -> None:
    """A draft of an impression stands in the report of the algorithm that found what it words: recalling either flags it."""
    report = issued(mercy)
    with mercy.scope():
        drafts = link("cloud-temple")
        worded = report_make_worded(mercy, report, drafts)
        recall_start(platform="cloud-temple", algorithm="impression-draft", reason=WHY, actor=ACTOR)
        assert set(report_flags(report_ids=[report.id, worded.id])) == {worded.id}


def report_make_worded(hospital, report: Report, drafts) -> Report:
    now = timezone.now()
    job = Job.objects.create(
        study=report.study, study_version=1, connection=drafts, algorithm="impression-draft", state="done", created_at=now
    )
    result = Result.objects.create(job=job, payload={}, is_analysable=True, received_at=now)
    return Report.objects.create(
        uuid=report.uuid, study=report.study, result=result, connection=report.connection, algorithm=report.algorithm, version=2,
        content={**report.content, "wording": None}, conclusion="-", issued_at=now,
    )  # fmt: skip
