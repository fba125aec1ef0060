"""Rules in a real browser, by keyboard alone: one is written, moved, tried and activated; two editors meet; without a script too."""

import pytest
from playwright.sync_api import Browser, Page, expect

from ai.models import RuleSet
from ai.routing.sets import ruleset_save
from ai.services import connection_create
from journal.audit import Actor
from tests.browser import scenes
from tests.browser.conftest import Visitor, context_of, visitor_of
from tests.browser.test_accessibility import CHECK
from tests.conftest import Hospital

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def add(page: Page, fact: str, button: str = "Add condition") -> None:
    """Returns once the new condition has the focus: a key pressed before would go down on one field and up on another, and tick nothing."""
    page.get_by_label("Another condition on").nth(1 if "series" in button else 0).select_option(label=fact)
    page.get_by_role("button", name=button, exact=True).press("Enter")
    expect(page.locator(".mh-condition :focus")).to_have_count(1)


def saved(mercy: Hospital, state: str) -> list[dict[str, object]]:
    with mercy.scope():
        return list(RuleSet.objects.get(state=state).rules)


def test_a_rule_is_written_moved_tried_and_activated_by_keyboard(visitor: Visitor, mercy: Hospital) -> None:
    """"rule written, moved, dry-run and activated by keyboard alone with axe": every page on the way is checked."""
    with mercy.scope():
        connection_create(platform="medhub-quantify")
    study = scenes.study_take(mercy, count=25, PatientName="DOE^JANE")
    scenes.study_complete(mercy, study)
    page = visitor.sign_in(mercy, "admin").page
    page.get_by_role("link", name="Rules", exact=True).press("Enter")
    page.get_by_role("link", name="Write the first rule").press("Enter")
    add(page, "modality")
    expect(page.get_by_role("checkbox", name="CR")).to_be_focused()  # the new condition has it
    page.get_by_role("checkbox", name="CT").press("Space")
    add(page, "patient age")
    expect(page.get_by_role("textbox", name="patient age, years")).to_be_focused()
    page.keyboard.type("18")
    add(page, "day of arrival")
    expect(page.get_by_role("checkbox", name="MON")).to_be_focused()
    page.get_by_role("button", name="Remove the condition on day of arrival").press("Enter")
    expect(page.get_by_role("group", name="day of arrival")).to_have_count(0)
    add(page, "slice thickness", "Add series condition")
    expect(page.get_by_role("textbox", name="slice thickness, mm")).to_be_focused()
    page.keyboard.type("2.5")
    expect(page.get_by_role("textbox", name="patient age, years")).to_have_value("18")
    assert page.evaluate(CHECK) == []
    page.get_by_role("button", name="Save into the draft").press("Enter")
    expect(page.get_by_role("alert")).to_be_focused()
    expect(page.get_by_role("alert")).to_contain_text("Name of the rule: This field is required.")
    page.get_by_label("Name of the rule").fill("thin chests")
    page.get_by_label("Send to").select_option("medhub-quantify/lung-density-mask")
    page.get_by_label("slice thickness: what is asked").select_option("at_most")
    page.get_by_label("patient age: what is asked").press("Tab")
    page.keyboard.press("Enter")  # in a field: saves, and removes no condition
    expect(page.get_by_role("heading", name="thin chests")).to_be_visible()
    (rule,) = saved(mercy, "draft")
    assert rule["conditions"] == [{"fact": "modality", "is": ["CT"]}, {"fact": "patient_age_years", "at_least": 18}]
    assert rule["series"] == [{"fact": "slice_thickness_mm", "at_most": 2.5}]
    page.get_by_role("link", name="Add a rule").press("Enter")
    page.get_by_label("Name of the rule").fill("all")
    page.get_by_label("Send to").select_option("medhub-quantify/lung-density-mask")
    page.get_by_label("STAT").press("Space")
    page.get_by_role("button", name="Save into the draft").press("Enter")
    page.get_by_role("button", name="Up").press("Enter")
    expect(page.get_by_role("heading", level=3).first).to_have_text("all")
    expect(page.get_by_role("button", name="Down").first).to_be_focused()
    assert page.evaluate(CHECK) == []
    page.get_by_role("link", name="Try it on real studies").press("Enter")
    page.get_by_role("button", name="Try", exact=True).press("Enter")
    expect(page.locator(".mh-tallies tr").filter(has_text="thin chests")).to_contain_text("a rule before it does not send already")
    expect(page.get_by_role("region", name="What would happen")).to_be_focused()
    assert page.evaluate(CHECK) == []
    page.get_by_role("link", name="Rules").last.press("Enter")
    page.get_by_role("link", name="Go on with the draft").press("Enter")
    page.get_by_role("button", name="Activate").press("Enter")
    expect(page.get_by_role("heading", name="Active: version 1")).to_be_visible()
    assert [one["name"] for one in saved(mercy, "active")] == ["all", "thin chests"]


def test_the_second_of_two_editors_keeps_what_was_typed(visitor: Visitor, mercy: Hospital) -> None:
    """"the second of two editors is told and loses nothing"."""
    scenes.rules_make(mercy)
    page = visitor.sign_in(mercy, "admin").page
    visitor.open(f"/t/{mercy.slug}/rules/draft")
    page.get_by_role("link", name="Edit").nth(1).press("Enter")
    page.get_by_label("Name of the rule").fill("my night")
    with mercy.scope():
        draft = RuleSet.objects.get(state="draft")
        ruleset_save(rules=draft.rules[:2], revision=draft.revision, actor=Actor(name=f"user:{mercy.member('owner').pk}"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_focused()
    expect(page.get_by_role("alert")).to_contain_text(f"owner@{mercy.slug}.example changed the draft")
    expect(page.get_by_label("Name of the rule")).to_have_value("my night")
    page.get_by_role("button", name="Save into the draft").press("Enter")
    expect(page.get_by_role("heading", name="my night")).to_be_visible()
    assert [one["name"] for one in saved(mercy, "draft")] == ["Everything else", "my night"]


def test_rules_are_written_without_javascript(chromium: Browser, portal: str, mercy: Hospital) -> None:
    """"server-rendered, works without JavaScript": a condition added, a rule saved."""
    with mercy.scope():
        connection_create(platform="medhub-quantify")
    with visitor_of(context_of(chromium, java_script_enabled=False), portal) as visitor:
        page = visitor.sign_in(mercy, "admin").page
        visitor.open(f"/t/{mercy.slug}/rules/draft/new")
        page.get_by_label("Name of the rule").fill("nights")
        add(page, "time of arrival")
        page.get_by_label("From").fill("18:00")
        page.get_by_label("to", exact=True).fill("07:00")
        page.get_by_label("Send to").select_option("medhub-quantify/lung-density-mask")
        page.get_by_role("button", name="Save into the draft").click()
        expect(page.get_by_text("time of arrival is between 18:00 and 07:00")).to_be_visible()
        assert visitor.complaints == []


def test_a_step_of_the_ladder_by_keyboard(visitor: Visitor, mercy: Hospital) -> None:
    """"the ladder (one page of platforms with their step, change with a note, pilot readers; history)"."""
    mercy.member("radiologist")
    scenes.rules_make(mercy)
    page = visitor.sign_in(mercy, "admin").page
    page.get_by_role("link", name="Rules", exact=True).press("Enter")
    page.get_by_role("link", name="Stages of platforms").press("Enter")
    page.get_by_text("Change the step").press("Enter")
    page.get_by_label("Step", exact=True).select_option("pilot")
    page.get_by_label(f"radiologist@{mercy.slug}.example").press("Space")
    page.get_by_label("Why").fill("a month of shadow, agreed with the head of department")
    page.keyboard.press("Enter")
    expect(page.locator(".mh-ladder [aria-current]")).to_have_text("pilot")
    page.get_by_text("1 change so far").press("Enter")
    expect(page.get_by_text("a month of shadow")).to_be_visible()
    expect(page.get_by_text(f"Readers of the pilot: radiologist@{mercy.slug}.example")).to_be_visible()
