"""Apps and keys in a real browser: a key made by keyboard, shown once, used, revoked; a service that cannot be registered yet."""

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.browser.test_merges import looked_at
from tests.conftest import Hospital

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def test_a_key_is_made_used_and_revoked(visitor: Visitor, mercy: Hospital) -> None:
    """ "Clients are registered on a portal page": the key is shown this once, opens what its scopes say, and nothing once revoked."""
    page = visitor.sign_in(mercy, "admin").page
    page.get_by_role("link", name="Hospital", exact=True).press("Enter")
    page.get_by_role("link", name="Apps and keys").press("Enter")
    expect(page.get_by_role("heading", name="No app yet")).to_be_visible()
    looked_at(page, "clients-empty")
    page.get_by_label("Name").focus()
    page.keyboard.type("lab")
    page.get_by_label("Scopes").fill("system/Patient.rs")
    page.get_by_role("button", name="Register").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("is needed, inline or by its address")
    looked_at(page, "clients-error")
    page.get_by_label("Kind").select_option("key")
    page.get_by_role("button", name="Register").press("Enter")
    expect(page.get_by_role("heading", name="lab may ask now")).to_be_focused()
    key = page.locator(".mh-facts code").nth(1).inner_text()
    looked_at(page, "clients-made")
    base = f"{visitor.address}/t/{mercy.slug}/fhir/r4"
    auth = {"authorization": f"Bearer {key}"}
    assert httpx.get(f"{base}/Patient", headers=auth).status_code == 200
    assert httpx.get(f"{base}/Observation", headers=auth).status_code == 403
    page.get_by_role("link", name="Hospital", exact=True).first.press("Enter")
    page.get_by_role("link", name="Apps and keys").press("Enter")
    assert key not in page.content()
    page.locator("summary").filter(has_text="Revoke").press("Enter")
    page.get_by_role("button", name="Revoke it").press("Enter")
    expect(page.get_by_role("row").filter(has_text="lab")).to_contain_text("revoked")
    assert httpx.get(f"{base}/Patient", headers=auth).status_code == 401
