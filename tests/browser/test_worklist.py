"""The worklist in a real browser: rows that stay where they are, new ones behind a button, details over the list, a kept filter."""

import re
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from ai.models import Job
from imaging.priorities import study_flag_set
from tests import house
from tests.browser import scenes
from tests.browser.conftest import Visitor
from tests.browser.test_accessibility import CHECK
from tests.conftest import Hospital
from tests.dicom_files import ct_slice

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def names(page: Page) -> list[str]:
    return page.locator("[data-row-link]").all_inner_texts()


def test_new_studies_wait_behind_a_button_and_leave_the_focus(visitor: Visitor, mercy: Hospital) -> None:
    """"polling every 2 s", ""3 new studies" is a button", "new rows announced"; changed rows are updated where they stand."""
    study = scenes.study_take(mercy, PatientName="DOE^JANE")
    page = visitor.sign_in(mercy).page
    page.keyboard.press("j")
    updated = page.locator("[data-updated]")
    first = updated.inner_text()
    house.store(mercy, [ct_slice(PatientID="P9", PatientName="ROE^RICHARD")])
    house.index(mercy)
    scenes.job_make(mercy, study, Job.State.FAILED, "no answer within 60 s")
    button = page.get_by_role("button", name="1 new. Show them")
    expect(button).to_be_visible()
    assert page.get_by_role("status").filter(has=button).count() == 1
    expect(page.get_by_role("row").filter(has_text="DOE, JANE")).to_contain_text("no answer within 60 s")
    assert names(page) == ["DOE, JANE"]
    expect(page.get_by_role("link", name="DOE, JANE")).to_be_focused()
    polls = page.evaluate("performance.getEntriesByType('resource').filter(e => e.name.includes('/rows?')).map(e => e.startTime)")
    assert 1900 < polls[0] < 3500, polls
    expect(updated).not_to_have_text(first)
    shown = updated.inner_text()
    here = timezone.now().astimezone(ZoneInfo("America/Chicago"))
    assert shown in {f"{here - timedelta(seconds=back):%H:%M:%S}" for back in range(-2, 6)}
    page.keyboard.press("r")
    expect(page.locator("[data-row-link]").first).to_have_text("ROE, RICHARD")
    expect(button).to_have_count(0)


def test_a_row_stays_under_the_cursor(hurried: Visitor, mercy: Hospital) -> None:
    """"the row under the cursor never moves": not by new rows, by a flag that would sort one first, by a reason that grows above."""
    made = {name: scenes.study_take(mercy, count=1, PatientName=f"{name}^{name}", PatientID=name) for name in "ABCD"}
    page = hurried.sign_in(mercy).page
    page.set_viewport_size({"width": 1280, "height": 420})
    row = page.get_by_role("link", name="B, B")
    row.scroll_into_view_if_needed()
    row.hover()
    before = row.bounding_box()
    scenes.study_take(mercy, count=1, PatientName="ROE^RICHARD", PatientID="P9")
    scenes.job_make(mercy, made["D"], Job.State.FAILED, "said in words, and at some length " * 6)
    with mercy.scope():
        study_flag_set(study_id=made["A"].id, is_flagged=True)
    hurried.hurry()
    expect(page.get_by_role("button", name="1 new. Show them")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="D, D")).to_contain_text("at some length")
    after = row.bounding_box()
    assert before
    assert after
    assert abs(after["y"] - before["y"]) <= 1
    assert names(page) == ["D, D", "C, C", "B, B", "A, A"]
    page.get_by_role("button", name="1 new. Show them").click()
    assert names(page) == ["A, A", "ROE, RICHARD", "D, D", "C, C", "B, B"]
    expect(page.get_by_role("link", name="A, A")).to_be_focused()


def test_a_filter_is_kept_and_a_row_that_leaves_it_says_so(hurried: Visitor, mercy: Hospital) -> None:
    """"saved filters": written by keyboard, a link from then on; what it no longer wants stays and says so. No PHI in addresses."""
    study = scenes.study_take(mercy, PatientName="DOE^JANE")
    scenes.study_take(mercy, PatientName="ROE^RICHARD", PatientID="P9")
    job = scenes.job_make(mercy, study, Job.State.FAILED, "no answer")
    page = hurried.sign_in(mercy).page
    page.keyboard.press("/")
    expect(page.get_by_label("Name or number")).to_be_focused()
    page.get_by_label("AI", exact=True).select_option("failed")
    page.get_by_label("Keep it as").fill("to send again")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="to send again")).to_have_attribute("aria-current", "true")
    assert names(page) == ["DOE, JANE"]
    with mercy.scope():
        Job.objects.filter(id=job.id).update(state=Job.State.DONE, reason="")
    hurried.hurry()
    expect(page.get_by_role("row").filter(has_text="DOE, JANE")).to_contain_text("no longer belongs here")
    page.get_by_role("button", name="Sort again").click()
    expect(page.get_by_role("heading", name="No study is like that")).to_be_visible()
    page.get_by_role("link", name="Show all").first.click()
    expect(page.locator("[data-row-link]")).to_have_count(2)
    page.keyboard.press("/")
    page.get_by_label("Name or number").fill("roe, ri")
    page.keyboard.press("Enter")
    expect(page.locator("[data-row-link]")).to_have_text(["ROE, RICHARD"])
    assert "roe" not in page.url.lower()
    page.get_by_role("link", name="to send again").click()
    page.get_by_role("button", name="Delete “to send again”").click()
    expect(page.get_by_role("link", name="to send again")).to_have_count(0)


def test_details_open_over_the_list_and_set_the_priority(visitor: Visitor, mercy: Hospital) -> None:
    """"one status a row plus details on demand"; "human priority first ... set by a person on the ... worklist"; by keyboard alone."""
    scenes.study_take(mercy, PatientName="ROE^RICHARD", PatientID="P9")
    study = scenes.study_take(mercy, PatientName="DOE^JANE")
    scenes.job_make(mercy, scenes.study_take(mercy, PatientName="NEW^EST", PatientID="P7"), Job.State.DONE)
    scenes.job_make(mercy, study, Job.State.FAILED, "no answer within 60 s")
    page = visitor.sign_in(mercy).page
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("d")
    dialog = page.get_by_role("dialog", name="Details")
    expect(dialog).to_contain_text("no answer within 60 s")
    expect(dialog.get_by_role("link", name="Open in viewer")).to_be_visible()
    assert page.evaluate(CHECK) == []
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator(".mh-worklist a.mh-state").nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    dialog.get_by_label("Priority").select_option("stat")
    dialog.get_by_role("button", name="Set").press("Enter")
    expect(page.get_by_text("Priority: STAT.")).to_be_visible()
    expect(page.get_by_role("row").nth(1)).to_contain_text(re.compile("STAT.*DOE, JANE"))
    expect(page.get_by_role("row").nth(1).locator("td").last).to_contain_text("failed")


@pytest.mark.parametrize("width", [360, 768])
def test_it_is_never_wider_than_its_window(visitor: Visitor, mercy: Hospital, width: int) -> None:
    """"works at 360/768/1440 px wide": with the filters open, and everything said of a row."""
    name = "WOLFESCHLEGELSTEINHAUSENBERGERDORFF^HUBERT BLAINE MAXIMILIAN"
    study = scenes.study_take(mercy, PatientName=name, StudyDescription="CT " * 20)
    scenes.job_make(mercy, study, Job.State.FAILED, "said in words, and at some length " * 6)
    page = visitor.sign_in(mercy).page
    page.set_viewport_size({"width": width, "height": 800})
    page.locator("#filters summary").click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
