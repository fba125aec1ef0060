"""The pages, through Django's client, signed in as real people with real rows behind."""

import pytest
from django.urls import reverse

from imaging.inbox import object_write
from imaging.models import Study
from journal.models import AuditEvent
from tests import house
from tests.conftest import PASSWORD
from tests.dicom_files import ct_slice, series_of, shared_file


def signed_in(client, hospital, role: str = "radiologist"):
    hospital.member(role)
    answer = client.post("/accounts/login/", {"login": f"{role}@{hospital.slug}.example", "password": PASSWORD})
    assert answer.status_code == 302
    return client


@pytest.fixture
def study(mercy):
    house.store(mercy, series_of(3))
    house.index(mercy)
    with mercy.scope():
        return Study.objects.get()


def test_sign_in_by_email_leads_to_the_worklist(client, mercy, study) -> None:
    """"allauth login by e-mail, worklist with AI status"."""
    answer = signed_in(client, mercy).get("/", follow=True)
    assert answer.redirect_chain[-1][0] == reverse("worklist", args=[mercy.slug])
    page = answer.content.decode()
    assert "DOE, JANE" in page
    assert "waiting for images" in page
    assert answer.headers["Cache-Control"].count("no-store") == 1


def test_a_wrong_password_says_so(client, mercy) -> None:
    mercy.member("radiologist")
    answer = client.post("/accounts/login/", {"login": f"radiologist@{mercy.slug}.example", "password": "no"})
    assert answer.status_code == 200
    assert "alert" in answer.content.decode()


def test_the_rows_answer_304_until_something_changes(client, mercy, study) -> None:
    """"Live panels poll with htmx every 2 s (304 when nothing changed)" (DESIGN section 2)."""
    signed_in(client, mercy)
    url = reverse("worklist-rows", args=[mercy.slug])
    first = client.get(url)
    mark = first.context["mark"]
    assert client.get(url, {"seen": mark}).status_code == 304
    house.store(mercy, [ct_slice(PatientID="P9", PatientName="ROE^RICHARD")])
    house.index(mercy)
    assert b"ROE, RICHARD" in client.get(url, {"seen": mark}).content


def test_the_study_page_shows_a_slice_in_the_sites_zone(client, mercy, study) -> None:
    """"study page with a rendered slice ... times in the site's zone"; opening it is audited, its title says nothing."""
    answer = signed_in(client, mercy).get(reverse("study", args=[mercy.slug, study.uuid]))
    page = answer.content.decode()
    assert "<title>Study - MedHub</title>" in page
    assert any(zone in page for zone in (" CST", " CDT"))
    picture = client.get(reverse("study-slice", args=[mercy.slug, study.uuid, answer.context["shown"].id, 2]))
    assert (picture.status_code, picture.content[:4]) == (200, b"\x89PNG")
    assert client.get(reverse("study-slice", args=[mercy.slug, study.uuid, answer.context["shown"].id, 4])).status_code == 404
    with mercy.scope():
        assert set(AuditEvent.objects.values_list("action", flat=True)) == {"study.view", "study.image"}


def test_a_study_without_images_says_so(client, mercy) -> None:
    """A structured report or a waveform has nothing to draw: words instead of a broken picture."""
    content = shared_file("real/ecg-12lead.dcm").read_bytes()
    object_write(tenant_id=mercy.tenant.id, source=0, trace_id="0" * 32, parts=[content])
    house.index(mercy)
    with mercy.scope():
        found = Study.objects.get()
    answer = signed_in(client, mercy).get(reverse("study", args=[mercy.slug, found.uuid]))
    assert answer.context["count"] == 0
    assert "<img" not in answer.content.decode()
    shown = answer.context["shown"]
    assert client.get(reverse("study-slice", args=[mercy.slug, found.uuid, shown.id, 1])).status_code == 404


def test_a_hostile_name_is_text(client, mercy) -> None:
    """"every HTML surface escapes it" (broken/xss-patient-name.dcm)."""
    house.store(mercy, [ct_slice(PatientName="<script>alert(1)</script>^X")])
    house.index(mercy)
    page = signed_in(client, mercy).get(reverse("worklist", args=[mercy.slug])).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


def test_a_strict_content_security_policy(client, mercy) -> None:
    """"no inline script; strict CSP"."""
    answer = signed_in(client, mercy).get(reverse("worklist", args=[mercy.slug]))
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    page = answer.content.decode()
    assert "<script>" not in page
    assert "style=" not in page
    assert "onclick" not in page
    assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_every_page_renders_for_every_role_that_may(client, mercy, study) -> None:
    """Each role sees its navigation and nothing more."""
    for role, pages in {
        "owner": {"Worklist", "Nodes", "Platforms", "Rules", "Jobs", "Insights", "Hospital", "Needs attention"},
        "radiologist": {"Worklist", "Nodes", "Platforms", "Rules", "Jobs", "Insights", "Hospital"},
        "integrator": {"Nodes", "Platforms", "Rules", "Jobs", "Insights", "Hospital", "Needs attention"},
        "auditor": {"Hospital", "Disclosures"}, "billing": {"Hospital"},
    }.items():  # fmt: skip
        client.logout()
        answer = signed_in(client, mercy, role).get(reverse("hospital", args=[mercy.slug]))
        assert {item.label for item in answer.context["nav"]} == pages


def test_the_hospitals_page_switches_us_core(client, mercy) -> None:
    """An administrator's setting on the hospital's page; a radiologist has no such form and no such right."""
    mercy.member("admin")
    client.post("/accounts/login/", {"login": f"admin@{mercy.slug}.example", "password": PASSWORD})
    page, door = f"/t/{mercy.slug}/", f"/t/{mercy.slug}/us-core"
    assert b'name="us_core"' in client.get(page).content
    assert client.post(door, {"us_core": "on"}).status_code == 302
    mercy.tenant.refresh_from_db()
    assert mercy.tenant.has_us_core is True
    assert b"checked" in client.get(page).content
    client.post(door)
    mercy.tenant.refresh_from_db()
    assert mercy.tenant.has_us_core is False
