"""The report's own page, its PDF, and where it went on the study page and under "Needs attention"."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from ai.delivery import services
from imaging.models import Study
from journal.models import AuditEvent
from journal.outbox import event_publish
from journal.trace import trace
from portal.timeline import study_timeline
from tests import house
from tests.ai.delivery.reports import deliveries, issued, report_make, sources_take, step
from tests.ai.encoding.cases import content_of
from tests.imaging.conftest import node_at
from tests.orthanc import port_free
from tests.portal.test_pages import signed_in

__all__ = ["node_at"]
pytestmark = pytest.mark.database


def test_one_template_on_the_page_and_as_pdf(client, mercy, olaf) -> None:
    """"One report template: page, print and tagged PDF": of the report, audited, with nothing of the patient in address or title."""
    report = issued(mercy)
    signed_in(client, mercy)
    page = client.get(reverse("report", args=[mercy.slug, report.uuid])).content.decode()
    assert "<title>AI result</title>" in page
    assert "JANE DOE" in page
    assert "data-print" in page
    pdf = client.get(reverse("report-pdf", args=[mercy.slug, report.uuid]))
    assert (pdf.headers["Content-Type"], pdf.content[:5]) == ("application/pdf", b"%PDF-")
    assert pdf.headers["Content-Disposition"] == f'inline; filename="ai-result-{str(report.uuid)[:8]}-1.pdf"'
    with mercy.scope():
        assert AuditEvent.objects.filter(action="study.report.view", object_id=str(report.study.uuid)).count() == 1
    for name in ("report", "report-pdf"):
        assert client.get(reverse(name, args=[mercy.slug, report.uuid]), {"version": "7"}).status_code == 404
        assert client.get(reverse(name, args=[mercy.slug, report.uuid]), {"version": "x"}).status_code == 404
    client.logout()
    signed_in(client, olaf)
    assert client.get(reverse("report", args=[olaf.slug, report.uuid])).status_code == 404


def test_where_it_went_and_once_more(client, mercy, node_at, monkeypatch) -> None:
    """"report panel shows deliveries (target, state, attempts, answer, Resend button)"; who may not send again sees no button."""
    monkeypatch.setattr(services, "MAX_ATTEMPTS", 1)
    node_at(mercy, port_free(), "PACS_7", results_as="sr")
    report = issued(mercy)
    step(mercy)
    [row] = deliveries(mercy, kind="pacs_dimse")
    study, resend = reverse("study", args=[mercy.slug, report.study.uuid]), reverse("report-resend", args=[mercy.slug, row.id])
    page = signed_in(client, mercy).get(study).content.decode()
    for words in ("Where it went", "Our archive", "filed", "PACS_7", "not delivered", "no connection", "1 attempt"):
        assert words in page, words
    assert resend not in page
    assert client.post(resend).status_code == 403
    client.logout()
    signed_in(client, mercy, "admin")
    assert resend in client.get(study).content.decode()
    assert "PACS_7" in client.get(reverse("attention", args=[mercy.slug])).content.decode()
    assert client.post(resend, {"from": "study"}).headers["Location"] == study
    assert deliveries(mercy, kind="pacs_dimse")[0].state == "pending"
    assert "PACS_7" not in client.get(reverse("attention", args=[mercy.slug])).content.decode()


def test_the_nodes_form_says_who_gets_results(client, mercy, node_at) -> None:
    """"portal node form": chosen there, told on the node's page."""
    node = node_at(mercy, port_free(), "PACS_7")
    signed_in(client, mercy, "admin")
    edit = reverse("node-edit", args=[mercy.slug, node.id])
    form = client.get(edit).context["form"]
    values = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    values = {name: value for name, value in values.items() if value not in (None, False)}
    assert client.post(edit, {**values, "results_as": "sr+pdf"}).status_code == 302
    assert "structured report and PDF" in client.get(reverse("node", args=[mercy.slug, node.id])).content.decode()


def test_the_timeline_tells_each_receiver_with_its_answer(client, mercy, node_at, monkeypatch) -> None:
    """"study timeline has no "delivered" hop: add it (portal), one line per receiver with its answer, no query in a loop"."""
    monkeypatch.setattr(services, "MAX_ATTEMPTS", 1)
    content = content_of(sources_take(mercy))
    with mercy.scope():
        study = Study.objects.get()

    def told() -> tuple[list[tuple[str, str, bool, bool]], int]:
        with mercy.scope(), CaptureQueriesContext(connection) as queries:
            hops = study_timeline(study=Study.objects.get())
        return [(hop.label, hop.detail, hop.at is not None, hop.is_problem) for hop in hops if hop.key == "delivered"], len(queries)

    first = report_make(mercy, content)
    assert told()[0] == [("Filed in our archive", "on its way", False, False)]
    step(mercy)
    before = told()
    assert before[0] == [("Filed in our archive", "2 objects taken", True, False)]
    node_at(mercy, port_free(), "PACS_7", results_as="sr")
    node_at(mercy, port_free(), "PACS_8", results_as="sr")
    with mercy.scope(), trace(""):
        event_publish(name="report.issued", ids={"report_id": first.id})
    house.deliver(mercy)
    step(mercy)
    after = told()
    assert after[0][0] == before[0][0]
    assert [label for label, _, _, _ in after[0][1:]] == ["Delivered to PACS_7", "Delivered to PACS_8"]
    assert all(detail.startswith("not delivered: no connection") and is_problem for _, detail, _, is_problem in after[0][1:])
    assert after[1] == before[1], "as many queries for three receivers as for one"
    page = signed_in(client, mercy).get(reverse("study", args=[mercy.slug, study.uuid])).content.decode()
    assert "Delivered to PACS_8" in page


def test_whoever_may_not_send_a_job_again_sees_no_button(client, mercy) -> None:
    """"make the permission one and the same for the same action": `ai.write` on the attention page, the job's page and in the API."""
    report = issued(mercy)
    with mercy.scope():
        job = report.result.job
        type(job).objects.filter(id=job.id).update(state="failed", reason="x")
    resend, own = reverse("job-resend", args=[mercy.slug, job.id]), reverse("job-again", args=[mercy.slug, job.uuid])
    api = f"/t/{mercy.slug}/api/v1/jobs/{job.uuid}/resend"
    signed_in(client, mercy, "integrator")
    page = client.get(reverse("attention", args=[mercy.slug])).content.decode()
    assert reverse("job", args=[mercy.slug, job.uuid]) in page
    assert resend not in page
    assert client.post(resend).status_code == client.post(own).status_code == 403
    assert client.post(api, headers=mercy.auth).status_code == 403  # the token's role is integrator
    client.logout()
    signed_in(client, mercy, "admin")
    assert resend in client.get(reverse("attention", args=[mercy.slug])).content.decode()
    assert client.post(resend).status_code == 302
    with mercy.scope():
        assert type(job).objects.get(id=job.id).state == "queued"


def test_findings_and_a_flag_stand_on_the_study_page(client, mercy) -> None:
    """"radiologists read AI reports in the portal": what a platform says is there as its own statement, and a flag as a flag."""
    sources = sources_take(mercy)
    content = content_of(sources, is_flagged=True)
    report = report_make(mercy, content)
    page = signed_in(client, mercy).get(reverse("study", args=[mercy.slug, report.study.uuid])).content.decode()
    assert "Asks that this study be read first" in page
    assert content.findings
    for one in content.findings:
        assert f"Suspected: {one.code.display}" in page
        assert one.words in page
