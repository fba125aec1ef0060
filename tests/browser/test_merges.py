"""Merged patients and order work items in a real browser, by keyboard alone and without a finding of axe at three widths."""

import os
from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from imaging.describe import PatientFacts
from imaging.models import Patient, Study, WorkItem
from imaging.orders import OrderFacts, order_upsert
from journal.audit import Actor
from tests import house
from tests.browser import scenes
from tests.browser.conftest import Visitor
from tests.browser.test_accessibility import CHECK
from tests.conftest import Hospital

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
JANE = PatientFacts(issuer="", patient_id="P1", name="DOE^JANE", birth_date="19600102", sex="F")


def looked_at(page: Page, name: str) -> None:
    """Axe, at three widths; a picture where the person who changes the page wants one."""
    for width in (360, 768, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(CHECK) == [], (name, width)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width)
        if folder := os.environ.get("MEDHUB_PICTURES"):
            page.screenshot(path=f"{folder}/{name}-{width}.png", full_page=True)


def owners(mercy: Hospital) -> set[str]:
    with mercy.scope():
        return set(Study.objects.values_list("patient__patient_id", flat=True))


def test_two_patients_are_merged_and_parted_again(visitor: Visitor, mercy: Hospital) -> None:
    """ "can be undone (also as a portal action)": found by two numbers, compared, merged, undone."""
    for number, name in (("P1", "DOE^JANE"), ("P2", "DOE^JANE A")):
        scenes.study_take(mercy, PatientID=number, PatientName=name, count=1)
    page = visitor.sign_in(mercy, "admin").page
    page.get_by_role("link", name="Needs attention").press("Enter")
    page.get_by_role("link", name="Merged patients").press("Enter")
    expect(page.get_by_role("heading", name="Nobody was merged")).to_be_visible()
    looked_at(page, "merges-empty")
    page.get_by_label("Number that stays").focus()
    page.keyboard.type("P1")
    page.keyboard.press("Tab")
    page.keyboard.type("NOBODY")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Nobody here has this number")
    looked_at(page, "merges-error")
    page.get_by_label("Number that is merged into it").fill("P2")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Are they one person?")).to_be_focused()
    expect(page.get_by_role("group", name="Is merged into it")).to_contain_text("1 study, 0 orders")
    assert "P2" not in page.url
    looked_at(page, "merges-found")
    page.get_by_role("button", name="Merge the two").press("Enter")
    expect(page.get_by_role("row").filter(has_text="P2")).to_contain_text("on this page")
    assert owners(mercy) == {"P1"}
    looked_at(page, "merges")
    page.locator("summary").filter(has_text="Undo").press("Enter")
    looked_at(page, "merges-sure")
    page.get_by_role("button", name="Undo this merge").press("Enter")
    expect(page.get_by_role("row").filter(has_text="P2")).to_contain_text("undone")
    assert owners(mercy) == {"P1", "P2"}


def test_an_order_is_chosen_for_a_study(visitor: Visitor, mercy: Hospital) -> None:
    """ "a visible work item with a fix": the orders of the patient to choose from, and both sides where it is another's."""
    with mercy.scope():
        for accession, patient in (("A1", JANE), ("A2", JANE), ("A3", replace(JANE, patient_id="P7", name="ROE^ANN"))):
            facts = OrderFacts(accession_number=accession, patient=patient, description="CT of the chest")
            order_upsert(actor=Actor(name="user:test"), facts=facts)
    for number in ("TYPO", "A3"):
        scenes.study_take(mercy, PatientID="P1", PatientName="DOE^JANE", AccessionNumber=number, count=1)
    house.complete(mercy)
    house.settle(mercy)
    page = visitor.sign_in(mercy, "admin").page
    page.get_by_role("link", name="Needs attention").press("Enter")
    page.get_by_role("row").filter(has_text="Study without an order").get_by_role("link", name="Decide").press("Enter")
    page.get_by_label("Orders of this patient").focus()
    page.keyboard.type("A1")
    looked_at(page, "workitem-order")
    page.get_by_role("button", name="This order asked for it").press("Enter")
    expect(page.get_by_role("heading", name="Needs attention")).to_be_visible()
    with mercy.scope():
        study = Study.objects.select_related("order").get(accession_number="TYPO")
        assert study.order.accession_number == "A1"
    page.get_by_role("row").filter(has_text="Order of another patient").get_by_role("link", name="Decide").press("Enter")
    expect(page.get_by_role("row").filter(has_text="Patient number")).to_contain_text("P7")
    looked_at(page, "workitem-order-patient")
    page.get_by_role("button", name="They are one patient").press("Enter")
    expect(page.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    with mercy.scope():
        assert Patient.objects.get(patient_id="P1").merged_into.patient_id == "P7"
        assert not WorkItem.objects.filter(resolved_at=None).exists()
