"""The nodes page in a real browser: from an empty hospital to a study pulled from a real archive."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from imaging.models import Instance, Node, Transfer
from imaging.nodes import node_add
from tests.browser.conftest import Visitor
from tests.conftest import Hospital
from tests.dicom_files import series_of
from tests.imaging.scu_peers import finish
from tests.orthanc import dcmqrscp_run, store

pytestmark = [pytest.mark.browser, pytest.mark.peers, pytest.mark.xdist_group("browser")]


def test_a_node_is_added_checked_asked_and_pulled_from(
    hurried: Visitor, mercy: Hospital, settings: Any, tmp_path: Path
) -> None:
    """"Portal page "Nodes"": add form, test button with the hops, query form, pull button, a bar that moves by itself."""
    slices = series_of(4, PatientID="B1", PatientName="ROE^RICHARD")
    with dcmqrscp_run(tmp_path / "a") as port:
        store(port, "ARCHIVE", slices)
        settings.EGRESS_ALLOW = [*settings.EGRESS_ALLOW, f"127.0.0.1:{port}"]
        with mercy.scope():
            Node.objects.all().delete()
        page = hurried.sign_in(mercy, "admin").page
        page.get_by_role("link", name="Nodes").click()
        expect(page.get_by_role("heading", name="No node yet")).to_be_visible()
        expect(page.get_by_role("heading", name="Nothing is on its way")).to_be_visible()
        page.get_by_role("link", name="Add a node").click()
        page.get_by_label("AE title").fill("SEVENTEEN\\")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("alert")).to_contain_text("AE title: an AE title has 1 to 16")
        expect(page.get_by_role("alert")).to_be_focused()
        page.get_by_label("AE title").fill("ARCHIVE")
        page.get_by_label("Host").fill("127.0.0.1")
        page.get_by_label("Port").fill(str(port))
        page.get_by_label("query").check()
        page.get_by_label("Pull from it by").select_option("get")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("heading", name="ARCHIVE")).to_be_visible()
        page.get_by_role("button", name="Check now").click()
        expect(page.locator(".mh-line li")).to_have_count(4)
        expect(page.locator(".mh-line")).to_contain_text("answered with success")
        page.get_by_label("Patient number").fill("B1")
        page.get_by_role("button", name="Find").click()
        expect(page.locator(".mh-matches")).to_contain_text("ROE, RICHARD")
        assert "B1" not in page.url
        assert "ROE" not in page.url
        page.get_by_role("button", name="Pull").click()
        panel = page.locator("#transfers")
        expect(panel).to_contain_text("Pull from ARCHIVE")
        expect(panel).to_contain_text("waiting")
        with mercy.scope():
            transfer = Transfer.objects.get()
        finish(mercy, transfer)
        hurried.hurry()
        expect(panel).to_contain_text("done")
        expect(panel.locator("progress")).to_have_js_property("value", 4)
        expect(panel).to_contain_text("4 images")
    with mercy.scope():
        assert Instance.objects.count() == 4
        assert Node.objects.get().is_find_allowed


def test_a_check_that_fails_shows_where(visitor: Visitor, mercy: Hospital, settings: Any) -> None:
    """"test button that shows hops as they were": the last one is the one that failed, with its words."""
    settings.EGRESS_ALLOW = [*settings.EGRESS_ALLOW, "127.0.0.1:9"]
    with mercy.scope():
        node = node_add(ae_title="AWAY", host="127.0.0.1", port=9)
    page = visitor.sign_in(mercy, "integrator").page
    visitor.open(f"/t/{mercy.slug}/nodes/{node.id}")
    page.get_by_role("button", name="Check now").click()
    hops = page.locator(".mh-line li")
    expect(hops).to_have_count(2)
    expect(hops.nth(1)).to_contain_text("connection refused")
    page.get_by_role("link", name="All nodes").click()
    expect(page.locator(".mh-nodes")).to_contain_text("does not answer")


def test_a_study_is_sent_and_cancelled_from_the_page(visitor: Visitor, mercy: Hospital) -> None:
    """"pull/send buttons": from the study's own page; the transfer is cancelled by its button and goes on by another."""
    from tests.browser import scenes

    with mercy.scope():
        node_add(ae_title="PACS", host="pacs.example", port=104)
    study = scenes.study_take(mercy)
    page = visitor.sign_in(mercy).page
    visitor.open(f"/t/{mercy.slug}/studies/{study.uuid}")
    page.get_by_label("Send to").select_option(label="PACS")
    page.get_by_role("button", name="Send", exact=True).click()
    panel = page.locator("#transfers")
    expect(panel).to_contain_text("Send to PACS")
    panel.get_by_role("button", name="Cancel").click()
    expect(page.locator("#transfers")).to_contain_text("cancelled")
    page.locator("#transfers").get_by_role("button", name="Go on").click()
    expect(page.locator("#transfers")).to_contain_text("waiting")
    expect(page.get_by_role("link", name="Add a node")).to_have_count(0)  # a radiologist does not


def test_a_node_is_deleted_after_a_second_question(visitor: Visitor, mercy: Hospital) -> None:
    with mercy.scope():
        node = node_add(ae_title="OLD")
    page = visitor.sign_in(mercy, "admin").page
    visitor.open(f"/t/{mercy.slug}/nodes/{node.id}")
    expect(page.get_by_role("button", name="Delete this node")).to_be_hidden()
    page.locator("summary").click()
    page.get_by_role("button", name="Delete this node").click()
    expect(page.get_by_role("status").first).to_contain_text("OLD is no node any more")
    with mercy.scope():
        assert not Node.objects.filter(ae_title="OLD").exists()
