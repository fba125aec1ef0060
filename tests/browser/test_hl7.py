"""The HL7 page in a real browser: a sender registered by keyboard, what came, a message handled again, a sender removed."""

import pytest
from playwright.sync_api import expect

from imaging.hl7.messages import message_take
from imaging.models import Hl7Message
from tests.browser.conftest import Visitor
from tests.browser.test_merges import looked_at
from tests.conftest import Hospital
from tests.imaging.hl7.test_orders import orm

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def test_senders_and_messages(visitor: Visitor, mercy: Hospital) -> None:
    """ "ACK handling" as an administrator sees it: who may send, what was answered, and a way on for what was not taken."""
    page = visitor.sign_in(mercy, "admin").page
    page.get_by_role("link", name="Nodes", exact=True).press("Enter")
    page.get_by_role("link", name="HL7").press("Enter")
    expect(page.get_by_role("heading", name="Nobody may send yet")).to_be_visible()
    looked_at(page, "hl7-empty")
    page.locator("#id_name").focus()
    page.keyboard.type("RIS")
    page.get_by_role("button", name="Let it send").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("without TLS an address is needed")
    looked_at(page, "hl7-error")
    page.get_by_label("Addresses").fill("127.0.0.9")
    page.get_by_label("Sending application (MSH-3)").fill(mercy.slug)
    page.get_by_role("button", name="Let it send").press("Enter")
    expect(page.get_by_role("row").filter(has_text="RIS")).to_contain_text("127.0.0.9")
    for control in ("NW", "ZZ"):
        text = "\r".join((f"MSH|^~\\&|{mercy.slug}||||20260705||ORM^O01|{control}|P|2.5.1", *orm(control=control)))
        message_take(body=text.encode(), address="127.0.0.9")
    page.reload()
    waiting = page.get_by_role("region", name="Messages that were not taken")
    expect(waiting.get_by_role("row").filter(has_text="not taken")).to_contain_text("ORC-1")
    expect(page.get_by_role("region", name="What came").get_by_role("row").filter(has_text="ORM^O01")).to_have_count(2)
    looked_at(page, "hl7")
    with mercy.scope():
        row = Hl7Message.objects.get(state="failed")
        Hl7Message.objects.filter(id=row.id).update(body=bytes(row.body).replace(b"ORC|ZZ", b"ORC|NW"))
    page.get_by_role("button", name="Handle again").press("Enter")
    expect(page.get_by_role("row").filter(has_text="not taken")).to_have_count(0)
    page.locator("summary").filter(has_text="Remove").press("Enter")
    page.get_by_role("button", name="Remove this sender").press("Enter")
    page.locator("#id_to-name").fill("EHR")
    page.locator("#id_to-host").fill("ehr.example")
    page.locator("#id_to-port").fill("0")
    page.get_by_role("button", name="Send reports there").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("greater than or equal to 1")
    page.locator("#id_to-port").fill("2575")
    page.get_by_role("button", name="Send reports there").press("Enter")
    expect(page.get_by_role("row").filter(has_text="EHR")).to_contain_text("every version")
    looked_at(page, "hl7-there")
    expect(page.get_by_role("heading", name="Nobody may send yet")).to_be_visible()
