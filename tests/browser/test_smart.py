"""A SMART app in a real Chromium: SMART's own browser client, standalone and from the study page; picker, consent, refresh."""

import json
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from fhirapi.projections import imaging_studies_put
from imaging.models import Study
from journal.audit import Actor
from tenants.models import OAuthClient, OAuthGrant
from tenants.oauth.clients import client_add
from tests import house
from tests.browser.conftest import Visitor
from tests.browser.smart_app import LIBRARY, SmartApp, smart_app
from tests.browser.test_merges import looked_at
from tests.conftest import Hospital
from tests.dicom_files import ct_slice
from tests.fhirapi.writing import Writer, observation, patient

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
ACTOR = Actor(name="user:test")


@pytest.fixture
def app() -> Iterator[SmartApp]:
    if not LIBRARY.is_file():
        (pytest.fail if os.environ.get("REQUIRE_PEERS") == "1" else pytest.skip)("needs the clients of npm: make clients")
    with smart_app() as found:
        yield found


@pytest.fixture
def people(clinic: Hospital) -> tuple[str, str]:
    """Two patients whom the picker finds, each with an observation."""
    writer = Writer(clinic)
    ids = [writer.made(patient(number, name=[{"family": name}]))["id"] for number, name in (("S1", "Quincey"), ("S2", "Harker"))]
    for one in ids:
        writer.made(observation(f"Patient/{one}"))
    return ids[0], ids[1]


def registered(hospital: Hospital, app: SmartApp, other: str, name: str = "Growth chart") -> OAuthClient:
    with hospital.scope():
        row, _ = client_add(
            actor=ACTOR, name=name, kind="app", scopes="launch launch/patient offline_access patient/*.rs", auth_method="none",
            redirect_uris=[f"{app.address}/back"], launch_url=f"{app.address}/launch",
        )  # fmt: skip
    app.words = {"CLIENT": row.client_id, "OTHER": other}
    return row


def told(page: Page, name: str) -> dict[str, Any]:
    """What the app has read with its token."""
    expect(page.locator("#name")).to_have_text(name)
    found: dict[str, Any] = json.loads(page.locator("#told").inner_text())
    return found


def test_standalone_with_the_picker(reader: Visitor, clinic: Hospital, app: SmartApp, people: tuple[str, str]) -> None:
    """ "A SMART app flow in real Chromium (standalone and EHR launch, patient picker)": by keys alone, denied first, then allowed."""
    row = registered(clinic, app, people[1])
    page = reader.page
    base = f"{reader.address}/t/{clinic.slug}/fhir/r4"
    scope = quote("launch/patient offline_access patient/*.rs")
    start = f"{app.address}/launch?iss={quote(base)}&client_id={row.client_id}&scope={scope}"
    page.goto(start)
    expect(page.get_by_role("heading", name="Growth chart asks to be let in")).to_be_visible()
    assert "Quincey" not in page.title()
    looked_at(page, "authorize")
    page.get_by_role("button", name="Do not allow").press("Enter")
    expect(page.locator("#name")).to_contain_text("failed")
    page.goto(start)
    page.get_by_role("button", name="Allow", exact=True).press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Choose a patient first")
    page.get_by_label("Name or patient number").fill("quin")
    page.keyboard.press("Enter")
    choice = page.get_by_role("radio")
    expect(choice).to_have_count(1)
    assert "quin" not in page.url.lower()  # what was looked for stays out of addresses
    choice.press("Space")
    looked_at(page, "authorize-found")
    page.get_by_role("button", name="Allow", exact=True).press("Enter")
    found = told(page, "Quincey")
    assert (found["patient"], found["refreshed"], found["other"], found["observations"]) == (people[0], people[0], 404, 1)
    assert found["response"]["scope"].split()[0] == "launch/patient"
    reader.complaints = [one for one in reader.complaints if app.address not in one and "404" not in one]


def test_opened_from_the_study(reader: Visitor, clinic: Hospital, app: SmartApp, people: tuple[str, str]) -> None:
    """EHR launch: "Open in an app" on the study page, the study's patient and no other, without a picker."""
    slice_ = ct_slice(PatientID="S9", PatientName="Westenra^Lucy")
    house.store(clinic, [slice_])
    house.index(clinic)
    with clinic.scope():
        study = Study.objects.get(study_uid=slice_.StudyInstanceUID)
        imaging_studies_put(study_ids=[study.id])
    registered(clinic, app, people[1], "Lung atlas")
    reader.open(f"/t/{clinic.slug}/studies/{study.uuid}")
    with reader.context.expect_page() as opened:
        reader.page.get_by_role("link", name="Lung atlas").press("Enter")
    page = opened.value
    expect(page.get_by_role("heading", name="Lung atlas asks to be let in")).to_be_visible()
    expect(page.get_by_text("Lucy")).to_be_visible()
    expect(page.get_by_role("radio")).to_have_count(0)
    page.get_by_role("button", name="Allow", exact=True).click()
    found = told(page, "Westenra")
    assert found["response"]["fhirContext"] == [{"reference": f"ImagingStudy/{study.uuid}"}]
    assert found["other"] == 404
    with clinic.scope():
        grant = OAuthGrant.objects.order_by("-id").first()
    assert grant is not None
    assert grant.patient == found["patient"]
    reader.complaints = [one for one in reader.complaints if app.address not in one and "404" not in one]


def test_what_an_administrator_sees_and_takes_back(
    visitor: Visitor, clinic: Hospital, app: SmartApp, people: tuple[str, str]
) -> None:
    """The page lists who let the app in, and one press ends it."""
    row = registered(clinic, app, people[1])
    visitor.sign_in(clinic, "admin")
    page = visitor.page
    base = f"{visitor.address}/t/{clinic.slug}/fhir/r4"
    scope = quote("launch/patient offline_access patient/*.rs")
    page.goto(f"{app.address}/launch?iss={quote(base)}&client_id={row.client_id}&scope={scope}")
    page.get_by_role("radio").first.check()
    page.get_by_role("button", name="Allow", exact=True).click()
    expect(page.locator("#told")).to_contain_text("refreshed")
    visitor.open(f"/t/{clinic.slug}/apps")
    looked_at(page, "clients-let-in")
    mine = page.get_by_role("row").filter(has_text=row.client_id)
    mine.get_by_text("let in once").press("Enter")
    mine.get_by_role("button", name="Take back").press("Enter")
    expect(page.get_by_role("status")).to_contain_text("The app is out")
    expect(page.get_by_role("row").filter(has_text=row.client_id).get_by_text("let in once")).to_have_count(0)
    visitor.complaints = [one for one in visitor.complaints if app.address not in one and "404" not in one]
