"""The study page: what each algorithm said, where it is seen, earlier studies, who decided."""

import re
from dataclasses import replace

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from ai.models import Report
from ai.reports import report_issue
from imaging.models import Instance, Study, Transfer
from journal.types import Event
from tests import house
from tests.ai.delivery.reports import finish, issued, report_make, sources_take
from tests.ai.encoding.cases import content_of, reread
from tests.ai.review.answers import result_make
from tests.ai.review.reviewing import decide, person_of, stored
from tests.dicom_files import series_of
from tests.portal.test_pages import signed_in

pytestmark = pytest.mark.database


def page_of(client, hospital, study, **query: str) -> str:
    return client.get(reverse("study", args=[hospital.slug, study.uuid]), query).content.decode()


def test_a_finding_leads_to_its_picture(client, mercy) -> None:
    """"vendor's words and coded term, link to the slice": the link opens the series at that very image."""
    sources = sources_take(mercy)
    report = report_make(mercy, content_of(sources))
    page = page_of(signed_in(client, mercy), mercy, report.study)
    assert "SNOMED CT 27925004" in page
    assert "“<bdi>Suspected pneumothorax</bdi>” as the vendor words it" in page
    with mercy.scope():
        order = list(Instance.objects.order_by("position", "number", "id").values_list("sop_instance_uid", "series_id"))
    number = [uid for uid, _ in order].index(str(sources[1].SOPInstanceUID)) + 1
    link = f"?series={order[0][1]}&amp;image={number}#images"
    assert link in page
    shown = page_of(client, mercy, report.study, series=str(order[0][1]), image=str(number))
    assert f'value="{number}" data-words' in shown
    assert f"/{number}.png" in shown


def test_two_that_disagree_stand_side_by_side(client, mercy) -> None:
    """"two algorithms that disagree stand side by side": a panel each, none merged, each with its own decision."""
    sources = sources_take(mercy)
    one = content_of(sources, measurements=())
    first = report_make(mercy, one)
    other = replace(one, findings=(), measurements=content_of(sources).measurements[:1], algorithm=replace(one.algorithm, name="second"))
    report_make(mercy, other, algorithm="brain-volume")
    decide(mercy, first, "accept", person_of(mercy))
    page = page_of(signed_in(client, mercy), mercy, first.study)
    assert "2 results, each as its own algorithm gave it" in page
    assert "mh-study-many" in page
    panels = re.findall(r'<section class="card mb-3 mh-panel".*?</section>', page, re.S)
    assert len(panels) == 2
    assert "Accepted by" in panels[0]
    assert "Accepted by" not in panels[1]


def test_triage_shows_a_flag_and_nothing_else(client, mercy) -> None:
    """"triage algorithms show a flag and nothing else": on the page, on paper, in DICOM; whatever stands in the row."""
    report = report_make(mercy, content_of(sources_take(mercy), is_flagged=True), platform="aidoc", algorithm="pe-triage")
    page = page_of(signed_in(client, mercy), mercy, report.study)
    panel = re.search(r'<section class="card mb-3 mh-panel".*?</section>', page, re.S)
    assert panel
    assert "triage · " in panel[0]
    assert "Asks that this study be read first" in panel[0]
    for words in ("Pneumothorax", "Suspected", "0.88", "mL", "Sharp kernel", "data-overlay", "Diameter"):
        assert words not in panel[0], words
    sheet = client.get(reverse("report", args=[mercy.slug, report.uuid])).content.decode()
    assert "asks for this study to be read first" in sheet
    assert "Pneumothorax" not in sheet
    finish(mercy)
    [document] = stored(mercy, "1.2.840.10008.5.1.4.1.1.88.34")
    said = reread(document)
    assert (said.is_flagged, said.measurements, said.findings) == (True, (), ())


def test_triage_is_reported_as_a_flag_alone(client, mercy) -> None:
    """The same where a report is made: nothing more gets into the row, so FHIR and the API have nothing more to tell."""
    first = report_make(mercy, content_of(sources_take(mercy), is_flagged=True), platform="aidoc", algorithm="pe-triage")
    with mercy.scope():
        result = result_make(first, study_version=2)
        result.payload["is_flagged"] = True
        result.save()
        report_issue(event=Event(id=1, tenant_id=mercy.tenant.id, name="result.received", ids={"result_id": result.id}, trace_id="0" * 32))
        made = Report.objects.get(result=result)
    assert (made.content["is_flagged"], made.content["measurements"], made.content["findings"]) == (True, [], [])
    assert made.conclusion == "Asks that this study be read first. AI-generated, preliminary, not a medical device."
    house.deliver(mercy)
    told = client.get(f"/t/{mercy.slug}/fhir/r4/DiagnosticReport/{made.uuid}", headers=mercy.auth).json()
    assert len(told["result"]) == 1
    assert "Pneumothorax" not in str(told)


def test_earlier_studies_with_what_ai_said(client, mercy) -> None:
    """"Priors on the study page": date, modality, AI's words, a link, and what is being fetched; of this patient alone."""
    old = sources_take(mercy, StudyDate="20240105", StudyDescription="CT Chest before")
    report_make(mercy, content_of(old))
    house.store(mercy, series_of(2, PatientID="OTHER", StudyDate="20230101", StudyDescription="Of another"))
    now = sources_take(mercy, StudyDate="20260301")
    report = report_make(mercy, content_of(now))
    house.index(mercy)
    with mercy.scope():
        before = Study.objects.get(study_uid=old[0].StudyInstanceUID)
        Transfer.objects.create(
            kind="priors", node_ae="OLDARCHIVE", unique_on=f"priors:{report.study_id}:1", state="running", created_at=report.issued_at,
            changed_at=report.issued_at,
        )  # fmt: skip
    page = page_of(signed_in(client, mercy), mercy, report.study)
    assert reverse("study", args=[mercy.slug, before.uuid]) in page
    for words in ("05 Jan 2024", "CT Chest before", "OLDARCHIVE: earlier studies are being fetched"):
        assert words in page, words
    assert "Volume, lung structure 5,373 mL" in page.split('id="earlier"')[1]
    assert "Of another" not in page
    assert "No earlier study of this patient is here" in page_of(client, mercy, before)


def test_the_timeline_tells_who_decided_until_it_was_delivered(client, mercy) -> None:
    """"timeline from received to delivered": the decision is a hop, and so is the filing of what came of it."""
    report = issued(mercy)
    finish(mercy)
    decide(mercy, report, "reject", person_of(mercy), reason="poor-input")
    page = page_of(signed_in(client, mercy), mercy, report.study)
    line = page.split("mh-line")[1]
    places = [line.index(words) for words in ("Report issued", "Filed in our archive", "Rejected by Jane Q Roe", "cancelled, version 2")]
    assert places == sorted(places)
    assert line.count("Filed in our archive") == 2


def test_as_many_queries_for_many_reports(client, mercy) -> None:
    """A page does not ask once more for every report on it."""
    sources = sources_take(mercy)
    content = content_of(sources)
    report = report_make(mercy, content)
    signed_in(client, mercy)

    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            page_of(client, mercy, report.study)
        return len(queries)

    asked()
    few = asked()
    for n in range(3):
        report_make(mercy, content, algorithm=f"a{n}")
    assert asked() <= few
