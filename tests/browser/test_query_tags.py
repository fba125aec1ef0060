"""The page of query attributes in a real browser: declared, watched while it is built, removed after a second question."""

import pytest
from playwright.sync_api import expect

from imaging.models import QueryTag
from tests.browser.conftest import Visitor
from tests.conftest import Hospital
from tests.dicom_files import series_of
from tests.imaging.tag_jobs import build
from tests.imaging.test_qido import store

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def test_an_attribute_is_declared_watched_and_removed(hurried: Visitor, mercy: Hospital) -> None:
    """"listing tags with progress (keyboard ...)": refusals have the focus, progress moves by itself, a question stays open."""
    store(mercy, *series_of(3, SliceThickness=2))
    page = hurried.sign_in(mercy, "integrator").page
    page.get_by_role("link", name="Nodes").click()
    page.get_by_role("link", name="Query attributes").click()
    expect(page.get_by_role("heading", name="No attribute yet")).to_be_visible()
    page.get_by_label("Attribute", exact=True).fill("0019,1010")
    page.get_by_role("button", name="Declare").click()
    expect(page.get_by_role("alert")).to_contain_text("a private attribute is known by its private creator")
    expect(page.get_by_role("alert")).to_be_focused()
    page.get_by_label("Attribute", exact=True).fill("SliceThickness")
    page.get_by_label("Level").select_option(label="series")
    page.get_by_role("button", name="Declare").press("Enter")
    row = page.locator("#query-tags tr", has_text="SliceThickness")
    expect(row).to_contain_text("being built")
    build(mercy)
    hurried.hurry()
    expect(row).to_contain_text("3 of 3 objects read")
    expect(row).to_contain_text("ready")
    expect(row.get_by_role("button", name="Remove this attribute")).to_be_hidden()
    row.locator("summary").press("Enter")
    with mercy.scope():
        QueryTag.objects.update(objects_bad=1)
    hurried.hurry()
    page.wait_for_timeout(300)
    expect(row.get_by_role("button", name="Remove this attribute")).to_be_visible()
    row.get_by_role("button", name="Remove this attribute").press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("SliceThickness cannot be asked for any more")
    expect(page.get_by_role("heading", name="No attribute yet")).to_be_visible()
