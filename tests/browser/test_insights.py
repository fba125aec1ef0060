"""The insights page as people see it: bars with their numbers, cases one click away, nothing that only an eye can read."""

import pytest
from playwright.sync_api import expect

from tests.ai.insights.crowd import crowd_make
from tests.browser.conftest import Visitor
from tests.browser.test_accessibility import CHECK, OTHER_THEME
from tests.conftest import hospital_make

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def test_figures_at_every_width(visitor: Visitor) -> None:
    """"date range, SVG charts with text alternatives", WCAG 2.1 AA at 360, 768 and 1440 px; a figure leads to its cases."""
    hospital = hospital_make("ward")
    crowd_make(hospital, count=40, action="accept", is_positive=True, days_ago=10, minutes=2)
    crowd_make(hospital, count=6, action="reject", reason="false-positive", is_positive=True, institution="St. Olaf North", days_ago=12)
    crowd_make(hospital, count=3, action="correct", reason="wrong-value", is_positive=True, days_ago=12)
    crowd_make(hospital, count=4, state="failed", days_ago=5)
    crowd_make(hospital, count=5, state="not_analysable", days_ago=4)
    crowd_make(hospital, count=30, thickness=5.0, days_ago=70)
    crowd_make(hospital, count=3, algorithm="calcium-score", days_ago=3)
    page = visitor.sign_in(hospital).page
    visitor.open(f"/t/{hospital.slug}/insights")
    page.locator("summary", has_text="slice thickness").first.click()
    for width in (1440, 768, 360):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(CHECK) == [], width
    page.evaluate(OTHER_THEME)
    assert page.evaluate(CHECK) == []
    page.set_viewport_size({"width": 1440, "height": 900})
    expect(page.locator("svg.mh-plot").first).to_be_visible()
    page.get_by_role("link", name="Agreement: 40 cases").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Cases: accepted")
    for width in (1440, 360):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(CHECK) == [], width
    assert page.get_by_role("row").count() == 41
    page.set_viewport_size({"width": 1280, "height": 800})
