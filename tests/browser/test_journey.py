"""Choosing, routing and judging AI from end to end: a head of department, a radiologist, and the EHR, on one real study."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect
from pydicom import dcmread

from ai.models import Job, Report
from ai.review.reasons import REASONS
from billing.entitlements import entitlement_set
from tests import house
from tests.browser import scenes
from tests.browser.conftest import Visitor
from tests.browser.test_accessibility import CHECK
from tests.browser.test_review import fhir
from tests.browser.test_rules import add
from tests.conftest import Hospital
from tests.quantify.serving import KEY, QuantifyServer
from tests.vendors import quantify_server, thorax

__all__ = ["quantify_server", "thorax"]
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


@pytest.fixture
def hospital(mercy: Hospital, settings: Any, quantify_server: QuantifyServer) -> Hospital:
    """Entitled, with two studies of last week; nothing is connected, no rule was ever written."""
    settings.QUANTIFY_URL, settings.QUANTIFY_KEY = f"http://127.0.0.1:{quantify_server.port}", KEY
    settings.EGRESS_ALLOW = [f"127.0.0.1:{quantify_server.port}"]
    with mercy.scope():
        entitlement_set(state="active")
    for count, name in ((25, "DOE^JANE"), (3, "ROE^ANN")):
        study = scenes.study_take(mercy, count=count, PatientName=name, PatientID=name)
        assert study.number_of_instances == count
        scenes.study_complete(mercy, study)
    return mercy


def accessible(page: Page) -> None:
    assert page.evaluate(CHECK) == []


def platforms_compared(page: Page) -> None:
    page.get_by_role("link", name="Platforms", exact=True).press("Enter")
    for name in ("Compare MedHub Quantify", "Compare Aidoc"):
        page.get_by_role("checkbox", name=name).press("Space")
    accessible(page)
    page.get_by_role("button", name="Compare the chosen").press("Enter")
    expect(page.get_by_role("columnheader")).to_have_count(2)
    accessible(page)
    page.get_by_role("link", name="MedHub Quantify").first.press("Enter")
    page.get_by_role("button", name="Connect", exact=True).press("Enter")
    page.get_by_role("button", name="Test connection").press("Enter")
    expect(page.locator(".mh-facts").filter(has_text="Last test")).not_to_contain_text("not tested yet")
    accessible(page)
    page.get_by_role("link", name="On the ladder").press("Enter")
    expect(page.locator("#medhub-quantify .mh-ladder [aria-current]")).to_have_text("live")
    accessible(page)


def rule_written(page: Page) -> None:
    page.get_by_role("link", name="Rules", exact=True).first.press("Enter")
    page.get_by_role("link", name="Write the first rule").press("Enter")
    add(page, "modality")
    page.get_by_role("checkbox", name="CT").press("Space")
    expect(page.get_by_role("checkbox", name="CT")).to_be_checked()
    page.get_by_label("Name of the rule").focus()
    page.keyboard.type("chests")
    page.get_by_label("Send to").focus()
    page.keyboard.type("Lung")
    expect(page.get_by_label("Send to")).to_have_value("medhub-quantify/lung-density-mask")
    accessible(page)
    page.get_by_role("button", name="Save into the draft").press("Enter")
    expect(page.get_by_role("heading", name="chests")).to_be_visible()
    accessible(page)


def rule_tried_and_activated(page: Page) -> None:
    page.get_by_role("link", name="Try it on real studies").press("Enter")
    page.get_by_role("button", name="Try", exact=True).press("Enter")
    expect(page.get_by_role("region", name="What would happen")).to_be_focused()
    row = page.locator(".mh-tallies tr").filter(has_text="chests")
    expect(row.locator("[data-label=Sent]"), row.inner_text()).to_have_text("1")
    expect(row).to_contain_text("3 slices, Lung density mask needs 20 or more")  # each no has its reason
    accessible(page)
    page.get_by_role("link", name="Rules").last.press("Enter")
    page.get_by_role("link", name="Go on with the draft").press("Enter")
    page.get_by_role("button", name="Activate").press("Enter")
    expect(page.get_by_role("heading", name="Active: version 1")).to_be_visible()
    accessible(page)


def study_stored(visitor: Visitor, hospital: Hospital, files: Sequence[Path]) -> str:
    """By STOW-RS with the hospital's token, as a PACS does; indexed and complete. Returns its patient's name on the list."""
    parts = b"".join(b"--B\r\nContent-Type: application/dicom\r\n\r\n" + file.read_bytes() + b"\r\n" for file in files)
    answer = httpx.post(
        f"{visitor.address}/t/{hospital.slug}/dicomweb/studies", content=parts + b"--B--\r\n", timeout=60,
        headers={**hospital.auth, "content-type": 'multipart/related; type="application/dicom"; boundary=B'},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    house.index(hospital)
    house.complete(hospital)
    house.deliver(hospital)
    family, _, given = str(dcmread(files[0], stop_before_pixels=True).PatientName).partition("^")
    return ", ".join(filter(None, (family, given)))


def test_a_rule_a_study_a_rejection_and_the_ehr(visitor: Visitor, hospital: Hospital, thorax: list[Path]) -> None:
    """"a head of department compares two platforms, writes a rule, dry-runs it on past studies, activates it, sees the next study
    routed, a radiologist rejects the finding with a reason, and the EHR reads the cancelled report; axe without a serious finding;
    keyboard only."
    """
    page = visitor.sign_in(hospital, "admin").page
    platforms_compared(page)
    rule_written(page)
    rule_tried_and_activated(page)
    with hospital.scope():
        assert not Job.objects.exists()  # neither a dry run nor a new rule sends what came before

    name = study_stored(visitor, hospital, thorax)
    page.get_by_role("link", name="Worklist").press("Enter")
    expect(page.get_by_role("row").filter(has_text=name)).to_contain_text("submitted")
    expect(page.get_by_role("row").filter(has_text="DOE, JANE")).not_to_contain_text("submitted")
    house.settle(hospital)
    expect(page.get_by_role("row").filter(has_text=name)).to_contain_text("done")  # the page asks by itself
    with hospital.scope():
        report = Report.objects.select_related("study").get()
    assert fhir(visitor, hospital, report)["status"] == "preliminary"

    visitor.context.clear_cookies()
    page = visitor.sign_in(hospital, "radiologist").page
    page.get_by_role("link", name=name).press("Enter")
    panel = page.get_by_role("region", name="AI report")
    accessible(page)
    page.keyboard.press("n")
    expect(panel).to_be_focused()
    page.keyboard.press("x")
    page.keyboard.press("ArrowDown")
    reason = list(REASONS["reject"].values())[1]
    expect(page.get_by_role("radio", name=reason)).to_be_checked()
    accessible(page)
    page.keyboard.press("Enter")
    expect(panel).to_contain_text("Cancelled, version 2")
    expect(panel).to_contain_text(reason)
    accessible(page)
    told = fhir(visitor, hospital, report)
    assert told["status"] == "cancelled"
    assert told["conclusion"].startswith("Rejected by ")
    assert reason in told["conclusion"]
