"""The certificates page in a real browser: from nothing to a device that was given a key, and back."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from playwright.sync_api import expect

from imaging.models import Certificate
from tests.browser.conftest import Visitor
from tests.conftest import PASSWORD, Hospital
from tests.imaging.tls_peers import request_make

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def test_a_request_is_signed_downloaded_and_revoked(visitor: Visitor, mercy: Hospital, tmp_path: Path) -> None:
    """"upload CSR ... revoke with confirm, download CA and CRL ... list with state and days left"."""
    page = visitor.sign_in(mercy, "admin").page
    page.get_by_role("link", name="Nodes").click()
    page.get_by_role("link", name="Certificates").click()
    expect(page.get_by_role("heading", name="No certificate yet")).to_be_visible()
    page.get_by_label("Signing request").fill("nonsense")
    page.get_by_role("button", name="Sign", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("this is no signing request")
    expect(page.get_by_role("alert")).to_be_focused()
    page.get_by_label("Signing request").fill(request_make(ec.generate_private_key(ec.SECP256R1()), name="CT 4"))
    page.locator("#id_node").select_option(label=mercy.calling_ae)
    page.get_by_role("button", name="Sign", exact=True).click()
    row = page.locator("tr", has_text="CT 4")
    expect(row).to_contain_text(mercy.calling_ae)
    expect(row).to_contain_text("364 days left")
    with page.expect_download() as download:
        row.get_by_role("link", name="Download").click()
    download.value.save_as(tmp_path / "ct.pem")
    assert x509.load_pem_x509_certificate((tmp_path / "ct.pem").read_bytes()).subject.rfc4514_string() == "CN=CT 4"
    with page.expect_download() as download:
        page.get_by_role("link", name="Download our authorities").click()
    download.value.save_as(tmp_path / "trust.pem")
    assert len(x509.load_pem_x509_certificates((tmp_path / "trust.pem").read_bytes())) == 2
    expect(row.get_by_role("button", name="Revoke this certificate")).to_be_hidden()
    row.locator("summary").click()
    row.get_by_label("Why").select_option(label="the device is no longer in use")
    row.get_by_role("button", name="Revoke this certificate").click()
    expect(page.get_by_role("status").first).to_contain_text("CT 4 is refused from its next association on")
    expect(page.locator("tr", has_text="CT 4")).to_contain_text("the device is no longer in use")
    expect(page.locator("tr", has_text="CT 4").locator("summary")).to_have_count(0)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the revocation list").click()
    download.value.save_as(tmp_path / "crl.pem")
    assert len(list(x509.load_pem_x509_crl((tmp_path / "crl.pem").read_bytes()))) == 1


def test_a_key_is_shown_once(visitor: Visitor, mercy: Hospital, tmp_path: Path) -> None:
    """"make key shown once": on one page, or as an encrypted file; a short password makes no certificate."""
    page = visitor.sign_in(mercy, "owner").page
    visitor.open(f"/t/{mercy.slug}/certificates")
    page.locator("#make_name").fill("CT 5")
    page.locator("#make_format").select_option("pkcs12")
    page.locator("#make_password").fill("short")
    page.get_by_role("button", name="Make a key").click()
    expect(page.get_by_role("alert")).to_contain_text("at least 12 characters")
    with mercy.scope():
        assert not Certificate.objects.exists()
    page.locator("#make_password").fill(PASSWORD)
    with page.expect_download() as download:
        page.get_by_role("button", name="Make a key").click()
    download.value.save_as(tmp_path / "ct.p12")
    assert pkcs12.load_pkcs12((tmp_path / "ct.p12").read_bytes(), PASSWORD.encode()).key is not None
    visitor.open(f"/t/{mercy.slug}/certificates")
    page.locator("#make_name").fill("CT 6")
    page.get_by_role("button", name="Make a key").click()
    shown = page.get_by_label("Key, certificate and authority, PEM").input_value()
    assert shown.startswith("-----BEGIN PRIVATE KEY-----")
    page.get_by_role("link", name="I have copied it").click()
    expect(page.locator("tr", has_text="CT 6")).to_contain_text("not used yet")
    assert "PRIVATE KEY" not in page.content()


def test_an_integrator_reads_and_downloads_only(visitor: Visitor, mercy: Hospital) -> None:
    """"capability for owner/admin": who sets up devices gets the files, not the forms."""
    page = visitor.sign_in(mercy, "integrator").page
    visitor.open(f"/t/{mercy.slug}/certificates")
    expect(page.get_by_role("link", name="Download our authorities")).to_be_visible()
    expect(page.get_by_role("button", name="Sign", exact=True)).to_have_count(0)
    expect(page.get_by_text("An administrator can sign")).to_be_visible()
