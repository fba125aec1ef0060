"""Catalogue, terms and recall in a real browser, by keyboard, with the accessibility check on each page on the way."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from ai.models import Connection, Recall, TermsAcceptance
from tests.browser import scenes
from tests.browser.conftest import Visitor
from tests.conftest import Hospital

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

CHECK = (Path(__file__).parent / "accessibility.js").read_text(encoding="utf-8")
WHY = "Vendor notice 2026-114"


def accessible(page: Page) -> None:
    assert page.evaluate(CHECK) == []


def test_the_catalogue_is_filtered_and_compared_by_keyboard(visitor: Visitor, mercy: Hospital) -> None:
    """"filters in the address, compare 2-4 side by side": with keys alone, and the address says what is shown."""
    page = visitor.sign_in(mercy, "radiologist").page
    visitor.open(f"/t/{mercy.slug}/platforms")
    page.get_by_label("Modality").focus()
    page.keyboard.type("CT")
    page.get_by_label("Role").focus()
    page.keyboard.type("triage")
    page.get_by_role("button", name="Show").press("Enter")
    expect(page.get_by_role("status")).to_contain_text("2 platforms with that")
    assert {"modality=CT", "role=triage"} <= set(page.url.split("?")[1].split("&"))
    accessible(page)
    page.get_by_role("button", name="Compare the chosen").press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("choose two to four platforms")
    expect(page.get_by_label("Modality")).to_have_value("CT")  # the filters are still there
    for name in ("Compare Aidoc", "Compare Viz.ai"):
        page.get_by_role("checkbox", name=name).press("Space")
    page.get_by_role("button", name="Compare the chosen").press("Enter")
    expect(page.get_by_role("columnheader")).to_have_count(2)
    expect(page.get_by_role("row", name="Clearance")).to_contain_text("FDA K203508")
    page.set_viewport_size({"width": 360, "height": 740})
    accessible(page)
    region = page.get_by_role("region", name="Comparison, scrolls sideways")
    region.focus()
    page.keyboard.press("ArrowRight")
    expect(region).not_to_have_js_property("scrollLeft", 0)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_terms_are_accepted_before_anything_is_sent(visitor: Visitor, mercy: Hospital) -> None:
    """"enable = terms + credentials + test": the steps one after the other, each with what comes next."""
    page = visitor.sign_in(mercy, "admin").page
    visitor.open(f"/t/{mercy.slug}/platforms/sharedmind")
    steps = page.locator(".mh-steps li")
    expect(steps).to_contain_text(["Terms: to do", "Credentials: to do", "Test: to do"])
    page.get_by_role("link", name="Read them").press("Enter")
    assert page.url.endswith("#terms")
    expect(page.locator("#terms")).to_contain_text("To not identified. Place: where the hospital's contract with the vendor says.")
    page.get_by_role("button", name="Accept these terms").press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("written down with your name")
    expect(steps.first).to_contain_text("Terms: done")
    page.get_by_label("Contract", exact=True).fill("C-1")
    page.get_by_label("Authentication").select_option("none")
    page.get_by_role("button", name="Save").press("Enter")
    page.get_by_role("link", name="Kept it: go on").press("Enter")
    page.get_by_role("button", name="Test connection").press("Enter")
    expect(steps).to_contain_text(["Terms: done", "Credentials: done", "Test: done"])
    accessible(page)
    with mercy.scope():
        assert TermsAcceptance.objects.get().version == Connection.objects.get().terms


def test_an_algorithm_is_recalled_and_lifted(visitor: Visitor, mercy: Hospital) -> None:
    """"recall switch that stops new runs and flags reports already issued": by keyboard, and on the report's page and on paper."""
    study = scenes.study_take(mercy)
    report = scenes.report_make(mercy, study)
    page = visitor.sign_in(mercy, "admin").page
    page.get_by_role("link", name="Platforms").press("Enter")
    page.get_by_role("link", name="Algorithms").press("Enter")
    page.get_by_role("link", name="Lung density mask").press("Enter")
    page.get_by_role("button", name="Recall Lung density mask").press("Enter")
    expect(page.get_by_role("alert")).to_be_focused()
    page.get_by_label("Why it is recalled").fill(WHY)
    page.get_by_role("button", name="Recall Lung density mask").press("Enter")
    expect(page.get_by_role("note")).to_contain_text(WHY)
    accessible(page)
    visitor.open(f"/t/{mercy.slug}/reports/{report.uuid}")
    expect(page.get_by_role("note")).to_contain_text(WHY)
    page.emulate_media(media="print")
    expect(page.get_by_role("note")).to_be_visible()
    page.emulate_media(media="screen")
    visitor.open(f"/t/{mercy.slug}/studies/{study.uuid}")
    expect(page.get_by_role("note")).to_contain_text(WHY)
    accessible(page)
    visitor.open(f"/t/{mercy.slug}/algorithms/medhub-quantify/lung-density-mask")
    page.get_by_label("Why it is lifted").fill("another vendor's notice")
    page.get_by_label("The reports that are flagged").select_option("clear")
    page.get_by_role("button", name="Lift this recall").press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("Lifted")
    visitor.open(f"/t/{mercy.slug}/reports/{report.uuid}")
    expect(page.get_by_role("note")).to_have_count(0)
    with mercy.scope():
        assert Recall.objects.get().is_cleared
