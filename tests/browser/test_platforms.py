"""Platforms and jobs in a real browser: a connection made by keyboard, its fields as its choices ask for them, a job edited."""

import pytest
from playwright.sync_api import expect

from ai.connections import secrets_open
from ai.models import Connection, Job
from tests.browser import scenes
from tests.browser.conftest import Visitor
from tests.conftest import Hospital

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def test_a_platform_is_connected_tested_and_switched_off(visitor: Visitor, mercy: Hospital) -> None:
    """"platform connection with its form and test": from an empty hospital; fields come with their choice, errors have the focus."""
    page = visitor.sign_in(mercy, "admin").page
    page.get_by_role("link", name="Platforms").click()
    expect(page.get_by_role("heading", name="No platform is connected yet")).to_be_visible()
    page.get_by_role("link", name="SharedMind").press("Enter")
    expect(page.get_by_label("Vendor's DICOMweb", exact=True)).to_be_hidden()
    page.get_by_label("How work goes out").select_option("stow")
    expect(page.get_by_label("Vendor's DICOMweb", exact=True)).to_be_visible()
    expect(page.get_by_label("Vendor's node: host")).to_be_hidden()
    page.get_by_role("button", name="Save").press("Enter")
    expect(page.get_by_role("alert")).to_be_focused()
    expect(page.get_by_role("alert")).to_contain_text("Contract: Contract is needed")
    page.get_by_role("link", name="Contract: Contract is needed").press("Enter")
    page.get_by_label("Contract", exact=True).fill("C-1")
    page.get_by_label("How work goes out").select_option("ups")
    page.get_by_label("Authentication").select_option("none")
    expect(page.get_by_label("Token", exact=True)).to_be_hidden()
    page.get_by_label("This is a stand-in (test)").check()
    page.get_by_role("button", name="Save").press("Enter")
    expect(page.get_by_role("heading", name="SharedMind is saved")).to_be_visible()
    with mercy.scope():
        secret = secrets_open(Connection.objects.get())["hook_secret"]
    expect(page.locator("main")).to_contain_text(secret)
    assert secret not in page.url
    page.get_by_role("link", name="Kept it: go on").press("Enter")
    page.get_by_role("button", name="Test connection").press("Enter")
    expect(page.locator(".mh-facts")).to_contain_text(["nothing to call: the vendor claims its work"])
    assert secret not in page.content()
    page.get_by_role("button", name="Switch off").press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("Switched off")


def test_without_javascript_every_field_says_when_it_is_asked(visitor: Visitor, mercy: Hospital) -> None:
    """The module only hides: without it the form is whole."""
    visitor.page.route("**/js/connection.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    page = visitor.sign_in(mercy, "admin").page
    visitor.open(f"/t/{mercy.slug}/platforms/sharedmind")
    expect(page.get_by_label("Vendor's node: host")).to_be_visible()
    expect(page.get_by_role("group", name="Only when “How work goes out” is dimse")).to_be_visible()


def test_a_job_is_cancelled_after_a_second_question_and_edited(visitor: Visitor, mercy: Hospital) -> None:
    """"jobs ... quarantine and dead letters with resend": found from the list, cancelled, refused off-label where the label ends."""
    study = scenes.study_take(mercy)
    job = scenes.job_make(mercy, study, Job.State.QUEUED)
    page = visitor.sign_in(mercy, "admin").page
    page.get_by_role("link", name="Jobs").click()
    page.locator(".mh-jobs .mh-name").press("Enter")
    expect(page.get_by_role("button", name="Cancel this job")).to_be_hidden()
    page.locator("summary").press("Enter")
    page.get_by_role("button", name="Cancel this job").press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("Cancelled.")
    page.get_by_label("Series").select_option(index=0)
    page.get_by_role("button", name="Send this").press("Enter")
    expect(page.get_by_role("alert")).to_be_focused()
    expect(page.get_by_role("alert")).to_contain_text("3 slices")
    visitor.open(f"/t/{mercy.slug}/jobs/{job.uuid}")
    page.get_by_role("button", name="Send again").press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("It is sent again.")
    page.get_by_role("link", name="All jobs").click()
    page.get_by_label("State").select_option(label="failed")
    page.get_by_role("button", name="Show").press("Enter")
    expect(page.get_by_role("heading", name="No job is like that")).to_be_visible()
    assert "state=failed" in page.url
