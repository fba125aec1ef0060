"""The portal as a person meets it: signing in and out, the live worklist, what needs attention. In a real browser."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Route, expect

from ai.models import Job
from imaging.models import CommitmentRequest, Study
from tests import house
from tests.browser import scenes
from tests.browser.conftest import Visitor, context_of, visitor_of
from tests.conftest import Hospital
from tests.dicom_files import ct_slice

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

ROWS = re.compile(r".*/worklist/rows\?.*")


def focused(visitor: Visitor) -> str:
    return visitor.page.evaluate("document.activeElement.id")


def test_sign_in_by_email_leads_to_the_worklist(visitor: Visitor, mercy: Hospital) -> None:
    """"allauth login by e-mail, worklist with AI status"; sex and age beside the name, elapsed beside the absolute time."""
    scenes.study_take(mercy, PatientName="DOE^JANE", PatientSex="F", PatientBirthDate="19600102", StudyDate="20260301")
    page = visitor.sign_in(mercy).page
    expect(page).to_have_url(f"{visitor.address}/t/{mercy.slug}/worklist")
    row = page.get_by_role("row").filter(has_text="DOE, JANE")
    expect(row).to_contain_text("F 66 y")
    expect(row).to_contain_text("just now")
    expect(row.locator("time")).to_have_text(re.compile(r"\d\d \w{3} \d{4} \d\d:\d\d:\d\d C[SD]T"))
    state = row.locator(".mh-state")
    expect(state).to_have_text("waiting for images")
    expect(state.locator("svg")).to_be_visible()


def test_a_wrong_password_is_heard(visitor: Visitor, mercy: Hospital) -> None:
    """An error that screen readers hear: an alert that takes the focus, fields marked invalid and described by it."""
    mercy.member("radiologist")
    visitor.open("/accounts/login/")
    page = visitor.page
    page.get_by_label("E-mail").fill(f"radiologist@{mercy.slug}.example")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    alert = page.get_by_role("alert")
    expect(alert).to_have_text("The email address and/or password you specified are not correct.")
    expect(alert).to_be_focused()
    expect(page).to_have_title("Error: Sign in - MedHub")
    for label, kept in (("E-mail", f"radiologist@{mercy.slug}.example"), ("Password", "")):
        field = page.get_by_label(label)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description(re.compile("are not correct"))
        expect(field).to_have_value(kept)


def test_the_worklist_by_keyboard(visitor: Visitor, mercy: Hospital) -> None:
    """"worklist j/k move, Enter open" (B3.4); with a modifier the keys stay the browser's."""
    for name in ("FIRST^A", "SECOND^B"):
        scenes.study_take(mercy, count=1, PatientName=name, PatientID=name)
    page = visitor.sign_in(mercy).page
    walked = []
    for key in ("j", "j", "j", "k", "Control+j"):
        page.keyboard.press(key)
        walked.append(page.locator(":focus").inner_text())
    assert walked == ["SECOND, B", "FIRST, A", "FIRST, A", "SECOND, B", "SECOND, B"]
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("SECOND, B")


def test_elapsed_time_counts_on(hurried: Visitor, mercy: Hospital) -> None:
    """"Elapsed ("12 min") beside absolute": also on a page that stays open while nothing changes."""
    study = scenes.study_take(mercy)
    with mercy.scope():
        Study.objects.filter(id=study.id).update(first_received_at=timezone.now() - timedelta(minutes=58, seconds=30))
    elapsed = hurried.sign_in(mercy).page.locator("[data-since]")
    expect(elapsed).to_have_text("58 min ago")
    hurried.hurry(120)
    expect(elapsed).to_have_text("1 h ago")


def one_answer() -> Callable[[Route], None]:
    """A server that answers once and then hangs."""
    asked: list[Route] = []

    def take(route: Route) -> None:
        asked.append(route)
        if len(asked) == 1:
            route.continue_()

    return take


def test_a_lost_connection_is_said_and_unsaid(hurried: Visitor, mercy: Hospital) -> None:
    """"stream lost: banner + time of last update": refused or never answered; the rows stay, and it goes when the server is back."""
    scenes.study_take(mercy, PatientName="DOE^JANE")
    page = hurried.sign_in(mercy).page
    banner = page.get_by_text("The connection was lost")
    expect(banner).to_be_hidden()
    assert page.locator("[role=status]").filter(has=banner).count() == 1
    page.route(ROWS, lambda route: route.abort())
    hurried.hurry()
    expect(banner).to_be_visible()
    expect(page.get_by_role("link", name="DOE, JANE")).to_be_visible()
    assert 0 < page.evaluate("htmx.config.timeout") <= 10_000
    page.evaluate("htmx.config.timeout = 2000")
    page.unroute(ROWS)
    page.route(ROWS, one_answer())
    scenes.study_take(mercy, PatientName="ROE^RICHARD", PatientID="P9")
    hurried.hurry()
    expect(page.get_by_role("button", name="1 new. Show them")).to_be_visible()
    expect(banner).to_be_hidden()
    hurried.hurry()
    expect(banner).to_be_visible()
    hurried.forgive("ERR_FAILED", "htmx:sendError", "htmx:timeout", "htmx:afterRequest")


def test_a_stranger_sees_our_404(visitor: Visitor, mercy: Hospital, olaf: Hospital) -> None:
    """"Foreign ids answer 404": the page names neither the hospital nor the patient, and leads home."""
    study = scenes.study_take(olaf, PatientName="DOE^JANE")
    visitor.sign_in(mercy)
    for path in (f"/t/{olaf.slug}/worklist", f"/t/{olaf.slug}/studies/{study.uuid}", f"/t/{mercy.slug}/studies/{study.uuid}"):
        answer = visitor.open(path)
        assert answer is not None
        assert answer.status == 404
        expect(visitor.page.get_by_role("heading", level=1)).to_have_text("There is nothing here for you")
        assert not re.search(r"DOE|Olaf", visitor.page.content())
        visitor.forgive("404")
    visitor.page.get_by_role("link", name="To the start page").click()
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("Worklist")


def test_signing_out_forgets(visitor: Visitor, mercy: Hospital) -> None:
    """"PHI pages not cached; client storage clean": the back button shows the sign-in page, nothing is left in the browser."""
    scenes.study_take(mercy, PatientName="DOE^JANE")
    page = visitor.sign_in(mercy).page
    page.get_by_role("link", name="DOE, JANE").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("DOE, JANE")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    for _ in range(2):
        page.go_back()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        assert "DOE" not in page.content()
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
    assert {cookie["name"] for cookie in visitor.context.cookies()} <= {"csrftoken", "messages"}


def test_signing_out_elsewhere_clears_an_open_worklist(hurried: Visitor, mercy: Hospital) -> None:
    """"tabs share": patients do not stay on the screen of a tab whose session ended, and no sign-in form lands among the rows."""
    scenes.study_take(mercy, PatientName="DOE^JANE")
    page = hurried.sign_in(mercy).page
    other = hurried.context.new_page()
    hurried.watch(other)
    other.goto(f"{hurried.address}/t/{mercy.slug}/")
    other.get_by_role("button", name="Sign out").click()
    expect(other.get_by_role("heading", level=1)).to_have_text("Sign in")
    expect(page.get_by_role("link", name="DOE, JANE")).to_be_visible()
    hurried.hurry()
    expect(page).to_have_url(re.compile("/accounts/login/"))
    assert "DOE" not in page.content()


def test_a_failed_job_is_sent_again(visitor: Visitor, mercy: Hospital) -> None:
    """"dead letters show in the portal with resend": the button works from a real form, its study is one click away."""
    study = scenes.study_take(mercy, PatientName="DOE^JANE")
    job = scenes.job_make(mercy, study, Job.State.FAILED, "no answer within 60 s")
    page = visitor.sign_in(mercy, "admin").page
    page.get_by_role("link", name="Needs attention").click()
    row = page.get_by_role("row").filter(has_text="no answer within 60 s")
    expect(row.get_by_role("button", name="Send again")).to_have_accessible_description(re.compile("MedHub Quantify"))
    row.get_by_role("button", name="Send again").click()
    expect(page.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    with mercy.scope():
        job.refresh_from_db()
    assert job.state == Job.State.QUEUED


def test_a_commitment_is_sent_again_and_a_doubt_opens_its_study(visitor: Visitor, mercy: Hospital) -> None:
    """"dead letter -> WorkItem/attention, resend": what no node took is one button away, a study without its order one link."""
    study = scenes.study_take(mercy, PatientName="DOE^JANE")
    scenes.doubts_make(mercy, study)
    page = visitor.sign_in(mercy, "admin").page
    page.get_by_role("link", name="Needs attention").click()
    row = page.get_by_role("row").filter(has_text="412 objects")
    expect(row.get_by_role("button", name="Send again")).to_have_accessible_description(re.compile("CT_ROOM_02"))
    row.get_by_role("button", name="Send again").click()
    expect(page.get_by_text("412 objects")).to_have_count(0)
    with mercy.scope():
        assert CommitmentRequest.objects.get().state == "waiting"
    page.get_by_role("row").filter(has_text="Study without an order").get_by_role("link", name="Decide").click()
    expect(page.get_by_role("button", name="Close")).to_be_visible()
    page.get_by_role("link", name="Open study").click()
    expect(page).to_have_url(f"{visitor.address}/t/{mercy.slug}/studies/{study.uuid}")


def test_no_page_says_anything_of_the_patient_outside_itself(visitor: Visitor, mercy: Hospital) -> None:
    """"No PHI in URL, <title>": canary values stay in the body of the page; no request or referrer carries them away."""
    study = scenes.study_take(mercy, PatientName="ZZCANARY^QX", PatientID="QX-77123", AccessionNumber="QXACC9")
    scenes.report_make(mercy, study)
    told: list[str] = []
    visitor.page.on("request", lambda request: told.append(request.url + str(request.headers.get("referer", ""))))
    visitor.sign_in(mercy, "owner")
    for path in ("", "/worklist", f"/studies/{study.uuid}", "/attention"):
        visitor.open(f"/t/{mercy.slug}{path or '/'}")
        told.append(visitor.page.title())
    assert "Study - MedHub" in told
    assert len(told) > 15
    assert not [text for text in told if re.search("CANARY|QX", text)]


def test_a_hostile_name_stays_text(visitor: Visitor, mercy: Hospital) -> None:
    """"every HTML surface escapes it": nothing of it runs, nothing is fetched (the fixture hears both)."""
    study = scenes.study_take(mercy, PatientName="<svg onload&#61;alert(1)>^<script>alert(2)</script>")
    page = visitor.sign_in(mercy).page
    expect(page.get_by_role("link", name="<svg onload&#61;alert(1)>")).to_be_visible()
    visitor.open(f"/t/{mercy.slug}/studies/{study.uuid}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("<script>alert(2)</script>")


def test_the_watch_hears_what_it_must(visitor: Visitor, mercy: Hospital) -> None:
    """Strict CSP in the browser: inline script and style and foreign images are refused - and this suite would notice any."""
    visitor.sign_in(mercy)
    visitor.page.evaluate("""() => {
      const script = document.createElement("script"); script.textContent = "window.hasRun = 1"; document.body.append(script);
      document.body.setAttribute("style", "color: red");
      const image = new Image(); image.src = "http://evil.example/x.png"; document.body.append(image);
    }""")
    visitor.page.wait_for_timeout(200)
    assert visitor.page.evaluate("window.hasRun") is None
    for words in ("inline script", "inline style", "evil.example"):
        visitor.forgive(words)


def test_pages_work_without_javascript(chromium: Browser, portal: str, mercy: Hospital) -> None:
    """"works without JS except viewer and live panels": list, study with its picture and report, sign out."""
    study = scenes.study_take(mercy, PatientName="DOE^JANE")
    scenes.report_make(mercy, study)
    with visitor_of(context_of(chromium, java_script_enabled=False), portal) as visitor:
        page = visitor.sign_in(mercy).page
        page.get_by_role("link", name="DOE, JANE").click()
        picture = page.get_by_role("img")
        expect(picture).to_have_accessible_name("CT, image 2 of 3")
        assert visitor.context.request.get(f"{portal}{picture.get_attribute('src')}").headers["content-type"] == "image/png"
        expect(page.get_by_text("4,215 mL")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        assert visitor.complaints == []


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_a_patient_conflict_is_decided(visitor: Visitor, mercy: Hospital, width: int) -> None:
    """From the list to both sides to a decision, by keyboard, at three widths; the page never wider than its window."""
    study = scenes.study_take(mercy, count=1, PatientName="DOE^JANE")
    house.store(mercy, [ct_slice(StudyInstanceUID=study.study_uid, PatientID="P2", PatientName="ROE^RICHARD")])
    house.index(mercy)
    page = visitor.sign_in(mercy, "admin").page
    page.set_viewport_size({"width": width, "height": 800})
    visitor.open(f"/t/{mercy.slug}/attention")
    page.get_by_role("link", name="Decide").click()
    expect(page).to_have_title("Work item - MedHub")
    name = page.get_by_role("row").filter(has_text="DOE, JANE")
    expect(name).to_contain_text("ROE, RICHARD")
    expect(name).to_contain_text("differs")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Discard").click()  # the browser wants the reason first
    expect(page.get_by_label("Why")).to_be_focused()
    accept = page.get_by_role("button", name="Accept into the study")
    expect(accept).to_have_accessible_description(re.compile("keeps its patient"))
    accept.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="Decided")).to_be_visible()
    expect(page.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    with mercy.scope():
        assert Study.objects.get().number_of_instances == 2
