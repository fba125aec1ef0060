"""The pages of governance: terms, the registry with its recall switch, disclosures, usage."""

import csv
import io
import uuid
from datetime import date

import pytest
from django.urls import reverse

from ai.contract import platforms
from ai.governance.disclosures import disclosure_begin
from ai.governance.terms import terms_of
from ai.models import Connection, Recall, Report, TermsAcceptance
from journal.models import AuditEvent
from portal.charts import ceiling, months_chart
from tests.ai.delivery.reports import issued
from tests.ai.governance.rows import jobs_end, link, study_take
from tests.portal.test_pages import signed_in
from tests.portal.test_platforms import filled

pytestmark = pytest.mark.database

WHY = "vendor notice 7: volumes too low"


def test_enable_is_terms_credentials_and_test(client, mercy) -> None:
    """"enable = terms + credentials + test": three steps on the page, each said to be done or not, in any order."""
    signed_in(client, mercy, "admin")
    at = reverse("platform", args=[mercy.slug, "sharedmind"])
    page = client.get(at).content.decode()
    assert ("Terms: to do" in page, "Credentials: to do" in page, "Test: to do" in page) == (True, True, True)
    terms = terms_of(platforms()["sharedmind"])
    assert all(clause.text.replace("'", "&#x27;") in page for clause in terms.clauses)
    accept = reverse("platform-terms", args=[mercy.slug, "sharedmind"])
    assert "Nothing was accepted" in client.post(accept, {"version": "1-0"}, follow=True).content.decode()
    page = client.post(accept, {"version": terms.version}, follow=True).content.decode()
    assert "Terms: done" in page
    assert "accepted by admin@" in page
    assert "Accept these terms" not in page
    client.post(reverse("platform-connect", args=[mercy.slug, "sharedmind"]), filled())
    client.post(reverse("platform-check", args=[mercy.slug, "sharedmind"]))
    page = client.get(at).content.decode()
    assert ("Terms: done" in page, "Credentials: done" in page, "Test: done" in page) == (True, True, True)
    with mercy.scope():
        assert TermsAcceptance.objects.get().by == f"user:{mercy.member('admin').pk}"
        assert Connection.objects.get().terms == terms.version


def test_recalled_and_lifted_on_the_page(client, mercy) -> None:
    """"recall switch ... reason obligatory, who and when kept": and the report, the study and the registry say so."""
    report = issued(mercy)
    signed_in(client, mercy, "admin")
    at = reverse("algorithm", args=[mercy.slug, "medhub-quantify", "lung-density-mask"])
    stop = reverse("algorithm-recall", args=[mercy.slug, "medhub-quantify", "lung-density-mask"])
    assert "Say why: readers of the reports will see it." in client.post(stop, {"reason": "  "}).content.decode()
    with mercy.scope():
        assert not Recall.objects.exists()
    page = client.post(stop, {"reason": WHY, "version": ""}, follow=True).content.decode()
    assert "Recalled: nothing new is sent to it." in page
    assert "admin@" in page
    for name in ("report", "study"):
        where = reverse(name, args=[mercy.slug, report.uuid if name == "report" else report.study.uuid])
        assert WHY in client.get(where).content.decode(), name
    registry = client.get(reverse("algorithms", args=[mercy.slug])).content.decode()
    assert registry.index("Lung density mask") < registry.index("Brain volume")
    assert WHY in registry
    with mercy.scope():
        recall = Recall.objects.get()
        assert Report.objects.get().status == "preliminary"
    lift = reverse("recall-lift", args=[mercy.slug, recall.uuid])
    assert "Say why: it is kept with your name." in client.post(lift, {"reports": "keep"}).content.decode()
    page = client.post(lift, {"reason": "version 2 is here", "reports": "keep"}, follow=True).content.decode()
    assert "version 2 is here" in page
    assert WHY in client.get(reverse("report", args=[mercy.slug, report.uuid])).content.decode()
    client.logout()
    page = signed_in(client, mercy, "radiologist").get(at).content.decode()
    assert stop not in page
    assert client.post(stop, {"reason": WHY}).status_code == 403


def test_an_empty_registry_says_the_next_step(client, mercy) -> None:
    page = signed_in(client, mercy).get(reverse("algorithms", args=[mercy.slug])).content.decode()
    assert "No algorithm yet" in page
    assert reverse("platforms", args=[mercy.slug]) in page


def test_disclosures_are_for_who_reads_the_trail(client, mercy) -> None:
    """"Disclosure audit page": by our ids, with profile and options; looking and taking away are on record themselves."""
    at = reverse("disclosures", args=[mercy.slug])
    assert "Nothing has left the house" in signed_in(client, mercy, "auditor").get(at).content.decode()
    study, job = study_take(mercy), str(uuid.uuid4())
    with mercy.scope():
        disclosure_begin(
            job_uuid=job, study_id=study.id, connection=link("viz-ai"), algorithm="ich-triage", what="images", instances=312,
            profile="default", codes=["113100", "113107"], input_sha256="",
        )  # fmt: skip
    page = client.get(at).content.decode()
    for words in (job, str(study.uuid), "Viz.ai", "312 objects", "2 options of PS3.15", "113107 Retain Longitudinal Temporal", "begun"):
        assert words in page, words
    assert "DOE" not in page
    assert reverse("study", args=[mercy.slug, study.uuid]) not in page  # an auditor reads no study
    assert "Nothing left in that time" in client.get(at, {"to": "2026-01-01", "from": "nonsense"}).content.decode()
    answer = client.get(reverse("disclosures-csv", args=[mercy.slug]), {"platform": "viz-ai"})
    assert answer.headers["Content-Disposition"] == 'attachment; filename="disclosures.csv"'
    assert [row["job"] for row in csv.DictReader(io.StringIO(answer.content.decode()))] == [job]
    with mercy.scope():
        assert set(AuditEvent.objects.filter(action__startswith="disclosure.").values_list("action", flat=True)) == {
            "disclosure.view", "disclosure.export",
        }  # fmt: skip
    client.logout()
    assert signed_in(client, mercy, "admin").get(at).status_code == 403


def test_the_ledger_as_chart_table_and_file(client, mercy) -> None:
    """"chart by month (SVG), page + API + CSV; says that it informs and never bills", with a text alternative of the chart."""
    at = reverse("usage", args=[mercy.slug])
    assert "Nothing was run in that time" in signed_in(client, mercy).get(at).content.decode()
    study = study_take(mercy)
    with mercy.scope():
        jobs_end(study, link("viz-ai"), ["done", "done", "failed"])
    page = client.get(at).content.decode()
    assert "It informs and never bills" in page
    assert "2 runs counted and 1 not counted; the table below has each month." in page
    assert page.count("<rect") == 2
    assert "<rect" not in client.get(at, {"platform": "aidoc"}).content.decode()
    [row] = csv.DictReader(io.StringIO(client.get(reverse("usage-csv", args=[mercy.slug]), {"months": "3"}).content.decode()))
    assert (row["platform"], row["counted"], row["failed"]) == ("viz-ai", "2", "1")


def test_bars_stand_on_the_line_and_under_the_top() -> None:
    """The chart is the table: heights in proportion, nothing outside of its field."""
    for most in (0, 1, 2, 3, 7, 12, 31, 99, 100, 101, 1234, 99_999):
        assert ceiling(most) >= most
        assert ceiling(most) % 2 == 0
    chart = months_chart([(date(2026, month, 1), month * 3, month) for month in range(1, 13)])
    for bar in chart.bars:
        assert bar.y + bar.height == pytest.approx(chart.base, abs=0.02)
        assert bar.other_y + bar.other_height == pytest.approx(bar.y, abs=0.02)
        assert bar.other_y >= 0
        assert bar.height == pytest.approx(3 * bar.other_height, abs=0.05)
        assert bar.x + bar.width <= chart.width
