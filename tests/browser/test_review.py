"""A radiologist decides by keyboard, and the EHR reads what was decided."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from ai.models import Report
from tests import house
from tests.ai.delivery.reports import issued
from tests.browser.conftest import Visitor
from tests.browser.test_accessibility import CHECK
from tests.conftest import Hospital

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def fhir(visitor: Visitor, hospital: Hospital, report: Report) -> dict[str, Any]:
    """What an EHR reads with its own token."""
    house.deliver(hospital)
    answer = visitor.context.request.get(
        f"{visitor.address}/t/{hospital.slug}/fhir/r4/DiagnosticReport/{report.uuid}", headers=hospital.auth
    )
    found: dict[str, Any] = answer.json()
    return found


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.id"))


def test_rejected_by_keyboard_and_taken_back(visitor: Visitor, mercy: Hospital) -> None:
    """"reject by keyboard (x, reason, Enter) and undo (z), with axe; the EHR reads the cancelled report over FHIR in the same test"."""
    report = issued(mercy)
    page = visitor.sign_in(mercy).page
    visitor.open(f"/t/{mercy.slug}/studies/{report.study.uuid}")
    panel = page.get_by_role("region", name="AI report")
    page.keyboard.press("x")
    expect(panel).to_be_focused()  # nothing had the focus: the key chooses the result, and decides nothing
    page.keyboard.press("x")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("radio", name="what it says is not there")).to_be_checked()
    assert page.evaluate(CHECK) == []
    page.keyboard.press("Enter")
    page.wait_for_url(f"**#report-{report.uuid}")
    expect(panel).to_contain_text("Cancelled, version 2")
    expect(panel).to_contain_text("Rejected by")
    expect(panel.locator(".mh-finding").first).to_be_hidden()
    assert page.evaluate(CHECK) == []
    told = fhir(visitor, mercy, report)
    assert told["status"] == "cancelled"
    assert told["conclusion"].startswith("Rejected by ")
    assert focused(page) == f"report-{report.uuid}", "the next key goes to the same result"
    page.keyboard.press("z")
    expect(panel).to_contain_text("Preliminary, version 3")
    expect(panel.locator(".mh-finding").first).to_be_visible()
    assert fhir(visitor, mercy, report)["status"] == "preliminary"


def test_accepted_and_corrected_by_keyboard(visitor: Visitor, mercy: Hospital) -> None:
    """"keys y (accept), x (reject), e (correct), z (undo)", "keys do nothing while typing in a field", "help overlay `?`"."""
    report = issued(mercy)
    page = visitor.sign_in(mercy).page
    visitor.open(f"/t/{mercy.slug}/studies/{report.study.uuid}")
    panel = page.get_by_role("region", name="AI report")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    assert page.evaluate(CHECK) == []
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    page.keyboard.press("y")
    expect(panel).to_contain_text("Final, version 2")
    page.keyboard.press("e")
    value = panel.get_by_label("Volume, lung structure, mL")
    expect(value).to_be_focused()
    value.fill("")
    page.keyboard.type("5000")
    words = panel.get_by_label("What is right, in words")
    words.fill("")
    words.press_sequentially("xyz, yes")
    assert page.url.endswith(f"#report-{report.uuid}")
    expect(words).to_have_value("xyz, yes")
    panel.get_by_label("What was wrong?").select_option("wrong-value")
    panel.get_by_role("button", name="Save the correction").press("Enter")
    expect(panel).to_contain_text("Amended, version 3")
    expect(panel).to_contain_text("Corrected: 5,000 mL")
    expect(panel.locator(".mh-was").first).to_have_text("5,373 mL")
    assert page.evaluate(CHECK) == []
    assert fhir(visitor, mercy, report)["status"] == "amended"


def test_somebody_was_faster(visitor: Visitor, mercy: Hospital) -> None:
    """"a report of another version than the one seen is refused with 409 words ("there is a newer version")"."""
    from tests.ai.review.reviewing import decide, person_of

    report = issued(mercy)
    page = visitor.sign_in(mercy).page
    visitor.open(f"/t/{mercy.slug}/studies/{report.study.uuid}")
    decide(mercy, report, "reject", person_of(mercy, "owner", "Ali Ahmadi"), reason="poor-input")
    page.keyboard.press("n")
    page.keyboard.press("y")
    expect(page.get_by_role("alert")).to_contain_text("there is a newer version: 2, cancelled. Look at it first. Nothing was changed.")
    expect(page.get_by_role("region", name="AI report")).to_contain_text("Rejected by Ali Ahmadi")
    visitor.forgive("409")
