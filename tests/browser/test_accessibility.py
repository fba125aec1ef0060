"""WCAG 2.1 AA and what of 2.2 can be measured, on every page, in both themes, from a wide screen to 400 % zoom; and by keyboard."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from ai.models import Job
from imaging.models import Association, WorkItem
from journal.models import Delivery
from journal.outbox import event_publish
from tests.browser import scenes, tls_scenes
from tests.browser.conftest import Visitor
from tests.conftest import Hospital
from tests.dicom_files import part10

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

CHECK = (Path(__file__).parent / "accessibility.js").read_text(encoding="utf-8")
OTHER_THEME = """() => {
  const html = document.documentElement;
  html.dataset.bsTheme = html.dataset.bsTheme === "dark" ? "light" : "dark";
}"""
WIDTHS = (1280, 768, 360, 320)  # 320: a window of 1280 px at 400 % zoom (WCAG 1.4.10)
LONG = "WOLFESCHLEGELSTEINHAUSENBERGERDORFF^HUBERT BLAINE MAXIMILIAN=山田^太郎=やまだ^たろう"
# page -> role, path; {study} and {receiving} are filled in, "" is nobody
PAGES = {
    "login": ("", "/accounts/login/"),
    "home": ("admin", "/"),
    "worklist": ("radiologist", "/t/{slug}/worklist"),
    "older": ("radiologist", "/t/{slug}/worklist?before=1.0.1"),
    "report": ("radiologist", "/t/{slug}/reports/{report}"),
    "study": ("radiologist", "/t/{slug}/studies/{study}"),
    "receiving": ("radiologist", "/t/{slug}/studies/{receiving}"),
    "decided": ("radiologist", "/t/{slug}/studies/{decided}"),
    "insights": ("radiologist", "/t/{slug}/insights"),
    "insights-cases": ("radiologist", "/t/{slug}/insights/cases?platform=medhub-quantify&algorithm=lung-density-mask&kind=all"),
    "insights-empty": ("radiologist", "/t/{slug}/insights?from=2001-01-01&to=2001-01-02"),
    "hospital": ("admin", "/t/{slug}/"),
    "attention": ("admin", "/t/{slug}/attention"),
    "workitem": ("admin", "/t/{slug}/attention/items/{item}"),
    "platforms": ("admin", "/t/{slug}/platforms"),
    "platforms-none": ("admin", "/t/{slug}/platforms?q=nothing+is+like+that&modality=CT"),
    "platforms-compare": ("admin", "/t/{slug}/platforms?compare=aidoc,viz-ai,medhub-quantify,idx-dr"),
    "algorithms": ("admin", "/t/{slug}/algorithms"),
    "algorithm": ("admin", "/t/{slug}/algorithms/viz-ai/ich-triage"),
    "algorithm-recalled": ("admin", "/t/{slug}/algorithms/medhub-quantify/lung-density-mask"),
    "usage": ("radiologist", "/t/{slug}/usage"),
    "disclosures": ("auditor", "/t/{slug}/disclosures"),
    "platform": ("admin", "/t/{slug}/platforms/sharedmind"),
    "platform-cleared": ("radiologist", "/t/{slug}/platforms/aidoc"),
    "platform-in-house": ("admin", "/t/{slug}/platforms/medhub-quantify"),
    "jobs": ("radiologist", "/t/{slug}/jobs"),
    "job": ("admin", "/t/{slug}/jobs/{job}"),
    "worklist-details": ("radiologist", "/t/{slug}/worklist/{study}"),
    "rules": ("admin", "/t/{slug}/rules"),
    "rules-draft": ("admin", "/t/{slug}/rules/draft"),
    "rules-version": ("radiologist", "/t/{slug}/rules/versions/1"),
    "rules-compared": ("admin", "/t/{slug}/rules/versions/2"),
    "rule": ("admin", "/t/{slug}/rules/draft/{rule}"),
    "rules-try": ("admin", "/t/{slug}/rules/dry-run"),
    "stages": ("admin", "/t/{slug}/stages"),
    "nodes": ("admin", "/t/{slug}/nodes"),
    "node": ("admin", "/t/{slug}/nodes/{node}"),
    "certificates": ("admin", "/t/{slug}/certificates"),
    "query-tags": ("admin", "/t/{slug}/query-tags"),
    "node-new": ("admin", "/t/{slug}/nodes/new"),
    "ehr": ("admin", "/t/{slug}/ehr"),
    "ehr-edit": ("admin", "/t/{slug}/ehr/servers/{ehr}"),
    "ehr-push": ("admin", "/t/{slug}/ehr/reports/{push}"),
    "subscriptions": ("admin", "/t/{slug}/subscriptions"),
    "403": ("radiologist", "/t/{slug}/attention"),
    "404": ("radiologist", "/t/{slug}/nothing"),
}


@pytest.fixture(scope="module")
def places(clinic: Hospital) -> dict[str, str]:
    """A clinic with every AI state, long and foreign names, failures, a dead letter and an object nobody can read."""
    from imaging.inbox import object_write
    from tenants.models import Membership
    from tests import house
    from tests.conftest import hospital_make
    from tests.dicom_files import ct_slice

    Membership.objects.create(tenant=hospital_make("olaf").tenant, user=clinic.member("admin"), role="radiologist")
    receiving = scenes.study_take(clinic, SpecificCharacterSet="ISO_IR 192", PatientName=LONG, PatientID="LONG")
    study = scenes.study_take(clinic, PatientID="P2")
    report = scenes.report_make(clinic, study)
    scenes.deliveries_make(clinic, report)
    scenes.report_make(clinic, scenes.study_take(clinic, PatientID="P3"), reason="slices 6.0 mm apart, at most 2.5")
    for state in Job.State.values:
        scenes.job_make(clinic, scenes.study_take(clinic, count=1, PatientID=state), state, "said in words, and at some length " * 3)
    object_write(tenant_id=clinic.tenant.id, source=0, trace_id="0" * 32, parts=[part10(ct_slice())[:200]])
    house.store(clinic, [ct_slice(SpecificCharacterSet="ISO_IR 192", StudyInstanceUID=receiving.study_uid, PatientName="OTHER^" + LONG)])
    house.index(clinic)
    with clinic.scope():
        item = WorkItem.objects.get(kind="patient-conflict")
        now = study.first_received_at
        for outcome in ("open", "released", "refused"):
            Association.objects.create(
                calling_ae=clinic.calling_ae, called_ae=clinic.called_ae, address="2001:db8:85a3:8d3:1319:8a2e:370:7348",
                started_at=now, seen_at=now, outcome=outcome, reason="calling AE title not recognized",
            )  # fmt: skip
        event_publish(name="study.changed", ids={"study_id": study.id, "version": 1})
        Delivery.objects.update(state=Delivery.State.DEAD, due_at=None, last_error="OperationalError", attempts=8)
        node = scenes.nodes_make(clinic)
        tls_scenes.certificates_make(node)
        scenes.query_tags_make()
        ehr, push = scenes.ehr_make()
    scenes.doubts_make(clinic, study)
    job = scenes.job_kept_back(clinic)
    scenes.governance_make(clinic, study)
    decided = scenes.decided_make(clinic)
    return {
        "decided": str(decided.uuid), "ehr": ehr, "push": push,
        "job": str(job.uuid), "item": str(item.id), "node": str(node.id), "slug": clinic.slug, "study": str(study.uuid),
        "receiving": str(receiving.uuid), "report": str(report.uuid), "rule": scenes.rules_make(clinic),
    }  # fmt: skip


def open_place(visitor: Visitor, places: dict[str, str], cookies_of: Callable[[str], list[Any]], name: str) -> Page:
    role, path = PAGES[name]
    if role:
        visitor.context.add_cookies(cookies_of(role))
    answer = visitor.open(path.format(**places))
    assert answer
    if answer.status >= 400:
        assert str(answer.status) == name
        visitor.forgive(name)
    return visitor.page


@pytest.mark.parametrize("name", PAGES)
def test_every_page_in_both_themes_at_every_width(visitor: Visitor, places, cookies_of, name: str) -> None:
    """"WCAG 2.1 AA everywhere", "contrast >= 4.5:1 in both", "target >= 24 px; zoom 400 %": labels, headings, colours, sizes."""
    page = open_place(visitor, places, cookies_of, name)
    page.emulate_media(reduced_motion="reduce")  # colours that are still fading from one theme to the other would be measured
    found = set()
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        found |= {f"{width}: {complaint}" for complaint in page.evaluate(CHECK)}
    page.set_viewport_size({"width": WIDTHS[0], "height": 800})
    page.evaluate(OTHER_THEME)
    found |= {f"other theme: {complaint}" for complaint in page.evaluate(CHECK)}
    assert sorted(found) == []


FOCUSED = """() => {
  const element = document.activeElement;
  const style = getComputedStyle(element), box = element.getBoundingClientRect();
  const order = [...document.querySelectorAll("*")].indexOf(element);
  const isSeen = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  const hasRing = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  return [order, element === document.body, isSeen && hasRing, element.outerHTML.slice(0, 90)];
}"""
REACHABLE = """() => [...document.querySelectorAll("*")].map((element, order) => [element, order]).filter(([element]) =>
  element.matches("a[href], button, summary, input:not([type=hidden]), select, textarea, [tabindex='0']")
  && !element.disabled && element.checkVisibility({ visibilityProperty: true })).map(([, order]) => order)"""


@pytest.mark.parametrize(
    "name",
    [
        "login", "worklist", "study", "hospital", "attention", "workitem", "nodes", "node", "node-new", "query-tags", "platforms", "ehr",
        "ehr-edit", "subscriptions",
        "platform", "platforms-compare", "algorithm", "usage", "disclosures", "jobs", "job", "rules", "rules-draft", "rule", "stages",
    ],
)  # fmt: skip
def test_tab_reaches_everything_in_order_and_is_seen(visitor: Visitor, places, cookies_of, name: str) -> None:
    """"keyboard"; "focus ring 2 px visible in both": one walk from the first to the last control, each with its ring, no trap."""
    page = open_place(visitor, places, cookies_of, name)
    wanted, walked = page.evaluate(REACHABLE), []
    for _ in range(len(wanted) + 1):
        page.keyboard.press("Tab")
        order, is_end, has_ring, what = page.evaluate(FOCUSED)
        if is_end:
            break
        assert has_ring, what
        walked.append(order)
    assert len(wanted) > 2
    assert walked == wanted


def test_skip_leads_to_the_content(visitor: Visitor, places, cookies_of) -> None:
    """Tab, Enter: the next Tab is in the page's own content."""
    page = open_place(visitor, places, cookies_of, "worklist")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.matches('main #filters summary')")


def test_forced_colours_keep_icon_and_word(visitor: Visitor, places, cookies_of) -> None:
    """"never our colour alone": with the colours taken away each AI state still shows its icon and its word."""
    visitor.page.emulate_media(forced_colors="active", reduced_motion="reduce")
    page = open_place(visitor, places, cookies_of, "worklist")
    states = page.locator(".mh-worklist .mh-state")
    assert states.count() >= len(Job.State.values) + 3
    for state in states.all():
        box = state.locator("svg").bounding_box()
        assert box
        assert box["width"] > 8
        assert len(state.inner_text().split("\n")[0]) > 3
    visitor.page.emulate_media(forced_colors="none", reduced_motion="no-preference")


BAD = """<!doctype html><html><head><style>p { color: #999 } b { position: absolute; left: 2000px }</style></head><body><h1>A</h1><h3>B</h3>
<img src="data:,"><input><button></button><p id="x">pale</p><p id="x">twice</p><a href="/" aria-describedby="none"><i>i</i></a>
<table><tr><th>c</th></tr></table><b>out</b><svg></svg></body></html>"""


def test_the_check_finds_what_is_wrong(visitor: Visitor) -> None:
    """A page with one of each fault: every rule of the check speaks."""
    visitor.page.set_content(BAD)
    found = visitor.page.evaluate(CHECK)
    for words in (
        "no language", "no title", "not exactly one main", "h3 after h1", "id twice: x", "described by nothing: <a", "no name: <input",
        "no name: <button", "no alt: <img", "icon not hidden", "table without caption", "column without scope", "contrast 2.8", "target ",
        "px wide in 1280", "sticks out",
    ):  # fmt: skip
        assert any(words in complaint for complaint in found), (words, found)
